"""Run folders: whole or not there, readable while written, rewound to their checkpoint."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hilonn.errors import ConfigError
from hilonn.runs import Run, differences, weights_sha256

HEADER = {"experiment": "test"}


def test_what_came_after_the_checkpoint_is_dropped(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", HEADER, {"step": 0}) as run:
        run.event("epoch", epoch=1)
        run.append_array("values", np.arange(3.0))
        run.checkpoint({"step": 1})
        run.event("epoch", epoch=2)
        run.append_array("values", np.arange(4.0))
        assert run.rewind() == {"step": 1}
        assert [e["epoch"] for e in run.events()] == [1]
        np.testing.assert_array_equal(run.array("values"), np.arange(3.0))


def test_it_can_be_read_while_another_writes(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", HEADER, {}) as run:
        run.event("epoch", epoch=1)
        with (tmp_path / "run" / "events.jsonl").open("ab") as torn:
            torn.write(b'{"kind": "epo')
        reader = Run.open(tmp_path / "run")
        assert [e["epoch"] for e in reader.events()] == [1]
        assert reader.result() is None


def test_there_is_one_writer(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", HEADER, {}):
        code = (
            "import sys\nfrom hilonn.runs import Run\nfrom hilonn.errors import ConfigError\n"
            "try:\n    Run.open(sys.argv[1], write=True)\n"
            "except ConfigError as error:\n    print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "run")],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "is being written by another process" in done.stdout
    Run.open(tmp_path / "run", write=True).close()


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="not empty"):
        Run.create(tmp_path / "run", HEADER, {})
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["thesis.tex"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    with pytest.raises(ConfigError, match="no run"):
        Run.open(tmp_path / "run")
    with pytest.raises(ConfigError, match="does not exist"):
        Run.open(tmp_path / "nowhere")


KILLED = """
import os, signal, sys
from pathlib import Path
from hilonn.runs import Run
import hilonn.atomic
calls = 0
def fsync(descriptor):
    global calls
    calls += 1
    if calls == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
run = Run.create(Path(sys.argv[1]), {"experiment": "x"}, {"step": 0})
for step in range(1, 4):
    run.event("epoch", epoch=step)
    run.checkpoint({"step": step})
"""


@pytest.mark.skipif(os.name != "posix", reason="kills itself with SIGKILL")
def test_killed_at_any_write_it_is_not_there_or_whole(tmp_path: Path) -> None:
    seen = set()
    for moment in range(1, 15):
        folder = tmp_path / str(moment) / "run"
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(folder), str(moment)], check=False, timeout=60
        )
        if not folder.exists():
            seen.add("not there")
            assert done.returncode != 0
            continue
        with Run.open(folder, write=True) as run:
            step = run.rewind().get("step")
            assert [e["epoch"] for e in run.events()] == list(range(1, step + 1))
            seen.add(step)
    assert {"not there", 0, 3} <= seen


def test_the_hash_tells_weights_apart() -> None:
    weights = [np.arange(6, dtype=np.float32).reshape(2, 3)]
    assert weights_sha256(weights) == weights_sha256([w.copy() for w in weights])
    assert weights_sha256(weights) != weights_sha256([weights[0].reshape(3, 2)])
    other = weights[0].copy()
    other[0, 0] = np.nextafter(np.float32(0), np.float32(1))
    assert weights_sha256(weights) != weights_sha256([other])


def test_what_must_agree_is_named() -> None:
    before = {"hilonn": "0.1.0", "chip": "a", "record": "1", "data_digest": "d"}
    assert differences(before, dict(before)) == []
    (line,) = differences(before, before | {"chip": "b"})
    assert "chip" in line
    assert "a" in line
    assert "b" in line
