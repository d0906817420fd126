"""What the tests of both bridges share: an instrument's class that a bench file names, on an emulated box."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hilonn.devices import Device
from hilonn.registry import Driver
from hilonn.simulators.emulators.server import TcpServer
from tests.drivers.wires import TIMEOUT


@contextmanager
def bridged(driver: Driver, server: TcpServer, **options: Any) -> Iterator[Any]:
    """The bridge's device, open, on ``server``, which is started; no thread is left behind."""
    before = set(threading.enumerate())
    with server:
        device = built(driver, server, **options)
        device.open()
        try:
            yield device
        finally:
            device.close()
    left = [t for t in set(threading.enumerate()) - before if t.is_alive()]
    assert not left, f"threads are left behind: {left}"


def built(driver: Driver, server: TcpServer, **options: Any) -> Device:
    """The bridge's device for a ``server`` that runs, not yet open."""
    address = f"TCPIP::127.0.0.1::{server.port}::SOCKET"
    chosen = driver.options.model_validate({"address": address, "timeout": TIMEOUT, **options})
    return driver.build("box", chosen, None)
