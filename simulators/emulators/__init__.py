"""Instruments on the wire, with the simulated chip behind them."""

from hilonn.simulators.emulators.faults import WireFaults
from hilonn.simulators.emulators.instrument import Instrument, LineSession, Reply, Session
from hilonn.simulators.emulators.rack import Rack
from hilonn.simulators.emulators.scpi import ScpiInstrument
from hilonn.simulators.emulators.server import PtyServer, TcpServer

__all__ = [
    "Instrument",
    "LineSession",
    "PtyServer",
    "Rack",
    "Reply",
    "ScpiInstrument",
    "Session",
    "TcpServer",
    "WireFaults",
]
