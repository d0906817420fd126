"""A Keysight multiport power meter: N7744A, N7745A, or modules in an 816x mainframe, on the rack's detectors.

Sources: 8163A/B/8164A/B programming guide p14, p17, p66, p97, p100-104; N774xC guide p14, p69, p88. Slots are counted
from 1; each holds one detector.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from hilonn.simulators.emulators.instrument import Reply
from hilonn.simulators.emulators.rack import TICK, Listener, Rack
from hilonn.simulators.emulators.scpi import (
    ILLEGAL_VALUE,
    OUT_OF_RANGE,
    Answer,
    Handler,
    ScpiError,
    ScpiInstrument,
    Timed,
    arguments_of,
    asked,
    block,
    check_count,
    number,
    scientific,
    switch,
)
from hilonn.typing import FloatArray

SETTING, QUERY, READING, POINT = 1e-4, 5e-4, 3e-3, 1e-7
"""s, means: a setting, a query, a measurement besides its averaging time, a logged point that is read out."""
OVER_RANGE = float(np.finfo(np.float32).max)
"""What the box answers for a reading above its range."""
STAGES = 4
"""Of an amplifier with automatic gain, a factor 2 apart: what a real one does within its range of 10 dB is not documented, but
that its noise is less for weak light."""
RANGES = (-30.0, -20.0, -10.0, 0.0, 10.0)
"""dBm."""
WAVELENGTHS = (1.2e-6, 1.7e-6)
EMPTY_SLOT = (-303, "Module slot empty or slot / channel invalid")
STALE = (-231, "Data questionable")
IGNORED = (-213, "Init ignored")
NONE, LOGGING = "NONE", "LOGGING_STABILITY"


@dataclass
class _Slot:
    """One detector's settings, its last reading (W; None: none was taken) and its log."""

    wavelength: float = 1.55e-6
    averaging: float = 0.1
    unit: int = 0
    range: float = 10.0
    auto: bool = True
    gain: bool = True
    continuous: bool = True
    trigger: str = "IGN"
    function: str = NONE
    running: bool = False
    points: int = 100
    period: float = 0.1
    reading: float | None = None
    log: list[FloatArray] = field(default_factory=list)
    ends: float | None = None

    @property
    def full_scale(self) -> float:
        return float(1e-3 * 10 ** ((RANGES[-1] if self.auto else self.range) / 10))


