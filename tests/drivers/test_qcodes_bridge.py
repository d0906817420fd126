"""QCoDeS's own drivers as devices of ours, over sockets to emulated boxes: contracts, refusals, faults, any reading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.bench import Bench
from hilonn.devices import Identity, PhaseShifters, Photodetectors
from hilonn.drivers.bridge import BridgeOptions, Library, Parameter, TheirInstrument
from hilonn.drivers.qcodes_bridge import qcodes
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout, LimitError
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.keysight_n6700 import KeysightN6700Box
from hilonn.testing import ActuatorsContract, PhotodetectorsContract
from tests.drivers.bridges import bridged, built
from tests.drivers.faults import FAULTS, NAMED, survives

pytest.importorskip("qcodes", reason="the extra `qcodes` is not installed")
INSTRUMENT = {"instrument": "qcodes.instrument_drivers.Keysight.KeysightN6705B"}
SOURCE: dict[str, Any] = {
    **INSTRUMENT,
    "phase_shifters": {
        "channels": ["ch1.source_voltage", "ch2.source_voltage"],
        "low": 0.0,
        "high": 5.0,
        "switches": ["ch1.enable", "ch2.enable"],
        "on": "on",
        "off": "off",
    },
}
METER: dict[str, Any] = {
    **INSTRUMENT,
    "photodetectors": {
        "channels": ["ch1.current", "ch2.current"],
        "unit": "A",
        "ranges": [1e-3],
    },
}


def supply(volts: float = 20.4) -> TcpServer:
    return TcpServer(KeysightN6700Box("supply", Rack(), volts=volts))


class TestPhaseShifters(ActuatorsContract):
    @pytest.fixture
    def device(self) -> Iterator[PhaseShifters]:
        with bridged(qcodes, supply(), **SOURCE) as opened:
            yield opened


class TestPhotodetectors(PhotodetectorsContract):
    @pytest.fixture
    def device(self) -> Iterator[Photodetectors]:
        with bridged(qcodes, supply(), **METER) as opened:
            yield opened


def test_its_words_to_people_do_not_go_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with bridged(qcodes, supply(), **SOURCE):
        heard = capsys.readouterr()
    assert heard.out == ""
    assert "Connected to" in heard.err


def test_our_limit_holds_where_theirs_is_wider() -> None:
    with (
        bridged(qcodes, supply(), **SOURCE) as device,
        pytest.raises(LimitError, match=r"5\.5 V on channel 1"),
    ):
        device.write(np.array([1.0, 5.5]))


def test_what_their_library_refuses_is_told() -> None:
    other = {**SOURCE["phase_shifters"], "on": "yes"}
    with (
        bridged(qcodes, supply(), **{**SOURCE, "phase_shifters": other}) as device,
        pytest.raises(DeviceError, match=r"ch1\.enable = 'yes': QCoDeS says ValueError"),
    ):
        device.write(np.array([1.0, 1.0]))


def test_what_the_box_refuses_in_silence_is_told() -> None:
    with (
        bridged(qcodes, supply(volts=4.0), **SOURCE) as device,
        pytest.raises(DeviceError, match=r"source_voltage was set to 5 and reads 0"),
    ):
        device.write(np.array([5.0, 1.0]))


def test_a_setting_that_their_driver_loses_is_told() -> None:
    """QCoDeS 0.58 sends its limit with a wrong channel list, so that the box never takes it."""
    mapped = {"channels": ["ch1.voltage_limit"], "low": 0.0, "high": 10.0}
    chosen = {**INSTRUMENT, "phase_shifters": mapped}
    with bridged(qcodes, supply(), **chosen) as device:
        before = device.read_back()
        with pytest.raises(DeviceError, match=r"voltage_limit was set to 6 and reads 24"):
            device.write(np.array([6.0]))
        np.testing.assert_array_equal(device.read_back(), before)
    with (
        bridged(qcodes, supply(), **chosen, error_query="SYST:ERR?") as device,
        pytest.raises(DeviceError, match="the instrument says -"),
    ):
        device.write(np.array([6.0]))


def test_a_box_of_another_make_or_none_is_told_at_opening() -> None:
    server = supply()
    other = {**SOURCE, "instrument": "qcodes.instrument_drivers.rigol.RigolDP832"}
    with server, pytest.raises((DeviceError, DeviceTimeout, ConnectionLost)):
        built(qcodes, server, **other).open()
    with pytest.raises((DeviceError, DeviceTimeout, ConnectionLost)):
        built(qcodes, server, **SOURCE).open()  # nobody listens any more


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("ch1.voltage_source", "no parameter 'voltage_source'; there are source_voltage"),
        ("ch9.voltage", "no submodule 'ch9'; there are ch1"),
        ("close", "no parameter 'close'"),
    ],
)
def test_a_name_that_is_no_parameter_is_told_when_it_is_opened(path: str, words: str) -> None:
    server = supply()
    mapped = {"channels": [path], "low": 0.0, "high": 1.0}
    with server, pytest.raises(DeviceError, match=words):
        built(qcodes, server, **{**INSTRUMENT, "phase_shifters": mapped}).open()


def test_a_parameter_that_only_remembers_proves_nothing() -> None:
    dummy = {
        "instrument": "qcodes.instrument_drivers.mock_instruments.DummyChannelInstrument",
        "idn": False,
        "phase_shifters": {"channels": ["A.dummy_start"], "low": 0.0, "high": 1.0},
    }
    chosen = qcodes.options.model_validate(dummy)
    with pytest.raises(DeviceError, match="only remembers"):
        qcodes.build("box", chosen, None).open()


def test_only_an_instrument_class_is_taken() -> None:
    with pytest.raises(ConfigError, match=r"is no qcodes\.instrument\.instrument\.Instrument"):
        built(qcodes, supply(), **{**SOURCE, "instrument": "qcodes.instrument.ChannelList"})


BENCH = """
backend = "lab"

