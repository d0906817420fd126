"""Qontrol: golden frames, the contract on its emulated chain, faults, noise on the wire."""

from __future__ import annotations

import importlib.util
import select
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.drivers.qontrol import Qontrol, QontrolOptions
from hilonn.errors import ConnectionLost, DeviceError, DeviceTimeout
from hilonn.simulators.emulators import PtyServer, Rack, TcpServer
from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.qontrol import QontrolBox
from hilonn.simulators.emulators.server import Server
from hilonn.testing import ActuatorsContract
from hilonn.transports import Transport
from hilonn.transports.serial_line import SerialWire
from tests.drivers.faults import FAULTS
from tests.drivers.supplies import weathers
from tests.drivers.wires import scripted, wired

OPENING = [
    (b"id?\n", b"Q8iv-0123\n"),
    (b"nup=0\n", b"OK\n"),
    (b"nupall?\n", b"Q8iv-0123:0\nQ8iv-0124:1\n"),
    (b"vfull?\n", b"+12.000 V\n"),
]


def options(channels: int = 16) -> QontrolOptions:
    return QontrolOptions(channels=channels, high=10.0)


def arrived(transport: Transport) -> None:
    """What a box said by itself is on the line by now."""
    assert isinstance(transport.wire, SerialWire)
    line = transport.wire._line
    assert line is not None
    assert select.select([line.fileno()], [], [], 5.0)[0]


@pytest.fixture(params=["tcp", "pty"])
def chain(request: pytest.FixtureRequest) -> Server:
    box = QontrolBox("q", Rack(), modules=2)
    return TcpServer(box) if request.param == "tcp" else PtyServer(box)


class TestQontrol(ActuatorsContract):
    @pytest.fixture
    def device(self, chain: Server) -> Iterator[Qontrol]:
        with wired(chain) as transport, Qontrol("heaters", transport, options()) as opened:
            yield opened


def test_golden_lines() -> None:
    volts = np.zeros(16)
    volts[3], volts[9] = 1.5, 0.25
    exchanges = [
        *OPENING,
        (
            b"VVEC0=0,0,0,1.50000,0,0,0,0\nVVEC8=0,0.25000,0,0,0,0,0,0\n",
            b"OK\nOK\n",
        ),
        (b"VVEC8=0,0.50000,0,0,0,0,0,0\n", b"OK\n"),
    ]
    with scripted(exchanges) as transport:
        device = Qontrol("heaters", transport, options())
        device.open()
        device.write(volts)
        volts[9] = 0.5
        device.write(volts)  # only the module that changes
        device.close()


def test_a_window_of_commands_stays_full() -> None:
    lines = [f"VVEC{first}={','.join(['1.00000'] * 8)}\n".encode() for first in range(0, 40, 8)]
    modules = "".join(f"Q8iv-012{k}:{k}\n" for k in range(5)).encode()
    answers = [
        (lines[0] + lines[1], b"OK\n"),  # one is answered, one is under way
        (lines[2], b"OK\n"),
        (lines[3], b"OK\n"),
        (lines[4], b"OK\nOK\n"),
    ]
    with scripted([*OPENING[:2], (b"nupall?\n", modules), OPENING[3], *answers]) as transport:
        device = Qontrol("heaters", transport, QontrolOptions(channels=40, pipeline=2))
        device.open()
        device.write(np.full(40, 1.0))


def test_a_current_limit_is_set_at_opening() -> None:
    limits = [(f"imax{k}=20.0000\n".encode(), b"OK\n") for k in range(8)]
    with scripted(
        [*OPENING[:2], (b"nupall?\n", b"Q8iv-0123:0\n"), OPENING[3], *limits]
    ) as transport:
        Qontrol("heaters", transport, QontrolOptions(channels=8, max_current=0.02)).open()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"E01:02\n", "over-voltage, channel 2"),
        (b"E02:05\n", "over-current, channel 5"),
        (b"E77:01\n", "the manual does not list, channel 1"),
        (b"+1.000 V\n", "not OK"),
    ],
)
def test_an_error_line_is_raised_with_its_meaning(answer: bytes, words: str) -> None:
    frame = b"VVEC0=" + b",".join([b"1.00000"] * 8) + b"\n"
    opening = [*OPENING[:2], (b"nupall?\n", b"Q8iv-0123:0\n"), OPENING[3]]
    with scripted([*opening, (frame, answer)]) as transport:
        device = Qontrol("heaters", transport, options(8))
        device.open()
        with pytest.raises(DeviceError, match=words):
            device.write(np.ones(8))


