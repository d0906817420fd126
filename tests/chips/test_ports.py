"""Chips of which not everything can be used: smaller matrices, phases around what does not turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hilonn.bench import Bench
from hilonn.chips import Batch, HeaterChip, SvdMeshChip
from hilonn.chips.cones import elements_of, seen_heaters
from hilonn.chips.newton import Derivative
from hilonn.chips.wiring_map import map_wiring
from hilonn.errors import CalibrationError
from hilonn.mesh import SvdMesh
from hilonn.network import Dense, place
from hilonn.records import Record, Records
from tests.chips.meshes import QUIET, bench_text

PORTS, STUCK, DEAD_PAIR = 6, 2, 4
HEATERS = (5, 40, 61)
FAULTS = [f"dead_heater:{h}" for h in HEATERS]
FAULTS += [f"stuck_modulator:{STUCK}=1.5", f"dead_detector:{PORTS + DEAD_PAIR}"]


def masked(records: Records, heaters: tuple[int, ...] = HEATERS) -> Records:
    """What a calibration says of those faults."""

    def without(record: Record, names: tuple[str, ...], channels: list[int]) -> dict:  # type: ignore[type-arg]
        found = dict(record.quantities)
        for name in names:
            accepted = found[name].accepted.copy()
            accepted[channels] = False
            found[name] = replace(found[name], accepted=accepted)
        return found

    chip, detectors, modulators = records.chip, records.photodetectors, records.modulators
    phases = ("heater_phase_offset", "heater_power_per_pi")
    return Records(
        replace(chip, quantities=without(chip, phases, list(heaters))),
        replace(modulators, quantities=without(modulators, ("v_pi", "bias"), [STUCK])),
        replace(detectors, quantities=without(detectors, ("gain",), [PORTS + DEAD_PAIR])),
    )


def opened(
    tmp_path: Path, architecture: str = "svd_mesh", faults: list[str] = FAULTS, chip: str = ""
) -> Bench:
    more = f"record_error = 0.0\nfaults = {faults}"
    path = tmp_path / "bench.toml"
    path.write_text(bench_text(architecture, PORTS, effects=QUIET, more=more, chip=chip))
    return Bench.open(path, seed=0)


@pytest.fixture
def left(tmp_path: Path) -> Iterator[SvdMeshChip]:
    """What is left of a chip with faults, on a record that knows of them."""
    with opened(tmp_path) as bench:
        bench.light_on()
        chip = bench.rewire(None, masked(bench.chip().records))
        assert isinstance(chip, SvdMeshChip)
        yield chip


def test_a_matrix_goes_around_what_is_lost(left: SvdMeshChip) -> None:
    """Signed fields and, with what is stuck led nowhere, powers too."""
    assert (left.inputs, left.outputs) == (PORTS - 1, PORTS - 1)
    assert left.programming == "solve"
    assert not left.follows
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((left.outputs, left.inputs)) / 2
    inputs = rng.uniform(-0.7, 0.7, (40, left.inputs))
    (settings,) = left.compile(matrix[np.newaxis], [None])
    assert not settings.drive[list(HEATERS)].any()
    wanted = inputs @ matrix.T
    read = left.run(settings, Batch(inputs, "homodyne")).values
    assert np.linalg.norm(read - wanted) < 0.02 * np.linalg.norm(wanted)
    read = left.run(settings, Batch(inputs, "power")).values
    assert np.linalg.norm(read - wanted**2) < 0.05 * np.linalg.norm(wanted**2)


def test_a_step_of_learning_goes_on_from_the_last_phases(left: SvdMeshChip) -> None:
    rng = np.random.default_rng(1)
    shape = (left.outputs, left.inputs)
    matrix = rng.standard_normal(shape)
    (settings,) = left.compile(matrix[np.newaxis], [None])
    for _ in range(20):
        matrix = matrix + 0.01 * rng.standard_normal(shape)
        before = settings.self_phase
        (settings,) = left.compile(matrix[np.newaxis], [settings])
        # Where the last phase was at the end of what a heater can do, a whole turn brings it back.
        at_end = np.minimum(before, np.abs(before - 2 * np.pi)) < 0.05
        turned = np.abs(settings.self_phase - before)
        assert np.minimum(turned, np.abs(turned - 2 * np.pi)).max() < 0.5
        assert (turned < 0.5)[~at_end].all()
        missed = np.linalg.norm(settings.realised - matrix) / np.linalg.norm(matrix)
        assert missed < 0.02
    inputs = np.eye(left.inputs)
    read = left.run(settings, Batch(inputs, "homodyne")).values.T
    assert np.linalg.norm(read - matrix) < 0.03 * np.linalg.norm(matrix)


def test_a_tiles_scale_follows_its_matrix(left: SvdMeshChip) -> None:
    matrix = np.random.default_rng(2).standard_normal((left.outputs, left.inputs))
    (settings,) = left.compile(matrix[np.newaxis], [None])
    first = settings.scale
    for factor in (1.3, 0.2, 5.0):
        matrix = factor * matrix
        for _ in range(60):
            (settings,) = left.compile(matrix[np.newaxis], [settings])
        assert np.linalg.norm(settings.realised - matrix) < 0.02 * np.linalg.norm(matrix)
        assert 1.0 < settings.scale / np.linalg.norm(matrix, 2) < 2.2
    assert settings.scale > first


def test_the_derivative_is_that_of_finite_differences(left: SvdMeshChip) -> None:
    chart, model = left._chart, left._model
    rng = np.random.default_rng(3)
    phases = rng.uniform(0, 2 * np.pi, len(left.layout))
    step = 1e-6 * rng.standard_normal(len(phases)) * model.free
    here = Derivative(chart, phases)
    moved = model.matrix(phases + step) - model.matrix(phases)
    assert np.abs(here.along(step) - moved).max() < 1e-3 * np.abs(moved).max()
    seed = rng.standard_normal((PORTS, PORTS)) + 1j * rng.standard_normal((PORTS, PORTS))
    assert np.allclose(2 * here.against(seed), model.gradient(phases, seed))


def test_a_layer_is_cut_into_tiles_of_what_is_left(left: SvdMeshChip) -> None:
    placement = place(Dense(64, 128, "saturating_square"), 0, left)
    assert placement.tile == (PORTS - 1, PORTS - 1)
    assert (placement.rows, placement.columns) == (26, 13)


def test_what_is_not_used_is_told(left: SvdMeshChip) -> None:
    unused = left.unused
    assert (unused.heaters, unused.inputs, unused.outputs) == (list(HEATERS), [STUCK], [DEAD_PAIR])
    assert str(unused) == "heaters 5, 40, 61, input 2, output 4"


def test_a_record_that_uses_other_ports_is_not_taken(left: SvdMeshChip) -> None:
    records = left.records
    detectors = records.photodetectors
    gain = detectors.quantities["gain"]
    mended = {
        **detectors.quantities,
        "gain": replace(gain, accepted=np.ones(2 * PORTS, bool)),
    }
    left.take(records)
    with pytest.raises(CalibrationError, match="other"):
        left.take(replace(records, photodetectors=replace(detectors, quantities=mended)))
    assert left.outputs == PORTS - 1


def test_without_any_input_there_is_no_chip(tmp_path: Path) -> None:
    with opened(tmp_path, faults=[]) as bench:
        records = bench.chip().records
        v_pi = records.modulators.quantities["v_pi"]
        none = replace(v_pi, accepted=np.zeros(PORTS, bool))
        quantities = {**records.modulators.quantities, "v_pi": none}
        dark = replace(records, modulators=replace(records.modulators, quantities=quantities))
        with pytest.raises(CalibrationError, match="accepts no input"):
            bench.rewire(None, dark)


def test_a_single_mesh_moves_its_corner(tmp_path: Path) -> None:
    """It uses half of its ports: the other half has some to spare."""
    faults = [f"stuck_modulator:{STUCK}=1.5", f"dead_detector:{PORTS + DEAD_PAIR}"]
    with opened(tmp_path, "unitary_mesh", faults) as bench:
        bench.light_on()
        chip = bench.rewire(None, masked(bench.chip().records, ()))
        assert isinstance(chip, HeaterChip)
        assert chip.at.inputs.tolist() == [0, 1, 3]
        matrix = np.random.default_rng(5).standard_normal((3, 3))
        (settings,) = chip.compile_exactly(matrix[np.newaxis], [None])
        read = chip.run(settings, Batch(0.7 * np.eye(3), "homodyne")).values.T / 0.7
        assert np.linalg.norm(read - matrix) < 0.03 * np.linalg.norm(matrix)


def test_a_check_tells_what_is_not_used_and_finds_nothing_bad(left: SvdMeshChip) -> None:
    report = left.bench.check()
    assert report.go, str(report)
    (record,) = [s for s in report.steps if s.name == "record of mesh"]
    assert "not used: heaters 5, 40, 61, input 2, output 4; matrices are 5 x 5" in record.found
    (inputs,) = [s for s in report.steps if s.name.startswith("inputs of")]
    assert inputs.values["inputs"] == [0, 1, 3, 4, 5]


def test_heaters_that_no_reading_tells() -> None:
    """The outer phase shifter at a dark input, and the one at an output that nobody reads."""
    mesh = SvdMesh(4)
    inputs, outputs = np.ones(4, bool), np.ones(4, bool)
    elements = elements_of("svd_mesh", 4)
    assert seen_heaters(elements, mesh.phases, inputs, outputs).all()
    inputs[0] = outputs[2] = False
    unseen = ~seen_heaters(elements, mesh.phases, inputs, outputs)
    assert np.flatnonzero(unseen).tolist() == [6, mesh.phases - 2]


def test_wires_of_what_is_left_are_named_by_their_ports(left: SvdMeshChip) -> None:
    found = map_wiring(left)
    assert found.good
    assert not found.inputs.tried[STUCK]
    assert not found.detectors.tried[[DEAD_PAIR, PORTS + DEAD_PAIR]].any()
    assert found.inputs.as_dict()["not_tried"] == [STUCK]
