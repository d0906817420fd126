"""The clock of a bench on an emulated lab in lockstep: it is the lab's, asked over its control port."""

from __future__ import annotations

from pydantic import Field

from hilonn.clock import Clock
from hilonn.errors import ConnectionLost, DeviceError
from hilonn.transports import Transport, TransportType
from hilonn.transports.entries import WireOptions
from hilonn.transports.tcp import TcpWire


class LabOptions(WireOptions):
    """``transport = "lab_clock"``: the control port that ``hilonn emulate --lockstep`` prints."""

    host: str = "127.0.0.1"
    port: int = Field(ge=1, le=65535)


class LabClock:
    """Seconds in the lab. Sleeping moves the lab's time, and takes none of ours."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def now(self) -> float:
        return self._seconds("NOW?")

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._seconds(f"WAIT {seconds:.9f}")

    def wait_until(self, instant: float) -> None:
        self.sleep(instant - self.now())

    def _seconds(self, command: str) -> float:
        answer = self._transport.query(command)
        try:
            return float(answer)
        except ValueError:
            raise DeviceError(f"the lab's control port answered {answer!r} to {command}") from None


class LabConnection:
    """Owns the wire to the control port, and hands out the clock."""

    def __init__(self, name: str, options: LabOptions) -> None:
        self._transport = Transport(
            name, TcpWire(options.host, options.port), timeout=options.timeout
        )
        self._clock = LabClock(self._transport)

    @property
    def clock(self) -> Clock:
        """The lab's."""
        return self._clock

    def open(self) -> None:
        """Connect; ConnectionLost where no lab in lockstep answers."""
        self._transport.open()
        answer = self._transport.query("LAB?")
        if not answer.startswith("hilonn lab") or not answer.endswith("lockstep"):
            raise ConnectionLost(
                f"{self._transport.address} answers {answer!r}: no emulated lab in lockstep is there"
            )

    def close(self) -> None:
        """Let go."""
        self._transport.close()


lab_clock = TransportType(options=LabOptions, build=LabConnection)