def test_too_short_a_chain_is_told() -> None:
    with (
        scripted(OPENING[:3]) as transport,
        pytest.raises(DeviceError, match=r"17 channels.*2 modules"),
    ):
        Qontrol("heaters", transport, options(17)).open()


def test_an_error_that_comes_unasked_is_raised_by_the_next_command() -> None:
    chain = PtyServer(QontrolBox("q", Rack(), modules=2))
    with wired(chain) as transport, Qontrol("heaters", transport, options()) as device:
        device.write(np.full(16, 1.0))
        chain.say(b"E02:05\n")
        arrived(transport)
        with pytest.raises(DeviceError, match=r"by itself: E02:05.*over-current, channel 5"):
            device.write(np.full(16, 2.0))
        np.testing.assert_allclose(device.read_back(), 1.0, atol=1e-3)  # nothing was sent
        device.write(np.full(16, 2.0))
        np.testing.assert_allclose(device.read_back(), 2.0, atol=1e-3)


def test_an_error_that_comes_within_an_answer_is_raised_after_it() -> None:
    values = b"+1.000 V\n" * 8
    opening = [*OPENING[:2], (b"nupall?\n", b"Q8iv-0123:0\n"), OPENING[3]]
    answers = [(b"vall?\n", values[:18] + b"E02:05\n" + values[18:]), (b"vall?\n", values)]
    with scripted([*opening, *answers]) as transport:
        device = Qontrol("heaters", transport, options(8))
        device.open()
        with pytest.raises(DeviceError, match=r"by itself: E02:05.*over-current, channel 5"):
            device.read_back()
        np.testing.assert_array_equal(device.read_back(), 1.0)


def test_an_error_unasked_does_not_keep_the_heaters_from_going_to_zero() -> None:
    box = QontrolBox("q", Rack(), modules=20)
    chain = PtyServer(box)
    with wired(chain, timeout=2.0) as transport:
        device = Qontrol("heaters", transport, options(160))
        device.open()
        device.write(np.full(160, 1.0))
        chain.say(b"E02:05\n")
        arrived(transport)
        device.safe_state()
        np.testing.assert_array_equal(box.volts, 0.0)
        with pytest.raises(DeviceError, match="by itself: E02:05"):
            device.read_back()


def test_a_module_that_refuses_zero_does_not_keep_the_others_from_it() -> None:
    opening = [*OPENING[:2], (b"nupall?\n", b"Q8iv-0123:0\nQ8iv-0124:1\n"), OPENING[3]]
    zeros = b",".join([b"0"] * 8) + b"\n"
    answers = [(b"VVEC0=" + zeros, b"E05:03\n"), (b"VVEC8=" + zeros, b"OK\n")]
    with scripted([*opening, *answers]) as transport:
        device = Qontrol("heaters", transport, QontrolOptions(channels=16, high=10.0, pipeline=1))
        device.open()
        with pytest.raises(DeviceError, match="E05:03: output, channel 3"):
            device.safe_state()


def test_what_the_box_said_before_it_was_opened_is_of_no_interest() -> None:
    chain = PtyServer(QontrolBox("q", Rack(), modules=2))
    with wired(chain) as transport:
        chain.say(b"E90:00\n")
        arrived(transport)
        with Qontrol("heaters", transport, options()) as device:
            device.write(np.full(16, 1.0))


def test_a_module_that_starts_anew_is_told() -> None:
    chain = PtyServer(QontrolBox("q", Rack(), modules=2))
    with wired(chain) as transport, Qontrol("heaters", transport, options()) as device:
        device.write(np.full(16, 1.0))
        chain.reboot()
        arrived(transport)
        with pytest.raises(DeviceError, match="E90:00: powered up"):
            device.write(np.full(16, 1.0))
        device.write(
            np.full(16, 1.0)
        )  # sent, though it is the same: what the box holds was forgotten
        np.testing.assert_allclose(device.read_back(), 1.0, atol=1e-3)


