"""LabJack T7: two analog outputs as phase shifters, up to fourteen analog inputs as photodetectors, by Modbus TCP.

Source: T7 datasheet, chapter 3 and appendix A-1; LabJack's Modbus map. Numbers are FLOAT32 in two registers, high word first. No
library of the vendor is needed.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from hilonn.devices import (
    ChannelSpec,
    DetectorReadings,
    Identity,
    PhaseShifters,
    Photodetectors,
    Timing,
)
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.errors import ConfigError, DeviceError
from hilonn.transports import Transport
from hilonn.transports.modbus import Modbus
from hilonn.typing import FloatArray

PAGE = DriverPage(
    instruments="LabJack T7, T7-Pro (their DAC0 and DAC1; AIN0 to AIN13)",
    wiring="Ethernet or WiFi: TCP, port 502. One to two milliseconds a transaction over Ethernet, 6.5 ms over WiFi.",
    connection='transport = "tcp"\nhost = "192.168.1.207"\nport = 502',
    device=(
        'driver = "labjack_t7_outputs"\nconnection = "t7"\nhigh = 4.0\nresistance = 500.0\n\n'
        '[devices.meter]\ndriver = "labjack_t7_inputs"\nconnection = "t7"\nchannels = 8\nunit = "W"\nfactor = 1e-3'
    ),
    quirks=(
        (
            "Inputs are read one after another, software-timed: a reading is what stands at the inputs when it is fetched, at most "
            "some 1,000 a second. The box's streaming is not used.",
            "T7 datasheet, appendix A-1",
        ),
        (
            "Reading a register that can only be written is exception 2.",
            "epics-modules/LabJack, issue 1",
        ),
        (
            "The box keeps its outputs when a client goes away; the safe state sets them to 0 V.",
            "Modbus has no session",
        ),
    ),
    unverified=(
        "DAC0 and DAC1 are registers 1000 and 1002 (`dac_address`); the first write after opening is read back.",
        "The register TEST is 55100 and holds 0x00112233 (`test_address`, 0: is not read).",
        "The negative channel 199 is ground: `negative_channel`.",
        "An input beyond its range reads at least its range's end; -9999 stands for no reading.",
        "DACs have 12 bits of 5 V.",
    ),
)
PRODUCT, SERIAL, T7 = 60000, 60028, 7.0
AIN, AIN_RANGE, AIN_NEGATIVE, AIN_RESOLUTION, AIN_SETTLING = 0, 40000, 41000, 41500, 42000
TEST_PATTERN = 0x00112233
INPUTS = 14
RANGES = (0.01, 0.1, 1.0, 10.0)
"""V, ends of the inputs' ranges."""
DAC_HIGH, DAC_GRAIN = 5.0, 5.0 / 4095
NO_READING = -9000.0


class T7Options(Options):
    """``unit_id`` of Modbus. ``test_address``: see the page."""

    unit_id: int = Field(default=1, ge=0, le=255)
    test_address: int = Field(default=55100, ge=0, le=65534)


class _Box:
    """What both devices do on the wire."""

    def __init__(self, name: str, transport: Transport, options: T7Options) -> None:
        self.name = name
        self.modbus = Modbus(name, transport, options.unit_id)
        self._test_address = options.test_address

    def identity(self) -> Identity:
        product = float(self.modbus.read_floats(PRODUCT)[0])
        if product != T7:
            raise DeviceError(f"{self.name}: PRODUCT_ID is {product:g}; a T7 says {T7:g}")
        return Identity("LabJack", "T7", str(self.modbus.read_unsigned(SERIAL)))

    def test(self) -> None:
        """That words come in the order that is thought, by the register made for it."""
        if self._test_address:
            found = self.modbus.read_unsigned(self._test_address)
            if found != TEST_PATTERN:
                raise DeviceError(
                    f"{self.name}: the register TEST ({self._test_address}) holds 0x{found:08X}, not 0x{TEST_PATTERN:08X}: "
                    "is it a LabJack, and is this the register?"
                )


class OutputsOptions(T7Options):
    """``channels``: DAC0, or both. ``high`` (V). ``resistance`` (ohm) of the heaters, for the gate's power limits;
    ``settling_time`` (s). ``dac_address``: see the page."""

    channels: int = Field(default=2, ge=1, le=2)
    high: float = Field(default=DAC_HIGH, gt=0, le=DAC_HIGH)
    resistance: float | None = Field(default=None, gt=0)
    settling_time: float = Field(default=0.0, ge=0)
    dac_address: int = Field(default=1000, ge=0, le=65532)


