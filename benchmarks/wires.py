"""Is the chip in the loop? ``python -m benchmarks.wires [--experiment digits]``.

Trains with two heaters' wires swapped in the bench file, and with the plant's light off, beside the
bench as it is. Nothing else is changed: what is written goes to the wrong heater.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.commands import train
from hilonn import registry

WHOLE = 'phase_shifters = "heaters:0-527"'
OSCILLATOR = 'local_oscillator = "heaters:528"'


def swapped(text: str, first: int, second: int) -> str:
    """The bench file with the wires of two mesh heaters, or of one and the oscillator, swapped."""
    order = list(range(529))
    order[first], order[second] = order[second], order[first]
    channels = ", ".join(f'"heaters:{c}"' for c in order[:528])
    return text.replace(WHOLE, f"phase_shifters = [{channels}]").replace(
        OSCILLATOR, f'local_oscillator = "heaters:{order[528]}"'
    )


def main() -> None:
    """One row a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", default="digits")
    arguments = parser.parse_args()
    text = registry.load("hilonn.benches", "simulated")()
    rng = np.random.default_rng(0)
    cases = {"as it is": text, "heater 100 and the oscillator": swapped(text, 100, 528)}
    for _ in range(3):
        a, b = (int(c) for c in rng.choice(528, 2, replace=False))
        cases[f"heaters {a} and {b}"] = swapped(text, a, b)
    cases["the laser trips after 0.01 s"] = text.replace(
        'preset = "typical"', 'preset = "typical"\nfaults = ["laser_trip@0.01s"]'
    )
    with tempfile.TemporaryDirectory() as folder:
        for index, (name, bench) in enumerate(cases.items()):
            path = Path(folder) / f"bench{index}.toml"
            path.write_text(bench)
            try:
                result = train(arguments.experiment, Path(folder) / str(index), bench=str(path))
            except SystemExit as error:
                print(f"{name}: stopped: {str(error).strip().splitlines()[-1]}", flush=True)
                continue
            print(f"{name}: {100 * result['test_accuracy']:.2f} %", flush=True)


if __name__ == "__main__":
    main()