def test_an_error_before_the_answer_to_a_set_is_raised() -> None:
    server = TcpServer(QontrolBox("q", Rack(), modules=2))
    with wired(server) as transport, Qontrol("heaters", transport, options()) as device:
        device.write(np.full(16, 1.0))
        server.faults.inject(Fault("unsolicited", data=b"E02:05\n"))
        with pytest.raises(DeviceError, match="E02:05: over-current, channel 5"):
            device.write(np.full(16, 2.0))
        device.write(np.full(16, 2.0))
        np.testing.assert_allclose(device.read_back(), 2.0, atol=1e-3)


def test_currents_are_read() -> None:
    with (
        wired(TcpServer(QontrolBox("q", Rack(), modules=2, load=500.0))) as transport,
        Qontrol("heaters", transport, options(12)) as device,
    ):
        device.write(np.arange(12) / 4)
        np.testing.assert_allclose(device.currents(), np.arange(12) / 2000, atol=2e-6)


def test_too_much_current_is_refused_by_the_box_with_its_channel() -> None:
    box = QontrolBox("q", Rack(), modules=2, load=100.0)
    chosen = QontrolOptions(channels=16, max_current=0.01)
    with wired(TcpServer(box)) as transport, Qontrol("heaters", transport, chosen) as device:
        volts = np.full(16, 0.5)
        volts[11] = 1.5
        with pytest.raises(DeviceError, match="over-current, channel 11"):
            device.write(volts)


def test_the_box_refuses_what_its_own_limits_forbid(chain: Server) -> None:
    box = chain.instrument
    assert isinstance(box, QontrolBox)
    with wired(chain) as transport, Qontrol("heaters", transport, options()) as device:
        transport.ask("vmax3=2.0", lambda reader: reader.line())
        with pytest.raises(DeviceError, match="over-voltage, channel 3"):
            device.write(np.full(16, 5.0))
        assert box.volts[3] == 0.0


ON_A_LINE = [kind for kind in FAULTS if kind not in ("half_close", "reset")]
"""A serial line has no sides to shut and no connection to break."""


@pytest.mark.parametrize(
    ("wire", "kind"),
    [("tcp", kind) for kind in FAULTS] + [("pty", kind) for kind in ON_A_LINE],
)
@pytest.mark.parametrize("after", [0, 1])
def test_whatever_the_wire_does(wire: str, kind: str, after: int) -> None:
    box = QontrolBox("q", Rack(), modules=2)
    server = TcpServer(box) if wire == "tcp" else PtyServer(box)
    weathers(server, lambda transport: Qontrol("heaters", transport, options()), kind, after)


@given(st.binary(max_size=60))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    opening = [*OPENING[:2], (b"nupall?\n", b"Q8iv-0123:0\n"), OPENING[3]]
    wire = [*opening, (b"vall?\n", answer)]
    with scripted(wire) as transport:
        device = Qontrol("heaters", transport, options(8))
        device.open()
        transport.timeout = 0.01
        try:
            back = device.read_back()
        except (ConnectionLost, DeviceError, DeviceTimeout):
            return
        assert back.shape == (8,)
        assert np.isfinite(back).all()


@pytest.mark.skipif(
    importlib.util.find_spec("qontrol") is None,
    reason="the vendor's package `qontrol` is not installed (extra `peers`)",
)
@pytest.mark.filterwarnings("ignore")  # its regular expressions, and a port that it leaves open
def test_the_vendors_package_finds_a_chain_behind_the_emulator() -> None:
    import qontrol

    box = QontrolBox("q", Rack(), modules=3)
    with PtyServer(box) as chain:
        peer = qontrol.QXOutput(serial_port_name=chain.port, response_timeout=0.2)
        try:
            found = [(m["device_id"], m["n_chs"], m["index"]) for m in peer.chain]
            assert found == [(f"Q8iv-010{k + 1}", 8, k) for k in range(3)]
            assert (peer.n_chs, peer.v_full, peer.i_full) == (24, 12.0, 24.0)
            peer.v[3] = 1.5
            assert peer.v[3] == pytest.approx(1.5, abs=1e-3)
            assert peer.i[3] == pytest.approx(1.5, abs=2e-3)  # mA into 1 kohm
            peer.set_all_values("V", [0.25 * k for k in range(24)])
            np.testing.assert_allclose(box.volts, 0.25 * np.arange(24), atol=2e-4)
            peer.vmax[2] = 2.0
            peer.v[2] = 3.0  # refused: the package says so in its log alone
            assert peer.log[-1]["raw"] == "E01:02"
            assert box.volts[2] == pytest.approx(0.5, abs=1e-3)
        finally:
            peer.close()
