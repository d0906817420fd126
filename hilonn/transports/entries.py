"""What the entry points of the package's transports name."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hilonn.transports.contract import TransportType
from hilonn.transports.prologix import PORT, PrologixWire
from hilonn.transports.script import ReplayWire
from hilonn.transports.serial_line import SerialWire
from hilonn.transports.tcp import TcpWire
from hilonn.transports.traffic import TrafficLog, read_traffic
from hilonn.transports.transport import Transport
from hilonn.transports.visa import VisaWire
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


class VisaOptions(WireOptions):
    """``transport = "visa"``: ``resource`` as VISA writes it; ``library``, ``clear`` and ``ended`` as in ``VisaWire``; the
    last four for a serial resource."""

    resource: str
    library: str = "@py"
    clear: bool = True
    ended: bool = True
    baud: int = Field(default=115200, gt=0)
    bytesize: Literal[7, 8] = 8
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1


class PrologixOptions(WireOptions):
    """``transport = "prologix"``: the instrument at address ``gpib`` behind the adapter at ``host`` and ``tcp_port``, or at
    the serial ``port``. Connections to one adapter share it. ``read_timeout`` (s) and ``clear`` as in ``PrologixWire``."""

    gpib: int | str
    host: str | None = None
    tcp_port: int = Field(default=PORT, ge=1, le=65535)
    port: str | None = None
    baud: int = Field(default=115200, gt=0)
    read_timeout: float = Field(default=1.0, ge=0.001, le=3.0)
    clear: bool = True

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.host is None) == (self.port is None):
            raise ValueError("give `host` (an adapter on the network) or `port` (on a serial line)")
        return self


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


def _visa(name: str, options: VisaOptions) -> Transport:
    from pyvisa.constants import Parity, StopBits

    line = {
        "baud_rate": options.baud,
        "data_bits": options.bytesize,
        "parity": {"N": Parity.none, "O": Parity.odd, "E": Parity.even}[options.parity],
        "stop_bits": {1: StopBits.one, 2: StopBits.two}[options.stopbits],
    }
    wire = VisaWire(
        options.resource, options.library, clear=options.clear, ended=options.ended, line=line
    )
    return over(name, options, wire)


def _prologix(name: str, options: PrologixOptions) -> Transport:
    if options.host is not None:
        adapter: Wire = TcpWire(options.host, options.tcp_port)
    else:
        assert options.port is not None
        adapter = SerialWire(options.port, options.baud)
    wire = PrologixWire(adapter, str(options.gpib), options.read_timeout, clear=options.clear)
    return over(name, options, wire)


def _zmq(name: str, options: ZmqOptions) -> Transport:
    return over(name, options, ZmqWire(options.address, options.correlate))


def _replay(name: str, options: ReplayOptions) -> Transport:
    return over(name, options, ReplayWire(read_traffic(options.file), str(options.file)))


tcp = TransportType(options=TcpOptions, build=_tcp)
serial = TransportType(options=SerialOptions, build=_serial)
visa = TransportType(options=VisaOptions, build=_visa)
zmq = TransportType(options=ZmqOptions, build=_zmq)
prologix = TransportType(options=PrologixOptions, build=_prologix)
traffic = TransportType(options=ReplayOptions, build=_replay)
