"""The command line as a user runs it: in a process, told by its exit code and its one message."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hilonn.experiment import builtin_experiments, load_experiment
from tests.cli.experiments import short

EXPERIMENT = short()


def hilonn(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hilonn", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=100,
        check=False,
    )


def result_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment and a finished run of it."""
    where = tmp_path_factory.mktemp("cli")
    (where / "short.toml").write_text(EXPERIMENT)
    result_of(hilonn("train", "short.toml", "--out", "whole", "--json", folder=where))
    return where


def test_train_show_evaluate_and_resume_agree(folder: Path) -> None:
    shown = result_of(hilonn("show", "whole", "--json", folder=folder))
    for key in (
        "test_accuracy",
        "weights_sha256",
        "backend",
        "passes",
        "chip_seconds",
        "wall_seconds",
        "run",
    ):
        assert shown[key] is not None, key
    assert shown["backend"] == "simulated"
    assert shown["state"] == "finished"
    evaluated = result_of(hilonn("evaluate", "whole", "--json", folder=folder))
    assert evaluated["weights_sha256"] == shown["weights_sha256"]
    assert evaluated["test_accuracy"] == shown["test_accuracy"]
    resumed = result_of(hilonn("resume", "whole", "--json", folder=folder))
    assert resumed["weights_sha256"] == shown["weights_sha256"]


def test_seeds_decide(folder: Path) -> None:
    shown = result_of(hilonn("show", "whole", "--json", folder=folder))
    again = hilonn("train", "short.toml", "--out", "again", "--json", folder=folder)
    assert result_of(again)["weights_sha256"] == shown["weights_sha256"]
    for option in ("--seed", "--chip-seed"):
        done = hilonn("train", "short.toml", option, "1", "--json", folder=folder)
        assert result_of(done)["weights_sha256"] != shown["weights_sha256"]


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")
@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_a_killed_run_ends_as_the_undisturbed_one(folder: Path, epochs: int) -> None:
    out = folder / f"killed-{epochs}"
    process = subprocess.Popen(
        [sys.executable, "-m", "hilonn", "train", "short.toml", "--out", str(out)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        events = out / "events.jsonl"
        if events.exists() and events.read_bytes().count(b'"epoch"') >= 2 * epochs:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = result_of(hilonn("resume", str(out), "--json", folder=folder))
    whole = result_of(hilonn("show", "whole", "--json", folder=folder))
    assert resumed["weights_sha256"] == whole["weights_sha256"]


def test_a_changed_run_is_not_resumed_unless_forced(folder: Path) -> None:
    result_of(hilonn("train", "short.toml", "--out", "other", "--json", folder=folder))
    (folder / "other" / "result.json").unlink()
    header = json.loads((folder / "other" / "run.json").read_text())
    header["chip"] = "svd_mesh-16-99"
    (folder / "other" / "run.json").write_text(json.dumps(header))
    refused = hilonn("resume", "other", folder=folder)
    assert refused.returncode == 2
    assert "svd_mesh-16-99" in refused.stderr
    assert "--force" in refused.stderr
    result_of(hilonn("resume", "other", "--force", "--json", folder=folder))
    assert "forced_resume" in (folder / "other" / "events.jsonl").read_text()


BAD = {
    "misspelt key": (EXPERIMENT.replace("hidden_rate", "hiden_rate"), "did you mean 'hidden_rate'"),
    "misspelt section": (EXPERIMENT.replace("[training]", "[trainig]"), "did you mean 'training'"),
    "wrong value": (EXPERIMENT.replace("epochs = 4", "epochs = 0"), "training.epochs = 0"),
    "no rule": (EXPERIMENT.replace('name = "two_pass"', ""), "rule.name"),
    "unknown rule": (EXPERIMENT.replace('"two_pass"', '"three_pass"'), "'three_pass'"),
    "unknown data": (EXPERIMENT.replace('"xor"', '"nor"'), "'nor'"),
    "not TOML": (EXPERIMENT + "\n[[", "not valid TOML"),
    "too few outputs": (EXPERIMENT.replace("outputs = 2", "outputs = 1"), "2 classes"),
    "diverging inputs": (
        EXPERIMENT.replace("outputs = 8\n", "outputs = 8\ninputs = 3\n"),
        "layers[0].inputs",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_experiments_are_one_message(name: str, folder: Path) -> None:
    text, message = BAD[name]
    (folder / "bad.toml").write_text(text)
    done = hilonn("train", "bad.toml", "--out", "never", folder=folder)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (folder / "never").exists()


def test_other_bad_input_is_one_message(folder: Path) -> None:
    damaged = folder / "damaged"
    result_of(hilonn("train", "short.toml", "--out", "damaged", "--json", folder=folder))
    (damaged / "result.json").unlink()
    data = bytearray((damaged / "checkpoint").read_bytes())
    data[len(data) // 2] ^= 1
    (damaged / "checkpoint").write_bytes(bytes(data))
    for arguments, message in (
        (["resume", "damaged"], "corrupt"),
        (["evaluate", "damaged"], "corrupt"),
        (["show", "nowhere"], "does not exist"),
        (["train", "short.toml", "--out", "whole"], "not empty"),
        (["train", "short.toml", "--bench", "nowhere.toml"], "cannot read the bench file"),
        (["train", "mnist", "--data", "nowhere"], "does not exist"),
        (["schema", "car"], "no schema"),
        (["twin", "nowhere"], "no folder of a calibration: it does not exist"),
    ):
        done = hilonn(*arguments, folder=folder)
        assert done.returncode == 2, arguments
        assert message in done.stderr, arguments
        assert "Traceback" not in done.stderr


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.argv = ["hilonn", *sys.argv[2:]]
from hilonn.cli.main import main
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_a_disk_that_fills_up_leaves_a_run_to_go_on_with(folder: Path) -> None:
    """No file may grow beyond what the first events need: the disk fills up in mid-training."""
    size = (folder / "whole" / "checkpoint").stat().st_size
    for limit in (size // 8, 300):
        out = folder / f"full-{limit}"
        done = subprocess.run(
            [
                sys.executable,
                "-B",
                "-c",
                FULL,
                str(limit),
                "train",
                "short.toml",
                "--out",
                str(out),
            ],
            capture_output=True,
            text=True,
            cwd=folder,
            timeout=100,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert "cannot " in done.stderr
        assert "Traceback" not in done.stderr
        assert not [p for p in folder.iterdir() if p.name.startswith(".full")]
        if out.exists():
            whole = result_of(hilonn("show", "whole", "--json", folder=folder))
            resumed = result_of(hilonn("resume", str(out), "--json", folder=folder))
            assert resumed["weights_sha256"] == whole["weights_sha256"]


@pytest.mark.parametrize("which", ["bench", "experiment"])
def test_schemas_are_json(which: str, folder: Path) -> None:
    schema = result_of(hilonn("schema", which, folder=folder))
    assert schema["properties"]


def test_check_says_go(folder: Path) -> None:
    report = result_of(hilonn("check", "simulated", "--json", folder=folder))
    assert report["go"]
    assert report["backend"] == "simulated"


@pytest.mark.parametrize("name", builtin_experiments())
def test_built_in_experiments_are_valid(name: str) -> None:
    assert load_experiment(name).file.layers