class KeysightPowerMeterBox(ScpiInstrument):
    """``columns``: the plant's detectors behind the slots, in order. ``model`` N7744A (4 slots), N7745A (8), or 8163B,
    8164B, 8166B: those log 10001 points at most, always in W, and average for 100 us at least."""

    def __init__(self, name: str, rack: Rack, columns: list[int], model: str = "N7745A") -> None:
        super().__init__(name, rack)
        self.identity = f"Keysight Technologies,{model},MY{49000001 + sum(columns)},V1.1570"
        self.columns = columns
        self._mainframe = model.startswith("816")
        self._most_points = 10001 if self._mainframe else 1_000_000
        self._shortest = 1e-4 if self._mainframe else 1e-6
        self._slots: dict[int, _Slot] = {}
        self._starting: list[_Slot] = []
        self._register()
        self.reboot()

    def reset(self) -> None:
        for slot in self._slots:
            self._unlisten(slot)
        self._slots = {slot: _Slot() for slot in range(1, len(self.columns) + 1)}

    def state(self) -> dict[str, str]:
        slots = list(self._slots.values())
        logging = sum(slot.running for slot in slots)
        return {
            "channels": str(len(slots)),
            "range": ", ".join(sorted({"auto" if s.auto else f"{s.range:g} dBm" for s in slots})),
            "logs": f"{logging} waiting or running" if logging else "none",
        }

    # -- commands ---------------------------------------------------------------------------------

    def _register(self) -> None:
        sense, power = "SENSe#[:CHANnel#]:", "SENSe#[:CHANnel#]:POWer:"

        def on_slot(pattern: str, handler: Handler, busy: float, stops: bool = False) -> None:
            few, many = arguments_of(handler)

            def checked(number: int, channel: int, *texts: str) -> Answer:
                if number not in self._slots or channel != 1:
                    raise ScpiError(*EMPTY_SLOT)
                check_count(len(texts), few - 1, many - 1)
                slot = self._slots[number]
                if stops and slot.function == LOGGING:
                    self._stop(slot)
                return handler(slot, *texts)

            self.command(pattern, checked, busy)

        setting = partial(on_slot, busy=SETTING, stops=True)  # setting anything stops logging

        setting(power + "WAVelength", self._set_wavelength)
        on_slot(
            power + "WAVelength?",
            lambda s, text=None: scientific(asked(s.wavelength, text, *WAVELENGTHS)),
            QUERY,
        )
        setting(power + "ATIMe", self._set_averaging)
        on_slot(
            power + "ATIMe?",
            lambda s, text=None: scientific(asked(s.averaging, text, self._shortest, 10.0)),
            QUERY,
        )
        setting(power + "UNIT", self._set_unit)
        on_slot(power + "UNIT?", lambda s: f"{s.unit:+d}", QUERY)
        setting(power + "RANGe[:UPPer]", self._set_range)
        on_slot(power + "RANGe[:UPPer]?", lambda s: scientific(s.range), QUERY)
        setting(power + "RANGe:AUTO", lambda s, text: setattr(s, "auto", switch(text)))
        on_slot(power + "RANGe:AUTO?", lambda s: f"{s.auto:+d}", QUERY)
        if not self._mainframe:
            setting(power + "GAIN:AUTO", lambda s, text: setattr(s, "gain", switch(text)))
            on_slot(power + "GAIN:AUTO?", lambda s: f"{s.gain:+d}", QUERY)
        setting("TRIGger#[:CHANnel#]:INPut", self._set_trigger)
        on_slot("TRIGger#[:CHANnel#]:INPut?", lambda s: s.trigger, QUERY)
        setting(
            "INITiate#[:CHANnel#]:CONTinuous",
            lambda s, text: setattr(s, "continuous", switch(text)),
        )
        on_slot("INITiate#[:CHANnel#]:CONTinuous?", lambda s: f"{s.continuous:+d}", QUERY)
        on_slot("INITiate#[:CHANnel#][:IMMediate]", self._initiate, READING)
        on_slot("FETCh#[:CHANnel#][:SCALar]:POWer[:DC]?", self._fetched, QUERY)
        on_slot("READ#[:CHANnel#][:SCALar]:POWer[:DC]?", self._read, READING)
        setting(sense + "FUNCtion:PARameter:LOGGing", self._set_log)
        on_slot(
            sense + "FUNCtion:PARameter:LOGGing?",
            lambda s: f"{s.points:+d},{scientific(s.period)}",
            QUERY,
        )
        on_slot(sense + "FUNCtion:STATe", self._set_state, SETTING)
        on_slot(sense + "FUNCtion:STATe?", self._state_of, QUERY)
        on_slot(sense + "FUNCtion:RESult?", self._result, QUERY)
        self.command("SLOT#:IDN?", self._slot_identity, QUERY)
        self.command("FETCh:POWer:ALL?", lambda: self._block_of_all(measure=False), QUERY)
        self.command("READ:POWer:ALL?", lambda: self._block_of_all(measure=True), READING)
        for verb in ("FETCh", "READ"):
            self.command(f"{verb}:POWer:ALL:CONFig?", self._configuration, QUERY)

    # -- settings ---------------------------------------------------------------------------------

    def _set_wavelength(self, slot: _Slot, text: str) -> None:
        slot.wavelength = number(text, *WAVELENGTHS, unit="M", default=1.55e-6)

    def _set_averaging(self, slot: _Slot, text: str) -> None:
        slot.averaging = number(text, self._shortest, 10.0, unit="S", default=0.1)

    def _set_unit(self, slot: _Slot, text: str) -> None:
        word = text.strip().upper()
        if word not in ("0", "1", "DBM", "W", "WATT"):
            raise ScpiError(*ILLEGAL_VALUE)
        slot.unit = 0 if word in ("0", "DBM") else 1

    def _set_range(self, slot: _Slot, text: str) -> None:
        if re.search(r"W(ATT)?$", text.strip().upper()):
            watts = number(re.sub(r"(?i)att$", "", text.strip()), 1e-12, 1.0, unit="W")
            wanted = 10 * np.log10(watts / 1e-3)
        else:
            wanted = number(text, -300.0, 300.0, unit="DBM", default=10.0)
        wanted = 10.0 * np.ceil(round(float(wanted), 6) / 10.0)  # the next range that holds it
        if not RANGES[0] <= wanted <= RANGES[-1]:
            raise ScpiError(*OUT_OF_RANGE)
        slot.range, slot.auto = float(wanted), False

    def _set_trigger(self, slot: _Slot, text: str) -> None:
        word = text.strip().upper()
        words = {"IGNORE": "IGN", "SMEASURE": "SME", "CMEASURE": "CME"}
        chosen = words.get(word, word)
        if chosen not in words.values():
            raise ScpiError(*ILLEGAL_VALUE)
        slot.trigger = chosen

    def _set_log(self, slot: _Slot, points: str, period: str) -> None:
        count = number(points, 1, self._most_points)
        slot.period = number(period, self._shortest, 10.0, unit="S")
        slot.points = int(count)

    # -- single readings --------------------------------------------------------------------------

    def _measure(self, slots: list[_Slot]) -> float:
        """Read ``slots`` now; returns the seconds that it takes."""
        if any(slot.running for slot in slots):
            raise ScpiError(*IGNORED)
        period = max(slot.averaging for slot in slots)
        numbers = {id(slot): n for n, slot in self._slots.items()}
        columns = [self.columns[numbers[id(slot)] - 1] for slot in slots]
        scales = np.array([slot.full_scale for slot in slots])
        stages = STAGES if all(s.gain for s in slots) else 1
        signal, saturated = self.rack.sample(columns, scales, period, stages)
        for slot, value, over in zip(slots, signal, saturated, strict=True):
            slot.reading = OVER_RANGE if over else float(value)
        return 0.0 if self.rack.lockstep else period

    def _shown(self, slot: _Slot) -> float:
        """The last reading in the slot's unit. A slot that measures continuously has a fresh one."""
        if slot.reading is None:
            raise ScpiError(*STALE)
        if slot.unit == 1 or slot.reading == OVER_RANGE:
            return slot.reading
        return 10 * float(np.log10(slot.reading / 1e-3)) if slot.reading > 0 else -200.0

    def _initiate(self, slot: _Slot) -> Timed:
        return Timed(None, wait=self._measure([slot]))

    def _fetched(self, slot: _Slot) -> str:
        if slot.continuous and not slot.running:
            self._measure([slot])
        return scientific(self._shown(slot))

    def _read(self, slot: _Slot) -> Timed:
        wait = self._measure([slot])
        return Timed(scientific(self._shown(slot)), wait=wait)

    def _block_of_all(self, measure: bool) -> Timed:
        slots = list(self._slots.values())
        fresh = slots if measure else [s for s in slots if s.continuous and not s.running]
        wait = self._measure(fresh) if fresh else 0.0
        values = np.array([self._shown(slot) for slot in slots])
        return Timed(block(values.astype("<f4").tobytes()), wait=wait if measure else 0.0)

    def _configuration(self) -> bytes:
        pairs = [value for slot in self._slots for value in (slot, 1)]
        return block(np.array(pairs, dtype="<u2").tobytes())

    def _slot_identity(self, slot: int) -> str:
        if slot not in self._slots:
            raise ScpiError(*EMPTY_SLOT)
        vendor, model, serial, firmware = self.identity.split(",")
        return f"{vendor},{model},{serial},{firmware}"

    # -- logging ----------------------------------------------------------------------------------

    def _set_state(self, slot: _Slot, what: str, verb: str) -> None:
        if what.strip().upper() not in ("LOGG", "LOGGING"):
            raise ScpiError(*ILLEGAL_VALUE)
        word = verb.strip().upper()
        if word == "STOP":
            self._stop(slot)
        elif word in ("STAR", "START"):
            self._start(slot)
        else:
            raise ScpiError(*ILLEGAL_VALUE)

    def _start(self, slot: _Slot) -> None:
        self._stop(slot)
        slot.function, slot.running = LOGGING, True
        if slot.trigger != "IGN":
            self._await_trigger(slot)
            return
        self._starting.append(slot)

    def answer(self, line: str) -> list[Reply]:
        replies = super().answer(line)
        starting, self._starting = self._starting, []
        for what in {(slot.points, slot.period) for slot in starting}:
            self._log_now([s for s in starting if (s.points, s.period) == what and s.running])
        return replies

    def _log_now(self, slots: list[_Slot]) -> None:
        """Slots that one message started, and that wait for no trigger, log at the same time."""
        if not slots:
            return

        def deliver(signal: FloatArray, saturated: np.ndarray) -> None:
            for slot, values in zip(slots, np.where(saturated, OVER_RANGE, signal).T, strict=True):
                slot.log = [values]

        began = self.rack.now()
        points, period = slots[0].points, slots[0].period
        columns = [self.columns[self._number(slot) - 1] for slot in slots]
        scales = np.array([slot.full_scale for slot in slots])
        stages = STAGES if all(slot.gain for slot in slots) else 1
        self.rack.read(Listener(columns, points, period, scales, deliver, stages))
        for slot in slots:
            slot.ends = began + points * period

    def _await_trigger(self, slot: _Slot) -> None:
        """One trigger takes the whole log (CME) or one point of it (SME)."""
        number = self._number(slot)

        def deliver(signal: FloatArray, saturated: np.ndarray) -> None:
            slot.log.append(np.where(saturated[:, 0], OVER_RANGE, signal[:, 0]))
            if sum(map(len, slot.log)) < slot.points:
                self._await_trigger(slot)
            else:
                slot.ends = self.rack.now() + len(signal) * slot.period

        self.rack.listen(
            f"{self.name}:{number}",
            Listener(
                [self.columns[number - 1]],
                slot.points if slot.trigger == "CME" else 1,
                slot.period,
                np.array([slot.full_scale]),
                deliver,
                STAGES if slot.gain else 1,
            ),
        )

    def _stop(self, slot: _Slot) -> None:
        self._unlisten(self._number(slot))
        slot.function, slot.running, slot.log, slot.ends = NONE, False, [], None

    def _unlisten(self, slot: int) -> None:
        self.rack.listen(f"{self.name}:{slot}", None)

    def _number(self, slot: _Slot) -> int:
        return next(n for n, s in self._slots.items() if s is slot)

    def _state_of(self, slot: _Slot) -> Timed:
        """In lockstep nothing else would move the lab's time: asking waits for a log that is on its way."""
        left = 0.0 if slot.ends is None else slot.ends - self.rack.now()
        if left > 0.0 and self.rack.lockstep:
            self.rack.sleep(left)
        self._settle(slot)
        return Timed(f"{slot.function},{'PROGRESS' if slot.running else 'COMPLETE'}")

    def _settle(self, slot: _Slot) -> None:
        if slot.ends is not None and self.rack.now() > slot.ends - TICK:
            slot.running, slot.ends = False, None

    def _result(self, slot: _Slot) -> Timed:
        self._settle(slot)
        if slot.function == NONE or slot.running or not slot.log:
            raise ScpiError(*STALE)
        watts = np.concatenate(slot.log)
        if slot.unit == 0 and not self._mainframe:
            with np.errstate(divide="ignore", invalid="ignore"):
                decibels = 10 * np.log10(watts / 1e-3)
            watts = np.where(watts == OVER_RANGE, OVER_RANGE, np.where(watts > 0, decibels, -200.0))
        return Timed(block(watts.astype("<f4").tobytes()), busy=POINT * len(watts))
