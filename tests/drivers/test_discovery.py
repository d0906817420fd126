"""Each emulated box is found, and the driver that is for it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, closing

from hilonn import discovery
from hilonn.drivers.red_pitaya import (
    RedPitayaModulators,
    RedPitayaModulatorsOptions,
    RedPitayaPhotodetectors,
    RedPitayaPhotodetectorsOptions,
)
from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.dicon_switch import DiconBox, DiconMxsBox
from hilonn.simulators.emulators.exfo_laser import ExfoLaserBox
from hilonn.simulators.emulators.keithley_2400 import Keithley2400Box
from hilonn.simulators.emulators.keithley_2600 import Keithley2600Box
from hilonn.simulators.emulators.keysight_33500 import Keysight33500Box
from hilonn.simulators.emulators.keysight_laser import KeysightLaserBox
from hilonn.simulators.emulators.keysight_n6700 import KeysightN6700Box
from hilonn.simulators.emulators.keysight_power_meter import KeysightPowerMeterBox
from hilonn.simulators.emulators.meerstetter_tec import MeerstetterBox
from hilonn.simulators.emulators.nicslab_xpow import NicslabXpowBox
from hilonn.simulators.emulators.qontrol import QontrolBox
from hilonn.simulators.emulators.red_pitaya import RedPitayaBox
from hilonn.simulators.emulators.rigol_dp832 import RigolDp832Box
from hilonn.simulators.emulators.santec_tsl import SantecTslBox
from hilonn.simulators.emulators.scpi import ScpiInstrument
from hilonn.simulators.emulators.siglent_sdg import SiglentSdgBox
from hilonn.simulators.emulators.thorlabs_itc4000 import ThorlabsItcBox
from hilonn.simulators.emulators.thorlabs_pm100 import ThorlabsPm100Box
from hilonn.simulators.emulators.tsp import TspInstrument
from hilonn.transports import Transport
from hilonn.transports.tcp import TcpWire

RACK = Rack()
BOXES = {
    DiconBox("box", RACK): {"dicon_switch"},
    DiconMxsBox("box", RACK): {"dicon_switch"},
    ExfoLaserBox("box", RACK): {"exfo_laser"},
    Keithley2400Box("box", RACK): {"keithley_2400", "keithley_2400_detectors"},
    Keithley2600Box("box", RACK): {"keithley_2600", "keithley_2600_detectors"},
    Keysight33500Box("box", RACK, [0]): {"keysight_33500"},
    KeysightLaserBox("box", RACK): {"keysight_laser"},
    KeysightLaserBox("box", RACK, model="8164B"): {"keysight_laser", "keysight_power_meter"},
    KeysightN6700Box("box", RACK): {"keysight_n6700"},
    KeysightPowerMeterBox("box", RACK, [0, 1]): {"keysight_power_meter"},
    MeerstetterBox("box", RACK): {"meerstetter_tec"},
    NicslabXpowBox("box", RACK): {"nicslab_xpow"},
    QontrolBox("box", RACK, modules=1): {"qontrol"},
    RedPitayaBox("box", RACK, [0, 1]): {"red_pitaya_modulators", "red_pitaya_photodetectors"},
    RigolDp832Box("box", RACK): {"rigol_dp832"},
    SantecTslBox("box", RACK): {"santec_tsl"},
    SiglentSdgBox("box", RACK, [0]): {"siglent_sdg"},
    ThorlabsItcBox("box", RACK): {"thorlabs_itc4000", "thorlabs_itc4000_laser"},
    ThorlabsItcBox("box", RACK, model="TED4015"): {"thorlabs_itc4000"},
    ThorlabsPm100Box("box", RACK, None): {"thorlabs_pm100"},
}


def test_every_emulated_box_is_found() -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(TcpServer(box)) for box in BOXES]
        places = discovery.tcp_places(server.address for server in servers)
        found = discovery.ask_all(places, discovery.drivers_by_answer([]), 0.3)
    named = {
        f"{type(box).__name__} {one.asked} {one.answer}": set(one.drivers)
        for box, one in zip(BOXES, found, strict=True)
    }
    assert list(named.values()) == list(BOXES.values()), named
    queues = {type(box).__name__: list(_queue(box)) for box in BOXES}
    assert not any(queues.values()), queues  # the next to open one would take them for its own


def _queue(box: object) -> Iterable[object]:
    if isinstance(box, ScpiInstrument):
        return box._errors
    return box.errors if isinstance(box, TspInstrument) else ()


def test_an_earlier_client_s_errors_stop_nobody() -> None:
    box = RedPitayaBox("box", RACK, [0, 1], detectors=[0, 1])
    with TcpServer(box) as server:
        wire = TcpWire("127.0.0.1", server.port)
        with closing(wire):
            wire.open(1.0)
            wire.send(b"id?\r\n*IDN?\r\n", 1.0)
            assert b"REDPITAYA" in wire.receive(1.0)
        assert box._errors
        transport = Transport("rp", TcpWire("127.0.0.1", server.port))
        transport.open()
        with closing(transport):
            RedPitayaModulators("in", transport, RedPitayaModulatorsOptions()).open()
            box.fail(-113, "Undefined header")
            RedPitayaPhotodetectors("det", transport, RedPitayaPhotodetectorsOptions()).open()
