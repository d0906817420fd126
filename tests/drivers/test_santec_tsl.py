"""Santec TSL: golden lines, the contract on its emulated box, alerts, interlock, faults, noise on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from hilonn.drivers.santec_tsl import SantecOptions, SantecTsl, described
from hilonn.errors import ConnectionLost, DeviceError, DeviceTimeout, LimitError
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.santec_tsl import SantecTslBox
from hilonn.testing import LaserContract
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.wires import scripted, wired

OK = (b":SYST:ERR?\r", b'0,"No error"\r')
UNIT = (b":POW:UNIT?\r", b"1\r")
CALM = (b":SYST:ALER?\r", b"No alerts.\r")
IDENTITY = (b"*IDN?\r", b"SANTEC,TSL-570,21020001,0001.000.0001\r")
OPENING = [
    IDENTITY,
    (b"*CLS\r", b""),
    (b":SYST:COMM:COD 1\r", b""),
    OK,
    (b":SYST:COMM:COD?\r", b"1\r"),
    (b":POW:UNIT 1\r", b""),
    OK,
    (b":POW:UNIT?\r", b"1\r"),
    (b":POW? MIN\r", b"+4.00000000E-002\r"),
    (b":POW? MAX\r", b"+2.00000000E+001\r"),
    (b":WAV? MIN\r", b"+1.48000000E-006\r"),
    (b":WAV? MAX\r", b"+1.64000000E-006\r"),
]


def lasing(booster: float = 1.0, **more: object) -> SantecTslBox:
    rack = Rack(Plant("svd_mesh", 2, resolve("ideal")))
    return SantecTslBox("santec", rack, booster=booster, **more)  # type: ignore[arg-type]


class ASantec(LaserContract):
    options = SantecOptions()
    model = "TSL-570"
    plant = True

    @pytest.fixture
    def device(self) -> Iterator[SantecTsl]:
        rack = Rack(Plant("svd_mesh", 2, resolve("ideal")) if self.plant else None)
        server = TcpServer(SantecTslBox("santec", rack, model=self.model))
        with wired(server) as transport, SantecTsl("laser", transport, self.options) as opened:
            yield opened


class TestScpi(ASantec):
    pass


class TestWithoutAPlant(ASantec):
    plant = False


class TestLegacyInDbmBehindAnAmplifier(ASantec):
    options = SantecOptions(command_set="legacy", unit="dBm", amplifier=10.0, high=0.1)


class TestLegacyOnly(ASantec):
    options = SantecOptions(command_set="legacy only", shutter_open=0)
    model = "TSL-710"


def test_golden_lines() -> None:
    exchanges = [
        *OPENING,
        UNIT,
        (b":POW 5.0000\r", b""),
        OK,
        CALM,
        (b":POW?\r", b"+5.00000000E+000\r"),
        (b":WAV 1.550123400e-06\r", b""),
        OK,
        (b"*OPC?\r", b"1\r"),
        CALM,
        (b":WAV?\r", b"+1.55012340E-006\r"),
        (b":POW?\r", b"+5.00000000E+000\r"),
        CALM,
        (b":POW:STAT 1\r", b""),
        OK,
        CALM,
        (b":POW:STAT?\r", b"1\r"),
        (b":POW:ACT?\r", b"+4.98000000E+000\r"),
        (b":POW?\r", b"+5.00000000E+000\r"),
        (b":POW:STAT 0\r", b""),
        OK,
        (b":POW:STAT?\r", b"0\r"),
    ]
    with scripted(exchanges) as transport:
        laser = SantecTsl("laser", transport, SantecOptions(amplifier=10.0))
        laser.open()
        assert laser.max_power == pytest.approx(0.2)
        assert laser.wavelengths == (1.48e-6, 1.64e-6)
        laser.set_power(0.05)
        laser.set_wavelength(1.5501234e-6)
        laser.set_emission(True)
        laser.safe_state()


def test_the_legacy_set_speaks_nm_and_asks_for_ranges_otherwise() -> None:
    exchanges = [
        IDENTITY,
        (b"*CLS\r", b""),
        (b":SYST:COMM:COD 0\r", b""),
        OK,
        (b":SYST:COMM:COD?\r", b"0\r"),
        (b":POW:UNIT 0\r", b""),
        OK,
        (b":POW:UNIT?\r", b"0\r"),
        (b":POW:MIN?\r", b"-13.97\r"),
        (b":POW:MAX?\r", b"+13.01\r"),
        (b":WAV:MIN?\r", b"+1480.0000\r"),
        (b":WAV:MAX?\r", b"+1640.0000\r"),
        (b":WAV 1550.1234\r", b""),
        OK,
        (b"*OPC?\r", b"1\r"),
        CALM,
        (b":WAV?\r", b"+1550.1234\r"),
        (b":POW:UNIT?\r", b"0\r"),
        (b":POW 6.9897\r", b""),
        OK,
        CALM,
        (b":POW?\r", b"+6.99\r"),
    ]
    with scripted(exchanges) as transport:
        laser = SantecTsl("laser", transport, SantecOptions(command_set="legacy", unit="dBm"))
        laser.open()
        laser.set_wavelength(1.5501234e-6)
        laser.set_power(5e-3)


def test_another_command_set_than_thought_is_found_out_at_opening() -> None:
    nanometres = [*OPENING[:-2], (b":WAV? MIN\r", b"+1480.0000\r")]
    with scripted(nanometres) as transport, pytest.raises(DeviceError, match="command set"):
        SantecTsl("laser", transport, SantecOptions()).open()
    unset = [*OPENING[:4], (b":SYST:COMM:COD?\r", b"0\r")]
    with scripted(unset) as transport, pytest.raises(DeviceError, match="says 0 after 1 was set"):
        SantecTsl("laser", transport, SantecOptions()).open()


def test_more_than_the_laser_has_is_refused_at_opening() -> None:
    with (
        scripted(OPENING[:-2]) as transport,
        pytest.raises(DeviceError, match="amplifier of 2"),
    ):
        SantecTsl("laser", transport, SantecOptions(amplifier=2.0, high=0.1)).open()
    with (
        scripted(OPENING) as transport,
        pytest.raises(DeviceError, match="the laser reaches"),
    ):
        SantecTsl("laser", transport, SantecOptions(wavelengths=(1.2e-6, 1.5e-6))).open()
    with pytest.raises(ValidationError, match="laser_powers"):
        SantecOptions(ask_limits=False)


def test_known_limits_need_not_be_asked() -> None:
    options = SantecOptions(
        ask_limits=False, laser_powers=(1e-4, 1e-2), wavelengths=(1.5e-6, 1.6e-6)
    )
    with scripted(OPENING[:-4]) as transport:
        laser = SantecTsl("laser", transport, options)
        assert laser.max_power == 1e-2
        laser.open()
        assert laser.wavelengths == (1.5e-6, 1.6e-6)
        with pytest.raises(LimitError, match=r"no less than 0\.0001 W"):
            laser.set_power(1e-5)


def test_an_error_is_raised_with_its_text() -> None:
    exchanges = [
        *OPENING,
        UNIT,
        (b":POW 5.0000\r", b""),
        (b":SYST:ERR?\r", b'-222,"Data out of range"\r'),
        OK,
    ]
    with scripted(exchanges) as transport:
        laser = SantecTsl("laser", transport, SantecOptions())
        laser.open()
        with pytest.raises(DeviceError, match=r":POW 5\.0000.*-222 .Data out of range"):
            laser.set_power(5e-3)


def test_a_setting_that_was_not_taken_is_found_out() -> None:
    exchanges = [
        *OPENING,
        UNIT,
        (b":POW 5.0000\r", b""),
        OK,
        CALM,
        (b":POW?\r", b"+1.00000000E+001\r"),
    ]
    with scripted(exchanges) as transport:
        laser = SantecTsl("laser", transport, SantecOptions())
        laser.open()
        with pytest.raises(DeviceError, match="did not take"):
            laser.set_power(5e-3)


def test_a_box_that_was_reset_to_dbm_is_not_sent_milliwatts() -> None:
    with scripted([*OPENING, (b":POW:UNIT?\r", b"0\r")]) as transport:
        laser = SantecTsl("laser", transport, SantecOptions())
        laser.open()
        with pytest.raises(DeviceError, match="says 0 after 1 was set"):
            laser.set_power(5e-3)


def test_alerts_in_words() -> None:
    assert (
        described("No07.,Inter lock detection")
        == "No07, interlock detection: the interlock is open"
    )
    assert described("No28.") == "No28, exhaust fan error"
    assert described("No99.,Something") == "No99, Something"


def test_light_reaches_the_plant_through_the_booster() -> None:
    box = lasing(10.0)
    plant = box.rack.plant
    assert plant is not None
    assert plant.laser_power == pytest.approx(0.1)
    with wired(TcpServer(box)) as transport:
        laser = SantecTsl("laser", transport, SantecOptions(amplifier=10.0))
        laser.open()
        assert laser.power() == pytest.approx(0.1)
        assert not box.rack.emission()
        laser.set_emission(True)
        laser.set_power(0.05)
        assert box.rack.emission()
        assert plant.laser_power == pytest.approx(0.05)
        laser.safe_state()
        assert not box.rack.emission()


def test_an_open_interlock_takes_the_light_and_keeps_it() -> None:
    box = lasing()
    with wired(TcpServer(box)) as transport:
        laser = SantecTsl("laser", transport, SantecOptions())
        laser.open()
        laser.set_emission(True)
        box.open_interlock()
        assert not box.rack.emission()
        assert not laser.emission()
        with pytest.raises(LimitError, match=r"No07, interlock detection.*close the interlock"):
            laser.set_emission(True)
        assert not laser.emission()
        laser.safe_state()  # never refused
        box.close_interlock()
        assert not laser.emission()
        laser.set_emission(True)  # what is past is not held against it
        assert laser.emission()
        assert box.rack.emission()


def test_a_trip_of_the_plant_is_seen() -> None:
    box = SantecTslBox(
        "santec",
        Rack(Plant("svd_mesh", 2, resolve("ideal"), faults=["laser_trip@1.0"]), lockstep=True),
    )
    with wired(TcpServer(box)) as transport:
        laser = SantecTsl("laser", transport, SantecOptions())
        laser.open()
        laser.set_emission(True)
        box.rack.busy(2.0)
        assert not laser.emission()
        assert laser.alerts() == ["No07.,Inter lock detection"]


def test_a_monitor_that_sees_no_light_is_believed() -> None:
    on = [(b":POW:STAT?\r", b"1\r")]
    faint = [(b":POW:ACT?\r", b"+1.00000000E-003\r"), (b":POW?\r", b"+5.00000000E+000\r")]
    with scripted([*OPENING, *on, *faint, *on]) as transport:
        laser = SantecTsl("laser", transport, SantecOptions())
        laser.open()
        assert not laser.emission()
        laser._options = SantecOptions(monitor=False)
        assert laser.emission()


def test_no_light_before_it_is_warm() -> None:
    box = SantecTslBox("santec", Rack(lockstep=True), warm_up=60.0)
    with wired(TcpServer(box)) as transport:
        laser = SantecTsl("laser", transport, SantecOptions())
        laser.open()
        with pytest.raises(DeviceError, match="No23, warm-up is going on"):
            laser.set_emission(True)
        eager = SantecTsl("laser", transport, SantecOptions(use_while_warming=True, patience=0.1))
        eager.open()
        with pytest.raises(DeviceError, match="no light comes: the box gives no reason"):
            eager.set_emission(True)
        box.rack.busy(60.0)
        laser.set_emission(True)
        assert laser.emission()


def test_pymeasure_is_a_client_of_the_emulated_box() -> None:
    santec = pytest.importorskip("pymeasure.instruments.santec")
    box = lasing()
    with TcpServer(box) as server:
        laser = santec.TSL570(
            f"TCPIP::127.0.0.1::{server.port}::SOCKET",
            visa_library="@py",
            read_termination="\r",
            write_termination="\r",
            timeout=2000,
        )
        try:
            assert laser.command_set == "Legacy"
            laser.command_set = "SCPI"
            laser.power_unit = "mW"
            laser.power_setpoint = 5.0
            laser.wavelength_setpoint = 1.5501e-6
            laser.output_enabled = True
            assert laser.power == pytest.approx(5.0)
            assert laser.wavelength_setpoint == pytest.approx(1.5501e-6)
            assert laser.output_enabled
            assert not laser.check_errors()
        finally:
            laser.adapter.close()
    assert box.rack.emission()


@pytest.mark.parametrize("opened", [0, 1])
def test_the_shutter_is_moved_only_where_its_polarity_is_told(opened: int) -> None:
    box = lasing()
    plant = box.rack.plant
    assert plant is not None
    with wired(TcpServer(box)) as transport:
        laser = SantecTsl("laser", transport, SantecOptions(shutter_open=opened))  # type: ignore[arg-type]
        laser.open()
        laser.set_emission(True)
        assert laser.emission()
        # The emulated box opens with 0: who believes 1 sees the monitor's light and has none.
        assert plant.emission == (opened == 0)
        laser.safe_state()
        assert not laser.emission()


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_whatever_the_wire_does(kind: str, after: int) -> None:
    server = TcpServer(lasing())
    with wired(server) as transport:
        laser = SantecTsl("laser", transport, SantecOptions())
        laser.open()
        fault = replace(FAULTS[kind], after=after)
        if fault.data:
            fault = replace(fault, data=b"!*unasked*!\r")

        def act() -> float:
            laser.set_power(5e-3)
            return laser.power()

        survives(server, fault, act, lambda power: abs(power - 5e-3) < 1e-6)
        if kind == "silence":
            return
        for _ in range(2):  # at most one command is spent on what was left on the wire
            if transport.lost:
                transport.reconnect(1.0)
            try:
                laser.set_power(2e-3)
                break
            except NAMED:
                continue
        assert laser.power() == pytest.approx(2e-3)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize(("after", "lit"), [(0, True), (1, True), (2, True), (0, False)])
def test_whether_there_is_light_is_told_right_or_not_at_all(
    kind: str, after: int, lit: bool
) -> None:
    server = TcpServer(lasing())
    with wired(server) as transport:
        laser = SantecTsl("laser", transport, SantecOptions())
        laser.open()
        laser.set_emission(lit)
        survives(
            server, replace(FAULTS[kind], after=after), laser.emission, lambda told: told is lit
        )


@given(st.binary(max_size=40))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    with scripted([*OPENING, (b":POW?\r", answer)]) as transport:
        transport.timeout = 0.01
        laser = SantecTsl("laser", transport, SantecOptions())
        laser.open()
        try:
            power = laser.power()
        except (ConnectionLost, DeviceError, DeviceTimeout):
            return
        assert abs(power) < float("inf")
