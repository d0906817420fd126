"""A Keithley 2602B (or another of its family): two source-measure units that run Lua.

Source: Series 2600B reference manual 2600BS-901-01. A unit drives a heater, reads a photodiode, or has a load of its
own. Readings beyond 101 % of a range are 9.91e37; a voltage that would need more than the current limit is lowered.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hilonn.simulators.emulators.outputs import Outputs
from hilonn.simulators.emulators.rack import Listener, Rack
from hilonn.simulators.emulators.tsp import RUNTIME, Attribute, TspError, TspInstrument, checked
from hilonn.typing import FloatArray

OVERFLOW = 9.91e37
PRINT = 3e-3  # s of a print over Ethernet, mean (log in OE-FET/keithley2600 #11)
STATEMENTS = 1e-3
CURRENT_LIMIT = 2
"""Bit of a unit's measurement condition."""
MAINS = 50.0
VOLTS = 1.0
"""``smuX.OUTPUT_DCVOLTS``."""
MOST = 60_000
RANGES = tuple(10.0**k for k in range(-7, 1))


class Keithley2600Box(TspInstrument):
    """``channels`` of the model, ``a`` and ``b``. ``heater``: the chip's heater that the first of them drives, the next
    the next; or ``detectors``: the detectors that they read. Neither: each has ``load`` (ohm)."""

    def __init__(
        self,
        name: str,
        rack: Rack,
        model: str = "2602B",
        channels: str = "ab",
        heater: int | None = None,
        detectors: list[int] | None = None,
        load: float = 1e3,
    ) -> None:
        super().__init__(name, rack)
        self.identity = f"Keithley Instruments Inc., Model {model}, 1234567, 3.2.1"
        self._detectors = detectors
        self._high = 200.0 if model[2] in "13" else 40.0
        beyond = 1 << 30  # heaters that no chip has
        self.outputs = Outputs(rack, len(channels), beyond if heater is None else heater, load)
        self._units = [_Unit(self, k, f"smu{c}") for k, c in enumerate(channels)]
        self._waiting = False
        self._asked: list[_Unit] = []
        self.real32 = False
        self.names |= {
            "format.data": Attribute(
                lambda: 2.0 if self.real32 else 1.0, lambda v: setattr(self, "real32", v == 2.0)
            ),
            "format.ASCII": 1.0,
            "format.REAL32": 2.0,
            "format.byteorder": Attribute(lambda: 1.0, lambda v: None),
            "format.LITTLEENDIAN": 1.0,
            "printbuffer": self._print_buffer,
            "localnode.model": model,
            "localnode.serialno": "1234567",
            "localnode.revision": "3.2.1",
            "localnode.linefreq": MAINS,
            "digio.TRIG_RISINGA": 3.0,
            "digio.trigger[1].mode": Attribute(lambda: 3.0, lambda v: None),
            "digio.trigger[1].clear": lambda: None,
            "digio.trigger[1].wait": self._wait,
        }
        for unit in self._units:
            self.names |= unit.names(self._high)
        self.reboot()

    def reboot(self) -> None:
        self.errors.clear()
        self.globals.clear()
        self.precision = 6
        self.real32 = False
        self._waiting = False
        self.rack.listen(self.name, None)
        self.outputs.off()
        for unit in self._units:
            unit.reset()

    def apply(self) -> None:
        """What every unit drives: a voltage up to a current, or a current up to a voltage."""
        for k, unit in enumerate(self._units):
            sources_volts = unit.function == VOLTS
            driven = np.clip(unit.leveli * self.outputs.resistance[k], -unit.limitv, unit.limitv)
            self.outputs.levels[k] = unit.levelv if sources_volts else driven
            self.outputs.limits[k] = unit.limiti if sources_volts else np.inf
            self.outputs.on[k] = unit.output == 1.0
        self.outputs.apply()

    def state(self) -> dict[str, str]:
        return self.outputs.state()

    def busy_of(self, line: str) -> float:
        measured = sum(unit.lasted for unit in self._units)
        for unit in self._units:
            unit.lasted = 0.0
        return measured + (PRINT if "print" in line or "?" in line else STATEMENTS)

    def answer(self, line: str) -> list[Any]:
        if self._asked and "print" in line:
            self._give_up()
        return super().answer(line)

    # -- readings ---------------------------------------------------------------------------------

    def light(self, unit: int, full_scale: float, period: float) -> float:
        """A of one unit now."""
        if self._detectors is None:
            return float(self.outputs.currents[unit])
        signal, _ = self.rack.sample([self._detectors[unit]], np.array([full_scale]), period)
        return float(signal[0]) * self.rack.responsivity

    def start(self, unit: _Unit) -> None:
        """A buffered measurement: now, or at the edge that a ``wait`` before it waits for."""
        if not self._waiting:
            now = [
                self.light(unit.index, unit.full_scale, unit.aperture) for _ in range(unit.count)
            ]
            unit.take(np.array(now))
            return
        self._asked.append(unit)
        columns = [] if self._detectors is None else [self._detectors[u.index] for u in self._asked]
        units = list(self._asked)

        def deliver(signal: FloatArray, saturated: np.ndarray) -> None:
            for k, one in enumerate(units):
                values = signal[:, k] * self.rack.responsivity if columns else np.zeros(one.count)
                one.take(values)
            self._asked.clear()
            self._waiting = False
            self.globals["started"] = True

        scales = np.array([u.full_scale for u in units])
        self.rack.listen(
            self.name,
            Listener(
                columns,
                unit.count,
                unit.interval,
                scales[: len(columns)] / self.rack.responsivity,
                deliver,
            ),
        )

    def _wait(self, seconds: Any) -> bool:
        checked(seconds, 0.0, 1e5)
        self._waiting = True
        return False

    def _give_up(self) -> None:
        """No edge came in time. (The emulator does not wait it out.)"""
        self.rack.listen(self.name, None)
        self._waiting = False
        for unit in self._asked:
            unit.take(np.zeros(unit.count))
        self._asked.clear()

    def _print_buffer(self, first: Any, last: Any, values: Any) -> None:
        if not isinstance(values, np.ndarray):
            raise TspError(RUNTIME, "TSP Runtime error at line 1: printbuffer: no buffer")
        chosen = values[int(first) - 1 : int(last)]
        if self.real32:
            self.send(b"#0" + chosen.astype("<f4").tobytes() + b"\n")
        else:
            self.send((", ".join(self.text(float(v)) for v in chosen) + "\n").encode())


