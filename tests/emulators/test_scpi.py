"""The SCPI that emulated boxes speak."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.simulators.emulators import Rack, ScpiInstrument
from hilonn.simulators.emulators.scpi import ScpiError, block, number, scientific, switch


class Supply(ScpiInstrument):
    identity = "HILONN,SUPPLY,1,0"

    def __init__(self) -> None:
        super().__init__("supply", Rack())
        self.volts = {1: 0.0, 2: 0.0}
        self.command("SOURce#:VOLTage[:LEVel]", self.set)
        self.command("SOURce#:VOLTage[:LEVel]?", lambda n: f"{self.volts[n]:g}")
        self.command("SOURce#:CURRent:LIMit?", lambda n: "0.1")
        self.command("FETCh:ALL?", lambda: block(b"\n;\r"))

    def set(self, channel: int, text: str) -> None:
        if channel not in self.volts:
            raise ScpiError(-222, "Data out of range")
        self.volts[channel] = number(text, 0.0, 10.0, unit="V")

    def reset(self) -> None:
        self.volts = {1: 0.0, 2: 0.0}

    def state(self) -> dict[str, str]:
        return {}


def ask(box: ScpiInstrument, line: str) -> bytes:
    return b"".join(reply.data for reply in box.answer(line))


@pytest.mark.parametrize(
    "line",
    [
        "SOUR1:VOLT 2.5",
        "source1:voltage 2.5",
        ":SOUR:VOLT:LEV 2500 mV",
        "SOURce:VOLTage:LEVel 2.5V",
        "sour1:volt 25e-1",
        "*RST;:SOUR1:VOLT 1;VOLT 2.5",
        "SOUR1:VOLT 1;*CLS;VOLT 2.5",
    ],
)
def test_forms_of_one_command(line: str) -> None:
    box = Supply()
    assert ask(box, line) == b""
    assert ask(box, "SYST:ERR?") == b'+0,"No error"\n'
    assert ask(box, "SOUR1:VOLT?") == b"2.5\n"


def test_a_path_is_kept_over_semicolons_and_answers_share_a_line() -> None:
    box = Supply()
    ask(box, "SOUR2:VOLT 3;VOLT 4")
    assert ask(box, "SOUR2:VOLT?;CURR:LIM?;:SOUR1:VOLT?") == b"4;0.1;0\n"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("NONSENSE", -113),
        ("SOURC:VOLT 1", -113),  # neither the short nor the long form
        ("SOUR:VOLT", -109),
        ("SOUR:VOLT 1,2", -108),
        ("SOUR:VOLT abc", -104),
        ("SOUR:VOLT 11", -222),
        ("SOUR:VOLT 1A", -131),
        ("SOUR3:VOLT 1", -222),
    ],
)
def test_errors_are_queued_and_not_answered(line: str, code: int) -> None:
    box = Supply()
    assert ask(box, line) == b""
    assert box.volts == {1: 0.0, 2: 0.0}
    assert int(ask(box, "*STB?")) & 4
    assert ask(box, "SYST:ERR?").startswith(f"{code},".encode())
    assert ask(box, "SYST:ERR?") == b'+0,"No error"\n'


def test_the_queue_holds_thirty_and_says_that_it_ran_over() -> None:
    box = Supply()
    for _ in range(40):
        ask(box, "NONSENSE")
    codes = [ask(box, "SYST:ERR?").split(b",")[0] for _ in range(31)]
    assert codes[:29] == [b"-113"] * 29
    assert codes[29:] == [b"-350", b"+0"]


def test_limits_by_name() -> None:
    assert [number(t, 1.0, 9.0, default=4.0) for t in ("MIN", "maximum", "DEF")] == [1.0, 9.0, 4.0]
    assert [switch(t) for t in ("on", "0")] == [True, False]


@given(st.floats(-1e30, 1e30, allow_nan=False))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_numbers_in_the_way_of_keysight(value: float) -> None:
    text = scientific(value)
    assert text[0] in "+-"
    assert text[-4] in "+-"
    assert float(text) == pytest.approx(value, rel=1e-8, abs=1e-300)


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_no_line_breaks_it(line: str) -> None:
    box = Supply()
    box.answer(line)
    assert ask(box, "*IDN?") == b"HILONN,SUPPLY,1,0\n"
