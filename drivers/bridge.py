"""What the bridges to other people's drivers share: options, and their instrument kept in step.

Theirs is the instrument's protocol; ours are limits, the gate, the check of every setting by reading it back, and the
family of errors.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import pyvisa
from pydantic import Field, model_validator
from serial import SerialException

from hilonn.devices import Identity
from hilonn.drivers.libraries import quietly
from hilonn.drivers.options import Options
from hilonn.drivers.texts import number
from hilonn.errors import ConnectionLost, DeviceError, DeviceTimeout, HilonnError

Value = bool | int | float | str
"""What a bench file can say that a parameter is set to, or reads."""
Finite = Field(allow_inf_nan=False)
LONGEST_QUEUE = 100
TIMEOUTS = (pyvisa.constants.StatusCode.error_timeout,)


class PhaseShiftersMap(Options):
    """``channels``: parameters that are set and read back, one a channel, in ``unit``; ``low`` and ``high`` their limits.
    A value that reads back more than ``resolution`` away is an error (a parameter that reads what is measured needs a
    wider one than a setpoint). ``switches``: none, or one parameter a channel that
    puts it on and off (``on``, ``off``): on before the first drive, off in the safe state. ``resistance`` (ohm) of the
    heaters, for the gate's power limits; ``settling_time`` in s."""

    channels: list[str] = Field(min_length=1)
    unit: str = "V"
    low: float = Finite
    high: float = Finite
    resolution: float = Field(default=1e-3, gt=0)
    switches: list[str] = Field(default=[])
    on: Value = True
    off: Value = False
    resistance: float | None = Field(default=None, gt=0)
    settling_time: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.low > self.high:
            raise ValueError("low lies above high")
        if self.switches and len(self.switches) != len(self.channels):
            raise ValueError(f"{len(self.channels)} channels and {len(self.switches)} switches")
        return self


class PhotodetectorsMap(Options):
    """``channels``: parameters that are read, one a channel, in ``unit``, one sample a play. ``ranges``: full scales,
    smallest first; a reading from there on is saturated. ``range_parameters`` are set to the full scale in use; needed where
    there are several ranges."""

    channels: list[str] = Field(min_length=1)
    unit: str = "W"
    ranges: list[float] = Field(min_length=1)
    range_parameters: list[str] = Field(default=[])

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if len(self.ranges) > 1 and not self.range_parameters:
            raise ValueError("several ranges need range_parameters that set them")
        return self


class LaserMap(Options):
    """Parameters ``power``, ``emission``, ``wavelength``. ``max_power`` (W) and ``wavelengths`` (m) are the limits.
    ``power_resolution`` (W), ``wavelength_resolution`` (m): how far what is read back may lie from what was set."""

    power: str
    emission: str
    wavelength: str
    max_power: float = Field(gt=0, allow_inf_nan=False)
    wavelengths: tuple[float, float]
    power_unit: Literal["W", "mW", "uW", "dBm"] = "mW"
    wavelength_unit: Literal["m", "um", "nm"] = "nm"
    power_resolution: float = Field(default=1e-5, gt=0)
    wavelength_resolution: float = Field(default=1e-12, gt=0)
    on: Value = True
    off: Value = False


class TemperatureMap(Options):
    """Parameters ``setpoint`` and ``temperature`` (degC); ``low`` and ``high`` limit the setpoint; ``window`` (K) about it is
    stable. ``output``: the parameter that switches control on (``on``, ``off``) when a setpoint is set. The safe state
    holds the temperature, unless ``off_when_safe``."""

    setpoint: str
    temperature: str
    low: float = Finite
    high: float = Finite
    window: float = Field(default=0.05, gt=0)
    resolution: float = Field(default=0.01, gt=0)
    output: str | None = None
    off_when_safe: bool = False
    on: Value = True
    off: Value = False


