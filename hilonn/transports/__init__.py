"""Connections that devices share, and the wires among them."""

from hilonn.transports.contract import (
    ClockSource,
    Connection,
    RecordSource,
    Snapshotable,
    TransportType,
)
from hilonn.transports.reader import Reader
from hilonn.transports.script import ScriptWire
from hilonn.transports.traffic import TrafficLog, read_traffic
from hilonn.transports.transport import Dialect, Transport, transport_of
from hilonn.transports.wire import Wire

__all__ = [
    "ClockSource",
    "Connection",
    "Dialect",
    "Reader",
    "RecordSource",
    "ScriptWire",
    "Snapshotable",
    "TrafficLog",
    "Transport",
    "TransportType",
    "Wire",
    "read_traffic",
    "transport_of",
]
