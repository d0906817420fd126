"""Rigol DP832 and DP832A triple supplies: up to three outputs as phase shifters.

Source: DP800 programming guide. SCPI, one command a channel. A command that comes within 10 to 20 ms of the one before it
is lost without a word, so that a gap is kept, and what was set is read back.
"""

from __future__ import annotations

import re

import numpy as np
from pydantic import Field

from hilonn.devices import ChannelSpec, Identity, PhaseShifters
from hilonn.drivers import scpi
from hilonn.drivers.options import Options, on_a_wire
from hilonn.drivers.page import DriverPage
from hilonn.drivers.texts import flag, number
from hilonn.errors import ConfigError, DeviceError, DeviceTimeout
from hilonn.transports import Dialect, Transport
from hilonn.typing import FloatArray

DIALECT = Dialect(write="\n", read="\n", gap=0.02, resync=("*IDN?", r"(?i)rigol.*"))
PAGE = DriverPage(
    instruments="Rigol DP832, DP832A",
    wiring=(
        "LAN, raw socket 5555, lines end in LF (VXI-11 of this box can hang until it is switched off and on); also USB over "
        "VISA. Slow: 20 ms a command, about 0.15 s for three channels."
    ),
    connection='transport = "tcp"\nhost = "192.168.1.40"\nport = 5555',
    device='driver = "rigol_dp832"\nconnection = "supply"\nchannels = [1, 2, 3]\nhigh = 5.0\nmax_current = 0.02',
    quirks=(
        ("Outputs are ON and OFF in its answers, not 1 and 0.", "DP800 programming guide"),
        (
            "`:APPL? CH1` is answered `CH1,5.000,1.0000` in the manual, `CH1:30V/3A,5.000,1.0000` by the box: read from the right.",
            "DP800 programming guide",
        ),
        (
            "Commands that come too fast are lost: 20 ms between them, and what was set is read back.",
            "PyFixate/Fixate PR#228, pyvisa #362",
        ),
        (
            "`*RST` sent as a query hangs its VXI-11 until a power cycle: it is never sent.",
            "python-vxi11 #27",
        ),
    ),
    unverified=(
        "Voltages are set in steps of 10 mV (1 mV on a DP832A): `resolution`.",
        "The current setting stands a tenth above the over-current protection, so that it is the protection that acts.",
        "`:OUTP:OVP:QUES?` and `:OUTP:OCP:QUES?` answer YES where a protection has tripped.",
    ),
)
REACH = {1: (32.0, 3.2), 2: (32.0, 3.2), 3: (5.3, 3.2)}
"""V and A, by channel (DP800 programming guide)."""
_APPLIED = re.compile(r"CH([123])(?::[^,]*)?,([^,]+),([^,]+)")


class RigolDp832Options(Options):
    """``channels`` in their order. ``high`` (V): the largest voltage. ``max_current`` (A): a channel that draws more is
    switched off by the box. ``resolution`` (V): steps of the voltage. ``resistance`` (ohm) of the heaters, for the gate's
    power limits. ``settling_time`` (s) of outputs and heaters."""

    channels: list[int] = Field(default_factory=lambda: [1, 2, 3], min_length=1)
    high: float = Field(gt=0, le=32)
    max_current: float = Field(ge=0.001, le=3.2)
    resolution: float = Field(default=0.01, gt=0, le=0.1)
    resistance: float | None = Field(default=None, gt=0)
    settling_time: float = Field(default=0.05, ge=0)


