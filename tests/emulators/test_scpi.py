"""The SCPI that emulated boxes speak."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.simulators.emulators import Rack, ScpiInstrument
from hilonn.simulators.emulators.prologix import PrologixBox
from hilonn.simulators.emulators.scpi import (
    ScpiError,
    Timed,
    asked,
    block,
    number,
    scientific,
    switch,
)


class Supply(ScpiInstrument):
    identity = "HILONN,SUPPLY,1,0"

    def __init__(self) -> None:
        super().__init__("supply", Rack(lockstep=True))
        self.volts = {1: 0.0, 2: 0.0}
        self.settled_at = 0.0
        self.command("SOURce#:VOLTage[:LEVel]", self.set)
        self.command(
            "SOURce#:VOLTage[:LEVel]?",
            lambda n, text=None: f"{asked(self.volts[n], text, 0.0, 10.0, 1.0):g}",
        )
        self.command("SOURce#:SETTle", self.settle)
        self.command("MEASure?", lambda: Timed("3", busy=0.2, wait=0.1), busy=1.0)
        self.command("SOURce#:CURRent:LIMit?", lambda n: "0.1")
        self.command("FETCh:ALL?", lambda: block(b"\n;\r"))

    def set(self, channel: int, text: str) -> None:
        if channel not in self.volts:
            raise ScpiError(-222, "Data out of range")
        self.volts[channel] = number(text, 0.0, 10.0, unit="V")

    def settle(self, channel: int, seconds: str) -> None:
        self.settled_at = self.rack.now() + float(seconds)

    def pending(self) -> float:
        return max(self.settled_at - self.rack.now(), 0.0)

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


def test_a_command_error_ends_the_message_and_other_errors_do_not() -> None:
    box = Supply()
    assert ask(box, "SOUR1:VOLT?;NONSENSE;:SOUR1:VOLT 4;VOLT?") == b"0\n"
    assert box.volts[1] == 0.0
    assert ask(box, "SOUR1:VOLT?;VOLT 11;VOLT 4;VOLT?") == b"0;4\n"


def test_limits_are_asked_by_name() -> None:
    box = Supply()
    assert ask(box, "SOUR1:VOLT? MIN;VOLT? MAXimum;VOLT? def") == b"0;10;1\n"
    assert ask(box, "SOUR1:VOLT? 3") == b""
    assert ask(box, "SYST:ERR?").startswith(b"-224,")


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("1550NM", "M", 1.55e-6),
        ("1.55E-6", "M", 1.55e-6),
        ("1.55 UM", "M", 1.55e-6),
        ("3MW", "W", 3e-3),
        ("-20DBM", "DBM", -20.0),
        ("100US", "S", 1e-4),  # a limit, in spite of binary fractions
        ("1 ms", "S", 1e-3),
        ("2MHZ", "HZ", 2e6),  # mega, where milli makes no sense
        ("2MOHM", "OHM", 2e6),
        ("5MAHZ", "HZ", 5e6),
    ],
)
def test_units_and_their_prefixes(text: str, unit: str, value: float) -> None:
    low = 1e-4 if unit == "S" else -1e9
    assert number(text, low, 1e9, unit=unit) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("text", ["1NM", "1 M", "1DBM", "1WW", "1MMW"])
def test_other_units_are_refused(text: str) -> None:
    with pytest.raises(ScpiError) as found:
        number(text, -1e9, 1e9, unit="W")
    assert found.value.number == -131


def test_event_status_has_a_bit_a_kind() -> None:
    box = Supply()
    assert ask(box, "*ESR?") == b"0\n"
    box.reboot()
    bits = {"": 128, "NONSENSE": 32, "SOUR:VOLT 11": 16, "*OPC": 1}
    for line, bit in bits.items():
        ask(box, line)
        assert int(ask(box, "*ESR?")) == bit, line
    for number_of, bit in ((-310, 8), (-410, 4), (77, 8)):
        box.fail(number_of, "")
        assert int(ask(box, "*ESR?")) == bit
    assert ask(box, "*ESR?") == b"0\n"  # reading clears


def test_the_status_byte_sums_up_what_is_enabled() -> None:
    box = Supply()
    ask(box, "NONSENSE")
    assert ask(box, "*STB?") == b"4\n"
    ask(box, "*ESE 32")
    assert ask(box, "*ESE?;*STB?") == b"32;36\n"
    ask(box, "*SRE 36")
    assert ask(box, "*SRE?;*STB?") == b"36;100\n"
    ask(box, "*CLS")
    assert ask(box, "*STB?") == b"0\n"
    ask(box, "*ESE 256")
    assert ask(box, "SYST:ERR?").startswith(b"-222,")


def test_operations_that_take_time_are_waited_for() -> None:
    box = Supply()
    (reply,) = box.answer("SOUR1:SETT 2;*OPC?")
    assert (reply.data, reply.wait) == (b"1\n", 2.0)
    assert box.answer("*WAI")[0].wait == 2.0
    ask(box, "*OPC")
    assert ask(box, "*ESR?") == b"0\n"
    box.rack.sleep(2.0)
    assert ask(box, "*ESR?") == b"1\n"
    assert box.answer("*OPC?")[0].wait == 0.0


def test_times_add_up_and_waits_go_on_together() -> None:
    (reply,) = Supply().answer("MEAS?;:MEAS?")
    assert reply.data == b"3;3\n"
    assert (reply.busy, reply.wait) == (pytest.approx(2.4), 0.1)


def test_on_a_bus_a_query_can_be_interrupted_or_missing() -> None:
    bus = PrologixBox("gpib", Rack(), {5: Supply()}).session()

    def said(line: str) -> bytes:
        return b"".join(reply.data for reply in bus.feed(line.encode() + b"\n"))

    for line in ("++addr 5", "++auto 0", "SOUR1:VOLT 3", "SOUR1:VOLT?"):
        assert said(line) == b""
    assert said("++spoll") == b"16\r\n"
    assert said("SOUR2:VOLT?") == b""  # before the first answer was taken
    assert said("++read eoi") == b"0\n"
    said("SYST:ERR?")
    assert said("++read eoi").startswith(b"-410,")
    assert said("++read eoi") == b""  # asked nothing
    assert said("++spoll") == b"4\r\n"
    said("SYST:ERR?")
    assert said("++read eoi").startswith(b"-420,")
