"""What chips without a record come to by light alone: ``python -m benchmarks.self_configuration [--ports 4,8] [--chips N]``.

Typical simulated chips with powers only, a random orthogonal matrix each. Fidelity is the mean over rows of |<row wanted, row there>|
against what the plant hides; beside it what the same couplers allow: phases of an ideal mesh ("as ideal"), and phases
corrected one interferometer after another with every coupler known ("corrected"), nothing else being off.
One row a method, mesh and size: medians over the chips, the worst fidelity in brackets.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from hilonn.bench import Bench
from hilonn.calibration import configure, self_configuration
from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import rig_of
from hilonn.mesh import UNITARY_MESHES
from hilonn.typing import FloatArray
from tests.calibration.benches import bench_file
from tests.calibration.hidden_truth import row_fidelity

WAYS = (
    ("progressive", "triangular_mesh"),
    ("parallel", "triangular_mesh"),
    ("parallel", "unitary_mesh"),
)


def one(method: str, architecture: str, ports: int, chip: int, folder: Path) -> list[float]:
    """Fidelity there, as read, as ideal, corrected; passes of the nulls, in all; s on the bench, s of processor."""
    file = bench_file(folder, architecture, ports, oscillator=False)
    wanted = np.linalg.qr(np.random.default_rng(chip).standard_normal((ports, ports)))[0]
    with Bench.open(file, seed=1000 + chip, chip_seed=chip, record="nominal") as bench:
        bench.light_on()
        rig = rig_of(bench)
        known = configure.measured_boxes(folder / "boxes", rig, bench.chip().records)
        started = time.process_time()
        found = getattr(self_configuration, method)(rig, known, wanted, Raw(folder / "raw"))
        spent = time.process_time() - started
        plant = bench.connections["plant"].plant  # type: ignore[attr-defined]
        there = row_fidelity(plant, found.volts, wanted)
        couplers = plant.truth.splitter_errors
    mesh = UNITARY_MESHES[architecture](ports, splitter_errors=couplers)
    ideal = mesh.decompose(wanted).flat()
    limits = [
        _fidelity(mesh.matrix_flat(p), wanted)
        for p in (ideal, mesh.corrected_flat(ideal[np.newaxis])[0])
    ]
    total = float(sum(found.passes.values()))
    return [
        there,
        found.fidelity,
        *limits,
        float(found.passes["nulls"]),
        total,
        found.seconds,
        spent,
    ]


def _fidelity(there: np.ndarray, wanted: FloatArray) -> float:
    return float(np.abs((there * wanted).sum(axis=1)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ports", default="4,8,16")
    parser.add_argument("--chips", type=int, default=5)
    parser.add_argument("--ways", default="0,1,2", help="rows wanted, in this order")
    asked = parser.parse_args()
    print(
        "| method, mesh | ports | fidelity | as read | as ideal | corrected | passes, nulls alone | s on the bench | s of processor |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for ports in (int(p) for p in asked.ports.split(",")):
        for method, architecture in (WAYS[int(w)] for w in asked.ways.split(",")):
            rows = []
            for chip in range(asked.chips):
                with tempfile.TemporaryDirectory() as folder:
                    rows.append(one(method, architecture, ports, chip, Path(folder)))
            m, worst = np.median(rows, axis=0), min(row[0] for row in rows)
            print(
                f"| {method}, {architecture.removesuffix('_mesh')} | {ports} | {m[0]:.5f} ({worst:.5f}) | {m[1]:.5f} | {m[2]:.5f} | "
                f"{m[3]:.5f} | {m[5]:,.0f}, {m[4]:,.0f} | {m[6]:.1f} | {m[7]:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
