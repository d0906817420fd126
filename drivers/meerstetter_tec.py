"""Meerstetter TEC-1089 to TEC-1167: temperature controllers that speak MeCom.

Source: pyMeCom (commit 12aac00, mecom/commands.py) and Meerstetter's parameter list 5136. Temperatures in degC.
"""

from __future__ import annotations

import struct
from typing import Literal, Self

from pydantic import Field, model_validator

from hilonn.devices import Identity, TemperatureController
from hilonn.drivers.mecom import MeCom
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.errors import DeviceError
from hilonn.transports import Transport

PAGE = DriverPage(
    instruments="Meerstetter TEC-1089, TEC-1090, TEC-1091, TEC-1092, TEC-1122, TEC-1123, TEC-1161 and their like",
    wiring="USB (FTDI) or RS-485: 57600 baud, 8N1. LAN adapters: TCP, port 50000. Frames end in CR. Address 2 from the factory.",
    connection='transport = "serial"\nport = "COM5"\nbaud = 57600',
    device='driver = "meerstetter_tec"\nconnection = "tec"\nlow = 20.0\nhigh = 40.0\nmax_current = 1.5',
    quirks=(
        (
            "The safe state holds the temperature: a chip whose controller is switched off warms or cools to the room's "
            "temperature, may gather dew on the way, and is minutes from being of use; the box itself guards current, voltage and "
            'temperatures. With `safe = "off"` the output is disabled, and `set_setpoint` switches it on again.',
            "the reference of the box calls 2010 = 0 safe; the default here is holding",
        ),
        (
            "A set is acknowledged by the CRC of the request, with nothing else in the frame.",
            "pyMeCom, VS",
        ),
        (
            "pyMeCom writes negative whole numbers with a minus sign, which the box does not understand.",
            "pyMeCom 12aac00, measured",
        ),
    ),
    unverified=(
        "Parameter 1200 is 0 when not regulating, 1 when not yet stable, 2 when stable; `stable_value` says another number.",
        "Parameters 4010 and 4011 are the thresholds of the object's temperature at which the box gives up; they are read as its "
        "limits. `thresholds = []` reads none; `low` and `high` are needed then.",
        "Parameters 102 and 103 are serial number and firmware.",
        "TCP port 50000; 8N1.",
    ),
)
SERIAL, FIRMWARE, STATUS, ERROR_NUMBER = 102, 103, 104, 105
OBJECT_TEMPERATURE, SINK_TEMPERATURE, STABLE = 1000, 1001, 1200
OUTPUT, CURRENT_LIMIT, VOLTAGE_LIMIT, TARGET = 2010, 2030, 2031, 3000
STATES = {
    0: "starting",
    1: "ready",
    2: "running",
    3: "in error",
    4: "in its boot loader",
    5: "resetting",
}
READY, RUN, ERROR = 1, 2, 3
SANE = (-100.0, 200.0)
"""degC: what no sensor of a chip's mount reads."""


class MeerstetterOptions(Options):
    """``address`` of the box, ``instance`` its channel. ``low`` and ``high`` (degC) of the setpoint; None: the box's own
    thresholds. ``max_current`` (A), ``max_voltage`` (V): what the Peltier element takes; the box's own limits must not be above.
    ``safe``: what the safe state does. ``stable_value``, ``thresholds``: see the page."""

    address: int = Field(default=2, ge=0, le=255)
    instance: int = Field(default=1, ge=1, le=255)
    low: float | None = None
    high: float | None = None
    max_current: float | None = Field(default=None, gt=0)
    max_voltage: float | None = Field(default=None, gt=0)
    safe: Literal["hold", "off"] = "hold"
    stable_value: int = 2
    thresholds: tuple[()] | tuple[int, int] = (4010, 4011)

    @model_validator(mode="after")
    def _limits_are_known(self) -> Self:
        if not self.thresholds and (self.low is None or self.high is None):
            raise ValueError("thresholds = [] needs `low` and `high` (degC)")
        return self


