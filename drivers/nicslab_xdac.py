"""Nicslab XDAC-40U-R4G8 (and its 120-channel kin): many sources over ZeroMQ, as phase shifters.

Source: ``psyphy3/xdac-smu``, the unofficial Python and MATLAB clients. Port 5555, one text asks and one answers; channels are
counted from 1. The box is unlocked with its licence key and locked again in its safe state. How it words a refusal is not
written down anywhere, so that what was set is measured.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
from pydantic import Field

from hilonn.devices import ChannelSpec, Identity, PhaseShifters
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.drivers.texts import number
from hilonn.errors import ConfigError, DeviceError, DeviceTimeout
from hilonn.transports import Dialect, Transport
from hilonn.typing import FloatArray

DIALECT = Dialect()
PAGE = DriverPage(
    instruments="Nicslab XDAC-40U-R4G8, XDAC-120U-R4G8",
    wiring=(
        "Ethernet, ZeroMQ on port 5555 (extra `zmq`). Every request is answered, some 2 ms later: 40 channels take 0.1 s, and as "
        "long again to be measured (`check`)."
    ),
    connection='transport = "zmq"\naddress = "tcp://192.168.1.50:5555"',
    device='driver = "nicslab_xdac"\nconnection = "xdac"\nkey = "LICENCE"\nchannels = 40\nhigh = 8.0\nmax_current = 0.02',
    quirks=(
        (
            "It speaks ZeroMQ, not SCPI over a socket; a request whose answer is lost spoils its socket, which is made anew.",
            "psyphy3/xdac-smu",
        ),
        ("Channels are counted from 1 on the wire.", "psyphy3/xdac-smu"),
        ("Currents are in mA on the wire.", "psyphy3/xdac-smu"),
    ),
    unverified=(
        "Nobody knows how a refusal is worded: an answer with ERR, FAIL, INVALID, DENIED or LOCKED in it is taken for one; "
        "`accepted` says what a good set is answered with, and then anything else is an error. Written channels are measured "
        "(`check`, in V).",
        "A channel beyond its thresholds (SETOVT, SETOCT) is switched off by the box until it is zeroed.",
        "A locked box answers GETINFO alone.",
        "What GETINFO answers; all of it stands for a serial number.",
        "`averages`, `conversion_times` of CONFIG: left alone unless given.",
    ),
)
RANGES = (5.0, 10.0, 20.0, 34.0)
"""V, of SETR 0 to 3."""
_REFUSED = re.compile(r"ERR|FAIL|INVALID|DENIED|LOCKED", re.IGNORECASE)


class NicslabXdacOptions(Options):
    """``key``: the licence key. ``channels``: of the box, from the first. ``high`` (V): the largest voltage; the smallest range
    that holds it is used. ``max_current`` (A): the over-current threshold of every channel. ``over_voltage`` (V): the
    over-voltage threshold; None: a tenth above ``high``. ``accepted``: what a good set is answered with; None: anything that
    speaks of no error. ``check`` (V): channels that were written are measured and must be as near as this; None: they are
    not. ``averages`` and ``conversion_times`` (s, of voltage and current) of measurements; None: as the box has them.
    ``resistance`` (ohm) of the heaters, for the gate's power limits. ``settling_time`` (s) of the heaters."""

    key: str = Field(min_length=1, pattern=r"^[^:\s]+$")
    channels: int = Field(default=40, ge=1, le=120)
    high: float = Field(gt=0, le=34)
    max_current: float = Field(gt=0, le=1)
    over_voltage: float | None = Field(default=None, gt=0)
    accepted: str | None = None
    check: float | None = Field(default=0.05, gt=0)
    averages: Literal[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] | None = None
    conversion_times: tuple[float, float] | None = None
    resistance: float | None = Field(default=None, gt=0)
    settling_time: float = Field(default=0.0, ge=0)


