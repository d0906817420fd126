"""A Thorlabs TED4015, ITC4000 or LDC4000, with the chip's mount and light behind it.

Source: Series 4000 SCPI programmer's guide. Outputs are off after power-on and *RST; an open interlock switches the diode off, and it does
not come back by itself.
"""

from __future__ import annotations

from hilonn.simulators.emulators.rack import Rack
from hilonn.simulators.emulators.scpi import (
    ILLEGAL_VALUE,
    SETTINGS_CONFLICT,
    UNDEFINED_HEADER,
    ScpiError,
    ScpiInstrument,
    number,
    scientific,
    switch,
)

AMBIENT = 22.0  # degC
KEYLOCK, INTERLOCK, TEC_WINDOW, SENSOR = 1, 4, 512, 1024
A_COMMAND = 3e-3  # s, mean over USB
TEMPERATURES = (10.0, 45.0)  # degC
CURRENT_LIMIT = 0.2  # A


class ThorlabsItcBox(ScpiInstrument):
    """``slope`` (W/A) and ``threshold`` (A) are the diode's, ``booster`` an amplifier behind it."""

    no_error = '+0,"No error"'
    busy = A_COMMAND

    def __init__(
        self,
        name: str,
        rack: Rack,
        model: str = "ITC4020",
        slope: float = 0.25,
        threshold: float = 0.01,
        booster: float = 1.0,
    ) -> None:
        super().__init__(name, rack)
        self.identity = f"THORLABS,{model},E12345678,1.4.0/2.0.3/1.6.0"
        self._slope, self._threshold, self._booster = slope, threshold, booster
        self._tec = {"TED": 1, "LDC": 0}.get(model[:3], 2)
        self._diode = 0 if model.startswith("TED") else 1
        self._interlock_open = self._key_off = self._sensor_lost = False
        self.target = 25.0
        self.current = 0.0
        self._unit = "C"
        self._register()
        self.reboot()

    def _register(self) -> None:
        self.command("SOURce#:TEMPerature[:SPOint]", self._aim)
        self.command("SOURce#:TEMPerature[:SPOint]?", self._aimed)
        self.command("SOURce#:TEMPerature:LIMit:LOW?", lambda n: self._limit(n, TEMPERATURES[0]))
        self.command("SOURce#:TEMPerature:LIMit:HIGH?", lambda n: self._limit(n, TEMPERATURES[1]))
        self.command("MEASure[:SCALar]:TEMPerature?", self._measure)
        self.command("UNIT:TEMPerature", self._choose_unit)
        self.command("UNIT:TEMPerature?", lambda: self._unit)
        self.command("SOURce#:CURRent[:LEVel]", self._drive)
        self.command("SOURce#:CURRent[:LEVel]?", self._driven)
        self.command("SOURce#:CURRent:LIMit?", self._current_limit)
        self.command("OUTPut#[:STATe]", self._switch)
        self.command("OUTPut#[:STATe]?", lambda n: str(int(self._output(n))))
        self.command("STATus:MEASurement:CONDition?", lambda: str(self._conditions()))

    def reboot(self) -> None:
        super().reboot()
        self.target, self.current, self._unit = 25.0, 0.0, "C"

    def reset(self) -> None:
        self.regulating = self.lasing = False
        self._apply()

    def state(self) -> dict[str, str]:
        found = {}
        if self._tec:
            found["output"] = "on" if self.regulating else "off"
            found["temperature"] = f"{self.rack.temperature():.3f} degC"
        if self._diode:
            found["light"] = "on" if self.lasing else "off"
            found["current"] = f"{1e3 * self.current:.2f} mA"
        return found

    # -- what a person does at the box ----------------------------------------------------------------

    def open_interlock(self) -> None:
        """Somebody opens the lab's door."""
        with self.rack.lock:
            self._interlock_open, self.lasing = True, False
            self._apply()

    def close_interlock(self) -> None:
        """The door is closed again; the light stays off."""
        with self.rack.lock:
            self._interlock_open = False

    def lose_sensor(self, lost: bool = True) -> None:
        """The thermistor's cable comes off: the Peltier's output goes off."""
        with self.rack.lock:
            self._sensor_lost = lost
            if lost:
                self.regulating = False
            self._apply()

    # -- what it drives -------------------------------------------------------------------------------

    def _apply(self) -> None:
        if self._tec:
            self.rack.set_temperature(self.target if self.regulating else AMBIENT)
        if self._diode:
            watts = max(self.current - self._threshold, 0.0) * self._slope * self._booster
            self.rack.set_laser(emission=self.lasing, power=watts)

    def _conditions(self) -> int:
        found = INTERLOCK if self._interlock_open and self._diode else 0
        if self._tec:
            found |= SENSOR if self._sensor_lost else 0
            found |= 0 if self.regulating and self.rack.temperature_stable() else TEC_WINDOW
        return found

    def _side(self, channel: int, wanted: int) -> None:
        if not wanted or channel != wanted:
            raise ScpiError(*UNDEFINED_HEADER)

    def _output(self, channel: int) -> bool:
        if channel == self._tec:
            return self.regulating
        self._side(channel, self._diode)
        if self.lasing and self.rack.plant is not None and not self.rack.emission():
            self.lasing = False  # the plant's laser tripped
        return self.lasing

    def _switch(self, channel: int, text: str) -> None:
        on = switch(text)
        if channel == self._tec:
            if on and self._sensor_lost:
                raise ScpiError(*SETTINGS_CONFLICT)
            self.regulating = on
        else:
            self._side(channel, self._diode)
            self.lasing = on and not self._interlock_open
        self._apply()

    # -- temperature ----------------------------------------------------------------------------------

    def _aim(self, channel: int, text: str) -> None:
        self._side(channel, self._tec)
        word = text.strip().upper()
        shift = 0.0
        if word.endswith("K"):
            word, shift = word[:-1], -273.15
        value = number(word.removesuffix("C"), TEMPERATURES[0] - shift, TEMPERATURES[1] - shift)
        self.target = round(value + shift, 3)
        self._apply()

    def _aimed(self, channel: int) -> str:
        self._side(channel, self._tec)
        return self._shown(self.target)

    def _limit(self, channel: int, value: float) -> str:
        self._side(channel, self._tec)
        return self._shown(value)

    def _measure(self) -> str:
        if not self._tec:
            raise ScpiError(*UNDEFINED_HEADER)
        return (
            scientific(9.91e37, 8, 2) if self._sensor_lost else self._shown(self.rack.temperature())
        )

    def _choose_unit(self, text: str) -> None:
        if text.strip().upper() not in ("C", "K"):
            raise ScpiError(*ILLEGAL_VALUE)
        self._unit = text.strip().upper()

    def _shown(self, celsius: float) -> str:
        return scientific(celsius + (273.15 if self._unit == "K" else 0.0), 8, 2)

    # -- current --------------------------------------------------------------------------------------

    def _drive(self, channel: int, text: str) -> None:
        self._side(channel, self._diode)
        self.current = number(text, 0.0, CURRENT_LIMIT, unit="A")
        self._apply()

    def _driven(self, channel: int) -> str:
        self._side(channel, self._diode)
        return scientific(self.current, 8, 2)

    def _current_limit(self, channel: int) -> str:
        self._side(channel, self._diode)
        return scientific(CURRENT_LIMIT, 8, 2)
