"""The controller: learning, reproducing, going on exactly, refusing."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from hilonn import registry
from hilonn.bench import Bench
from hilonn.datasets import Split, load_dataset
from hilonn.errors import ConfigError, LimitError
from hilonn.network import Dense, Network
from hilonn.rules import Backprop, TwoPass
from hilonn.runs import Run, checkpoint
from hilonn.training import Progress, Schedule, Trainer

NETWORK = Network(Dense(2, 8, "saturating_square"), Dense(8, 2))
RULE = TwoPass(feedback_scale=1.0, rate=0.02, hidden_rate=0.2)


def centred_xor() -> tuple[Split, Split, Split]:
    data = load_dataset("xor")
    return tuple(  # type: ignore[return-value]
        Split(part.inputs - data.mean, part.targets)
        for part in (data.train, data.validation, data.test)
    )


def trained(epochs: int, seed: int = 0, rule: object = RULE) -> tuple[str, float]:
    train, _, test = centred_xor()
    with Bench.open("simulated", seed=seed) as bench:
        trainer = Trainer(bench.chip(), NETWORK, rule, seed=seed)  # type: ignore[arg-type]
        trainer.fit(train, epochs=epochs, batch=20)
        return trainer.weights_sha256, trainer.evaluate(test).accuracy


def test_it_learns_what_no_linear_readout_can() -> None:
    assert trained(25)[1] > 0.9


def test_the_same_seed_gives_the_same_weights() -> None:
    first, again, other = trained(2)[0], trained(2)[0], trained(2, seed=1)[0]
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    "rule",
    [
        TwoPass(order="ABBA", rate=0.02, hidden_rate=0.2, feedback_scale=1.0),
        TwoPass(error_enters="layers", rate=0.02, hidden_rate=0.2, feedback_scale=1.0),
        TwoPass(update="time_local", rate=0.02, hidden_rate=0.02, feedback_scale=1.0),
        TwoPass(presynaptic="second", normalise=False, feedback_scale=0.05, output="softmax"),
        Backprop(rate=0.02, hidden_rate=0.2),
    ],
    ids=["ABBA", "layers", "time-local", "PEPITA", "backprop"],
)
def test_every_setting_of_the_rules_runs_on_a_chip(rule: object) -> None:
    assert 0.0 <= trained(1, rule=rule)[1] <= 1.0


def test_a_run_goes_on_bit_for_bit_in_another_process_s_bench(tmp_path: Path) -> None:
    train, validation, _ = centred_xor()

    def trainer_of(bench: Bench) -> Trainer:
        return Trainer(bench.chip(), NETWORK, RULE, seed=3)

    with Bench.open("simulated", seed=3) as bench:
        whole = trainer_of(bench)
        whole.fit(train, validation=validation, epochs=4, batch=20)
    with Bench.open("simulated", seed=3) as bench:
        half = trainer_of(bench)
        half.fit(train, validation=validation, epochs=4, batch=20, out=tmp_path / "run")
        # Back to the end of the second epoch: what a kill there would have left.
    with Run.open(tmp_path / "run", write=True) as run, Bench.open("simulated", seed=3) as bench:
        first = checkpoint.load(tmp_path / "run" / "checkpoint")
        assert first["state"]["progress"]["epoch"] == 4
        run.event("later")
        assert run.rewind()["progress"]["epoch"] == 4
        assert trainer_of(bench).weights_sha256 != whole.weights_sha256
    assert half.weights_sha256 == whole.weights_sha256


def test_patience_keeps_the_best_weights() -> None:
    train, validation, _ = centred_xor()
    with Bench.open("simulated", seed=0) as bench:
        seen: list[float] = []
        trainer = Trainer(
            bench.chip(),
            NETWORK,
            RULE,
            on_progress=lambda p: (
                seen.append(p.metrics["validation_accuracy"]) if p.kind == "epoch" else None
            ),
        )
        trainer.fit(train, validation=validation, epochs=40, batch=20, patience=3)
        assert len(seen) < 40
        assert seen.index(max(seen)) == len(seen) - 4
        with pytest.raises(ConfigError, match="patience"):
            trainer.fit(train, epochs=1, patience=2)


def test_data_that_does_not_fit_is_refused_in_the_dark() -> None:
    with Bench.open("simulated", seed=0) as bench:
        trainer = Trainer(bench.chip(), NETWORK, RULE)
        laser = bench.device("laser")
        for bad, message in (
            (Split(np.zeros((4, 3)), np.zeros(4, dtype=int)), "3 features"),
            (Split(np.zeros((4, 2)), np.full(4, 7)), "label 7"),
            (Split(np.zeros((0, 2)), np.zeros(0, dtype=int)), "empty"),
        ):
            with pytest.raises(ConfigError, match=message):
                trainer.fit(bad, epochs=1)
        assert not laser.emission()  # type: ignore[attr-defined]


def test_a_laser_that_trips_stops_the_run(tmp_path: Path) -> None:
    text = registry.load("hilonn.benches", "simulated")()
    path = tmp_path / "tripping.toml"
    path.write_text(
        text.replace('preset = "typical"', 'preset = "typical"\nfaults = ["laser_trip@0.01s"]')
    )
    train, validation, _ = centred_xor()
    with Bench.open(path, seed=0) as bench:
        trainer = Trainer(bench.chip(), NETWORK, RULE)
        with pytest.raises(LimitError, match="tripped"):
            trainer.fit(train, validation=validation, epochs=5, batch=20)


def test_the_confusion_matrix_counts_every_sample() -> None:
    _, _, test = centred_xor()
    with Bench.open("simulated", seed=0) as bench:
        evaluation = Trainer(bench.chip(), NETWORK, RULE).evaluate(test)
    assert evaluation.confusion.sum() == len(test)
    assert np.trace(evaluation.confusion) / len(test) == pytest.approx(evaluation.accuracy)


def test_every_pass_can_be_kept(tmp_path: Path) -> None:
    train, _, _ = centred_xor()
    with Bench.open("simulated", seed=0) as bench:
        trainer = Trainer(bench.chip(), NETWORK, RULE)
        run = trainer.fit(train, epochs=1, batch=20, out=tmp_path / "run", log_passes=True)
    assert run is not None
    passes = [e for e in run.events() if e["kind"] == "pass"]
    # A trip A of two layers and a trip B of the first, for each of 18 steps; what saturated and was
    # retaken is kept too.
    assert len(passes) == trainer.runner.statistics.passes + sum(p["saturated"] for p in passes)
    assert len(passes) >= 54
    assert run.array("pass_values").size == sum(int(np.prod(p["shape"])) for p in passes)


HASTY = TwoPass(feedback_scale=1.0, rate=0.8, hidden_rate=0.5, averages=1)


def blobs() -> Split:
    """Three clouds, and an input that is always lit: steep enough for a hasty rule to fall over."""
    rng = np.random.default_rng(0)
    centres = rng.normal(scale=0.25, size=(3, 2))
    labels = np.arange(300) % 3
    points = centres[labels] + 0.08 * rng.normal(size=(300, 2))
    return Split(np.hstack([points - points.mean(axis=0), np.full((300, 1), 0.5)]), labels)


@pytest.mark.parametrize("programming", ["decompose", "descend"])
def test_what_goes_wrong_is_taken_back_and_goes_on_exactly(
    tmp_path: Path, programming: str
) -> None:
    network = Network(Dense(3, 16, "saturating_square"), Dense(16, 3))
    bench_file = tomllib.loads(registry.load("hilonn.benches", "simulated")())
    for section in bench_file["chips"].values():
        section["programming"] = programming
    path = tmp_path / "bench.toml"
    path.write_text(tomli_w.dumps(bench_file))
    settings = {"epochs": 12, "batch": 20}

    class Cut(Exception):
        pass

    def train(out: Path, cut: tuple[int, int] | None) -> tuple[str, list[dict[str, float]]]:
        def note(progress: Progress) -> None:
            if (progress.epoch, progress.step) == cut and progress.kind == "step":
                raise Cut

        with Bench.open(path, seed=1) as bench:
            trainer = Trainer(bench.chip(), network, HASTY, seed=1, on_progress=note)
            trainer.fit(blobs(), out=out, checkpoint_seconds=1e-6, **settings)  # type: ignore[arg-type]
        epochs = [e for e in Run.open(out).events() if e["kind"] == "epoch"]
        return trainer.weights_sha256, epochs

    whole, epochs = train(tmp_path / "whole", None)
    wrong = [e["epoch"] for e in epochs if e.get("taken_back")]
    assert wrong, [e["loss"] for e in epochs]
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    with pytest.raises(Cut):
        train(tmp_path / "cut", (wrong[0], 2))  # in the middle of the epoch after the first
    with Bench.open(path, seed=1) as bench, Run.open(tmp_path / "cut", write=True) as run:
        trainer = Trainer(bench.chip(), network, HASTY, seed=1)
        trainer.resume(run, blobs(), validation=None, schedule=Schedule(12, 20))
    assert trainer.weights_sha256 == whole


def test_numbers_are_learned_as_they_are() -> None:
    rng = np.random.default_rng(0)
    x = np.hstack([rng.uniform(-0.5, 0.5, (300, 2)), np.full((300, 1), 0.5)])
    wanted = np.stack([x[:, 0] + x[:, 1], x[:, 0] * x[:, 1] * 2.0], axis=1)
    network = Network(Dense(3, 16, "saturating_square"), Dense(16, 2))
    with Bench.open("simulated", seed=0) as bench:
        trainer = Trainer(bench.chip(), network, TwoPass(), seed=0)
        trainer.fit(Split(x, wanted), epochs=15, batch=20)
        read = trainer.read(x).output
        with pytest.raises(ConfigError, match="right labels"):
            trainer.evaluate(Split(x, wanted))
        with pytest.raises(ConfigError, match="3 targets a sample"):
            trainer.fit(Split(x, np.zeros((300, 3))), epochs=1)
    assert np.mean((read - wanted) ** 2) < 0.3 * np.mean((wanted - wanted.mean(axis=0)) ** 2)
