"""Twelve hours of harsh drift, with and without tracking: ``python -m benchmarks.drift``.

The built-in bench ``simulated`` (16-port SVD mesh, typical) whose drift is that of the preset harsh: every parameter in ``HARSH``
below. digits16 is trained on it, then its weights are kept for twelve hours of the bench's clock while the monitor looks every
``--every`` seconds. Both ways are measured on the same chip at the same moments: a second chip object keeps the first
record. Matrix error: relative Frobenius distance of what the plant multiplies by from what was asked, mean over random real matrices,
modulo one phase common to all fields, taken just before a look, when the record is as old as it gets; the walks count (heaters,
biases, gains), what wanders to and fro (oscillator, input fibres) does not. Accuracy is read from the chip with all of it.
``--record-error`` is what the record has wrong at the start: 10 mrad rms a phase as a typical chip is handed out, 2 as a global
fit leaves it (with ``--every 60``).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from threadpoolctl import threadpool_limits

from hilonn import plots, registry
from hilonn.bench import Bench
from hilonn.calibration.drift import DriftOptions
from hilonn.chips import MatrixChip
from hilonn.experiment import load_experiment
from hilonn.simulators.presets import HARSH as PRESET
from hilonn.training import Trainer
from hilonn.typing import FloatArray

ROOT = Path(__file__).parents[1]
HARSH = {
    name: getattr(PRESET, name)
    for name in (
        "heater_drift",
        "modulator_bias_drift",
        "detector_gain_drift",
        "lo_wander",
        "lo_wander_time",
        "input_phase_drift",
        "input_phase_time",
    )
}
HOUR = 3600.0


def bench_text(options: argparse.Namespace) -> str:
    """The bench file: harsh drift, a monitor of it."""
    import tomllib

    bench = tomllib.loads(registry.load("hilonn.benches", "simulated")())
    bench["connections"]["plant"] |= {
        "parameters": HARSH,
        "record_error": 1e-3 * options.record_error,
        "record_splitters": True,
        "record_crosstalk": True,
    }
    bench["monitors"] = {
        "drift": {
            "monitor": "drift",
            "every": options.every,
            "heaters": HARSH["heater_drift"],
            "bias": HARSH["modulator_bias_drift"],
            "gains": HARSH["detector_gain_drift"],
            "oscillator": HARSH["lo_wander"],
            "inputs": HARSH["input_phase_drift"],
        }
    }
    return tomli_w.dumps(bench)


def realised(plant: Any, chip: Any, settings: Any) -> FloatArray:
    """What the plant multiplies by at ``settings`` now, as ``chip`` scales its homodyne readings: complex (outputs, inputs)."""
    truth, drift, heaters, modulation = plant.truth, plant.drift, plant.heaters, plant.modulation
    drive = np.zeros(truth.heaters)
    drive[: len(settings.drive)] = settings.drive
    drive[-1] = chip._oscillator_drives[0.0]
    power = heaters._powers(np.rint(drive / heaters.step) * heaters.step if heaters.step else drive)
    ratio = power / truth.power_per_pi
    own = np.pi * ratio * (1 + plant.parameters.thermo_optic_nonlinearity * (ratio / 2 - 1))
    base, n = truth.phase_offset + drift.heaters, truth.chip_heaters
    matrix = plant._optics.transfer(plant._crosstalk.add(own[:n], base[:n]))
    seen = 2 * (truth.lo_field * truth.output_facet * np.exp(-1j * (own[-1] + base[-1])))[:, None]
    seen = seen * matrix
    still = np.zeros(truth.ports)
    ways = np.concatenate((np.eye(truth.ports), -np.eye(truth.ports))) * chip._equalise
    volts = modulation.quantised(chip._modulator_drive(ways)[:, chip._modulator_channels])
    fields = modulation.fields(volts, drift.bias, still, 1.0)
    plus, minus = np.split(fields, 2)
    seen = seen @ (0.5 * (plus - minus)).T
    gains = truth.gain * (1 + drift.gain) / chip.records.photodetectors.value("gain")
    scale = 0.5 * (gains[: truth.ports] + gains[truth.ports :]) * chip._homodyne_scale
    m, k = settings.shape
    found: FloatArray = (seen * (scale * settings.scale)[:, None])[:m, :k]
    return found


def matrix_error(plant: Any, chip: Any, wanted: Sequence[FloatArray]) -> float:
    """Relative error, mean over ``wanted`` (outputs, inputs) each, all phases found anew with the chip's record."""
    plant.update()
    found = []
    for matrix in wanted:
        seen = realised(plant, chip, chip.compile_exactly(matrix[np.newaxis], [None])[0])
        seen = (seen * np.exp(-1j * np.angle((seen * matrix).sum()))).real
        found.append(np.linalg.norm(seen - matrix) / np.linalg.norm(matrix))
    return float(np.mean(found))


