"""A matrix on a chip that nobody has calibrated: nulls, what is reached, and what is refused."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hilonn.bench import Bench
from hilonn.calibration import configure, self_configuration
from hilonn.calibration.nulls import jobs, nodes_of, prepared, whole_matrix
from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import Interrupted, Rig, rig_of
from hilonn.calibration.self_configuration import Configured, Options
from hilonn.calibration.stages import Optics, layout_of, transfer
from hilonn.cli.configure import configure_command
from hilonn.errors import CalibrationError, ConfigError, ResumeError
from hilonn.mesh import UNITARY_MESHES
from hilonn.simulators.connection import PlantConnection
from hilonn.simulators.plant import Plant
from hilonn.typing import FloatArray
from tests.calibration.benches import bench_file
from tests.calibration.hidden_truth import row_fidelity

QUICK = Options(rounds=1)
TRIANGLE, RECTANGLE = "triangular_mesh", "unitary_mesh"
WAYS = [("progressive", TRIANGLE), ("parallel", TRIANGLE), ("parallel", RECTANGLE)]


def orthogonal(ports: int, seed: int = 0) -> FloatArray:
    return np.asarray(np.linalg.qr(np.random.default_rng(seed).standard_normal((ports, ports)))[0])


def opened(
    folder: Path, architecture: str, preset: str, *, oscillator: bool = False, plant: str = ""
) -> tuple[Bench, Rig]:
    file = bench_file(folder, architecture, 4, plant, preset=preset, oscillator=oscillator)
    bench = Bench.open(file, seed=1, chip_seed=2, record="nominal")
    return bench, rig_of(bench)


def plant_of(bench: Bench) -> Plant:
    connection = bench.connections["plant"]
    assert isinstance(connection, PlantConnection)
    return connection.plant


def configured(bench: Bench, rig: Rig, method: str, matrix: FloatArray, folder: Path) -> Configured:
    bench.light_on()
    known = configure.measured_boxes(folder / "boxes", rig, bench.chip().records)
    act = getattr(self_configuration, method)
    found: Configured = act(rig, known, matrix, Raw(folder / "raw"), QUICK)
    return found


@pytest.mark.parametrize(("method", "architecture"), WAYS)
def test_what_is_sent_leaves_upper_ports_dark(
    method: str, architecture: str, tmp_path: Path
) -> None:
    """On an ideal mesh at the matrix's phases, mirrors behind; whatever phases inputs and phi of mirrors have."""
    bench, rig = opened(tmp_path, architecture, "ideal")
    with bench:
        setup = rig.setup
    wanted = orthogonal(4)
    layout = layout_of(architecture, 4)
    phases = UNITARY_MESHES[architecture](4).decompose(wanted).flat()
    rng = np.random.default_rng(0)
    psi = rng.uniform(0, 6, layout.heaters)
    psi[layout.theta] = np.pi
    one = np.ones(4, complex)
    optics = Optics(np.zeros((layout.mzis, 2)), np.ones(layout.mzis), one, one)
    count = 0
    for job in jobs(method, setup, wanted):
        for node in job.nodes:
            psi[[node.theta, node.phi]] = phases[[node.theta, node.phi]]
            count += 1
        there = transfer(layout, psi[np.newaxis], optics)[0] @ job.sent.T
        for i, node in enumerate(job.nodes):
            assert abs(there[node.top, i]) < 1e-12
    assert count == len(nodes_of(setup)) == layout.mzis


@pytest.mark.parametrize(("method", "architecture"), WAYS)
def test_an_ideal_chip_becomes_the_matrix(method: str, architecture: str, tmp_path: Path) -> None:
    bench, rig = opened(tmp_path, architecture, "ideal")
    with bench:
        found = configured(bench, rig, method, orthogonal(4), tmp_path)
        assert row_fidelity(plant_of(bench), found.volts, orthogonal(4)) > 0.99999
    assert found.fidelity > 0.9999
    assert found.matrix_error < 0.002
    assert found.matrix is None, "powers tell no signs"
    ahead = self_configuration.passes(method, rig.setup, QUICK)
    assert 0.5 * sum(ahead.values()) < sum(found.passes.values()) < 1.1 * sum(ahead.values())


