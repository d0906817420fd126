"""Speed of the training loop: ``python -m benchmarks loop``.

On a null chip, which answers at once, what a pass costs besides its arithmetic (scaling inputs, adding
tiles, activations, the rule). On simulated-64, where a step of MNIST's size spends its time, against the
parts that no loop can avoid.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from hilonn.bench import Bench
from hilonn.chips import Batch, ChipReadings, MatrixChip, Settings
from hilonn.clock import WallClock
from hilonn.datasets import Split
from hilonn.network import Dense, Network
from hilonn.passes import Trace
from hilonn.rules import Rule, TrainingBatch
from hilonn.rules.two_pass import TwoPass
from hilonn.training import Progress, Trainer, one_hot
from hilonn.typing import FloatArray, Snapshot

PORTS, BATCH, STEPS = 64, 64, 300
TARGETS = {"controller's own work, us a pass": 60.0, "step / unavoidable parts": 1.5}
NETWORK = Network(
    Dense(PORTS, PORTS, "saturating_square"),
    Dense(PORTS, PORTS, "saturating_square"),
    Dense(PORTS, 10),
)


class NullChip(MatrixChip):
    """Takes any matrix, and answers every batch at once with the same readings."""

    id = "null"
    architecture = "null"
    readouts = frozenset({"power", "homodyne"})
    signed_readout = "homodyne"
    inputs = outputs = PORTS
    ranges = 1

    def __init__(self) -> None:
        self.clock = WallClock()
        self.records: Any = SimpleNamespace(hash=lambda: "none")
        rng = np.random.default_rng(0)
        self._answers = {
            shape: ChipReadings(rng.uniform(0.1, 0.9, shape), False, 0.0, 0, 0.0, True)
            for shape in ((BATCH, PORTS), (BATCH, 10))
        }
        none = np.zeros(0)
        self._settings = {
            shape: Settings(none, none, 1.0, shape, none, none, 0)
            for shape in ((PORTS, PORTS), (10, PORTS))
        }

    def compile(self, matrices: FloatArray, near: Sequence[Settings | None]) -> list[Settings]:
        return [self._settings[m.shape[0], m.shape[1]] for m in matrices]

    def run(self, settings: Settings, batch: Batch) -> ChipReadings:
        return self._answers[len(batch.inputs), settings.shape[0]]

    def forget(self) -> None:
        return None

    def snapshot(self) -> Snapshot:
        return {}

    def restore(self, snapshot: Snapshot) -> None:
        return None


def null_chip() -> dict[str, float]:
    """What the loop does around a chip that costs nothing (us a pass)."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, BATCH * STEPS)
    data = Split(rng.uniform(-0.5, 0.5, (BATCH * STEPS, PORTS)), labels)
    totals = []
    for _ in range(3):
        trainer = Trainer(NullChip(), NETWORK, TwoPass())
        started = time.perf_counter()
        trainer.fit(data, epochs=1, batch=BATCH)
        totals.append(time.perf_counter() - started)
    passes = trainer.runner.statistics.passes
    rule = min(_rule_seconds(trainer.rule) for _ in range(3))
    elements = min(_element_seconds() for _ in range(3))
    own = min(totals) - rule - elements
    return {
        "whole loop on a null chip, us a pass": 1e6 * min(totals) / passes,
        "of it the rule, us a pass": 1e6 * rule / passes,
        "of it scaling and activations, us a pass": 1e6 * elements / passes,
        "controller's own work, us a pass": 1e6 * own / passes,
    }


def _rule_seconds(rule: Rule) -> float:
    """Seconds of ``STEPS`` steps of the rule alone, its traces ready."""
    rng = np.random.default_rng(1)
    weights = NETWORK.initial_weights(rng)
    state = rule.initial_state(NETWORK, rng)
    inputs, labels = rng.uniform(-0.5, 0.5, (BATCH, PORTS)), rng.integers(0, 10, BATCH)
    batch = TrainingBatch(inputs, one_hot(labels, 10), labels, 0.0)
    after = [rng.uniform(0.1, 0.9, (BATCH, layer.outputs)) for layer in NETWORK.layers]
    started = time.perf_counter()
    for _ in range(STEPS):
        generator = rule.step(NETWORK, weights, state, batch)
        requests = next(generator)
        try:
            while True:
                requests = generator.send(
                    [
                        Trace(r, after[(r.last or 3) - 1], after[: r.last], [], ("power",))
                        for r in requests
                    ]
                )
        except StopIteration:
            pass
    return time.perf_counter() - started


