"""What the entry points of the package's transports name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hilonn.transports.contract import TransportType
from hilonn.transports.script import ReplayWire
from hilonn.transports.serial_line import SerialWire
from hilonn.transports.tcp import TcpWire
from hilonn.transports.traffic import TrafficLog, read_traffic
from hilonn.transports.transport import Transport
from hilonn.transports.wire import Wire
from hilonn.transports.zmq_wire import ZmqWire


class WireOptions(BaseModel):
    """What every wire's ``[connections.NAME]`` takes: ``timeout`` and ``gap`` in s, ``log`` the file that all traffic
    is written to."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    timeout: float = Field(default=2.0, gt=0, le=600)
    gap: float | None = Field(default=None, ge=0, le=10)
    log: Path | None = None


class TcpOptions(WireOptions):
    """``transport = "tcp"``."""

    host: str
    port: int = Field(ge=1, le=65535)


class SerialOptions(WireOptions):
    """``transport = "serial"``: ``port`` is ``COM4``, ``/dev/ttyUSB0``, ``rfc2217://...``."""

    port: str
    baud: int = Field(default=115200, gt=0)
    bytesize: Literal[7, 8] = 8
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1
    rtscts: bool = False
    xonxoff: bool = False


class ZmqOptions(WireOptions):
    """``transport = "zmq"``: ``address`` as ZeroMQ writes it; ``correlate`` as in ``ZmqWire``."""

    address: str
    correlate: bool = True


class ReplayOptions(WireOptions):
    """``transport = "traffic"``: the answers of a file that ``log`` wrote."""

    file: Path


def over(name: str, options: WireOptions, wire: Wire) -> Transport:
    """A transport over ``wire``."""
    return Transport(
        name, wire, timeout=options.timeout, gap=options.gap, log=TrafficLog(options.log)
    )


def _tcp(name: str, options: TcpOptions) -> Transport:
    return over(name, options, TcpWire(options.host, options.port))


def _serial(name: str, options: SerialOptions) -> Transport:
    settings = options.model_dump(include={"bytesize", "parity", "stopbits", "rtscts", "xonxoff"})
    return over(name, options, SerialWire(options.port, options.baud, settings))


def _zmq(name: str, options: ZmqOptions) -> Transport:
    return over(name, options, ZmqWire(options.address, options.correlate))


def _replay(name: str, options: ReplayOptions) -> Transport:
    return over(name, options, ReplayWire(read_traffic(options.file), str(options.file)))


tcp = TransportType(options=TcpOptions, build=_tcp)
serial = TransportType(options=SerialOptions, build=_serial)
zmq = TransportType(options=ZmqOptions, build=_zmq)
traffic = TransportType(options=ReplayOptions, build=_replay)
