"""The example of the how-to is complete, passes its own tests, and opens from a bench file."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/how-to/write-a-driver.md").read_text("utf-8")


def test_the_worked_example_passes_its_tests_and_opens_on_a_bench(tmp_path: Path) -> None:
    files = dict(re.findall(r"`(\w+\.py)`:\n\n```python\n(.*?)```", TEXT, re.DOTALL))
    assert set(files) == {"acme_ps4.py", "acme_emulator.py", "test_acme_ps4.py"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    (bench,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "lab.toml").write_text(bench, "utf-8")
    (tmp_path / "on_bench.py").write_text(ON_BENCH, "utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    for command in (
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_acme_ps4.py"],
        ["on_bench.py"],
    ):
        ran = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=110,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


ON_BENCH = """
from pathlib import Path

import numpy as np
from acme_emulator import AcmePs4Box

from hilonn import Bench
from hilonn.simulators.emulators import Rack, TcpServer

box = AcmePs4Box("supply", Rack())
with TcpServer(box) as server:
    text = Path("lab.toml").read_text()
    here = text.replace("192.168.1.40", "127.0.0.1").replace("5025", str(server.port))
    Path("here.toml").write_text(here)
    with Bench.open("here.toml", imports=["acme_ps4.py"]) as bench:
        bench.device("heaters").write(np.full(4, 2.0))
        assert box.on and box.volts == [2.0] * 4
    assert not box.on and box.volts == [0.0] * 4
"""
