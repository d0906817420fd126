"""The box that the tests of this folder talk to."""

from __future__ import annotations

import time
from collections.abc import Callable

from hilonn.simulators.emulators import Rack
from hilonn.simulators.emulators.instrument import LineInstrument, Reply
from hilonn.simulators.emulators.scpi import block


class Bench(LineInstrument):
    """``ECHO? text``; ``KEEP text`` and ``KEPT?``; ``BLOCK? n`` and ``INDEFINITE? n``: the bytes 0, 1, ... 255, 0, ... as a
    block; anything else is not answered."""

    def __init__(self, end: bytes = b"\n", block_end: bytes = b"\n") -> None:
        super().__init__("bench", Rack())
        self.end, self.block_end = end, block_end
        self.reboot()

    def reboot(self) -> None:
        self.kept = ""

    def state(self) -> dict[str, str]:
        return {"kept": self.kept}

    def answer(self, line: str) -> list[Reply]:
        word, _, rest = line.partition(" ")
        if word == "ECHO?":
            return [Reply(rest.encode() + self.end)]
        if word == "KEEP":
            self.kept = rest
        if word == "KEPT?":
            return [Reply(self.kept.encode() + self.end)]
        if word == "BLOCK?":
            return [Reply(block(bytes(k % 256 for k in range(int(rest)))) + self.block_end)]
        if word == "INDEFINITE?":
            return [Reply(b"#0" + bytes(k % 256 for k in range(int(rest))) + self.block_end)]
        if word == "*IDN?":
            return [Reply(b"HILONN,BENCH,1,0" + self.end)]
        return [Reply(b"")]


def until(condition: Callable[[], bool]) -> None:
    """Wait for ``condition``; an assertion after 10 s."""
    deadline = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
