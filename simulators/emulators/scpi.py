"""SCPI as instruments understand it: long and short forms, paths, errors, status."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hilonn.simulators.emulators.instrument import LineInstrument, Reply
from hilonn.simulators.emulators.rack import Rack

Answer = str | bytes | None
Handler = Callable[..., Answer]
"""Given the header's numbers, then the parameters' texts; returns what a query is answered with."""
LONGEST_QUEUE = 30
PREFIXES = {
    "P": 1e-12,
    "N": 1e-9,
    "U": 1e-6,
    "M": 1e-3,
    "": 1.0,
    "K": 1e3,
    "MA": 1e6,
    "G": 1e9,
    "T": 1e12,
}


class ScpiError(Exception):
    """An entry of the error queue: ``number`` and its text."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number, self.text = number, text


UNDEFINED_HEADER = (-113, "Undefined header")
MISSING_PARAMETER = (-109, "Missing parameter")
PARAMETER_NOT_ALLOWED = (-108, "Parameter not allowed")
DATA_TYPE = (-104, "Data type error")
OUT_OF_RANGE = (-222, "Data out of range")
ILLEGAL_VALUE = (-224, "Illegal parameter value")
INVALID_SUFFIX = (-131, "Invalid suffix")
SETTINGS_CONFLICT = (-221, "Settings conflict")
OVERFLOW = (-350, "Queue overflow")


@dataclass(frozen=True, slots=True)
class _Command:
    pattern: re.Pattern[str]
    numbers: int
    handler: Handler
    busy: float


class ScpiInstrument(LineInstrument):
    """A box with a command tree. Subclasses register commands and give ``identity``.

    Errors are queued (``no_error`` is what an empty queue answers), set bits in ``*ESR?`` and are never
    answered by themselves: a query that fails is answered by nothing, as on a real box.
    """

    identity = "HILONN,EMULATOR,0,0"
    no_error = '+0,"No error"'
    reply_terminator = b"\n"
    busy = 0.0
    """s that any command takes, unless it was registered with another time."""

    def __init__(self, name: str, rack: Rack) -> None:
        super().__init__(name, rack)
        self._commands: list[_Command] = []
        self._errors: deque[tuple[int, str]] = deque()
        self._event_status = 0
        self.command("*IDN?", lambda: self.identity)
        self.command("*RST", self._reset)
        self.command("*CLS", self._clear_status)
        self.command("*OPC?", lambda: "1")
        self.command("*OPC", self._complete)
        self.command("*WAI", lambda: None)
        self.command("*ESR?", self._take_events)
        self.command("*STB?", lambda: str(self.status_byte()))
        self.command("SYSTem:ERRor[:NEXT]?", self._next_error)

    def command(self, pattern: str, handler: Handler, busy: float | None = None) -> None:
        """Register ``pattern``: capitals are the short form, ``[...]`` may be left out, ``#`` is a number (1 where
        it is left out), a last ``?`` makes it a query."""
        expression, numbers = _expression(pattern)
        taken = self.busy if busy is None else busy
        self._commands.append(_Command(re.compile(expression, re.I), numbers, handler, taken))

    def fail(self, number: int, text: str) -> None:
        """Put an error into the queue."""
        if len(self._errors) >= LONGEST_QUEUE:
            self._errors[-1] = OVERFLOW
        else:
            self._errors.append((number, text))
        kind = -number // 100
        self._event_status |= {1: 32, 2: 16, 4: 4}.get(kind, 8)

    def status_byte(self) -> int:
        """Bit 2: the error queue holds something; bit 5: the event register does."""
        return (4 if self._errors else 0) | (32 if self._event_status else 0)

    def reset(self) -> None:
        """What ``*RST`` does besides."""

    def reboot(self) -> None:
        self._errors.clear()
        self._event_status = 128  # power on
        self.reset()

    def answer(self, line: str) -> list[Reply]:
        texts: list[bytes] = []
        path = ""
        busy = 0.0
        for part in _split(line, ";"):
            text = part.strip()
            if not text:
                continue
            try:
                header, parameters, path = _resolved(text, path)
                answered, seconds = self._run(header, parameters)
                busy += seconds
            except ScpiError as error:
                self.fail(error.number, error.text)
                continue
            if answered is not None:
                texts.append(answered.encode() if isinstance(answered, str) else answered)
        if not texts:
            return [Reply(b"", busy)]
        return [Reply(b";".join(texts) + self.reply_terminator, busy)]

    def _run(self, header: str, parameters: list[str]) -> tuple[Answer, float]:
        for command in self._commands:
            found = command.pattern.fullmatch(header)
            if found is None:
                continue
            numbers = [int(g) if g else 1 for g in found.groups()[: command.numbers]]
            try:
                return command.handler(*numbers, *parameters), command.busy
            except TypeError as error:
                if "argument" not in str(error):
                    raise
                few = "missing" in str(error)
                raise ScpiError(*(MISSING_PARAMETER if few else PARAMETER_NOT_ALLOWED)) from None
        raise ScpiError(*UNDEFINED_HEADER)

    def _reset(self) -> None:
        self.reset()

    def _clear_status(self) -> None:
        self._errors.clear()
        self._event_status = 0

    def _complete(self) -> None:
        self._event_status |= 1

    def _take_events(self) -> str:
        events, self._event_status = self._event_status, 0
        return str(events)

    def _next_error(self) -> str:
        if not self._errors:
            return self.no_error
        number, text = self._errors.popleft()
        return f'{number},"{text}"'


