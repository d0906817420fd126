"""An emulated lab's own port: its time, and what it has been busy with. Not an instrument."""

from __future__ import annotations

from collections.abc import Callable

from hilonn.simulators.emulators.instrument import LineInstrument, Reply
from hilonn.simulators.emulators.rack import Rack

VERSION = "hilonn lab 1"


class ControlPort(LineInstrument):
    """Lines: ``LAB?`` who this is; ``NOW?`` seconds in the lab; ``WAIT s`` lets ``s`` seconds pass, in lockstep;
    ``FLOOR?`` the shortest time (s)
    in which all triggers so far could have come; ``BUSY?`` seconds that every box was busy, as ``name=seconds`` with commas between."""

    def __init__(self, rack: Rack, busy: Callable[[], dict[str, float]]) -> None:
        super().__init__("control", rack)
        self._busy = busy

    def reboot(self) -> None:
        return None

    def state(self) -> dict[str, str]:
        return {"lab time": f"{self.rack.now():.1f} s"}

    def answer(self, line: str) -> list[Reply]:
        return [Reply((self._answered(line.strip()) + "\n").encode())]

    def _answered(self, line: str) -> str:
        word, _, rest = line.partition(" ")
        if word == "LAB?":
            return f"{VERSION} {'lockstep' if self.rack.lockstep else 'wall'}"
        if word == "NOW?":
            return f"{self.rack.now():.9f}"
        if word == "FLOOR?":
            return f"{self.rack.least_seconds:.9f}"
        if word == "BUSY?":
            return ",".join(f"{name}={seconds:.6f}" for name, seconds in self._busy().items())
        if word == "WAIT" and self.rack.lockstep:
            try:
                self.rack.sleep(float(rest))
            except ValueError:
                return f"ERROR no seconds: {rest}"
            return f"{self.rack.now():.9f}"
        return f"ERROR {line}"
