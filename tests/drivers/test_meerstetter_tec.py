"""Meerstetter TEC: golden frames, the contract on its emulated box, errors, late answers, noise on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hilonn.drivers.mecom import BUSY_TRIES, MeCom, crc, frame
from hilonn.drivers.meerstetter_tec import MeerstetterOptions, MeerstetterTec
from hilonn.errors import ConnectionLost, DeviceError, DeviceTimeout
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import PtyServer, Rack, TcpServer
from hilonn.simulators.emulators.meerstetter_tec import MeerstetterBox
from hilonn.simulators.emulators.server import Server
from hilonn.testing import TemperatureControllerContract
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.wires import scripted, wired

ADDRESS = 2


def mount(**more: object) -> MeerstetterBox:
    rack = Rack(Plant("svd_mesh", 2, resolve("ideal")), lockstep=True)
    return MeerstetterBox("tec", rack, **more)  # type: ignore[arg-type]


@pytest.fixture(params=["tcp", "pty"])
def server(request: pytest.FixtureRequest) -> Server:
    return TcpServer(mount()) if request.param == "tcp" else PtyServer(mount())


class TestMeerstetter(TemperatureControllerContract):
    @pytest.fixture
    def device(self, server: Server) -> Iterator[MeerstetterTec]:
        with (
            wired(server) as transport,
            MeerstetterTec("temperature", transport, MeerstetterOptions()) as opened,
        ):
            yield opened


class TestSwitchedOff(TemperatureControllerContract):
    @pytest.fixture
    def device(self) -> Iterator[MeerstetterTec]:
        options = MeerstetterOptions(safe="off", low=20.0, high=30.0, max_current=2.0)
        with (
            wired(TcpServer(mount())) as transport,
            MeerstetterTec("temperature", transport, options) as opened,
        ):
            yield opened


GOLDEN = [
    ("?VR03E801", 1, b"#020001?VR03E801728F\r"),
    ("?VR006801", 2, b"#020002?VR006801F43B\r"),
    ("VS0BB80141C80000", 3, b"#020003VS0BB80141C80000569A\r"),
    ("VS07DA0100000001", 4, b"#020004VS07DA0100000001E1E1\r"),
    ("VS07DA0100000000", 5, b"#020005VS07DA0100000000E122\r"),
    ("?IF", 6, b"#020006?IFB2E7\r"),
]


@pytest.mark.parametrize(("payload", "sequence", "bytes_"), GOLDEN)
def test_golden_frames(payload: str, sequence: int, bytes_: bytes) -> None:
    assert frame(ADDRESS, sequence, payload) == bytes_


def test_golden_answers() -> None:
    exchanges = [
        (b"#020001?VR03E801728F\r", b"!02000141C80831F9F0\r"),
        (b"#020002?VR006801F43B\r", frame(ADDRESS, 2, "00000002", "!")),
        (b"#020003VS0BB80141C80000569A\r", b"!020003569A\r"),
        (b"#020004VS07DA0100000001E1E1\r", b"!020004E1E1\r"),
        (b"#020005VS07DA0100000000E122\r", b"!020005E122\r"),
        (b"#020006?IFB2E7\r", frame(ADDRESS, 6, "8065-TEC-1091 G01   ", "!")),
    ]
    with scripted(exchanges) as transport:
        box = MeCom("tec", transport, ADDRESS)
        assert box.number(1000) == pytest.approx(25.004, abs=1e-4)
        assert box.integer(104) == 2
        box.set_number(3000, 25.0)
        box.set_integer(2010, 1)
        box.set_integer(2010, 0)
        assert box.identify() == "8065-TEC-1091 G01"


def test_a_golden_error_is_raised_with_its_meaning() -> None:
    exchanges = [
        (b"#020001?IF7DAC\r", frame(ADDRESS, 1, "x", "!")),
        (frame(ADDRESS, 2, "?IF"), frame(ADDRESS, 2, "x", "!")),
        (b"#020003VS0BB80141C80000569A\r", b"!020003+0793FC\r"),
    ]
    exchanges[0] = (frame(ADDRESS, 1, "?IF"), exchanges[0][1])
    with scripted(exchanges) as transport:
        box = MeCom("tec", transport, ADDRESS)
        box.identify()
        box.identify()
        with pytest.raises(
            DeviceError, match="setting parameter 3000: error 7, value out of range"
        ):
            box.set_number(3000, 25.0)


def test_the_emulated_box_answers_golden_frames_byte_for_byte() -> None:
    box = mount()
    session = box.session()

    def ask(data: bytes) -> bytes:
        return b"".join(reply.data for reply in session.feed(data))

    assert ask(b"#020003VS0BB80141C80000569A\r") == b"!020003569A\r"
    assert ask(b"#020004VS07DA0100000001E1E1\r") == b"!020004E1E1\r"
    assert ask(b"#020005VS07DA0100000000E122\r") == b"!020005E122\r"
    assert ask(b"#020006?IF") == b""
    assert ask(b"B2E7\r") == frame(ADDRESS, 6, "8065-TEC-1091 G01   ", "!")
    assert ask(b"#020006?IFB2E8\r") == b""  # a CRC that does not hold
    assert ask(frame(7, 1, "?IF")) == b""  # another box's
    for payload, code in (
        ("XY", 1),
        ("VS0BB801", 4),
        ("VS07DA01-0000001", 4),  # as pyMeCom writes minus one
        ("?VR270F01", 5),
        ("VS03E80141C80000", 6),
        ("VS0BB80145000000", 7),
        ("?VR03E802", 8),
    ):
        assert ask(frame(ADDRESS, 1, payload)) == frame(ADDRESS, 1, f"+{code:02X}", "!"), payload


@given(st.binary(max_size=40))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_both_ways_to_reckon_the_crc_agree(data: bytes) -> None:
    from hilonn.simulators.emulators.meerstetter_tec import _crc

    assert crc(data) == _crc(data.decode("latin-1"))


def test_an_answer_that_comes_late_is_passed_over() -> None:
    late = frame(ADDRESS, 1, "41C80831", "!")
    right = frame(ADDRESS, 2, "42480000", "!")
    exchanges = [
        (frame(ADDRESS, 1, "?VR03E801"), frame(ADDRESS, 1, "41C80831", "!")),
        (frame(ADDRESS, 2, "?VR03E801"), late + b"!020001569A\r" + right),
    ]
    with scripted(exchanges) as transport:
        box = MeCom("tec", transport, ADDRESS)
        box.number(1000)
        assert box.number(1000) == 50.0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"!020001569A\r", "its CRC should be"),
        (b"!02000141C80831F9F1\r", "its CRC should be F9F0"),
        (frame(3, 1, "00000000", "!"), "box 3 answered, box 2"),
        (frame(ADDRESS, 1, "0000", "!"), "not 8 hex digits"),
        (frame(ADDRESS, 1, "7FC00000", "!"), "no number"),
        (frame(ADDRESS, 1, "+63", "!"), "error 99, an error that the protocol does not list"),
        (b"hello\r", "no frame of MeCom"),
    ],
)
def test_an_answer_that_is_none(answer: bytes, words: str) -> None:
    wire = scripted([(frame(ADDRESS, 1, "?VR03E801"), answer)])
    with wire as transport, pytest.raises(DeviceError, match=words):
        MeCom("tec", transport, ADDRESS).number(1000)


def test_negative_whole_numbers_are_in_twos_complement() -> None:
    exchange = (frame(ADDRESS, 1, "VS07DA01FFFFFFFF"), frame(ADDRESS, 1, "+07", "!"))
    with scripted([exchange]) as transport, pytest.raises(DeviceError, match="out of range"):
        MeCom("tec", transport, ADDRESS).set_integer(2010, -1)


def test_a_busy_box_is_asked_again_and_not_for_ever() -> None:
    box = mount()
    with wired(TcpServer(box)) as transport:
        tec = MeerstetterTec("temperature", transport, MeerstetterOptions())
        tec.open()
        box.be_busy(BUSY_TRIES - 1)
        tec.set_setpoint(30.0)
        assert tec.setpoint() == 30.0
        box.be_busy(BUSY_TRIES)
        with pytest.raises(DeviceError, match="busy 5 times running"):
            tec.temperature()


def test_limits_are_read_back() -> None:
    with wired(TcpServer(mount())) as transport:
        tec = MeerstetterTec("temperature", transport, MeerstetterOptions())
        tec.open()
        assert (tec.low, tec.high) == (5.0, 60.0)
        with pytest.raises(DeviceError, match=r"gives up outside 5 \.\. 60 degC"):
            MeerstetterTec("temperature", transport, MeerstetterOptions(high=80.0)).open()
        with pytest.raises(DeviceError, match=r"may drive 2 A .*max_current = 1\.5 A"):
            MeerstetterTec("temperature", transport, MeerstetterOptions(max_current=1.5)).open()
        with pytest.raises(DeviceError, match="error 5, parameter not available"):
            MeerstetterTec("temperature", transport, MeerstetterOptions(thresholds=(1, 2))).open()
        own = MeerstetterTec(
            "temperature", transport, MeerstetterOptions(thresholds=(), low=20.0, high=30.0)
        )
        own.open()
        assert (own.low, own.high) == (20.0, 30.0)
    with pytest.raises(ValidationError, match="needs `low` and `high`"):
        MeerstetterOptions(thresholds=())


def test_the_mount_follows_and_a_disturbance_is_seen() -> None:
    box = mount()
    with wired(TcpServer(box)) as transport:
        tec = MeerstetterTec("temperature", transport, MeerstetterOptions())
        tec.open()
        assert tec.stable()
        tec.set_setpoint(30.0)
        assert not tec.stable()
        box.rack.busy(600.0)
        assert tec.stable()
        assert tec.temperature() == pytest.approx(30.0, abs=0.05)
        box.disturb(1.0)
        assert tec.temperature() == pytest.approx(31.0, abs=0.1)
        assert not tec.stable()


def test_the_safe_state_holds_or_switches_off() -> None:
    box = mount()
    with wired(TcpServer(box)) as transport:
        holding = MeerstetterTec("temperature", transport, MeerstetterOptions())
        holding.open()
        holding.safe_state()
        assert box.on
        off = MeerstetterTec("temperature", transport, MeerstetterOptions(safe="off"))
        off.open()
        off.safe_state()
        assert not off.output()
        with pytest.raises(DeviceError, match="does not regulate: it is ready"):
            off.stable()
        box.rack.busy(600.0)
        assert off.temperature() == pytest.approx(22.0, abs=0.05)
        off.set_setpoint(25.0)
        assert off.output()


def test_a_box_in_error_says_so() -> None:
    box = mount()
    with wired(TcpServer(box)) as transport:
        tec = MeerstetterTec("temperature", transport, MeerstetterOptions())
        tec.open()
        box.fail(31)
        for act in (tec.stable, tec.open, lambda: tec.set_setpoint(25.0)):
            with pytest.raises(DeviceError, match="in error: number 31"):
                act()
        box.reboot()
        assert isinstance(tec.stable(), bool)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", [0, 1, 2, 3, 4])
def test_whatever_the_wire_does(kind: str, after: int) -> None:
    server = TcpServer(mount())
    with wired(server) as transport:
        tec = MeerstetterTec("temperature", transport, MeerstetterOptions())
        tec.open()
        fault = replace(FAULTS[kind], after=after)
        if fault.data:
            fault = replace(fault, data=b"!*unasked*!\r")

        def act() -> float:
            tec.set_setpoint(30.0)
            return tec.setpoint()

        survives(server, fault, act, lambda value: value == 30.0)
        if kind == "silence":
            return
        for _ in range(2):  # at most one command is spent on what was left on the wire
            if transport.lost:
                transport.reconnect(1.0)
            try:
                tec.set_setpoint(20.0)
                break
            except NAMED:
                continue
        assert tec.setpoint() == 20.0


@given(st.one_of(st.binary(max_size=40), st.text("!02+0123456789ABCDEF\r", max_size=40)))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes | str) -> None:
    raw = answer if isinstance(answer, bytes) else answer.encode()
    with scripted([(frame(ADDRESS, 1, "?VR03E801"), raw + b"\r")]) as transport:
        transport.timeout = 0.01
        tec = MeerstetterTec("temperature", transport, MeerstetterOptions())
        try:
            value = tec.temperature()
        except (ConnectionLost, DeviceError, DeviceTimeout):
            return
        assert abs(value) < 1000
