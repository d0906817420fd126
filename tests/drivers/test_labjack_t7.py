"""LabJack T7: golden frames, contracts of both devices, pymodbus as a client of the emulated box, faults."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.devices import Timing
from hilonn.drivers.labjack_t7 import (
    InputsOptions,
    LabJackInputs,
    LabJackOutputs,
    OutputsOptions,
)
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.lab import NOISES
from hilonn.simulators.emulators.labjack_t7 import LabJackT7Box
from hilonn.testing import ActuatorsContract, PhotodetectorsContract
from hilonn.transports.modbus import ModbusError
from hilonn.typing import FloatArray
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.wires import scripted, wired

TIMING = Timing(sample_period=1e-4)


def box(gain: float = 1e3) -> LabJackT7Box:
    quiet = resolve("typical", dict.fromkeys(NOISES, False), {})
    rack = Rack(Plant("unitary_mesh", 2, quiet), lockstep=True)
    rack.sample([0], np.ones(1), 1e-4)  # the first light takes long: kernels are compiled
    return LabJackT7Box("t7", rack, detectors=[0, 1, 2, 3], gain=gain)


class TestOutputs(ActuatorsContract):
    @pytest.fixture
    def device(self) -> Iterator[LabJackOutputs]:
        with (
            wired(TcpServer(box())) as transport,
            LabJackOutputs("heaters", transport, OutputsOptions(high=4.0)) as opened,
        ):
            yield opened


class TestInputs(PhotodetectorsContract):
    @pytest.fixture
    def device(self) -> Iterator[LabJackInputs]:
        options = InputsOptions(channels=6, first=1, unit="W", factor=1e-3, settling=1e-3)
        with (
            wired(TcpServer(box())) as transport,
            LabJackInputs("meter", transport, options) as opened,
        ):
            yield opened


def frame(number: int, body: str) -> bytes:
    data = bytes.fromhex(body)
    return struct.pack(">HHH", number, 0, len(data)) + data


OPENING = [
    (frame(1, "01 03 ea60 0002"), frame(1, "01 03 04 40e00000")),
    (frame(2, "01 03 ea7c 0002"), frame(2, "01 03 04 1c03c6f9")),
    (frame(3, "01 03 d73c 0002"), frame(3, "01 03 04 00112233")),
]
DACS = (frame(4, "01 03 03e8 0004"), frame(4, "01 03 08 00000000 00000000"))


def test_golden_frames_of_the_outputs() -> None:
    exchanges = [
        *OPENING,
        DACS,
        (frame(5, "01 10 03e8 0004 08 3fa00000 40000000"), frame(5, "01 10 03e8 0004")),
        (frame(6, "01 03 03e8 0004"), frame(6, "01 03 08 3fa00000 40000000")),
        (frame(7, "01 10 03e8 0004 08 3f800000 40000000"), frame(7, "01 10 03e8 0004")),
    ]
    with scripted(exchanges) as transport:
        outputs = LabJackOutputs("heaters", transport, OutputsOptions())
        outputs.open()
        outputs.write(np.array([1.25, 2.0]))  # the first write is read back
        outputs.write(np.array([1.0, 2.0]))


def test_golden_frames_of_the_inputs() -> None:
    exchanges = [
        *OPENING,
        (frame(4, "01 10 a028 0002 04 00c7 00c7"), frame(4, "01 10 a028 0002")),
        (frame(5, "01 03 a028 0002"), frame(5, "01 03 04 00c7 00c7")),
        (frame(6, "01 10 a21c 0002 04 0008 0008"), frame(6, "01 10 a21c 0002")),
        (frame(7, "01 03 a21c 0002"), frame(7, "01 03 04 0008 0008")),
        (frame(8, "01 10 a410 0004 08 447a0000 447a0000"), frame(8, "01 10 a410 0004")),
        (frame(9, "01 03 a410 0004"), frame(9, "01 03 08 447a0000 447a0000")),
        (frame(10, "01 10 9c40 0004 08 41200000 41200000"), frame(10, "01 10 9c40 0004")),
        (frame(11, "01 03 9c40 0004"), frame(11, "01 03 08 41200000 41200000")),
        (frame(12, "01 03 0000 0004"), frame(12, "01 03 08 3f000000 41200000")),
        (frame(13, "01 03 0000 0004"), frame(13, "01 03 08 3f800000 3f800000")),
    ]
    with scripted(exchanges) as transport:
        options = InputsOptions(channels=2, resolution_index=8, settling=1e-3, factor=2.0)
        inputs = LabJackInputs("meter", transport, options)
        inputs.open()
        inputs.arm(1, 2, TIMING)
        readings = inputs.fetch()
        np.testing.assert_allclose(readings.signal, [[1.5, 11.0]])
        np.testing.assert_array_equal(readings.saturated, [[False, True]])


@pytest.mark.parametrize(
    ("at", "answer", "words"),
    [
        (0, "01 03 04 40800000", "PRODUCT_ID is 4; a T7 says 7"),
        (2, "01 03 04 22330011", "0x22330011, not 0x00112233"),
        (3, "01 03 08 00000000 42c80000", "no voltages of outputs"),
        (3, "01 83 02", "exception 2, illegal data address"),
    ],
)
def test_another_box_or_map_is_found_out_at_opening(at: int, answer: str, words: str) -> None:
    exchanges = [*OPENING, DACS][: at + 1]
    exchanges[at] = (exchanges[at][0], frame(at + 1, answer))
    with scripted(exchanges) as transport, pytest.raises(DeviceError, match=words):
        LabJackOutputs("heaters", transport, OutputsOptions()).open()


def test_outputs_that_are_elsewhere_are_found_out_at_the_first_write() -> None:
    exchanges = [
        *OPENING,
        DACS,
        (frame(5, "01 10 03e8 0004 08 3fa00000 40000000"), frame(5, "01 10 03e8 0004")),
        (frame(6, "01 03 03e8 0004"), frame(6, "01 03 08 00000000 40000000")),
    ]
    with scripted(exchanges) as transport:
        outputs = LabJackOutputs("heaters", transport, OutputsOptions())
        outputs.open()
        with pytest.raises(DeviceError, match="are the outputs elsewhere"):
            outputs.write(np.array([1.25, 2.0]))


@pytest.mark.parametrize("value", ["c61c3c00", "7fc00000", "7f800000"])
def test_no_reading_is_no_number(value: str) -> None:
    with wired(TcpServer(box())) as transport:
        inputs = LabJackInputs("meter", transport, InputsOptions(channels=1))
        inputs.open()
    answer = [(frame(1, "01 03 0000 0002"), frame(1, "01 03 04" + value))]
    with scripted(answer) as transport:
        inputs = LabJackInputs("meter", transport, InputsOptions(channels=1))
        inputs.arm(1, 1, TIMING)
        with pytest.raises(DeviceError, match=r"AIN0 answered .*no reading"):
            inputs.fetch()


def test_more_inputs_than_there_are_is_refused() -> None:
    with scripted([]) as transport:
        assert LabJackInputs("meter", transport, InputsOptions(first=4)).channels == 10
        with pytest.raises(ConfigError, match="11 inputs from AIN4 on are asked for, there are 10"):
            LabJackInputs("meter", transport, InputsOptions(first=4, channels=11))


def test_light_that_one_sets_reaches_what_the_other_reads() -> None:
    t7 = box(gain=1e6)  # modulators at rest let little through
    t7.rack.set_switch(0)
    with wired(TcpServer(t7)) as transport:
        heaters = LabJackOutputs("heaters", transport, OutputsOptions())
        meter = LabJackInputs("meter", transport, InputsOptions(channels=4, unit="W", factor=1e-6))
        heaters.open()
        meter.open()

        def read() -> FloatArray:
            meter.arm(1, 1, TIMING)
            return np.array(meter.fetch().signal[0])

        dark = read()
        t7.rack.set_laser(emission=True)
        lit = read()
        assert lit.max() > 10 * abs(dark).max()
        heaters.write(np.array([1.0, 3.0]))
        np.testing.assert_allclose(t7.rack.heaters[:2], [1.0, 3.0], atol=2e-3)
        t7.rack.busy(1.0)
        assert not np.allclose(read(), lit, rtol=0.1, atol=0.0)
        meter.set_range(0)
        meter.arm(1, 1, TIMING)
        readings = meter.fetch()
        assert readings.saturated.any()
        np.testing.assert_array_equal(readings.saturated, abs(readings.signal) >= 1e-8)


def test_the_box_refuses_what_it_cannot_do() -> None:
    with wired(TcpServer(box())) as transport:
        outputs = LabJackOutputs("heaters", transport, OutputsOptions())
        outputs.open()
        modbus = outputs._box.modbus
        for act, code in (
            (lambda: modbus.read(61998, 2), 2),  # can only be written
            (lambda: modbus.read(30000, 1), 2),
            (lambda: modbus.read(1000, 1), 2),  # half a number
            (lambda: modbus.write_floats(0, [1.0]), 2),  # can only be read
            (lambda: modbus.write_floats(1000, [9.0]), 3),
            (lambda: modbus.write_floats(40000, [3.0]), 3),
        ):
            with pytest.raises(ModbusError) as caught:
                act()
            assert caught.value.code == code
        np.testing.assert_array_equal(outputs.read_back(), 0.0)


def test_pymodbus_is_a_client_of_the_emulated_box() -> None:
    client_of = pytest.importorskip("pymodbus.client")
    t7 = box()
    with TcpServer(t7) as server:
        client = client_of.ModbusTcpClient("127.0.0.1", port=server.port, timeout=2, retries=0)
        assert client.connect()
        try:
            product = client.read_holding_registers(60000, count=2, device_id=1)
            assert product.registers == [0x40E0, 0]
            test = client.read_input_registers(55100, count=2, device_id=1)
            assert test.registers == [0x0011, 0x2233]
            words = list(struct.unpack(">HH", struct.pack(">f", 1.25)))
            assert not client.write_registers(1000, words, device_id=1).isError()
            held = client.read_holding_registers(1000, count=4, device_id=1)
            first, second = struct.unpack(">ff", struct.pack(">4H", *held.registers))
            assert first == pytest.approx(1.25, abs=1e-3)
            assert second == 0.0
            assert not client.write_register(41500, 8, device_id=1).isError()
            assert client.read_holding_registers(41500, count=1, device_id=1).registers == [8]
            wrong = client.read_holding_registers(30000, count=1, device_id=1)
            assert wrong.isError()
            assert wrong.exception_code == 2
            inputs = client.read_holding_registers(0, count=28, device_id=1)
            assert len(inputs.registers) == 28
        finally:
            client.close()


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_whatever_the_wire_does(kind: str, after: int) -> None:
    server = TcpServer(box())
    with wired(server) as transport:
        outputs = LabJackOutputs("heaters", transport, OutputsOptions())
        outputs.open()

        def act() -> FloatArray:
            outputs.write(np.array([1.0, 3.0]))
            return outputs.read_back()

        right = np.array([1.0, 3.0])
        survives(
            server,
            replace(FAULTS[kind], after=after),
            act,
            lambda back: bool(np.allclose(back, right, atol=2e-3)),
        )
        if kind == "silence":
            return
        for _ in range(2):  # at most one command is spent on what was left on the wire
            if transport.lost:
                transport.reconnect(1.0)
            try:
                outputs.write(np.full(2, 2.0))
                break
            except NAMED:
                continue
        np.testing.assert_allclose(outputs.read_back(), 2.0, atol=2e-3)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", [0, 1])
def test_a_reading_is_right_or_none(kind: str, after: int) -> None:
    server = TcpServer(box())
    with wired(server) as transport:
        meter = LabJackInputs("meter", transport, InputsOptions(channels=6))
        meter.open()

        def act() -> FloatArray:
            meter.arm(1, 2, TIMING)
            return np.array(meter.fetch().signal[0])

        right = act()
        fault = replace(FAULTS[kind], after=after)
        survives(server, fault, act, lambda read: bool(np.allclose(read, right, atol=1e-2)))
        if kind == "silence":
            return
        for _ in range(2):  # at most one command is spent on what was left on the wire
            if transport.lost:
                transport.reconnect(1.0)
            try:
                np.testing.assert_allclose(act(), right, atol=1e-2)
                break
            except NAMED:
                continue


@given(st.binary(max_size=8))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    reply = struct.pack(">HHHBBB", 1, 0, 3 + len(answer), 1, 3, 8) + answer
    with scripted([(frame(1, "01 03 0000 0004"), reply)]) as transport:
        transport.timeout = 0.01
        inputs = LabJackInputs("meter", transport, InputsOptions(channels=2))
        inputs.arm(1, 1, TIMING)
        try:
            signal = inputs.fetch().signal
        except (ConnectionLost, DeviceError, DeviceTimeout):
            return
        assert np.isfinite(signal).all()
