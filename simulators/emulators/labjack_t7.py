"""A LabJack T7 on Modbus TCP: its outputs are two of the chip's heaters, its inputs some of the chip's detectors.

Sources: T7 datasheet, chapter 3 and appendix A-1; LabJack's Modbus map; MODBUS Application Protocol V1.1b3 (functions 3, 4, 6, 16).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hilonn.simulators.emulators.instrument import Instrument, Reply, Session
from hilonn.simulators.emulators.rack import Rack

OVERHEAD, A_DAC, AN_INPUT = 1.0e-3, 5e-5, 5e-5  # s, means over Ethernet
INPUTS = 14
DAC_HIGH, CODES = 5.0, 4095
RANGES = (0.01, 0.1, 1.0, 10.0)  # V
HEADROOM = 1.06
"""The converter's own end, in ranges."""
PERIOD = 1e-4  # s that an input is looked at
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3


class ModbusException(Exception):
    """An exception answer."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class _Register:
    """``format`` of struct; ``write`` None: read-only, ``read`` None: write-only."""

    format: str
    read: Callable[[], float] | None
    write: Callable[[float], None] | None = None

    @property
    def words(self) -> int:
        return struct.calcsize(self.format) // 2


class LabJackT7Box(Instrument):
    """AIN k reads detector ``detectors[k]`` through an amplifier of ``gain`` V/W; DAC0 and DAC1 drive the heaters ``heater`` and
    the next. Inputs without a detector read 0 V."""

    def __init__(
        self,
        name: str,
        rack: Rack,
        detectors: list[int] | None = None,
        gain: float = 1e3,
        heater: int = 0,
        serial: int = 470012345,
    ) -> None:
        super().__init__(name, rack)
        self._detectors = detectors or []
        self._gain = gain
        self._heater = heater
        self._taken: dict[int, float] = {}
        self._registers: dict[int, _Register] = {
            60000: _Register(">f", lambda: 7.0),
            60028: _Register(">I", lambda: serial),
            55100: _Register(">I", lambda: 0x00112233),
            61998: _Register(">I", None, self._reboot_asked),
        }
        for k in range(2):
            self._registers[1000 + 2 * k] = self._dac(k)
        for k in range(INPUTS):
            self._registers[2 * k] = self._input(k)
            self._registers[40000 + 2 * k] = self._kept(">f", "range", k)
            self._registers[41000 + k] = self._kept(">H", "negative", k)
            self._registers[41500 + k] = self._kept(">H", "resolution", k)
            self._registers[42000 + 2 * k] = self._kept(">f", "settling", k)
        self.reboot()

    def reboot(self) -> None:
        self.volts = np.zeros(2)
        self.settings: dict[str, list[float]] = {
            "range": [10.0] * INPUTS,
            "negative": [199] * INPUTS,
            "resolution": [0] * INPUTS,
            "settling": [0.0] * INPUTS,
        }
        self.rack.write_heaters(self._heater, self.volts)

    def state(self) -> dict[str, str]:
        return {
            "DAC": ", ".join(f"{v:.3f} V" for v in self.volts),
            "inputs": str(len(self._detectors)),
        }

    def session(self) -> Session:
        return ModbusSession(self)

    # -- registers ------------------------------------------------------------------------------------

    def _dac(self, k: int) -> _Register:
        def write(value: float) -> None:
            if not -0.01 <= value <= DAC_HIGH + 0.01:
                raise ModbusException(ILLEGAL_VALUE)
            code = round(min(max(value, 0.0), DAC_HIGH) / DAC_HIGH * CODES)
            self.volts[k] = code * DAC_HIGH / CODES
            self.rack.write_heaters(self._heater, self.volts)

        return _Register(">f", lambda: float(self.volts[k]), write)

    def _input(self, k: int) -> _Register:
        return _Register(">f", lambda: self._taken.get(k, 0.0))

    def _kept(self, kind: str, what: str, k: int) -> _Register:
        def write(value: float) -> None:
            if what == "range" and not any(np.isclose(value, end) for end in RANGES):
                raise ModbusException(ILLEGAL_VALUE)
            if what == "resolution" and not 0 <= value <= 12:
                raise ModbusException(ILLEGAL_VALUE)
            self.settings[what][k] = value

        return _Register(kind, lambda: self.settings[what][k], write)

    def _reboot_asked(self, value: float) -> None:
        if int(value) != 0x4C4A0000:
            raise ModbusException(ILLEGAL_VALUE)
        self.reboot()

    def _look(self, address: int, count: int) -> int:
        """Read the detectors of all inputs among the registers, at once; returns how many inputs those are."""
        inputs = range(min((address + 1) // 2, INPUTS), min((address + count) // 2, INPUTS))
        self._taken = {}
        wired = [k for k in inputs if k < len(self._detectors)]
        if wired:
            ends = np.array([self.settings["range"][k] for k in wired])
            columns = [self._detectors[k] for k in wired]
            watts, saturated = self.rack.sample(columns, ends / self._gain, PERIOD)
            volts = np.where(saturated, HEADROOM * ends, self._gain * watts)
            self._taken = {k: float(v) for k, v in zip(wired, volts, strict=True)}
        return len(inputs)

    def answer(self, function: int, data: bytes) -> tuple[bytes, float]:
        """What function ``function`` with ``data`` is answered with, and how long it takes. Raises ModbusException."""
        if function in (3, 4) and len(data) == 4:
            address, count = struct.unpack(">HH", data)
            if not 1 <= count <= 125:
                raise ModbusException(ILLEGAL_VALUE)
            inputs = self._look(address, count)
            found = b"".join(self._value(r) for r in self._at(address, count))
            return bytes([2 * count]) + found, OVERHEAD + AN_INPUT * inputs
        if function == 6 and len(data) == 4:
            address = struct.unpack(">H", data[:2])[0]
            self._write(address, data[2:])
            return data, OVERHEAD
        if function == 16 and len(data) >= 5:
            address, count, size = struct.unpack(">HHB", data[:5])
            if not 1 <= count <= 123 or size != 2 * count or len(data) != 5 + size:
                raise ModbusException(ILLEGAL_VALUE)
            dacs = self._write(address, data[5:])
            return data[:4], OVERHEAD + A_DAC * dacs
        raise ModbusException(ILLEGAL_FUNCTION if function not in (3, 4, 6, 16) else ILLEGAL_VALUE)

    def _at(self, address: int, count: int) -> list[_Register]:
        """The registers that fill ``count`` words from ``address`` on, whole."""
        found, end = [], address + count
        while address < end:
            register = self._registers.get(address)
            if register is None or address + register.words > end:
                raise ModbusException(ILLEGAL_ADDRESS)
            found.append(register)
            address += register.words
        return found

    def _value(self, register: _Register) -> bytes:
        if register.read is None:
            raise ModbusException(ILLEGAL_ADDRESS)
        value = register.read()
        return struct.pack(register.format, value if register.format == ">f" else int(value))

    def _write(self, address: int, data: bytes) -> int:
        registers = self._at(address, len(data) // 2)
        if any(register.write is None for register in registers):
            raise ModbusException(ILLEGAL_ADDRESS)
        at = 0
        for register in registers:
            size = 2 * register.words
            assert register.write is not None
            register.write(struct.unpack(register.format, data[at : at + size])[0])
            at += size
        return len(registers) if 1000 <= address < 1004 else 0


class ModbusSession:
    """Cuts what comes into frames of Modbus TCP."""

    def __init__(self, box: LabJackT7Box) -> None:
        self._box = box
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Reply]:
        self._pending += data
        replies: list[Reply] = []
        while len(self._pending) >= 8:
            transaction, protocol, length = struct.unpack(">HHH", self._pending[:6])
            if protocol != 0 or not 2 <= length <= 254:
                self._pending.clear()  # no frame: the box loses it
                break
            if len(self._pending) < 6 + length:
                break
            unit, function = self._pending[6], self._pending[7]
            body = bytes(self._pending[8 : 6 + length])
            del self._pending[: 6 + length]
            try:
                answer, busy = self._box.answer(function, body)
            except ModbusException as error:
                function, answer, busy = function | 0x80, bytes([error.code]), OVERHEAD
            head = struct.pack(">HHHBB", transaction, 0, len(answer) + 2, unit, function)
            replies.append(Reply(head + answer, busy))
        return replies
