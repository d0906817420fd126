"""Short turns at the interpreter: while anybody is inside, and not a moment longer."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from hilonn.passes.turns import TURN, short_turns


@pytest.fixture(autouse=True)
def default() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    yield
    sys.setswitchinterval(before)


def test_turns_are_short_within_and_as_before_after_it() -> None:
    with short_turns(), short_turns():
        assert sys.getswitchinterval() == pytest.approx(TURN)
    assert sys.getswitchinterval() == pytest.approx(0.005)


def test_an_error_puts_back_what_was_set() -> None:
    with pytest.raises(KeyError), short_turns():
        raise KeyError
    assert sys.getswitchinterval() == pytest.approx(0.005)


def test_shorter_ones_stay() -> None:
    sys.setswitchinterval(1e-5)
    with short_turns():
        assert sys.getswitchinterval() == pytest.approx(1e-5)


def test_the_last_thread_to_leave_puts_back_what_the_first_found() -> None:
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with short_turns():
            entered.set()
            leave.wait(10.0)

    thread = threading.Thread(target=stay)
    with short_turns():
        thread.start()
        assert entered.wait(10.0)
    assert sys.getswitchinterval() == pytest.approx(TURN)
    leave.set()
    thread.join(10.0)
    assert sys.getswitchinterval() == pytest.approx(0.005)