class NicslabXdac(PhaseShifters):
    """The channels of one box, in V."""

    def __init__(self, name: str, transport: Transport, options: NicslabXdacOptions) -> None:
        if (options.averages is None) != (options.conversion_times is None):
            raise ConfigError(f"devices.{name}: averages and conversion_times are given together")
        spec = ChannelSpec(
            unit="V",
            low=0.0,
            high=options.high,
            resolution=0.005,
            resistance=options.resistance,
            settling_time=options.settling_time,
        )
        super().__init__(name, options.channels, spec)
        transport.speak(DIALECT)
        self._transport = transport
        self._options = options
        self._held: FloatArray | None = None
        self._unlocked = False

    def identity(self) -> Identity:
        return Identity("Nicslab", "XDAC", self._unlock())

    def _unlock(self) -> str:
        answer = self._ask(f"GETINFO:{self._options.key}", f"GETINFO:{'*' * 6}")
        if not answer or _REFUSED.search(answer):
            raise DeviceError(
                f"{self.name}: GETINFO was answered {answer[:60]!r}; is the licence key right?"
            )
        self._unlocked = True
        return answer

    def _open(self) -> None:
        """Unlock; outputs stay as they are."""
        self._held = None
        self._unlock()

    def _close(self) -> None:
        return None

    def _write(self, drive: FloatArray) -> None:
        """Channels that change, one request each; then they are measured. The first time each is zeroed and gets its range and
        thresholds."""
        held, self._held = self._held, None
        changed = np.flatnonzero(drive != held) if held is not None else np.arange(self.channels)
        with self._transport.atomic():
            if held is None:
                self._set_up()
            for k in changed:
                self._set(f"SETV:{k + 1}:{drive[k]:.6g}", int(k))
            if self._options.check is not None:
                for k in changed:
                    self._check(int(k), float(drive[k]), self._options.check)
        self._held = drive.copy()

    def _set_up(self) -> None:
        options = self._options
        if not self._unlocked:
            self._unlock()
        if options.averages is not None and options.conversion_times is not None:
            volts, amperes = (round(1e6 * t) for t in options.conversion_times)
            self._set(f"CONFIG:{options.averages}:{volts}:{amperes}", None)
        span = next(k for k, reach in enumerate(RANGES) if options.high <= reach)
        over = options.over_voltage or min(1.1 * options.high, RANGES[-1])
        for k in range(self.channels):
            n = k + 1
            self._set(f"ZERO:{n}", k)
            self._set(f"SETR:{n}:{span}", k)
            self._set(f"SETOVT:{n}:{over:.6g}", k)
            self._set(f"SETOCT:{n}:{1e3 * options.max_current:.6g}", k)

    def _check(self, channel: int, wanted: float, near: float) -> None:
        volts = self._measure("MEASV", channel)
        if abs(volts - wanted) > near:
            amperes = 1e-3 * self._measure("MEASC", channel)
            raise DeviceError(
                f"{self.name}: channel {channel} ({channel + 1} on the box) was set to {wanted:.3f} V and measures {volts:g} V "
                f"at {amperes:g} A (threshold {self._options.max_current:g} A); has the box switched it off, or did it need "
                "longer?"
            )

    def _read_back(self) -> FloatArray:
        """What the channels measure."""
        return self._all("MEASV")

    def currents(self) -> FloatArray:
        """A that the channels measure, (channels,)."""
        return 1e-3 * self._all("MEASC")

    def _safe_state(self) -> None:
        """Every channel to zero, whatever one of them answers; then the box is locked."""
        self._held = None
        failed: DeviceError | DeviceTimeout | None = None
        requests = [(f"ZERO:{k + 1}", k) for k in range(self.channels)]
        with self._transport.atomic():
            if not self._unlocked:
                self._unlock()
            for request, channel in [*requests, ("LOCK", None)]:
                try:
                    self._set(request, channel)
                except (DeviceError, DeviceTimeout) as error:
                    failed = failed or error
            self._unlocked = False
        if failed is not None:
            raise failed

    # -- texts ------------------------------------------------------------------------------------

    def _ask(self, request: str, shown: str) -> str:
        """The answer to ``request``; a key is not ``shown``."""
        try:
            return self._transport.query(request).strip()
        except DeviceTimeout as error:
            if request == shown:
                raise
            raise DeviceTimeout(
                f"{self.name} ({self._transport.address}) did not answer {shown} within {self._transport.timeout:g} s"
            ) from error.__cause__

    def _set(self, request: str, channel: int | None) -> None:
        answer = self._ask(request, request)
        accepted = self._options.accepted
        good = not _REFUSED.search(answer) if accepted is None else answer == accepted
        if not good:
            self._held = None
            of = "" if channel is None else f" (channel {channel})"
            raise DeviceError(f"{self.name}: {request}{of} was answered {answer[:60]!r}")

    def _measure(self, what: str, channel: int) -> float:
        request = f"{what}:{channel + 1}"
        return number(self._ask(request, request), f"{self.name}: {request}")

    def _all(self, what: str) -> FloatArray:
        with self._transport.atomic():
            if not self._unlocked:
                self._unlock()
            return np.array([self._measure(what, k) for k in range(self.channels)])


nicslab_xdac = on_a_wire(NicslabXdacOptions, NicslabXdac)
