"""Chips through the plant: what is measured against what was programmed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hilonn import registry
from hilonn.bench import Bench
from hilonn.chips import Batch, MatrixChip
from hilonn.chips.continuity import completed, match_singular_vectors
from hilonn.errors import ConfigError, LimitError, SaturationError
from hilonn.typing import FloatArray


def opened(tmp_path: Path, bench: str, **changes: str) -> Bench:
    """A built-in bench with words of its file replaced."""
    text = registry.load("hilonn.benches", bench)()
    for old, new in changes.items():
        key = {"preset": 'preset = "typical"', "ideal": 'preset = "ideal"'}[old]
        assert key in text
        text = text.replace(key, f"{key}\n{new}")
    path = tmp_path / "bench.toml"
    path.write_text(text)
    return Bench.open(path, seed=0)


@pytest.fixture(scope="module")
def ideal() -> Iterator[MatrixChip]:
    with Bench.open("ideal", seed=0) as bench:
        bench.light_on()
        yield bench.chip()


def relative(chip: MatrixChip, matrix: FloatArray, readout: str, averages: int = 1) -> float:
    rng = np.random.default_rng(9)
    inputs = rng.uniform(-0.5, 0.5, (20, matrix.shape[1]))
    (settings,) = chip.compile(matrix[None], [None])
    readings = chip.run(settings, Batch(inputs, readout, averages=averages))  # type: ignore[arg-type]
    wanted = inputs @ matrix.T
    if readout == "power":
        wanted = wanted**2
    assert readings.values.shape == wanted.shape
    return float(np.linalg.norm(readings.values - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("readout", ["homodyne", "power"])
@pytest.mark.parametrize("shape", [(16, 16), (5, 16), (16, 3), (1, 1)])
def test_an_ideal_chip_multiplies(ideal: MatrixChip, shape: tuple[int, int], readout: str) -> None:
    matrix = np.random.default_rng(0).normal(size=shape)
    assert relative(ideal, matrix, readout) < 1e-6


@pytest.mark.parametrize(
    ("bench", "readout"),
    [
        ("simulated", "homodyne"),
        ("simulated", "power"),
        ("simulated-crossbar", "balanced"),
        ("simulated-mesh-64", "homodyne"),
        ("simulated-triangle", "homodyne"),
        ("simulated-triangle", "power"),
    ],
)
def test_a_typical_chip_multiplies_about_right(bench: str, readout: str) -> None:
    with Bench.open(bench, seed=0) as opened_bench:
        opened_bench.light_on()
        chip = opened_bench.chip()
        matrix = np.random.default_rng(0).normal(size=(chip.outputs, chip.inputs))
        error = relative(chip, matrix, readout, averages=16)
    assert 0.01 < error < 0.25, "it is wrong by its faults, and not by more"


def test_both_quadratures_see_the_field_and_its_phase(ideal: MatrixChip) -> None:
    matrix = np.random.default_rng(0).normal(size=(16, 16))
    (settings,) = ideal.compile(matrix[None], [None])
    inputs = np.random.default_rng(1).uniform(-0.5, 0.5, (5, 16))
    values = ideal.run(settings, Batch(inputs, "homodyne", quadrature="both")).values
    np.testing.assert_allclose(values.real, inputs @ matrix.T, atol=1e-6)
    np.testing.assert_allclose(values.imag, 0.0, atol=1e-6)


def test_a_zero_matrix_gives_zero(ideal: MatrixChip) -> None:
    (settings,) = ideal.compile(np.zeros((1, 4, 4)), [None])
    readings = ideal.run(settings, Batch(np.full((3, 4), 0.5), "homodyne"))
    np.testing.assert_allclose(readings.values, 0.0, atol=1e-6)


def test_bad_requests_are_refused_before_anything_is_played(ideal: MatrixChip) -> None:
    (settings,) = ideal.compile(np.eye(16)[None], [None])
    before = ideal.clock.now()
    for bad in (1.01, -1.01, np.nan, np.inf):
        inputs = np.zeros((2, 16))
        inputs[1, 3] = bad
        with pytest.raises(LimitError):
            ideal.run(settings, Batch(inputs, "homodyne"))
    with pytest.raises(ConfigError, match="balanced"):
        ideal.run(settings, Batch(np.zeros((2, 16)), "balanced"))
    with pytest.raises(ConfigError, match="17"):
        ideal.run(settings, Batch(np.zeros((2, 17)), "homodyne"))
    with pytest.raises(ConfigError, match="matrices"):
        ideal.compile(np.zeros((1, 17, 16)), [None])
    with pytest.raises(ConfigError, match="not finite"):
        ideal.compile(np.full((1, 2, 2), np.nan), [None])
    assert ideal.clock.now() == before


def test_ranges_are_searched_and_saturation_is_told(tmp_path: Path) -> None:
    with opened(tmp_path, "simulated", preset="effects = { saturation = false }") as bench:
        bench.light_on()
        chip = bench.chip()
        (settings,) = chip.compile(np.eye(16)[None], [None])
        weak, strong = np.full((4, 16), 0.02), np.full((4, 16), 1.0)
        small = chip.run(settings, Batch(weak, "power"))
        large = chip.run(settings, Batch(strong, "power"))
        assert small.range < large.range
        assert not small.saturated
        assert not large.saturated
        assert chip.run(settings, Batch(strong, "power", range=0)).saturated


def test_no_range_for_a_detector_at_its_rail(tmp_path: Path) -> None:
    with opened(tmp_path, "simulated", preset='faults = ["saturated_detector:3"]') as bench:
        bench.light_on()
        chip = bench.chip()
        (settings,) = chip.compile(np.eye(16)[None], [None])
        with pytest.raises(SaturationError, match="largest range"):
            chip.run(settings, Batch(np.full((4, 16), 0.1), "homodyne"))


def test_a_detector_at_its_rail_that_the_record_does_not_accept_is_no_matter(
    tmp_path: Path,
) -> None:
    with opened(tmp_path, "simulated", preset='faults = ["saturated_detector:3"]') as bench:
        bench.light_on()
        records = bench.chip().records
        gain = records.photodetectors.quantities["gain"]
        accepted = gain.accepted.copy()
        accepted[3] = False
        known = dict(records.photodetectors.quantities) | {"gain": replace(gain, accepted=accepted)}
        detectors = replace(records.photodetectors, quantities=known)
        chip = bench.rewire(None, replace(records, photodetectors=detectors))
        assert (chip.outputs, chip.inputs) == (15, 16)
        assert relative(chip, np.eye(15, 16), "homodyne", averages=64) < 0.1
        with pytest.raises(SaturationError, match="largest range"):
            bench.rewire(None, records).run(
                chip.compile(np.eye(15)[None], [None])[0], Batch(np.full((4, 16), 0.1), "homodyne")
            )


def test_without_light_there_is_nothing(tmp_path: Path) -> None:
    with Bench.open("simulated", seed=0) as bench:
        chip = bench.chip()
        matrix = np.random.default_rng(0).normal(size=(16, 16))
        assert relative(chip, matrix, "homodyne", averages=64) > 0.9


def test_swapped_wires_are_seen_in_the_light(tmp_path: Path) -> None:
    """Every byte goes through the plant: the same program on crossed wires is another matrix."""
    text = registry.load("hilonn.benches", "ideal")()
    straight = 'phase_shifters = "heaters:0-527"'
    assert straight in text
    crossed = 'phase_shifters = ["heaters:0-99", "heaters:101", "heaters:100", "heaters:102-527"]'
    path = tmp_path / "crossed.toml"
    path.write_text(text.replace(straight, crossed))
    matrix = np.random.default_rng(0).normal(size=(16, 16))
    with Bench.open(path, seed=0) as bench:
        bench.light_on()
        assert relative(bench.chip(), matrix, "homodyne") > 0.02  # uncrossed: below 1e-6


def test_programming_stays_near_to_the_last(ideal: MatrixChip) -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(60, 16, 16))
    second = first + 1e-3 * rng.normal(size=first.shape)
    before = ideal.compile(first, [None] * 60)
    near = ideal.compile(second, before)
    naive = ideal.compile(second, [None] * 60)

    def moved(after: list) -> float:
        return float(
            np.mean(
                [
                    np.abs(a.self_phase - b.self_phase) > 0.5
                    for a, b in zip(after, before, strict=True)
                ]
            )
        )

    assert moved(near) < 0.5 * moved(naive)
    inputs = rng.uniform(-0.5, 0.5, (3, 16))
    values = ideal.run(near[0], Batch(inputs, "homodyne")).values
    np.testing.assert_allclose(values, inputs @ second[0].T, atol=1e-5)


def test_a_known_crosstalk_is_undone(tmp_path: Path) -> None:
    """The record knows the kernel: without it the same plant is far worse."""
    errors = {}
    matrix = np.random.default_rng(0).normal(size=(16, 16))
    for known in ("true", "false"):
        changes = f"record_error = 0.0\nrecord_crosstalk = {known}"
        with opened(tmp_path, "simulated", preset=changes) as bench:
            bench.light_on()
            errors[known] = relative(bench.chip(), matrix, "homodyne", averages=64)
    assert errors["false"] > 2 * errors["true"]


def test_dead_heaters_are_left_at_zero(tmp_path: Path) -> None:
    with opened(
        tmp_path,
        "simulated",
        preset='faults = ["dead_heater:7"]\nparameters = { dead_heater_fraction = 0.01 }',
    ) as bench:
        chip = bench.chip()
        masked = ~chip.records.chip.accepted("heater_phase_offset")[:528]
        assert masked.sum() >= 2
        (settings,) = chip.compile(np.eye(16)[None], [None])
        assert not settings.drive[masked].any()


def test_known_splitters_are_made_up_for(tmp_path: Path) -> None:
    """The record knows every coupler: without that the same plant is worse."""
    errors = {}
    matrices = np.random.default_rng(0).normal(size=(5, 16, 16))
    for known in ("true", "false"):
        changes = f"record_error = 0.0\nrecord_splitters = {known}"
        with opened(tmp_path, "simulated", preset=changes) as bench:
            bench.light_on()
            chip = bench.chip()
            errors[known] = np.mean([relative(chip, m, "homodyne", averages=64) for m in matrices])
    assert errors["false"] > 1.25 * errors["true"]


def test_what_a_narrow_tile_leaves_open_stays_where_it_was(ideal: MatrixChip) -> None:
    """Twelve of sixteen singular vectors of a 4 x 16 tile are arbitrary."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(20, 4, 16))
    second = first + 1e-3 * rng.normal(size=first.shape)
    before = ideal.compile(first, [None] * 20)
    after = ideal.compile(second, before)
    for old, new in zip(before, after, strict=True):
        assert np.abs(new.left - old.left).max() < 0.03
        assert np.abs(new.right - old.right).max() < 0.03
    inputs = rng.uniform(-0.5, 0.5, (3, 16))
    values = ideal.run(after[0], Batch(inputs, "homodyne")).values
    np.testing.assert_allclose(values, inputs @ second[0].T, atol=1e-5)


