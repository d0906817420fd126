"""DiCon switches: a serial module (``I1 2``, a newline before replies), and an MXS-9100 (SCPI, lines end in CR).

Channel 2 is the local oscillator's open shutter, any other a closed one.
"""

from __future__ import annotations

from hilonn.simulators.emulators.instrument import LineInstrument, Reply
from hilonn.simulators.emulators.rack import Rack
from hilonn.simulators.emulators.scpi import OUT_OF_RANGE, ScpiError, ScpiInstrument, number

PARKED = 0
SWITCHING = 15e-3  # s, of 10 to 25 ms
A_QUERY = 2e-3  # s, a serial line


class DiconBox(LineInstrument):
    """A module of ``channels`` channels; it powers up at channel 1."""

    terminators = (b"\r",)

    def __init__(self, name: str, rack: Rack, channels: int = 2, *, echo: bool = False) -> None:
        super().__init__(name, rack)
        self.channels = channels
        self.echo = echo
        self.reboot()

    def reboot(self) -> None:
        self._go(1)

    def state(self) -> dict[str, str]:
        return {"channel": str(self.channel) if self.channel else "parked"}

    def answer(self, line: str) -> list[Reply]:
        text = line.strip()
        data = f"{text}\r".encode() if self.echo else b""
        answered = self._answered(text.upper())
        if answered is None:
            return [Reply(data, SWITCHING if "?" not in text else A_QUERY)]
        return [Reply(data + f"\n{answered}\r".encode(), A_QUERY)]

    def _answered(self, text: str) -> str | None:
        if text == "ID?":
            return "DiCon,MEMS 1xN,DS-0042"
        if text == "CF?":
            return f"1,1,{self.channels}"
        if text == "I1?":
            return str(self.channel)
        if text == "PK":
            self._go(PARKED)
        word, _, rest = text.partition(" ")
        if word == "I1" and rest.isdigit() and 1 <= int(rest) <= self.channels:
            self._go(int(rest))
        return None  # what it does not understand it does not answer

    def _go(self, channel: int) -> None:
        self.channel = channel
        self.rack.set_switch(int(channel == 2))


class DiconMxsBox(ScpiInstrument):
    """An MXS-9100 of ``switches`` switches with ``channels`` channels each; the last is the oscillator's shutter."""

    identity = "DiCon,MXS-9100,9100-0017,2.4"
    terminators = (b"\r",)
    reply_terminator = b"\r"
    busy = A_QUERY

    def __init__(self, name: str, rack: Rack, switches: int = 6, channels: int = 2) -> None:
        super().__init__(name, rack)
        self.switches = switches
        self.most = channels
        self.command("ROUTe#:SCAN", self._scan, busy=SWITCHING)
        self.command("ROUTe#:SCAN?", lambda k: str(self.channels[self._known(k)]))
        self.reboot()

    def reset(self) -> None:
        self.channels = dict.fromkeys(range(1, self.switches + 1), 1)
        self.rack.set_switch(0)

    def state(self) -> dict[str, str]:
        return {f"switch {k}": str(channel) for k, channel in self.channels.items()}

    def _known(self, k: int) -> int:
        if k not in self.channels:
            raise ScpiError(*OUT_OF_RANGE)
        return k

    def _scan(self, k: int, text: str) -> None:
        self.channels[self._known(k)] = int(number(text, 1, self.most))
        if k == self.switches:
            self.rack.set_switch(int(self.channels[k] == 2))