def _expression(pattern: str) -> tuple[str, int]:
    """A regular expression for a header, and how many numbers it holds."""
    query = pattern.endswith("?")
    body = pattern[:-1] if query else pattern
    if body.startswith("*"):
        return re.escape(body) + (r"\?" if query else ""), 0
    out, numbers, at = "", 0, 0
    while at < len(body):
        letter = body[at]
        if letter in "[]:#":
            out += {"[": "(?:", "]": ")?", ":": ":", "#": r"(\d*)"}[letter]
            numbers += letter == "#"
            at += 1
            continue
        found = re.match(r"[A-Za-z]+", body[at:])
        assert found is not None, pattern
        word = found.group()
        short = re.match(r"[A-Z]*", word)
        assert short is not None
        rest = word[short.end() :]
        out += f"{short.group()}(?:{rest})?" if rest else word
        at += len(word)
    return ":?" + out + (r"\?" if query else ""), numbers


def _resolved(text: str, path: str) -> tuple[str, list[str], str]:
    """Whole header, parameters, and the path that a next command without a colon continues."""
    head, _, rest = text.partition(" ")
    parameters = [p.strip() for p in _split(rest, ",")] if rest.strip() else []
    if head.startswith("*"):
        return head, parameters, path
    whole = head[1:] if head.startswith(":") else path + head
    above, _, _ = whole.rpartition(":")
    return whole, parameters, above + ":" if above else ""


def _split(text: str, mark: str) -> list[str]:
    """``text`` at each ``mark`` that stands in no quotes and no brackets."""
    parts, depth, quote, begin = [], 0, "", 0
    for at, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "(":
            depth += 1
        elif letter == ")":
            depth -= 1
        elif letter == mark and depth == 0:
            parts.append(text[begin:at])
            begin = at + 1
    return [*parts, text[begin:]]


def number(
    text: str, low: float, high: float, *, unit: str = "", default: float | None = None
) -> float:
    """A numeric parameter: ``MIN``, ``MAX``, ``DEF``, or a number with ``unit`` and its prefixes behind it.
    ScpiError where it is none or out of range."""
    word = text.strip().upper()
    for name, value in (("MIN", low), ("MAX", high), ("DEF", low if default is None else default)):
        if word in (name, {"MIN": "MINIMUM", "MAX": "MAXIMUM", "DEF": "DEFAULT"}[name]):
            return value
    found = re.fullmatch(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:E[+-]?\d+)?)\s*([A-Z]*)", word)
    if found is None:
        raise ScpiError(*DATA_TYPE)
    value, suffix = float(found.group(1)), found.group(2)
    if suffix:
        if not unit or not suffix.endswith(unit) or suffix[: -len(unit)] not in PREFIXES:
            raise ScpiError(*INVALID_SUFFIX)
        value *= PREFIXES[suffix[: -len(unit)]]
    if not low <= value <= high:
        raise ScpiError(*OUT_OF_RANGE)
    return value


def switch(text: str) -> bool:
    """``ON``, ``OFF``, ``1``, ``0``. ScpiError otherwise."""
    word = text.strip().upper()
    if word not in ("ON", "OFF", "1", "0"):
        raise ScpiError(*ILLEGAL_VALUE)
    return word in ("ON", "1")


def block(data: bytes) -> bytes:
    """``data`` as a definite IEEE 488.2 block."""
    length = str(len(data)).encode()
    return b"#" + str(len(length)).encode() + length + data


def scientific(value: float, digits: int = 8, exponent: int = 3) -> str:
    """``+1.33555600E-006``: Keysight's and Thorlabs' numbers."""
    mantissa, _, power = f"{value:+.{digits}E}".partition("E")
    return f"{mantissa}E{power[0]}{int(power[1:]):0{exponent}d}"
