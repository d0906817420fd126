"""Connections that devices share."""

from hilonn.transports.contract import ClockSource, Connection, RecordSource, Snapshotable

__all__ = ["ClockSource", "Connection", "RecordSource", "Snapshotable"]