class MeerstetterTec(TemperatureController):
    """One channel of a controller."""

    def __init__(self, name: str, transport: Transport, options: MeerstetterOptions) -> None:
        low = 0.0 if options.low is None else options.low
        super().__init__(name, low, low if options.high is None else options.high)
        self.terminals = (f"address {options.address} instance {options.instance}",)
        self._options = options
        self._box = MeCom(name, transport, options.address)

    def identity(self) -> Identity:
        """Type, serial number and firmware."""
        kind = self._box.identify()
        if "TEC" not in kind.upper():
            raise DeviceError(f"{self.name}: a TEC was expected, {kind!r} answers")
        serial, firmware = self._box.integer(SERIAL), self._box.integer(FIRMWARE)
        return Identity("Meerstetter", kind, str(serial), str(firmware))

    def setpoint(self) -> float:
        """The temperature wanted, degC."""
        return self._box.number(TARGET, self._options.instance)

    def temperature(self) -> float:
        """What the object's sensor reads, degC."""
        found = self._box.number(OBJECT_TEMPERATURE, self._options.instance)
        if not SANE[0] < found < SANE[1]:
            raise DeviceError(f"{self.name}: {found:g} degC is no temperature; is the sensor off?")
        return found

    def stable(self) -> bool:
        """Whether the box calls the temperature stable. DeviceError where it does not regulate at all."""
        self._raise_trouble(running=True)
        found = self._box.integer(STABLE, self._options.instance)
        if found not in (0, 1, 2, self._options.stable_value):
            raise DeviceError(f"{self.name}: parameter {STABLE} is {found}, which means nothing")
        return found == self._options.stable_value

    def output(self) -> bool:
        """Whether the box regulates."""
        found = self._box.integer(OUTPUT, self._options.instance)
        if found not in (0, 1):
            raise DeviceError(
                f"{self.name}: the output is neither on nor off: parameter {OUTPUT} is {found}"
            )
        return found == 1

    def _open(self) -> None:
        """Who is there, whether it is well, and its limits; the output stays as it is."""
        self.identity()
        self._raise_trouble(running=False)
        self._check_limit("max_current", CURRENT_LIMIT, "A")
        self._check_limit("max_voltage", VOLTAGE_LIMIT, "V")
        low, high = self._options.low, self._options.high
        if self._options.thresholds:
            least, most = (
                self._box.number(p, self._options.instance) for p in self._options.thresholds
            )
            low, high = least if low is None else low, most if high is None else high
            if low < least or high > most:
                raise DeviceError(
                    f"{self.name}: setpoints of {low:g} .. {high:g} degC are asked for; the box gives up outside "
                    f"{least:g} .. {most:g} degC (parameters {self._options.thresholds})"
                )
        assert low is not None
        assert high is not None
        if not low < high:
            raise DeviceError(
                f"{self.name}: its limits are the wrong way round: {low:g} .. {high:g}"
            )
        self.low, self.high = low, high

    def _close(self) -> None:
        return None

    def _set_setpoint(self, temperature: float) -> None:
        """Write the target, read it back, and regulate."""
        instance = self._options.instance
        self._box.set_number(TARGET, temperature, instance)
        held = self.setpoint()
        if held != struct.unpack(">f", struct.pack(">f", temperature))[0]:
            raise DeviceError(
                f"{self.name}: {temperature:g} degC was set, the box holds {held:g} degC; it did not take it"
            )
        self._switch(True)
        self._raise_trouble(running=True)

    def _safe_state(self) -> None:
        if self._options.safe == "off":
            self._switch(False)

    def _switch(self, on: bool) -> None:
        self._box.set_integer(OUTPUT, int(on), self._options.instance)
        if self.output() != on:
            raise DeviceError(f"{self.name}: the output did not go {'on' if on else 'off'}")

    def _raise_trouble(self, running: bool) -> None:
        state = self._box.integer(STATUS)
        if state == ERROR:
            number = self._box.integer(ERROR_NUMBER)
            raise DeviceError(
                f"{self.name} is in error: number {number} of the manual's list; see to the cause, then reset the box"
            )
        if state not in STATES or (running and state != RUN) or state not in (READY, RUN):
            words = STATES.get(state, f"in state {state}, which is not known")
            raise DeviceError(
                f"{self.name} does not regulate: it is {words}; set_setpoint switches its output on"
            )

    def _check_limit(self, option: str, parameter: int, unit: str) -> None:
        allowed = getattr(self._options, option)
        if allowed is None:
            return
        found = self._box.number(parameter, self._options.instance)
        if found > allowed * (1 + 1e-6):
            raise DeviceError(
                f"{self.name}: the box may drive {found:g} {unit} (parameter {parameter}), {option} = {allowed:g} {unit} is "
                "allowed; lower it in the box with the maker's service program"
            )


meerstetter_tec = on_a_wire(MeerstetterOptions, MeerstetterTec, answers_to=r"^![0-9A-F]{6}.*TEC-")