class LabJackOutputs(PhaseShifters):
    """DAC0 and DAC1, in V, both in one transaction."""

    def __init__(self, name: str, transport: Transport, options: OutputsOptions) -> None:
        spec = ChannelSpec(
            unit="V",
            low=0.0,
            high=options.high,
            resolution=DAC_GRAIN,
            resistance=options.resistance,
            settling_time=options.settling_time,
        )
        super().__init__(name, options.channels, spec)
        self._box = _Box(name, transport, options)
        self._address = options.dac_address
        self._proved = False

    def identity(self) -> Identity:
        """Model and serial number."""
        return self._box.identity()

    def _open(self) -> None:
        """Who is there, and that the outputs' registers hold voltages; outputs stay as they are."""
        self.identity()
        self._box.test()
        self._read_back()
        self._proved = False

    def _close(self) -> None:
        return None

    def _write(self, drive: FloatArray) -> None:
        proved, self._proved = self._proved, False
        self._box.modbus.write_floats(self._address, drive)
        if not proved:
            held = self._read_back()
            if not (np.abs(held - drive) <= 2 * DAC_GRAIN).all():
                raise DeviceError(
                    f"{self.name}: {drive} V was written at register {self._address}, {held} V is read back; are the "
                    "outputs elsewhere?"
                )
        self._proved = True

    def _read_back(self) -> FloatArray:
        """What the outputs are set to; they are not measured."""
        held = self._box.modbus.read_floats(self._address, self.channels)
        if not ((held > -0.5) & (held < DAC_HIGH + 0.5)).all():
            raise DeviceError(
                f"{self.name}: registers {self._address} ... hold {held}, which are no voltages of outputs"
            )
        return held

    def _safe_state(self) -> None:
        self._proved = False
        self._write(np.zeros(self.channels))


class InputsOptions(T7Options):
    """``channels`` inputs from AIN``first`` on; None: all of them. ``unit``, and ``factor`` in it per V. ``resolution_index`` 0 (the box's choice) to
    12; ``settling`` (s), 0: the box's choice. ``negative_channel``: see the page."""

    first: int = Field(default=0, ge=0, lt=INPUTS)
    channels: int | None = Field(default=None, ge=1)
    unit: str = "V"
    factor: float = Field(default=1.0, gt=0)
    resolution_index: int = Field(default=0, ge=0, le=12)
    settling: float = Field(default=0.0, ge=0, le=0.05)
    negative_channel: int = Field(default=199, ge=0, le=199)


class LabJackInputs(Photodetectors):
    """AINs that follow one another, read in one transaction; one reading a fetch."""

    def __init__(self, name: str, transport: Transport, options: InputsOptions) -> None:
        left = INPUTS - options.first
        channels = left if options.channels is None else options.channels
        if channels > left:
            raise ConfigError(
                f"devices.{name}: {channels} inputs from AIN{options.first} on are asked for, there are {left}"
            )
        top = options.factor * RANGES[-1]
        spec = ChannelSpec(unit=options.unit, low=-top, high=top)
        ranges = tuple(options.factor * volts for volts in RANGES)
        super().__init__(name, channels, spec, ranges, max_samples=1)
        self._box = _Box(name, transport, options)
        self._options = options
        self._first = options.first
        self._averages = 1

    def identity(self) -> Identity:
        """Model and serial number."""
        return self._box.identity()

    def _open(self) -> None:
        """Who is there; inputs against ground, their resolution, settling and widest range set and read back."""
        self.identity()
        self._box.test()
        o, n = self._options, self.channels
        self._set_words(AIN_NEGATIVE, [o.negative_channel] * n, "negative channel")
        self._set_words(AIN_RESOLUTION, [o.resolution_index] * n, "resolution index")
        self._set_floats(AIN_SETTLING, 1e6 * o.settling, "settling time (us)")
        self._set_range(len(RANGES) - 1)
        self.range = len(RANGES) - 1

    def _close(self) -> None:
        return None

    def _set_range(self, index: int) -> None:
        self._set_floats(AIN_RANGE, RANGES[index], "range (V)")

    def _arm(self, samples: int, averages: int, timing: Timing) -> None:
        self._averages = averages

    def _fetch(self) -> DetectorReadings:
        total = np.zeros(self.channels)
        saturated = np.zeros(self.channels, dtype=bool)
        end = RANGES[self.range]
        for _ in range(self._averages):
            volts = self._box.modbus.read_floats(AIN + 2 * self._first, self.channels)
            bad = ~(volts > NO_READING) | ~np.isfinite(volts)
            if bad.any():
                channel = int(np.flatnonzero(bad)[0])
                raise DeviceError(
                    f"{self.name}: AIN{self._first + channel} answered {volts[channel]:g}, which is no reading"
                )
            total += volts
            saturated |= np.abs(volts) >= end
        signal = self._options.factor * total / self._averages
        return DetectorReadings(signal[np.newaxis], saturated[np.newaxis])

    def _safe_state(self) -> None:
        return None  # inputs drive nothing

    def _set_words(self, base: int, values: list[int], what: str) -> None:
        address = base + self._first
        self._box.modbus.write_words(address, values)
        found = self._box.modbus.read_words(address, len(values))
        if found != values:
            raise DeviceError(f"{self.name}: {what} {values} was set, the box holds {found}")

    def _set_floats(self, base: int, value: float, what: str) -> None:
        address = base + 2 * self._first
        self._box.modbus.write_floats(address, np.full(self.channels, value))
        found = self._box.modbus.read_floats(address, self.channels)
        if not np.allclose(found, value, rtol=1e-6, atol=0.0):
            raise DeviceError(f"{self.name}: {what} {value:g} was set, the box holds {found}")


labjack_t7_outputs = on_a_wire(OutputsOptions, LabJackOutputs)
labjack_t7_inputs = on_a_wire(InputsOptions, LabJackInputs)