class BridgeOptions(Options):
    """``instrument``: dotted name of the library's class. ``address``: what the library opens; ``arguments``: further ones
    of the class. ``timeout`` in s. ``idn``: whether the instrument says who it is. ``error_query``: asked after every
    setting, e.g. "SYST:ERR?"; a number other than 0 is an error. ``require``: parameters that have to read so when the
    device is opened (units, modes); they are never set. One of ``phase_shifters``, ``photodetectors``, ``laser``,
    ``temperature_controller`` says what the instrument is."""

    instrument: str
    address: str | None = None
    arguments: dict[str, Value] = Field(default={})
    timeout: float = Field(default=2.0, gt=0, le=600)
    idn: bool = True
    error_query: str | None = None
    require: dict[str, Value] = Field(default={})
    phase_shifters: PhaseShiftersMap | None = None
    photodetectors: PhotodetectorsMap | None = None
    laser: LaserMap | None = None
    temperature_controller: TemperatureMap | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        kinds = (self.phase_shifters, self.photodetectors, self.laser, self.temperature_controller)
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError(
                "give one of phase_shifters, photodetectors, laser, temperature_controller"
            )
        return self


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of their instrument."""

    get: Callable[[], Any]
    set: Callable[[Any], Any]


class Library(ABC):
    """What one library does otherwise than the other."""

    name: str

    @abstractmethod
    def build(self, device: str, options: BridgeOptions) -> Any:
        """Construct their instrument, which opens its connection."""

    @abstractmethod
    def find(self, instrument: Any, path: str) -> Parameter:
        """``path``, dots between its parts. LookupError where there is no such parameter."""

    @abstractmethod
    def identity(self, instrument: Any) -> Identity:
        """What it answers to ``*IDN?``."""

    @abstractmethod
    def resource(self, instrument: Any) -> Any:
        """Its pyvisa resource, or None."""

    @abstractmethod
    def close(self, instrument: Any) -> None:
        """Let go."""


class TheirInstrument:
    """Owner of one instrument of another library.

    One exchange at a time. After any error of an exchange, and where bytes lie on the line that nobody asked for, the
    instrument is closed and constructed anew before the next one: an answer that comes late is never the answer to
    something else.
    """

    def __init__(self, name: str, library: Library, options: BridgeOptions) -> None:
        self.name = name
        self._library = library
        self._options = options
        self._lock = threading.RLock()
        self._instrument: Any = None
        self._open = False
        self._made = 0

    def open(self) -> None:
        """Construct it, see who it is and whether it stands as the bench file requires."""
        with self._lock:
            self._open = True
            try:
                self.identity()
                self._drop_old_errors()
                for path, wanted in self._options.require.items():
                    found = self.get(path)
                    if not same(found, wanted):
                        raise DeviceError(
                            f"{self.name}: {path} reads {found!r}, the bench file requires {wanted!r}; set it on the instrument"
                        )
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Let go; safe to call twice."""
        with self._lock:
            self._open = False
            self._drop()

    def identity(self) -> Identity:
        """Who answers; DeviceError where it does not say."""
        with self._exchange("*IDN?") as instrument:
            if not self._options.idn:
                kind = type(instrument)
                return Identity(
                    kind.__module__.partition(".")[0],
                    kind.__name__,
                    self._options.address or self.name,
                )
            found = self._library.identity(instrument)
            if not (found.vendor and found.model and found.serial):
                raise DeviceError(
                    f"{self.name} ({self._options.address}) does not say who it is, but {found}; `idn = false` where it cannot"
                )
            return found

    def made(self) -> int:
        """How often it has been constructed, now that it is there: what was set before the last time is not known to stand."""
        with self._exchange("ready"):
            return self._made

    def get(self, path: str) -> Any:
        """What parameter ``path`` reads."""
        with self._exchange(path) as instrument:
            return self._library.find(instrument, path).get()

    def number(self, path: str) -> float:
        """What parameter ``path`` reads, as a number. DeviceError where it is none."""
        found = self.get(path)
        if isinstance(found, str):
            return number(found, f"{self.name}: {path}")
        if isinstance(found, bool | np.bool_) or not isinstance(found, int | float | np.number):
            raise DeviceError(f"{self.name}: {path} reads {found!r}, which is no number")
        return float(found)

    def set(self, path: str, value: Any) -> None:
        """Set ``path``; DeviceError where their validator or the instrument refuses."""
        with self._exchange(f"{path} = {value!r}") as instrument:
            self._library.find(instrument, path).set(value)
            if self._options.error_query is not None:
                answer = str(instrument.ask(self._options.error_query)).strip()
                if number(answer.partition(",")[0], f"{self.name}: {self._options.error_query}"):
                    raise DeviceError(
                        f"{self.name}: {path} = {value!r}: the instrument says {answer}"
                    )

    def set_number(self, path: str, value: float, resolution: float) -> None:
        """Set ``path`` and read it back; DeviceError where it lies further away than ``resolution``."""
        self.set(path, value)
        self.check_number(path, value, resolution)

    def check_number(self, path: str, value: float, resolution: float) -> None:
        """DeviceError where ``path`` reads further away from ``value`` than ``resolution``."""
        back = self.number(path)
        if not abs(back - value) <= resolution * (1 + 1e-9):
            raise DeviceError(
                f"{self.name}: {path} was set to {value:.10g} and reads {back:.10g} (resolution {resolution:g}): did the "
                "instrument or its library clip or round it?"
            )

    def set_switch(self, path: str, on: bool, words: tuple[Value, Value]) -> None:
        """Switch ``path``; ``words`` for on and off. DeviceError where it does not stay so."""
        self.set(path, words[0] if on else words[1])
        if self.switch(path, words) != on:
            raise DeviceError(
                f"{self.name}: {path} was switched {'on' if on else 'off'} and is not; an interlock, or a protection?"
            )

    def switch(self, path: str, words: tuple[Value, Value]) -> bool:
        """Whether ``path`` reads on. DeviceError where it reads neither of ``words``."""
        found = self.get(path)
        for state, word in zip((True, False), words, strict=True):
            if same(found, word):
                return state
        raise DeviceError(
            f"{self.name}: {path} reads {found!r}, neither {words[0]!r} nor {words[1]!r}"
        )

    def _drop_old_errors(self) -> None:
        """What an earlier client left in the error queue says nothing of what is set from now on."""
        query = self._options.error_query
        if query is None:
            return
        with self._exchange(query) as instrument:
            for _ in range(LONGEST_QUEUE):
                answer = str(instrument.ask(query)).strip()
                if not number(answer.partition(",")[0], f"{self.name}: {query}"):
                    return
        raise DeviceError(f"{self.name}: {query}: {LONGEST_QUEUE} errors did not empty the queue")

    # -- in step ------------------------------------------------------------------------------------

    @contextmanager
    def _exchange(self, doing: str) -> Iterator[Any]:
        with self._lock:
            if not self._open:
                raise ConnectionLost(f"{self.name} ({self._options.address}) is not open")
            good = False
            try:
                if self._instrument is not None and not self._quiet():
                    self._drop()
                if self._instrument is None:
                    with quietly():
                        self._instrument = self._library.build(self.name, self._options)
                    self._made += 1
                yield self._instrument
                good = True
            except Exception as error:  # whatever their library raises gets a name of ours
                raise self._named(error, doing) from error
            finally:
                if not good:
                    self._drop()

    def _quiet(self) -> bool:
        """Whether nothing lies on a line of bytes that nobody asked for; other buses keep answers apart themselves."""
        resource = self._library.resource(self._instrument)
        streams = (pyvisa.resources.TCPIPSocket, pyvisa.resources.SerialInstrument)
        if not isinstance(resource, streams):
            return True
        patience, resource.timeout = resource.timeout, 0
        try:
            data, _ = resource.visalib.read(resource.session, 1)
        except pyvisa.VisaIOError as error:
            return error.error_code in TIMEOUTS
        finally:
            resource.timeout = patience
        return not data

    def _drop(self) -> None:
        instrument, self._instrument = self._instrument, None
        if instrument is not None:
            with suppress(Exception):  # what is broken may not close; a new one is made in any case
                self._library.close(instrument)

    def _named(self, error: Exception, doing: str) -> HilonnError:
        if isinstance(error, HilonnError):
            return error
        said = "; ".join(str(a) for a in error.args) or type(error).__name__
        text = f"{self.name} ({self._options.address}): {doing}: {self._library.name} says {type(error).__name__}: {said}"
        if isinstance(error, TimeoutError):
            return DeviceTimeout(text)
        if isinstance(error, pyvisa.VisaIOError):
            return DeviceTimeout(text) if error.error_code in TIMEOUTS else ConnectionLost(text)
        gone = (pyvisa.errors.InvalidSession, SerialException, ConnectionError, EOFError)
        if isinstance(error, gone) or (isinstance(error, OSError) and error.errno):
            return ConnectionLost(text)
        return DeviceError(text)


def same(found: Any, wanted: Value) -> bool:
    """Whether what was read is what a bench file means: numbers as numbers, words in any case."""
    if isinstance(found, str) and isinstance(wanted, str):
        return found.strip().casefold() == wanted.strip().casefold()
    try:
        return float(found) == float(wanted)
    except (TypeError, ValueError):
        return str(found).strip().casefold() == str(wanted).strip().casefold()