class RigolDp832(PhaseShifters):
    """The outputs of one box, in V."""

    def __init__(self, name: str, transport: Transport, options: RigolDp832Options) -> None:
        chosen = options.channels
        if len(set(chosen)) != len(chosen) or not set(chosen) <= set(REACH):
            raise ConfigError(f"devices.{name}: channels = {chosen}: each of 1, 2, 3 once")
        spec = ChannelSpec(
            unit="V",
            low=0.0,
            high=options.high,
            resolution=options.resolution,
            resistance=options.resistance,
            settling_time=options.settling_time,
        )
        super().__init__(name, len(chosen), spec)
        self.terminals = tuple(f"channel {c}" for c in chosen)
        transport.speak(DIALECT)
        self._transport = transport
        self._options = options
        self._amperes = min(1.1 * options.max_current + 0.002, 3.2)
        self._held: FloatArray | None = None

    def identity(self) -> Identity:
        return scpi.identity(self._transport, "DP832")

    def _open(self) -> None:
        """Who it is, and whether it reaches what is asked of it; outputs stay as they are."""
        self.identity()
        for channel in self._options.channels:
            if self._options.high > REACH[channel][0]:
                raise DeviceError(
                    f"{self.name}: {self._options.high:g} V are asked for, output {channel} reaches "
                    f"{REACH[channel][0]:g} V"
                )
        scpi.drop_old_errors(self._transport, ":SYST:ERR?")
        self._held = None

    def _close(self) -> None:
        return None

    def _write(self, drive: FloatArray) -> None:
        """Channels that change, one after another, each read back; then whether all are on, and the error queue."""
        held, self._held = self._held, None
        with self._transport.atomic():
            for k, (channel, volts) in enumerate(zip(self._options.channels, drive, strict=True)):
                if held is None:
                    self._protect(channel)
                if held is None or held[k] != volts:
                    self._apply(channel, float(volts))
                if held is None:
                    self._transport.write(f":OUTP CH{channel},ON")
            scpi.raise_errors(self._transport, f"{self.name}: writing {drive} V", ":SYST:ERR?")
            for channel in self._options.channels:
                self._check_on(channel)
        self._held = drive.copy()

    def _protect(self, channel: int) -> None:
        """Over-voltage and over-current protection, and the voltage at zero before them, which might trip them."""
        self._apply(channel, 0.0)
        over = min(1.1 * self._options.high + 0.5, REACH[channel][0] * 1.03)
        for kind, value in (("OVP", over), ("OCP", self._options.max_current)):
            self._transport.write(f":OUTP:{kind}:VAL CH{channel},{value:.3f}")
            self._transport.write(f":OUTP:{kind} CH{channel},ON")
            query = f":OUTP:{kind}:VAL? CH{channel}"
            set_to = number(self._transport.query(query), f"{self.name}: {query}")
            if abs(set_to - value) > 0.02 * value + 0.001:
                raise DeviceError(
                    f"{self.name}: a protection of {value:.3f} was set ({kind} of output {channel}), the box holds {set_to:g}"
                )
            query = f":OUTP:{kind}? CH{channel}"
            if not flag(self._transport.query(query), f"{self.name}: {query}"):
                raise DeviceError(f"{self.name}: {kind} of output {channel} does not go on")

    def _apply(self, channel: int, volts: float) -> None:
        self._transport.write(f":APPL CH{channel},{volts:.3f},{self._amperes:.3f}")
        set_to, amperes = self._applied(channel)
        if (
            abs(set_to - volts) > self._options.resolution
            or abs(amperes - self._amperes) > 0.02 * self._amperes + 0.001
        ):
            raise DeviceError(
                f"{self.name}: output {channel} was set to {volts:.3f} V and {self._amperes:.3f} A, and holds {set_to:g} V "
                f"and {amperes:g} A; was the command lost? A larger `gap` of its connection may help"
            )

    def _applied(self, channel: int) -> tuple[float, float]:
        query = f":APPL? CH{channel}"
        text = self._transport.query(query).strip()
        found = _APPLIED.fullmatch(text)
        if found is None or int(found.group(1)) != channel:
            raise DeviceError(
                f"{self.name}: {query} was answered {text[:60]!r}, not CH{channel}, V, A"
            )
        asked = f"{self.name}: {query}"
        return number(found.group(2), asked), number(found.group(3), asked)

    def _on(self, channel: int) -> bool:
        query = f":OUTP? CH{channel}"
        return flag(self._transport.query(query), f"{self.name}: {query}")

    def _check_on(self, channel: int) -> None:
        """DeviceError, with its cause, where a channel is off that was switched on."""
        if self._on(channel):
            return
        for kind, cause in (("OCP", "over-current"), ("OVP", "over-voltage")):
            answer = self._transport.query(f":OUTP:{kind}:QUES? CH{channel}").strip()
            if answer == "YES":
                raise DeviceError(
                    f"{self.name}: the protection of output {channel} has tripped: {cause}; it is off. Find out "
                    "why, then clear_faults()"
                )
        raise DeviceError(
            f"{self.name}: output {channel} is off, though it was switched on; has somebody pressed its key?"
        )

    def _read_back(self) -> FloatArray:
        """The voltages that the box holds; 0 where an output is off."""
        return np.array(
            [self._applied(c)[0] if self._on(c) else 0.0 for c in self._options.channels]
        )

    def clear_faults(self) -> None:
        """Let channels whose protection has tripped go on again, with the next write. For a person who has seen why."""
        self._held = None
        with self._transport.atomic():
            for channel in self._options.channels:
                for kind in ("OCP", "OVP"):
                    self._transport.write(f":OUTP:{kind}:CLEAR CH{channel}")
            scpi.raise_errors(
                self._transport, f"{self.name}: clearing its protections", ":SYST:ERR?"
            )

    def _safe_state(self) -> None:
        """Off, then zero. Every channel is tried, whatever one of them does."""
        self._held = None
        failed: DeviceError | DeviceTimeout | None = None
        for channel in self._options.channels:
            self._transport.write(f":OUTP CH{channel},OFF")
            try:
                if self._on(channel):
                    raise DeviceError(
                        f"{self.name}: output {channel} is on, though it was switched off"
                    )
                self._apply(channel, 0.0)
            except (DeviceError, DeviceTimeout) as error:
                failed = failed or error
        if failed is not None:
            raise failed


rigol_dp832 = on_a_wire(RigolDp832Options, RigolDp832, answers_to=r"(?i)^RIGOL.*,\s*DP83\d")