def _element_seconds() -> float:
    """Seconds of scaling, adding and activating the readings of ``STEPS`` steps: five layers each."""
    rng = np.random.default_rng(2)
    inputs, readings = rng.uniform(0.1, 0.9, (2, BATCH, PORTS))
    functions = [layer.function for layer in NETWORK.layers]
    scaled, sums = np.empty((2, BATCH, PORTS))
    started = time.perf_counter()
    for _ in range(STEPS):
        for layer in (0, 1, 2, 0, 1):
            np.divide(inputs, 1.5, out=scaled)
            wide = PORTS if layer < 2 else 10
            np.add(sums[:, :wide], readings[:, :wide], out=sums[:, :wide])
            measured = sums[:, :wide] * 1.5
            of_power = functions[layer].of_power
            activated = measured
            if layer < 2 and of_power is not None:
                activated = of_power(measured)
            np.isfinite(activated).all()
            np.abs(activated).max()
        sums[:] = 0.0
    return time.perf_counter() - started


def simulated_step(hidden: int = 256, inputs: int = 576, steps: int = 12) -> dict[str, float]:
    """Milliseconds of a step of the preset ``mnist`` on simulated-64, and of its unavoidable parts.

    A step is both trips and the update, from one step's end to the next one's: an epoch's begin is not in it.
    """
    rng = np.random.default_rng(0)
    network = Network(Dense(inputs, hidden, "saturating_square"), Dense(hidden, 10))
    rule = TwoPass(feedback_scale=3.0, rate=0.08, hidden_rate=0.25, averages=4)
    batch = 128
    ends: list[tuple[float, float, float, float]] = []

    def note(progress: Progress) -> None:
        if progress.kind == "step":
            spent = trainer.runner.statistics
            ends.append(
                (
                    time.perf_counter(),
                    time.process_time(),
                    spent.compile_seconds,
                    spent.chip_seconds,
                )
            )

    data = Split(
        0.25 * rng.standard_normal((batch * (steps + 3), inputs)),
        rng.integers(0, 10, batch * (steps + 3)),
    )
    with Bench.open("simulated-64", seed=0) as bench:
        trainer = Trainer(bench.chip(), network, rule, on_progress=note)
        trainer.fit(data, epochs=1, batch=batch)
        tiles = sum(p.tiles for p in trainer.runner.placements)
    # kernels are compiled, and first ranges and gains chosen, in the first steps
    wall, processor, compiling, chip = (np.subtract(ends[-1], ends[2]) / (len(ends) - 3)).tolist()
    svd, decompositions, products = unavoidable(64, tiles, batch, rule.plays)
    return {
        "step, ms": 1e3 * wall,
        "processor time of a step, ms": 1e3 * processor,
        "compiling or waiting for it, ms": 1e3 * compiling,
        "chip (the plant, its noise and drift), ms": 1e3 * chip,
        "unavoidable: SVDs, ms": 1e3 * svd,
        "unavoidable: decompositions, ms": 1e3 * decompositions,
        "unavoidable: matrices and products, ms": 1e3 * products,
        "step / unavoidable parts": wall / (svd + decompositions + products),
        "largest memory, MiB": _memory(),
    }


def unavoidable(ports: int, tiles: int, batch: int, averages: int) -> tuple[float, float, float]:
    """Seconds on one thread, for ``tiles`` tiles: SVDs of their matrices; decompositions of both
    unitaries; matrices of both meshes and the products of two trips of the batch, with one normal
    number a reading of each detector."""
    from benchmarks.timing import best_seconds
    from hilonn.mesh import RectangularMesh, haar_unitary

    rng = np.random.default_rng(3)
    matrices = rng.standard_normal((tiles, ports, ports))
    unitaries = np.stack([haar_unitary(ports, rng) for _ in range(2 * tiles)])
    mesh = RectangularMesh(ports)
    phases = rng.uniform(0.0, 2.0 * np.pi, mesh.phases)
    inputs = rng.standard_normal((2 * batch, ports)) + 0j

    def products() -> None:
        for _ in range(tiles):
            left, right = mesh.matrix_flat(phases), mesh.matrix_flat(phases)
            fields = inputs @ (left @ right).T
            powers = fields.real**2 + fields.imag**2
            for _ in range(averages):
                powers = powers + rng.standard_normal(powers.shape)

    svd, decompositions, multiplied = best_seconds(
        [lambda: np.linalg.svd(matrices), lambda: mesh.decompose_flat(unitaries), products],
        rounds=5,
    )
    return svd, decompositions, multiplied


def noise_source() -> dict[str, float]:
    """The plant's normal numbers against numpy's, as many as a pass of 64 ports takes."""
    from benchmarks.timing import best_seconds
    from hilonn.simulators.normal import AHEAD, standard_normal

    source = np.random.default_rng(4)
    numpys, plants = best_seconds(
        [lambda: source.standard_normal(AHEAD), lambda: standard_normal(source, AHEAD)], rounds=20
    )
    return {"normal numbers / numpy's": plants / numpys}


def _memory() -> float:
    try:
        import resource
    except ImportError:
        return float("nan")  # not told on Windows
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def measure() -> dict[str, float]:
    """Every figure."""
    return null_chip() | simulated_step() | noise_source()