class Both:
    """The tracked chip and one that keeps the first record, on the same bench."""

    def __init__(self, bench: Bench, options: argparse.Namespace) -> None:
        experiment = load_experiment("digits16")
        data = experiment.load_data(None)
        self.bench, self.data = bench, data
        self.plant = bench.connections["plant"].plant  # type: ignore[attr-defined]
        network = experiment.network(data)
        tracked = bench.chip()
        untracked: MatrixChip = bench.rewire(None, tracked.records)
        bench.chips[tracked.name] = tracked
        self.trainer = Trainer(tracked, network, experiment.rule, seed=0)
        self.monitor = self.trainer.monitors["drift"].monitor
        self.other = Trainer(untracked, network, experiment.rule, seed=0)
        rng = np.random.default_rng(0)
        shape = (tracked.outputs, tracked.inputs)
        self.wanted = [rng.standard_normal(shape) / 4.0 for _ in range(options.matrices)]
        bench.light_on()
        self.trainer.fit(data.train, epochs=options.epochs, batch=32)

    def measure(self, accuracy: bool) -> dict[str, float]:
        found = {"hours": self.bench.clock.now() / HOUR}
        for name, trainer in (("tracked", self.trainer), ("untracked", self.other)):
            found[f"{name}_error"] = matrix_error(self.plant, trainer.chip, self.wanted)
            if accuracy:
                trainer.chip.forget()
                trainer.runner.refresh()
                result = trainer.evaluate(self.data.test, self.trainer.weights)
                found[f"{name}_accuracy"] = result.accuracy
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=12.0)
    parser.add_argument("--every", type=float, default=120.0, help="s between looks")
    parser.add_argument("--record-error", type=float, default=10.0, help="mrad rms at the start")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--matrices", type=int, default=4)
    parser.add_argument("--points", type=int, default=12)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "drift")
    options = parser.parse_args()
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.toml"
        path.write_text(bench_text(options), "utf-8")
        with Bench.open(path, seed=0, chip_seed=0) as bench:
            points = _hours(bench, options)
    _tell(points, options)


def _hours(bench: Bench, options: argparse.Namespace) -> list[dict[str, float]]:
    both = Both(bench, options)
    looks = int(options.hours * HOUR / options.every)
    shown = max(1, looks // options.points)
    points = [both.measure(True)]
    print(json.dumps(points[0]), flush=True)
    began, spent, seen, faults = time.perf_counter(), 0.0, 0, 0
    for look in range(1, looks + 1):
        bench.clock.sleep(options.every)
        due = look % shown == 0 or look == looks
        if due:  # just before a look: the record is as old as it gets
            points.append(both.measure(True))
            print(json.dumps(points[-1]), flush=True)
        before, now = both.trainer.chip.records, bench.clock.now()
        known = both.monitor.snapshot()["watch"]["seen"]
        both.trainer.watch()
        spent += bench.clock.now() - now
        faults += both.monitor.snapshot()["watch"]["seen"] == known
        seen += both.trainer.chip.records is not before
    passes = DriftOptions().settings
    print(
        f"{looks} looks of {passes} passes, {1e3 * spent / looks:.0f} ms of chip time each; {seen} recalibrations, {faults} "
        f"faults; "
        f"{time.perf_counter() - began:.0f} s of wall time"
    )
    return points


def _tell(points: list[dict[str, float]], options: argparse.Namespace) -> None:
    print(
        "\n| hours | matrix error, tracked (%) | untracked (%) | accuracy, tracked (%) | untracked (%) |"
    )
    print("|---|---|---|---|---|")
    for p in points:
        cells = (
            p[k]
            for k in ("tracked_error", "untracked_error", "tracked_accuracy", "untracked_accuracy")
        )
        print(f"| {p['hours']:.1f} | {' | '.join(f'{100 * c:.2f}' for c in cells)} |")
    start = points[0]["tracked_error"]
    for name in ("tracked", "untracked"):
        errors = [p[f"{name}_error"] / start for p in points]
        print(f"{name}: at most {max(errors):.2f} times the start, {errors[-1]:.2f} at the end")
    hours = [p["hours"] for p in points]
    curves = {
        name: (hours, 100 * np.array([[p[f"{name}_error"] for p in points]]))
        for name in ("tracked", "untracked")
    }
    plots.save(
        plots.curves(curves, across="hours of the bench's clock", up="matrix error (%)"),
        options.out,
    )


if __name__ == "__main__":
    main()
