"""A live console at a bench: turn one heater, watch every detector."""

from __future__ import annotations

import queue
import threading
from typing import TextIO

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hilonn.bench import Bench
from hilonn.chips import HeaterChip
from hilonn.chips.chip import NOTHING, Settings
from hilonn.errors import InterlockError, LimitError, SafeStateTaken, SaturationError
from hilonn.typing import FloatArray

REDRAW = 0.2  # s
SAMPLES = 16
WIDTH = 24
HELP = "heater N | +X, -X (V) | set X (V) | step X | light X (amplitude of all inputs, 0 .. 1) | zero (all heaters) | quit"


class Turning:
    """What the console holds: heaters' drives (V), the chosen one, the inputs' amplitude."""

    def __init__(self, chip: HeaterChip) -> None:
        self.chip = chip
        self.heater, self.step, self.light = 0, 0.1, 0.5
        self.drive: FloatArray = np.zeros(len(chip.layout))
        self.said = HELP

    def settings(self) -> Settings:
        """What is to be programmed."""
        own = self.chip.phases_of(self.drive)
        shape = (self.chip.outputs, self.chip.inputs)
        return Settings(self.drive.copy(), own, 1.0, shape, NOTHING, NOTHING, 0)

    def read(self) -> tuple[FloatArray, FloatArray]:
        """W on every detector, (pairs,) twice. What the gate refuses is raised, and nothing has changed."""
        inputs = np.full((SAMPLES, self.chip.inputs), self.light)
        plus, minus, _ = self.chip.watch(self.settings(), inputs, 1)
        return plus.mean(axis=0), minus.mean(axis=0)

    def obey(self, line: str) -> bool:
        """Do what a line says; False for the end. Senseless lines change nothing, and say so."""
        words = line.split()
        if not words:
            return True
        verb, rest = words[0].lower(), words[1:]
        if verb in ("quit", "q", "exit"):
            return False
        before = (self.heater, self.step, self.light, self.drive.copy())
        try:
            self._change(verb, rest)
            self._check()
            self.read()
        except (ValueError, IndexError, OverflowError) as error:
            self.heater, self.step, self.light, self.drive = before
            self.said = f"{line!r} is not understood ({error}). {HELP}"
        except (InterlockError, SafeStateTaken):
            raise  # the bench was made safe: nothing is put back
        except (LimitError, SaturationError) as error:
            self.heater, self.step, self.light, self.drive = before
            self.said = f"refused: {error}"
        return True

    def _check(self) -> None:
        """LimitError for what the heaters' limits forbid, before anything is computed from it."""
        device = self.chip.heaters_of
        whole = np.zeros(device.channels)
        whole[self.chip.heater_channels] = self.drive
        device.check_drive(whole, "write", (device.channels,))

    def _change(self, verb: str, rest: list[str]) -> None:
        value = float(rest[0]) if rest else None
        if verb == "heater" and value is not None:
            chosen = int(value)
            if not 0 <= chosen < len(self.drive):
                raise ValueError(f"heaters are 0 .. {len(self.drive) - 1}")
            self.heater = chosen
        elif verb == "set" and value is not None:
            self.drive[self.heater] = value
        elif verb == "step" and value is not None:
            if not 0.0 < value < float("inf"):
                raise ValueError("a step is a positive number of volts")
            self.step = value
        elif verb == "light" and value is not None:
            self.light = value
        elif verb == "zero":
            self.drive[:] = 0.0
        elif verb in ("+", "-"):
            self.drive[self.heater] += self.step if verb == "+" else -self.step
        elif verb[0] in "+-":
            self.drive[self.heater] += float(verb)
        elif verb in ("heater", "set", "step", "light"):
            raise ValueError(f"{verb} what? A number is missing")
        else:
            raise ValueError("no such command")
        self.said = HELP


def run_console(bench: Bench, chip: HeaterChip, lines: TextIO) -> None:
    """Obey ``lines`` until one says quit, they end, or Ctrl-C; the picture stands on stderr, once a line where that
    is no terminal."""
    turning = Turning(chip)
    console = Console(stderr=True)
    rest = turning.read()
    if not console.is_terminal:
        for line in lines:
            if not turning.obey(line.strip()):
                break
            console.print(picture(turning, rest))
        bench.safe_state()
        return
    waiting: queue.Queue[str | None] = queue.Queue()

    def listen() -> None:
        for line in lines:
            waiting.put(line.strip())
        waiting.put(None)

    threading.Thread(target=listen, daemon=True).start()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        try:
            while True:
                live.update(picture(turning, rest), refresh=True)
                try:
                    said = waiting.get(timeout=REDRAW)
                except queue.Empty:
                    continue
                if said is None or not turning.obey(said):
                    break
        except KeyboardInterrupt:
            pass  # the way out of a console; the bench is made safe by its owner
    bench.safe_state()


def picture(turning: Turning, rest: tuple[FloatArray, FloatArray]) -> Group:
    """Every detector's reading, and what changed since the console was opened."""
    plus, minus = turning.read()
    largest = max(float(np.abs(np.concatenate((plus, minus))).max()), 1e-15)
    table = Table(
        title=f"{turning.chip.id}, heater {turning.heater}: {turning.drive[turning.heater]:.3f} V"
    )
    for title in ("output", "plus", "", "minus", "", "change of the difference"):
        table.add_column(title, justify="left" if not title else "right")
    change = (plus - minus) - (rest[0] - rest[1])
    for k in range(len(plus)):
        table.add_row(
            str(k),
            _power(plus[k]),
            _bar(plus[k], largest),
            _power(minus[k]),
            _bar(minus[k], largest),
            _power(change[k]),
        )
    return Group(table, Text(turning.said))


def _power(watts: float) -> str:
    return f"{1e6 * watts:+9.3f} uW"


def _bar(value: float, largest: float) -> str:
    return "#" * round(WIDTH * abs(value) / largest)
