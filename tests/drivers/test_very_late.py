"""Boxes on serial lines: an answer that is late by more than two timeouts is handed to no other command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hilonn.drivers.dicon_switch import DiconSwitch, DiconSwitchOptions
from hilonn.drivers.exfo_laser import ExfoLaser, ExfoLaserOptions
from hilonn.drivers.keithley_2400 import Keithley2400, Keithley2400Options
from hilonn.drivers.keithley_2600 import Keithley2600, Keithley2600Options
from hilonn.drivers.meerstetter_tec import MeerstetterOptions, MeerstetterTec
from hilonn.drivers.qontrol import Qontrol, QontrolOptions
from hilonn.drivers.rigol_dp832 import RigolDp832, RigolDp832Options
from hilonn.drivers.thorlabs_pm100 import ThorlabsPm100, ThorlabsPm100Options
from hilonn.errors import DeviceTimeout
from hilonn.simulators.emulators import PtyServer, Rack
from hilonn.simulators.emulators.dicon_switch import DiconBox, DiconMxsBox
from hilonn.simulators.emulators.exfo_laser import ExfoLaserBox
from hilonn.simulators.emulators.faults import Fault
from hilonn.simulators.emulators.keithley_2400 import Keithley2400Box
from hilonn.simulators.emulators.keithley_2600 import Keithley2600Box
from hilonn.simulators.emulators.meerstetter_tec import MeerstetterBox
from hilonn.simulators.emulators.qontrol import QontrolBox
from hilonn.simulators.emulators.rigol_dp832 import RigolDp832Box
from hilonn.simulators.emulators.thorlabs_pm100 import ThorlabsPm100Box
from hilonn.transports.transport import QUIET
from tests.drivers.faults import NAMED
from tests.drivers.light import Lit
from tests.drivers.wires import PATIENT, wired


@dataclass(frozen=True)
class Case:
    """A box, its driver, and a question besides that of its identity; ``ask`` None: its driver numbers its frames."""

    name: str
    box: Callable[[], Any]
    driver: Any
    options: Any
    ask: str | None


SHORT = 0.1
"""s: a timeout that is waited out."""
VERY_LATE = SHORT + QUIET + SHORT / 2
"""s: later than the line is drained without a query to resynchronise by, while the next answer is waited for."""
MXS = DiconSwitchOptions(dialect="mxs9100")
CASES = [
    Case("dicon", lambda: DiconBox("s", Rack()), DiconSwitch, DiconSwitchOptions(), "I1?"),
    Case(
        "echo", lambda: DiconBox("s", Rack(), echo=True), DiconSwitch, DiconSwitchOptions(), "I1?"
    ),
    Case("mxs", lambda: DiconMxsBox("s", Rack()), DiconSwitch, MXS, "ROUT1:SCAN?"),
    Case("exfo", lambda: ExfoLaserBox("l", Lit(np.zeros(1))), ExfoLaser, ExfoLaserOptions(), "L?"),
    Case(
        "pm100",
        lambda: ThorlabsPm100Box("pm", Lit(np.array([2e-4])), 0, "PM100D"),
        ThorlabsPm100,
        ThorlabsPm100Options(),
        "SENS:POW:RANG?",
    ),
    Case(
        "2400",
        lambda: Keithley2400Box("smu", Rack(), serial=True),
        Keithley2400,
        Keithley2400Options(high=8.0, max_current=0.02),
        ":OUTP?",
    ),
    Case(
        "2600",
        lambda: Keithley2600Box("smu", Rack()),
        Keithley2600,
        Keithley2600Options(high=8.0, max_current=0.02),
        "print(smua.source.levelv)",
    ),
    Case(
        "rigol",
        lambda: RigolDp832Box("supply", Rack(), deaf=0.0),
        RigolDp832,
        RigolDp832Options(high=8.0, max_current=0.02),
        "SYST:ERR?",
    ),
    Case(
        "qontrol",
        lambda: QontrolBox("q", Rack(), modules=2),
        Qontrol,
        QontrolOptions(channels=16),
        "v0?",
    ),
    Case("tec", lambda: MeerstetterBox("tec", Rack()), MeerstetterTec, MeerstetterOptions(), None),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_very_late_answer_is_nobody_elses(case: Case) -> None:
    server = PtyServer(case.box())
    with wired(server, PATIENT) as transport:
        device = case.driver("box", transport, case.options)
        right = device.identity()
        transport.timeout = SHORT
        server.faults.inject(Fault("late", seconds=VERY_LATE))
        with pytest.raises(DeviceTimeout):
            if case.ask is None:
                device.temperature()
            else:
                transport.query(case.ask)
        for _ in range(100):
            try:
                assert device.identity() == right
                break
            except NAMED:
                pass
        else:
            pytest.fail("the line never came right again")
        transport.timeout = PATIENT
        assert device.identity() == right