[devices.heaters]
driver = "qcodes"
instrument = "qcodes.instrument_drivers.Keysight.KeysightN6705B"
address = "TCPIP::127.0.0.1::{port}::SOCKET"
timeout = 0.5
limits = {{ high = 3.0, max_power = 0.02, resistance = 500.0 }}

[devices.heaters.phase_shifters]
channels = ["ch1.source_voltage", "ch2.source_voltage"]
low = 0.0
high = 5.0
switches = ["ch1.enable", "ch2.enable"]
on = "on"
off = "off"
"""


def test_a_bench_guards_it_and_leaves_it_safe(tmp_path: Any) -> None:
    path = tmp_path / "bench.toml"
    server = supply()
    with server:
        path.write_text(BENCH.format(port=server.port))
        with Bench.open(path) as bench:
            heaters = bench.device("heaters")
            assert isinstance(heaters, PhaseShifters)
            assert bench.identities["heaters"].model == "N6705B"
            heaters.write(np.array([2.0, 1.0]))
            for volts in (3.2, 4.0):
                with pytest.raises(LimitError):
                    heaters.write(np.array([volts, 1.0]))
            np.testing.assert_allclose(heaters.read_back(), [2.0, 1.0], atol=1e-3)
            assert bench.check().go
        box = server.instrument
        assert isinstance(box, KeysightN6700Box)
        assert not box.on.any()


def test_a_run_waits_for_a_box_that_a_library_has_lost(tmp_path: Any) -> None:
    path = tmp_path / "bench.toml"
    server = supply()
    waits = '[safety]\non_connection_lost = "wait"\npatience = 30.0\n'
    with server:
        path.write_text(BENCH.format(port=server.port) + waits)
        with Bench.open(path) as bench:
            heaters = bench.device("heaters")
            assert isinstance(heaters, PhaseShifters)
            heaters.write(np.array([2.0, 1.0]))
            server.stop()
            with pytest.raises(NAMED) as lost:
                heaters.write(np.array([1.0, 1.0]))
            again = TcpServer(server.instrument, port=server.port)
            told: list[str] = []

            def notice(text: str) -> None:
                told.append(text)
                if len(told) == 2:
                    again.start()

            try:
                bench.recover(lost.value, notice)
                assert len(told) >= 2
                heaters.write(np.array([1.0, 1.0]))
                bench.safe_state()
            finally:
                bench.close()
                again.stop()


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", [1])
def test_whatever_the_wire_does(kind: str, after: int) -> None:
    server = supply()
    with bridged(qcodes, server, **SOURCE) as device:
        device.write(np.array([1.0, 1.0]))
        survives(
            server,
            replace(FAULTS[kind], after=after),
            lambda: (device.write(np.array([3.0, 2.0])), device.read_back())[1],
            lambda back: bool(np.allclose(back, [3.0, 2.0], atol=1e-3)),
            most=20,
        )
        if kind == "silence":
            return
        for _ in range(2):
            try:
                device.write(np.array([4.0, 2.5]))
                break
            except NAMED:
                pass
        np.testing.assert_allclose(device.read_back(), [4.0, 2.5], atol=1e-3)


class Anything(Library):
    """A library whose instrument reads whatever a test says."""

    name = "Anything"

    def __init__(self) -> None:
        self.reads: Any = 0.0

    def build(self, device: str, options: BridgeOptions) -> Any:
        return self

    def find(self, instrument: Any, path: str) -> Parameter:
        return Parameter(lambda: self.reads, lambda value: None)

    def identity(self, instrument: Any) -> Identity:
        return Identity("a", "b", "c")

    def resource(self, instrument: Any) -> Any:
        return None

    def close(self, instrument: Any) -> None:
        return None


OBJECTS = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(),
    st.text(max_size=12),
    st.binary(max_size=8),
)


@given(OBJECTS)
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_reading_gives_a_number_or_a_named_error(reads: Any) -> None:
    library = Anything()
    chosen = BridgeOptions.model_validate({"instrument": "a.B", "laser": None, **PLAIN})
    box = TheirInstrument("box", library, chosen)
    box.open()
    library.reads = reads
    try:
        value = box.number("x")
    except DeviceError:
        return
    assert isinstance(value, float)
    assert value == float(reads) or np.isnan(value)


PLAIN: dict[str, Any] = {"phase_shifters": {"channels": ["x"], "low": 0.0, "high": 1.0}}
