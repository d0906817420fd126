"""The Lua that emulated TSP boxes run."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.simulators.emulators import Rack
from hilonn.simulators.emulators.keithley_2600 import Keithley2600Box


def box() -> Keithley2600Box:
    return Keithley2600Box("smu", Rack())


def ask(emulated: Keithley2600Box, line: str) -> str:
    return b"".join(reply.data for reply in emulated.answer(line)).decode()


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("print(1.5)", "1.50000e+00"),
        (
            "x = 3; print(x, -x, x*2+1, (x-1)/4)",
            "3.00000e+00\t-3.00000e+00\t7.00000e+00\t5.00000e-01",
        ),
        ("print(1 == 1, 1 ~= 1, smua ~= nil, smuc ~= nil)", "true\tfalse\ttrue\tfalse"),
        ("print(nothing)", "nil"),
        ("print('a text')", "a text"),
        ("smua.source.levelv=2 smua.source.output=1 print(smua.source.levelv)", "2.00000e+00"),
        ("smua.source.levelv=1 smua.source.output=1 print(smua.measure.i())", "1.00000e-03"),
        ("format.asciiprecision=10 print(0.1)", "1.000000000e-01"),
    ],
)
def test_lines(line: str, answer: str) -> None:
    emulated = box()
    assert ask(emulated, line) == answer + "\n"
    assert ask(emulated, "print(errorqueue.count)").startswith("0.0")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("smua.source.levelv = ", -285),
        ("smua.source.output=1 smua.source.levelv=1 print(", -285),
        ("smuz.source.levelv = 1", -286),
        ("print(smuz.source.levelv)", -286),
        ("smua.source.levelv = 'high'", -286),
        ("smua.nonsense()", -286),
        ("smua.source.levelv = 300", 1102),
        ("smua.source.levelv = -300", 1103),
        ("§", -285),
        ("x=" + "(" * 1000 + "1" + ")" * 1000, -285),
    ],
)
def test_errors_are_queued_and_change_nothing(line: str, code: int) -> None:
    emulated = box()
    assert ask(emulated, line) == ""
    assert (emulated.outputs.volts == 0.0).all()
    assert float(ask(emulated, "print(errorqueue.next())").split("\t")[0]) == code
    assert ask(emulated, "print(errorqueue.next())").split("\t")[1] == "Queue Is Empty"


@given(st.text(alphabet="smua.source.levelv=(),-+ 01ew'\"print;~", max_size=40))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_no_line_breaks_it(line: str) -> None:
    emulated = box()
    emulated.answer(line)
    assert ask(emulated, "*IDN?").startswith("Keithley")
