"""What the documents tell a person to write, as it is written there, on an emulated lab."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w

from hilonn.bench import Bench
from hilonn.devices import Laser
from hilonn.errors import ConnectionLost, DeviceError, InterlockError
from hilonn.simulators.emulators.lab import Lab
from hilonn.simulators.emulators.meerstetter_tec import MeerstetterBox
from hilonn.simulators.emulators.santec_tsl import SantecTslBox
from tests.lab import lab_4
from tests.lab.truth import Learning, Loss, Truth, running, suffer

DOCS = Path(__file__).parents[2] / "docs"


def snippet(document: str, words: str) -> str:
    """The block of TOML in ``document`` that has ``words``."""
    blocks = re.findall(r"```toml\n(.*?)```", (DOCS / document).read_text("utf-8"), re.DOTALL)
    (found,) = [text for text in blocks if words in text]
    return str(found)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with lab_4.build() as running_lab:
        yield running_lab


def told(lab: Lab, path: Path, safety: str) -> Path:
    """The lab's bench file with ``safety`` in place of its ``[safety]``."""
    lab.write_bench(path)
    bench = tomllib.loads(path.read_text("utf-8"))
    bench["safety"] = tomllib.loads(safety)["safety"]
    path.write_text(tomli_w.dumps(bench), "utf-8")
    return path


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("event", ["laser", "temperature"])
@pytest.mark.parametrize("wait", [True, False])
def test_an_interlock_as_the_how_to_has_it(
    lab: Lab, tmp_path: Path, event: str, wait: bool
) -> None:
    safety = snippet("how-to/when-a-box-is-lost.md", "on_connection_lost").replace("3600.0", "60.0")
    if wait:
        safety, count = re.subn(r'on_interlock = "stop"', 'on_interlock = "wait"', safety)
        assert count == 1
    laser, controller = lab.servers["santec"].instrument, lab.servers["tec"].instrument
    assert isinstance(laser, SantecTslBox)
    assert isinstance(controller, MeerstetterBox)
    if event == "laser":
        loss = Loss("", laser.open_interlock, laser.close_interlock)
    else:
        loss = Loss("", lambda: controller.disturb(1.5))
    bench = told(lab, tmp_path / "bench.toml", safety)
    with Truth(lab) as truth, running(Learning(lab, bench, tmp_path / "run")) as learning:
        suffer(learning, truth, [loss])
    assert not truth.on()
    if wait:
        assert learning.error is None
        assert learning.accuracy >= 0.95
        assert len(learning.events("back")) >= 1
    else:
        assert isinstance(learning.error, InterlockError)
        assert learning.error.exit_code == 3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_lab_s_own_safety_as_the_how_to_has_it(lab: Lab, tmp_path: Path) -> None:
    safety = snippet("how-to/train-on-an-emulated-lab.md", "on_interlock")
    bench = told(lab, tmp_path / "bench.toml", safety)
    laser = lab.servers["santec"].instrument
    assert isinstance(laser, SantecTslBox)
    loss = Loss("", laser.open_interlock, laser.close_interlock)
    with Truth(lab) as truth, running(Learning(lab, bench, tmp_path / "run")) as learning:
        suffer(learning, truth, [loss])
    assert learning.error is None
    assert learning.accuracy >= 0.95


LASER = """
[devices.laser]
driver = "santec_tsl"
connection = "santec"
amplifier = 10.0
"""


def use(bench: Bench) -> tuple[str, float, float, bool]:
    """A little of what a person does with a laser."""
    laser = bench.device("laser")
    assert isinstance(laser, Laser)
    laser.set_wavelength(1.551e-6)
    laser.set_power(8e-3)
    laser.set_emission(True)
    return str(laser.identity()), laser.power(), laser.wavelength(), laser.emission()


def test_traffic_is_logged_and_played_again(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the how-to has it: ``log`` while the box is there, ``transport = "traffic"`` when it is not; both files where hilonn
    was started."""
    monkeypatch.chdir(tmp_path)
    port = lab.servers["santec"].port  # type: ignore[attr-defined]
    logged = snippet("how-to/train-on-an-emulated-lab.md", 'log = "santec.jsonl"')
    (tmp_path / "logged.toml").write_text(
        'backend = "lab"\n' + re.sub(r"port = \d+", f"port = {port}", logged) + LASER
    )
    with Bench.open("logged.toml") as bench:
        found = use(bench)
        bench.safe_state()
    assert (tmp_path / "santec.jsonl").stat().st_size > 0
    replayed = snippet("how-to/train-on-an-emulated-lab.md", 'transport = "traffic"')
    (tmp_path / "replayed.toml").write_text('backend = "lab"\n' + replayed + LASER)
    lab.servers["santec"].hang()
    try:
        with Bench.open("replayed.toml") as bench:
            assert use(bench) == found
            bench.safe_state()
    finally:
        lab.servers["santec"].wake()
    bench = Bench.open("replayed.toml")
    laser = bench.device("laser")
    assert isinstance(laser, Laser)
    with pytest.raises(
        ConnectionLost, match=r"santec\.jsonl: request \d+ is .*, in the log it was"
    ):
        laser.set_power(5e-3)
    with pytest.raises(DeviceError, match="may not be safe"):
        bench.close()  # that is not in the log either