@pytest.mark.parametrize("far", [1e-3, 0.3, 3.0])
def test_a_completion_is_orthonormal_and_near(far: float) -> None:
    rng = np.random.default_rng(0)
    whole = np.linalg.qr(rng.normal(size=(16, 16)))[0]
    moved = np.linalg.qr(whole[:, :4] + far * rng.normal(size=(16, 4)))[0]
    found = completed(moved, whole[:, 4:])
    if found is None:
        assert far > 0.1
        return
    both = np.concatenate((moved, found), axis=1)
    np.testing.assert_allclose(both.T @ both, np.eye(16), atol=1e-11)
    if far < 0.1:
        assert np.abs(found - whole[:, 4:]).max() < 5 * far


def test_singular_vectors_of_many_tiles_are_matched_as_of_one() -> None:
    """In the second tile two old vectors are nearest to one new one: they are assigned, not taken twice."""
    rng = np.random.default_rng(3)
    left, _, right = np.linalg.svd(rng.normal(size=(3, 6, 6)))
    shuffled = rng.permutation(6)
    flipped = rng.choice([-1.0, 1.0], 6)
    near_left, near_right = left[:, :, shuffled] * flipped, right[:, shuffled] * flipped[:, None]
    near_left[1, :, 0] = 0.9 * near_left[1, :, 1] + 0.1 * near_left[1, :, 0]
    near_right[1, 0] = 0.9 * near_right[1, 1] + 0.1 * near_right[1, 0]
    order, signs = match_singular_vectors(left, right, near_left, near_right)
    for tile in range(3):
        alone = match_singular_vectors(left[tile], right[tile], near_left[tile], near_right[tile])
        np.testing.assert_array_equal(order[tile], alone[0])
        np.testing.assert_array_equal(signs[tile], alone[1])
        assert sorted(order[tile]) == list(range(6))
    np.testing.assert_array_equal(order, np.tile(shuffled, (3, 1)))
    np.testing.assert_array_equal(signs[[0, 2]], np.tile(flipped, (2, 1)))
