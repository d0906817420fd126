"""DiCon switches: golden frames of both dialects, the contract, the shutter's light, faults, noise on the wire."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.drivers.dicon_switch import DiconSwitch, DiconSwitchOptions
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout
from hilonn.simulators import Plant, resolve
from hilonn.simulators.emulators import PtyServer, Rack, TcpServer
from hilonn.simulators.emulators.dicon_switch import DiconBox, DiconMxsBox
from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.server import Server
from hilonn.testing import SwitchContract
from tests.drivers.faults import FAULTS, NAMED, survives
from tests.drivers.wires import PATIENT, TIMEOUT, scripted, wired

MODULE = DiconSwitchOptions()
MXS = DiconSwitchOptions(dialect="mxs9100", module=6)
OPENING = [(b"ID?\r", b"\nDiCon,MEMS 1xN,DS-0042\r"), (b"CF?\r", b"\n1,1,2\r")]


class TestModule(SwitchContract):
    @pytest.fixture(params=["tcp", "pty", "echo"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[DiconSwitch]:
        box = DiconBox("s", Rack(), echo=request.param == "echo")
        server: Server = PtyServer(box) if request.param == "pty" else TcpServer(box)
        with (
            wired(server, PATIENT) as transport,
            DiconSwitch("shutter", transport, MODULE) as opened,
        ):
            yield opened


class TestMxs9100(SwitchContract):
    @pytest.fixture
    def device(self) -> Iterator[DiconSwitch]:
        server = TcpServer(DiconMxsBox("s", Rack()))
        with wired(server, PATIENT) as transport, DiconSwitch("shutter", transport, MXS) as opened:
            yield opened


def test_golden_lines_of_a_module() -> None:
    exchanges = [
        *OPENING,
        (b"I1 2\r", b""),
        (b"I1?\r", b"\n1\r"),  # on its way
        (b"I1?\r", b"\n2\r"),
        (b"I1?\r", b"\n2\r"),
    ]
    with scripted(exchanges) as transport:
        device = DiconSwitch("shutter", transport, MODULE)
        device.open()
        device.select(1)
        assert device.position() == 1


def test_golden_lines_of_an_mxs9100() -> None:
    exchanges = [
        (b"*IDN?\r", b"DiCon,MXS-9100,17,2.4\r"),
        (b"ROUT6:SCAN 2\r", b""),
        (b"ROUT6:SCAN?\r", b"2\r"),
    ]
    with scripted(exchanges) as transport:
        device = DiconSwitch("shutter", transport, MXS)
        device.open()
        device.select(1)


def test_it_is_the_oscillators_shutter() -> None:
    plant = Plant("svd_mesh", 2, resolve("typical"))
    for box, chosen in (
        (DiconBox("s", Rack(plant)), MODULE),
        (DiconMxsBox("s", Rack(plant)), MXS),
    ):
        assert plant.switch == 0
        with (
            wired(TcpServer(box), PATIENT) as transport,
            DiconSwitch("lo", transport, chosen) as device,
        ):
            device.select(1)
            assert plant.switch == 1
            device.safe_state()
            assert plant.switch == 0


class Stuck(DiconBox):
    """Its mirror does not move."""

    def _go(self, channel: int) -> None:
        self.channel = 1


def test_a_switch_that_does_not_move_is_told() -> None:
    chosen = DiconSwitchOptions(switching_time=0.02)
    with wired(TcpServer(Stuck("s", Rack())), PATIENT) as transport:
        device = DiconSwitch("shutter", transport, chosen)
        device.open()
        with pytest.raises(DeviceError, match="channel 2 was selected, the switch still says 1"):
            device.select(1)


def test_what_the_box_does_not_have_is_refused() -> None:
    with scripted(OPENING) as transport:
        device = DiconSwitch("shutter", transport, DiconSwitchOptions(positions=3))
        with pytest.raises(DeviceError, match=r"positions = 3 .* the switch has 2"):
            device.open()
        with pytest.raises(ConfigError, match="safe_position"):
            DiconSwitch("shutter", transport, DiconSwitchOptions(safe_position=2))


def test_a_parked_switch_has_no_position() -> None:
    with scripted([*OPENING, (b"I1?\r", b"\n0\r")]) as transport:
        device = DiconSwitch("shutter", transport, MODULE)
        device.open()
        with pytest.raises(DeviceError, match="parked"):
            device.position()


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("dialect", ["module", "mxs9100"])
def test_whatever_the_wire_does(kind: str, after: int, dialect: str) -> None:
    box = DiconBox("s", Rack()) if dialect == "module" else DiconMxsBox("s", Rack())
    chosen = MODULE if dialect == "module" else MXS
    server = TcpServer(box)
    with wired(server, PATIENT) as transport:
        device = DiconSwitch("shutter", transport, chosen)
        device.open()
        transport.timeout = TIMEOUT
        fault = FAULTS[kind]

        def act() -> int:
            device.select(1)
            return device.position()

        survives(
            server,
            Fault(fault.kind, after, fault.count, fault.seconds, fault.data),
            act,
            lambda position: position == 1,
        )
        if kind == "silence":
            return
        transport.timeout = PATIENT
        for _ in range(2):
            if transport.lost:
                transport.reconnect(1.0)
            try:
                device.select(0)
                break
            except NAMED:
                continue
        assert device.position() == 0


@given(st.binary(max_size=40))
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    with scripted([*OPENING, (b"I1?\r", answer)]) as transport:
        device = DiconSwitch("shutter", transport, MODULE)
        device.open()
        transport.timeout = 0.01
        try:
            assert device.position() in (0, 1)
        except (ConnectionLost, DeviceError, DeviceTimeout):
            return