class _Unit:
    """One source-measure unit."""

    def __init__(self, box: Keithley2600Box, index: int, name: str) -> None:
        self._box, self.index, self._name = box, index, name
        self.lasted = 0.0
        self.reset()

    def reset(self) -> None:
        self.function, self.output, self.sense = VOLTS, 0.0, 0.0
        self.levelv, self.limiti = 0.0, 0.1
        self.leveli, self.limitv = 0.0, 40.0
        self.rangev, self.rangei = 40.0, 0.1  # of the source
        self.measurev = 40.0
        self.autov = self.autoi = self.auto_v = self.auto_i = 0.0
        self.full_scale = 0.1
        self.nplc = 1.0
        self.interval = 0.0
        self.count = 1
        self.readings: FloatArray = np.zeros(0)

    @property
    def aperture(self) -> float:
        return self.nplc / MAINS

    def take(self, amperes: FloatArray) -> None:
        """Readings into the buffer, with what is beyond the range."""
        self.lasted += len(amperes) * max(self.aperture, self.interval)
        self.readings = np.where(np.abs(amperes) > 1.01 * self.full_scale, OVERFLOW, amperes)

    def names(self, high: float) -> dict[str, Any]:
        outputs, k = self._box.outputs, self.index

        def number(name: str, low: float, most: float, turn: type = float) -> Attribute:
            return Attribute(
                lambda: float(getattr(self, name)),
                lambda v: setattr(self, name, turn(checked(v, low, most))),
            )

        def source(name: str, low: float, most: float) -> Attribute:
            def write(value: Any) -> None:
                setattr(self, name, checked(value, low, most))
                self._box.apply()

            return Attribute(lambda: float(getattr(self, name)), write)

        def measure() -> float:
            self.take(np.array([self._box.light(k, self.full_scale, self.aperture)]))
            return float(self.readings[0])

        def buffered(values: Any) -> None:
            self._box.start(self)

        def clear() -> None:
            self.readings = np.zeros(0)

        def set_range(value: Any) -> None:
            asked = abs(checked(value, -3.0, 3.0))
            self.full_scale = next((r for r in RANGES if r >= 0.999 * asked), 3.0)

        found = {
            "source.levelv": source("levelv", -1.01 * high, 1.01 * high),
            "source.limiti": source("limiti", 1e-8, 3.0),
            "source.leveli": source("leveli", -3.0, 3.0),
            "source.limitv": source("limitv", 1e-2, 1.01 * high),
            "source.output": source("output", 0.0, 1.0),
            "source.func": source("function", 0.0, 1.0),
            "source.rangev": number("rangev", -high, high),
            "source.rangei": number("rangei", -3.0, 3.0),
            "source.autorangev": number("autov", 0.0, 1.0),
            "source.autorangei": number("autoi", 0.0, 1.0),
            "sense": number("sense", 0.0, 2.0),
            "source.compliance": Attribute(lambda: bool(outputs.limited[k])),
            "measure.rangei": Attribute(lambda: self.full_scale, set_range),
            "measure.rangev": number("measurev", -high, high),
            "measure.autorangev": number("auto_v", 0.0, 1.0),
            "measure.autorangei": number("auto_i", 0.0, 1.0),
            "measure.r": lambda: float(outputs.resistance[k]),
            "measure.p": lambda: float(outputs.volts[k] * outputs.currents[k]),
            "measure.nplc": number("nplc", 0.001, 25.0),
            "measure.interval": number("interval", 0.0, 1.0),
            "measure.count": number("count", 1, MOST, int),
            "measure.i": measure,
            "measure.v": lambda: float(outputs.volts[k]),
            "measure.overlappedi": buffered,
            "nvbuffer1.clear": clear,
            "nvbuffer1.n": Attribute(lambda: float(len(self.readings))),
            "nvbuffer1.readings": Attribute(lambda: self.readings),
            "nvbuffer1": self,
            "abort": lambda: None,
            "OUTPUT_DCVOLTS": 1.0,
            "OUTPUT_DCAMPS": 0.0,
        }
        status = f"status.measurement.instrument.{self._name}.condition"
        return {f"{self._name}.{name}": value for name, value in found.items()} | {
            status: Attribute(lambda: float(CURRENT_LIMIT if outputs.limited[k] else 0))
        }
