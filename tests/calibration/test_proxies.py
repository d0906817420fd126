"""No routine reaches anything but the devices' interfaces."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hilonn import registry
from hilonn.bench import Bench
from hilonn.calibration import session
from hilonn.calibration.drift import DriftMonitor, DriftOptions
from hilonn.calibration.rig import Proxy, rig_of
from hilonn.devices import Bank, Modulators, Photodetectors, Timing
from hilonn.simulators.connection import PlantConnection
from hilonn.simulators.plant import Plant
from tests.calibration.benches import bench_file


def test_a_proxy_shows_verbs_only(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path), record="nominal") as bench:
        rig = rig_of(bench)
        assert rig.heaters.channels == 37
        for name in ("_plant", "gate", "safe_state", "_write", "__dict__x", "close"):
            with pytest.raises(AttributeError, match="a calibration routine sees"):
                getattr(rig.heaters, name)
        with pytest.raises(AttributeError, match="sets nothing"):
            rig.heaters.gate = None
        for value in vars(rig).values():
            assert not isinstance(value, (Bench, Plant))
        assert isinstance(rig.photodetectors, Proxy)


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within: whoever reads anything of a plant from outside the simulators fails."""
    original = Plant.__getattribute__

    def asked(self: Plant, name: str) -> object:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        assert caller.startswith("hilonn.simulators"), f"{caller} reads the plant's {name}"
        return original(self, name)

    monkeypatch.setattr(Plant, "__getattribute__", asked)
    yield
    monkeypatch.undo()


def test_the_guard_sees(tmp_path: Path, guarded: None) -> None:
    with Bench.open(bench_file(tmp_path), record="nominal") as bench:
        connection = bench.connections["plant"]
        assert isinstance(connection, PlantConnection)
        with pytest.raises(AssertionError, match="reads the plant's truth"):
            connection.plant.truth  # noqa: B018


HOMODYNE = {"oscillator", "detectors", "modulators", "phases", "crosstalk", "global"}
CASES = {
    ("svd_mesh", True): HOMODYNE | {"attenuators"},
    ("unitary_mesh", True): HOMODYNE,
    ("unitary_mesh", False): {"input_powers", "paths", "outer_phases"},
    ("crossbar", True): {"input_powers", "weights"},
}
"""Kinds of chips, with their oscillator or without (a crossbar has none), and the routines that they are calibrated by."""


@pytest.mark.parametrize(
    ("architecture", "oscillator"),
    [pytest.param(*c, marks=pytest.mark.slow) if c == ("unitary_mesh", True) else c for c in CASES],
)
def test_no_routine_reads_the_plant(
    tmp_path: Path, guarded: None, architecture: str, oscillator: bool
) -> None:
    """A whole calibration, scores and report included, by readings alone; passes come within a tenth of the estimate
    (retakes of saturated readings are not foreseen)."""
    bench = bench_file(tmp_path, architecture, oscillator=oscillator)
    ahead: list[session.Estimate] = []
    watcher = session.Watcher(estimate=ahead.append)
    result = session.calibrate(bench, tmp_path / "out", seed=1, watcher=watcher)
    assert ahead[0].passes == pytest.approx(result["passes"], rel=0.1)
    assert result["failed_channels"] == []
    assert set(result["figures"]) == CASES[architecture, oscillator]


def test_every_routine_is_watched() -> None:
    assert set(registry.names("hilonn.calibrations")) == set().union(*CASES.values())


@pytest.mark.slow
def test_the_drift_monitor_does_not_either(tmp_path: Path, guarded: None) -> None:
    with Bench.open(bench_file(tmp_path)) as bench:
        bench.light_on()
        monitor, chip = DriftMonitor(DriftOptions(heaters=0.02, bias=0.03)), bench.chip()
        for _ in range(3):
            found = monitor.look(bench, chip.name)
            chip.forget()
            if found.records is not None:
                chip.take(found.records)
            bench.clock.sleep(600.0)
        assert found.fault is None


@pytest.mark.parametrize("name", registry.names("hilonn.calibrations"))
def test_every_routine_says_what_it_is(name: str, tmp_path: Path) -> None:
    routine = registry.load("hilonn.calibrations", name)()
    assert routine.name == name
    assert routine.title
    parameters = routine.parameters()
    with Bench.open(bench_file(tmp_path), record="nominal") as bench:
        setup = rig_of(bench).setup
    assert isinstance(routine.applies(setup), bool)
    if routine.applies(setup):
        assert routine.effort(setup, parameters).passes > 0


def test_every_drive_passes_the_gate(tmp_path: Path) -> None:
    """A limit in the bench file holds for calibration too: no heater ever gets more."""
    bench = bench_file(tmp_path)
    text = bench.read_text("utf-8").replace(
        'driver = "simulated_phase_shifters"',
        'driver = "simulated_phase_shifters"\nlimits = { high = 5.2 }',
    )
    bench.write_text(text, "utf-8")
    highest = [0.0]
    write = Plant.write_heaters

    def watched(self: Plant, drive: np.ndarray) -> None:
        highest[0] = max(highest[0], float(np.max(drive)))
        write(self, drive)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plant, "write_heaters", watched)
        session.calibrate(bench, tmp_path / "out")
    assert 4.5 < highest[0] <= 5.2


@pytest.mark.parametrize(
    ("kind", "holds"), [(Photodetectors, "max_readings"), (Modulators, "max_played")]
)
def test_a_box_that_keeps_every_play_gets_batches_that_it_holds(
    tmp_path: Path, kind: type[Bank], holds: str
) -> None:
    """Means of ``averages`` plays: the modulators play that often, and samples times plays fit the boxes' memories."""
    loaded: list[tuple[int, int]] = []
    load = Modulators.load

    def seen(self: Modulators, drive: np.ndarray, timing: Timing) -> None:
        loaded.append((len(drive), timing.plays))
        load(self, drive, timing)

    with Bench.open(bench_file(tmp_path), record="nominal") as bench:
        setattr(next(d for d in bench.devices.values() if isinstance(d, kind)), holds, 100)
        rig = rig_of(bench)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Modulators, "load", seen)
            signal, _ = rig.read(np.zeros((30, 4)), 8)
        assert signal.shape == (30, 8)
        assert loaded == [(12, 8), (12, 8), (6, 8)]


def test_detectors_whose_memory_holds_no_batch_are_asked_for_one_sample(tmp_path: Path) -> None:
    with Bench.open(bench_file(tmp_path), record="nominal") as bench:
        detectors = next(d for d in bench.devices.values() if isinstance(d, Photodetectors))
        detectors.max_readings = 100
        assert detectors.most_samples(1, Timing(1e-5)) == 100
        assert (
            detectors.most_samples(1000, Timing(1e-5)) == 1
        )  # which arm() refuses where the box does
