"""The contract finds what a driver does wrong: mutants of the how-to's driver, each with one mistake, on its emulated box."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hilonn.devices import Actuators
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.testing import ActuatorsContract
from hilonn.transports import Transport
from hilonn.transports.tcp import TcpWire

TEXT = (Path(__file__).parents[2] / "docs/how-to/write-a-driver.md").read_text("utf-8")
FILES = dict(re.findall(r"`(\w+)\.py`:\n\n```python\n(.*?)```", TEXT, re.DOTALL))
MUTANTS = {
    "channels reversed": ("enumerate(drive)]", "enumerate(drive[::-1])]"),
    "channels shifted": ("enumerate(drive)]", "enumerate(np.roll(drive, 1))]"),
    "the first drive on all": ("enumerate(drive)]", "enumerate(np.full_like(drive, drive[0]))]"),
    "one channel left out": ("enumerate(drive)]", "enumerate(drive[:-1])]"),
    "rounded further than the spec says": ("{volts:.3f}", "{volts:.1f}"),
    "opened at 1 V": (
        "        most = number(",
        "        self._write(np.ones(OUTPUTS))\n        most = number(",
    ),
}


@contextmanager
def driven(mutation: tuple[str, str] = ("", "")) -> Iterator[Actuators]:
    """The how-to's driver, with ``mutation`` put into its text, on a socket to its box."""
    before, after = mutation
    assert before in FILES["acme_ps4"]
    module, box = types.ModuleType("acme_mutant"), types.ModuleType("acme_emulator")
    exec(compile(FILES["acme_ps4"].replace(before, after, 1), "acme_ps4.py", "exec"), vars(module))
    exec(compile(FILES["acme_emulator"], "acme_emulator.py", "exec"), vars(box))
    made: Any = module
    with TcpServer(vars(box)["AcmePs4Box"]("supply", Rack())) as server:
        transport = Transport("supply", TcpWire("127.0.0.1", server.port), timeout=1.0)
        transport.open()
        with made.AcmePs4("heaters", transport, made.AcmeOptions(high=8.0)) as device:
            yield device
        transport.close()


def suite(device: Actuators) -> None:
    """What the contract asks of a box's outputs."""
    contract = ActuatorsContract()
    contract.test_reads_back_what_was_written(device)
    contract.test_every_channel_holds_its_own_drive(device)
    contract.test_opening_changes_no_output(device)


def test_the_driver_itself_passes() -> None:
    with driven() as device:
        suite(device)


@pytest.mark.parametrize("name", MUTANTS)
def test_the_contract_finds(name: str) -> None:
    with driven(MUTANTS[name]) as device, pytest.raises(AssertionError):
        suite(device)
