"""What a write of a chip's heaters costs. ``python -m benchmarks.heater_chain [--writes 41]``.

The Qontrol driver writes 529 channels, all of them new, to an emulated chain of 67 modules in a process of its own, over loopback and
without modelled latency: what is left is the driver, the sockets and the emulator. Beside it the time that the same bytes take on
the real serial line (115200 baud, ten bits a byte).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

import numpy as np

from hilonn.drivers.qontrol import Qontrol, QontrolOptions
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.qontrol import QontrolBox
from hilonn.transports import Transport
from hilonn.transports.tcp import TcpWire

CHANNELS = 529
BYTE = 10 / 115200
WINDOWS = (1, 16, 67)
"""Vector commands under way at once."""


def serve() -> None:
    """A chain with the plant behind it, until stdin closes."""
    rack = Rack(Plant("svd_mesh", 16, resolve("typical")))
    with TcpServer(QontrolBox("q", rack)) as server:
        print(server.port, flush=True)
        sys.stdin.read()


def main() -> None:
    """One row a window."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writes", type=int, default=41)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve()
        return
    command = [sys.executable, "-m", "benchmarks.heater_chain", "--serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        transport = Transport("q", TcpWire("127.0.0.1", int(process.stdout.readline())))
        transport.open()
        for window in WINDOWS:
            print(row(transport, window, arguments.writes))
        transport.close()
        process.stdin.close()
    print(f"the same bytes on a serial line of 115200 baud: {1e3 * wire_time():.0f} ms")


def row(transport: Transport, window: int, writes: int) -> str:
    """Median and least time of a write, and of a read-back."""
    chosen = QontrolOptions(channels=CHANNELS, high=10.0, pipeline=window)
    device = Qontrol("heaters", transport, chosen)
    device.open()
    rng = np.random.default_rng(0)
    written, read = [], []
    for _ in range(writes):
        volts = rng.uniform(0.0, 5.0, CHANNELS)
        begun = time.perf_counter()
        device.write(volts)
        between = time.perf_counter()
        device.read_back()
        written.append(between - begun)
        read.append(time.perf_counter() - between)
    device.close()
    return (
        f"window {window:2d}: write {1e3 * np.median(written):.2f} ms (least {1e3 * min(written):.2f}), "
        f"read back {1e3 * np.median(read):.2f} ms"
    )


def wire_time() -> float:
    """s of a write's commands; the answers come meanwhile."""
    lines = sum(len(f"VVEC{first}=") + 8 * 8 for first in range(0, CHANNELS - 1, 8))
    return BYTE * (lines + len("VVEC528=1.00000\n"))


if __name__ == "__main__":
    main()
