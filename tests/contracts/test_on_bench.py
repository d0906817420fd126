"""``pytest --bench`` in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--pyargs", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=100,
        check=False,
    )


def test_the_suites_run_on_a_bench(tmp_path: Path) -> None:
    done = run(tmp_path, "hilonn.testing.on_bench", "--bench", "simulated")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "failed" not in done.stdout


def test_without_a_bench_they_are_skipped_and_say_why(tmp_path: Path) -> None:
    done = run(tmp_path, "hilonn.testing.on_bench", "-rs")
    assert "give --bench BENCH" in done.stdout
    assert "passed" not in done.stdout
