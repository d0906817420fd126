"""What `hilonn estimate` says against what the run then takes: ``python -m benchmarks.estimates``."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def hilonn(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "hilonn", *arguments, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.estimates", description=__doc__)
    parser.add_argument("experiments", nargs="*", default=["xor", "digits16", "digits"])
    parser.add_argument("--bench", default="simulated")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print("| run | passes: told / took | chip time | training's wall time |\n|---|---|---|---|")
    for experiment in options.experiments:
        for seed in range(options.seeds):
            common = (experiment, "--bench", options.bench, "--seed", str(seed))
            told = hilonn("estimate", *common)
            with tempfile.TemporaryDirectory() as folder:
                took = hilonn("train", *common, "--out", str(Path(folder) / "run"))
            passes = told["training"]["passes"] + told["testing"]["passes"]
            chip = told["whole"]["chip_seconds"]
            wall = told["training"]["wall_seconds"]
            print(
                f"| {experiment}, seed {seed} | {passes:,.0f} / {took['passes']:,} = "
                f"{passes / took['passes']:.3f} | {chip / took['chip_seconds']:.3f} | "
                f"{wall:.1f} s / {took['wall_seconds']:.1f} s = "
                f"{wall / took['wall_seconds']:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
