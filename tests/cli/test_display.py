"""The live view: what a person reads from it, at a fixed moment."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hilonn.cli.display import BLOCKS, TimeLeft, TrainingDisplay, clock, sparkline
from hilonn.training import Progress


def progress(kind: str, epoch: int, step: int, **more: object) -> Progress:
    metrics = {"loss": 0.25, "accuracy": 0.5, "snr_0": 12.3}
    return Progress(kind, epoch, 4, step, 10, metrics, **more)  # type: ignore[arg-type]


def test_time_left_counts_what_an_epoch_takes_besides_its_steps() -> None:
    left = TimeLeft()
    now, told = 0.0, None
    for epoch in range(2):
        for step in range(1, 11):
            now += 1.0
            told = left.update(progress("step", epoch, step), now)
        now += 5.0  # an evaluation
        told = left.update(progress("epoch", epoch + 1, 0), now)
    # Two epochs of 15 s are left; steps alone would say 20 s.
    assert told == pytest.approx(30.0)
    now += 4.0
    assert left.update(progress("step", 2, 4), now) == pytest.approx(30.0 - 15.0 * 0.4)


def test_time_left_is_not_guessed_before_steps_were_seen() -> None:
    left = TimeLeft()
    assert left.update(progress("step", 0, 1), 40.0) is None
    assert left.update(progress("step", 0, 3), 41.0) is None
    assert left.update(progress("step", 0, 4), 42.0) == pytest.approx(36.0)


def test_the_view_shows_what_was_asked_for() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=140, color_system=None)
    display = TrainingDisplay("digits on simulated", console=console)
    display.update(progress("epoch", 1, 0))
    shown = progress(
        "step",
        1,
        5,
        running={"loss": 0.125, "accuracy": 0.75},
        status={"temperature": 25.0041, "heater_power": 4.25},
        spent={"finding phases": 1.0, "passes": 3.0},
        passes=12345,
        retakes=2,
        chip_seconds=61.0,
        may_stop=True,
    )
    display.update(shown)
    console.print(display.view(shown, 3700.0, 12.0))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for wanted in (
        "digits on simulated",
        "epoch 2/4",
        "left at most 1:01:40",
        "75.0%, loss 0.1250",
        "12.3 of X - X'",
        "25.004 degC",
        "heaters 4.25 W",
        "12,345 passes",
        "1:01 of its time",
        "2 re-takes",
        "passes 75%, finding phases 25%",
    ):
        assert wanted in text, wanted


def test_a_file_gets_a_line_an_epoch_and_no_control_characters() -> None:
    console = Console(file=io.StringIO(), width=100)
    with TrainingDisplay("x", console=console) as display:
        for step in range(1, 4):
            display.update(progress("step", 0, step))
        display.update(progress("epoch", 1, 0))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text == "epoch 1/4: loss 0.2500, training 50.0%\n"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_sparklines_hold_every_value(values: list[float]) -> None:
    line = sparkline(values)
    assert len(line) == min(len(values), 40)
    assert set(line) <= set(BLOCKS)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3723, "1:02:03")])
def test_the_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_waiting_says_for_what_and_that_it_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    display = TrainingDisplay("xor", console=Console(file=sys.stderr, width=200))
    for _ in range(2):
        display.waiting("up to 60 s: q hung up\nLight is off")
    display.back(3.2)
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "made safe what answers, and waiting (Ctrl-C ends it) up to 60 s: q hung up",
        "Light is off",
        "all is back after 3 s: light is on again, and the run goes on",
    ]
