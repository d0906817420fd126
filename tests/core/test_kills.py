"""A process that is killed at any moment, and what its run comes to."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
KILLS = 6


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "hilonn", *arguments, "--json"]


def told(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def bench_that_follows(folder: Path) -> str:
    """A bench whose chip follows by descent, so that more than weights is carried on."""
    import tomllib

    import tomli_w

    from hilonn.bench_file import read_source

    bench = tomllib.loads(read_source("simulated").text)
    for chip in bench["chips"].values():
        chip["programming"] = "descend"
    path = folder / "follows.toml"
    path.write_text(tomli_w.dumps(bench))
    return str(path)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("programming", ["decompose", "descend"])
def test_killed_at_random_moments_it_ends_with_the_same_weights(
    tmp_path: Path, programming: str
) -> None:
    bench = "simulated" if programming == "decompose" else bench_that_follows(tmp_path)
    experiment = tmp_path / "short.toml"
    experiment.write_text(
        """
[data]
name = "digits"
limit = 480
[[layers]]
outputs = 32
activation = "saturating_square"
[[layers]]
outputs = 10
[rule]
name = "two_pass"
averages = 1
feedback_scale = 1.5
[training]
epochs = 5
batch = 32
checkpoint_seconds = 0.2
"""
    )
    # The process that first compiles the kernels rounds otherwise than those that find them compiled
    # (docs/how-to/resume-a-run.md); a first run leaves them compiled, and its duration is not a run's.
    told("train", str(experiment), "--bench", bench, "--out", str(tmp_path / "first"))
    started = time.monotonic()
    whole = told("train", str(experiment), "--bench", bench, "--out", str(tmp_path / "whole"))
    duration = time.monotonic() - started
    generator = random.Random(7)
    for index in range(KILLS // 2):
        run = tmp_path / f"killed-{index}"
        process = subprocess.Popen(
            command("train", str(experiment), "--bench", bench, "--out", str(run)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(generator.uniform(0.2, 0.95) * duration)
        process.kill()
        process.wait()
        if not run.exists():
            continue  # killed before there was a run: nothing to lose
        ended = told("resume", str(run))
        for key in ("weights_sha256", "test_accuracy", "passes"):
            assert ended[key] == whole[key], (index, key)
