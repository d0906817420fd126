"""Clients that others wrote find the emulated source meters and supplies as they expect real ones."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from hilonn.simulators.emulators import Rack, TcpServer
from hilonn.simulators.emulators.instrument import Instrument
from hilonn.simulators.emulators.keithley_2400 import Keithley2400Box
from hilonn.simulators.emulators.keithley_2600 import Keithley2600Box
from hilonn.simulators.emulators.keysight_n6700 import KeysightN6700Box

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def installed(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None,
        reason=f"{package} is not installed (extra `{package}`)",
    )


@contextmanager
def served(box: Instrument) -> Iterator[str]:
    """The address of ``box`` for VISA."""
    with TcpServer(box) as server:
        yield f"TCPIP::127.0.0.1::{server.port}::SOCKET"


def pymeasure(name: str, address: str) -> Any:
    from pymeasure.instruments import keithley

    return getattr(keithley, name)(
        address,
        visa_library="@py",
        read_termination="\n",
        write_termination="\n",
        timeout=2000,
    )


@installed("pymeasure")
def test_pymeasure_and_the_2600() -> None:
    with served(Keithley2600Box("smu", Rack())) as address:
        peer = pymeasure("Keithley2600", address)
        try:
            peer.ChA.apply_voltage(8, 0.02)
            peer.ChA.source_output = "ON"
            peer.ChA.source_voltage = 1.5
            peer.ChA.measure_current()
            assert (peer.ChA.voltage, peer.ChA.current) == pytest.approx((1.5, 1.5e-3))
            assert peer.ChA.compliance_current == pytest.approx(0.02)
            peer.ChA.compliance_current = 1e-7  # goes out as 0.000000
            assert int(peer.error[0]) == 1103
            assert peer.ChA.compliance_current == pytest.approx(0.02)
            peer.ChA.shutdown()
            assert peer.ChA.source_output == "OFF"
        finally:
            peer.adapter.close()


@installed("pymeasure")
def test_pymeasure_and_the_2400() -> None:
    with served(Keithley2400Box("smu", Rack())) as address:
        peer = pymeasure("Keithley2400", address)
        try:
            peer.apply_voltage(10, 0.02)
            peer.source_voltage = 1.5
            peer.enable_source()
            peer.measure_current(nplc=0.1, current=0.02)
            assert peer.current == pytest.approx(1.5e-3)
            assert peer.compliance_current == pytest.approx(0.02)
            peer.shutdown()
            assert not peer.source_enabled
        finally:
            peer.adapter.close()


@installed("qcodes")
def test_qcodes_and_the_2600() -> None:
    from qcodes.instrument_drivers.Keithley import Keithley2602B

    with served(Keithley2600Box("smu", Rack())) as address:
        peer = Keithley2602B("smu", address, visalib="@py", terminator="\n")
        try:
            peer.smua.mode("voltage")
            peer.smua.limiti(0.02)
            peer.smua.volt(1.25)
            peer.smua.output("on")
            assert peer.smua.volt() == pytest.approx(1.25)
            assert peer.smua.curr() == pytest.approx(1.25e-3)
            assert peer.get_idn()["model"] == "2602B"
        finally:
            peer.close()


@installed("qcodes")
def test_qcodes_and_the_n6705_which_never_gets_its_voltage_limit() -> None:
    from qcodes.instrument_drivers.Keysight import KeysightN6705B

    box = KeysightN6700Box("supply", Rack())
    with served(box) as address:
        peer = KeysightN6705B("supply", address, visalib="@py", terminator="\n")
        try:
            channel = peer.ch1
            channel.source_current(0.05)
            channel.source_voltage(2.0)
            channel.enable("on")
            assert (channel.voltage(), channel.current()) == pytest.approx((2.0, 2e-3))
            channel.voltage_limit(6.0)  # sent with `@(1)`: refused, and only the error queue knows
            assert peer.ask("SYST:ERR?").startswith("-104")
            assert channel.voltage_limit() == pytest.approx(1.2 * 20.4)
        finally:
            peer.close()