@pytest.mark.parametrize(("method", "architecture"), [WAYS[0], WAYS[2]])
def test_a_typical_chip_becomes_the_matrix_with_its_signs(
    method: str, architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Splitters 20 mrad off, crosstalk, noise, input phases unknown; nothing reads the plant's truth."""
    original = Plant.__getattribute__

    def guarded(self: Plant, name: str) -> object:
        if name in ("truth", "drift", "crosstalk_kernel", "heaters", "records"):
            caller = sys._getframe(1).f_globals.get("__name__", "")
            assert caller.startswith("hilonn.simulators"), f"{caller} reads the plant's {name}"
        return original(self, name)

    bench, rig = opened(tmp_path, architecture, "typical", oscillator=True)
    with bench:
        with monkeypatch.context() as watched:
            watched.setattr(Plant, "__getattribute__", guarded)
            found = configured(bench, rig, method, orthogonal(4), tmp_path)
        true = row_fidelity(plant_of(bench), found.volts, orthogonal(4))
    assert true > 0.998
    assert found.fidelity == pytest.approx(true, abs=1e-3)
    assert found.matrix is not None
    assert found.matrix_error < 0.03


def test_interrupted_and_gone_on_with(tmp_path: Path) -> None:
    class After:
        """Asks to stop once some passes are done."""

        def __init__(self, rig: Rig, passes: int) -> None:
            self.rig, self.passes = rig, passes

        @property
        def requested(self) -> bool:
            return self.rig.tally.passes >= self.passes

    bench, rig = opened(tmp_path, TRIANGLE, "ideal")
    with bench:
        for stop in (200, 520):
            rig.stop = After(rig, stop)
            with pytest.raises(Interrupted):
                configured(bench, rig, "parallel", orthogonal(4), tmp_path)
        rig.stop = None
        found = configured(bench, rig, "parallel", orthogonal(4), tmp_path)
        assert row_fidelity(plant_of(bench), found.volts, orthogonal(4)) > 0.99999
        assert found.passes["mirrors"] == found.passes["balance"] == 0, "not measured again"
        for method, seed, what in (("parallel", 1, "matrix"), ("progressive", 0, "method")):
            with pytest.raises(ResumeError, match=f"another {what}"):
                configured(bench, rig, method, orthogonal(4, seed), tmp_path)


def test_a_dead_heater_is_named(tmp_path: Path) -> None:
    bench, rig = opened(tmp_path, TRIANGLE, "ideal", plant='faults = ["dead_heater:2"]')
    with bench, pytest.raises(CalibrationError, match="heater 2"):
        configured(bench, rig, "parallel", orthogonal(4), tmp_path)


def test_what_cannot_be_had_is_refused(tmp_path: Path) -> None:
    bench, rig = opened(tmp_path, RECTANGLE, "ideal")
    with bench:
        known = bench.chip().records
    with pytest.raises(ConfigError, match="triangular_mesh only"):
        self_configuration.progressive(rig, known, np.eye(4), Raw(tmp_path))
    svd = replace(rig.setup, architecture="svd_mesh")
    with pytest.raises(ConfigError, match="one mesh, unitary_mesh or triangular_mesh"):
        prepared("parallel", svd, np.eye(4))
    for bad, message in (
        (1j * np.eye(4), "signed amplitudes"),
        (2 * np.eye(4), "orthogonal"),
        (np.ones((3, 3)), "up to 2 x 2"),
        (np.full((2, 2), np.nan), "finite"),
    ):
        with pytest.raises(ConfigError, match=message):
            whole_matrix(bad, rig.setup)
    corner = whole_matrix([[3.0, 1.0]], rig.setup)
    np.testing.assert_allclose(corner[0, :2], np.array([3.0, 1.0]) / np.sqrt(10.0))
    np.testing.assert_allclose(corner @ corner.T, np.eye(4), atol=1e-12)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = bench_file(tmp_path, TRIANGLE, 4, preset="ideal", oscillator=False)
    np.save(tmp_path / "matrix.npy", orthogonal(4))
    configure_command(
        str(file),
        tmp_path / "matrix.npy",
        tmp_path / "out",
        method="progressive",
        record=None,
        chip=None,
        seed=1,
        chip_seed=2,
        json=False,
        imports=(),
    )
    said = capsys.readouterr()
    assert "fidelity       1.0000" in said.out or "fidelity       0.9999" in said.out
    assert "ahead: at most" in said.err
    achieved = np.load(tmp_path / "out" / "achieved.npy")
    np.testing.assert_allclose(achieved, np.abs(orthogonal(4)), atol=0.01)
    with Bench.open(file, seed=1, chip_seed=2, record="nominal") as bench:
        volts = configure.load_settings(tmp_path / "out", rig_of(bench).setup)
        assert row_fidelity(plant_of(bench), volts, orthogonal(4)) > 0.9999
    with pytest.raises(ConfigError, match="no method"):
        configure.configure(file, tmp_path / "matrix.npy", tmp_path / "x", method="best")
