"""SCPI as instruments understand it: long and short forms, paths, errors, status."""

from __future__ import annotations

import inspect
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hilonn.simulators.emulators.instrument import LineInstrument, Reply
from hilonn.simulators.emulators.rack import Rack


@dataclass(frozen=True, slots=True)
class Timed:
    """An answer that takes ``busy`` s of the box's own time, besides what its command takes, and comes no sooner than in
    ``wait`` s, which pass in any case (see ``Reply``)."""

    text: str | bytes | None
    busy: float = 0.0
    wait: float = 0.0


Answer = str | bytes | Timed | None
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
INTERRUPTED = (-410, "Query INTERRUPTED")
UNTERMINATED = (-420, "Query UNTERMINATED")


@dataclass(frozen=True, slots=True)
class _Command:
    pattern: re.Pattern[str]
    numbers: int
    handler: Handler
    busy: float
    few: int
    many: int


class ScpiInstrument(LineInstrument):
    """A box with a command tree. Subclasses register commands and give ``identity``.

    Errors are queued (``no_error`` is what an empty queue answers), set bits in ``*ESR?`` and are never
    answered by themselves: a query that fails is answered by nothing, as on a real box. After a command error (-1xx:
    the parser is lost) nothing more of that message is carried out, as IEEE 488.2 has it; after others the rest is.
    """

    identity = "HILONN,EMULATOR,0,0"
    no_error = '+0,"No error"'
    reply_terminator = b"\n"
    busy = 0.0
    """s that any command takes, unless it was registered with another time."""

    def __init__(self, name: str, rack: Rack) -> None:
        super().__init__(name, rack)
        self._commands: list[_Command] = []
        self._found: dict[str, tuple[_Command, list[int]]] = {}
        self._errors: deque[tuple[int, str]] = deque()
        self._event_status = 0
        self._event_enable = 0
        self._service_enable = 0
        self._complete_at: float | None = None
        self.command("*IDN?", lambda: self.identity)
        self.command("*RST", self._reset)
        self.command("*CLS", self._clear_status)
        self.command("*OPC?", lambda: Timed("1", wait=self.pending()))
        self.command("*OPC", self._complete)
        self.command("*WAI", lambda: Timed(None, wait=self.pending()))
        self.command("*TST?", lambda: "0")
        self.command("*ESR?", self._take_events)
        self.command("*ESE", self._enable_events)
        self.command("*ESE?", lambda: str(self._event_enable))
        self.command("*SRE", self._enable_service)
        self.command("*SRE?", lambda: str(self._service_enable))
        self.command("*STB?", lambda: str(self.status_byte()))
        self.command("SYSTem:ERRor[:NEXT]?", self._next_error)

    def command(self, pattern: str, handler: Handler, busy: float | None = None) -> None:
        """Register ``pattern``: capitals are the short form, ``[...]`` may be left out, ``#`` is a number (1 where
        it is left out), a last ``?`` makes it a query."""
        expression, numbers = _expression(pattern)
        taken = self.busy if busy is None else busy
        few, many = arguments_of(handler)
        self._commands.append(
            _Command(
                re.compile(expression, re.I), numbers, handler, taken, few - numbers, many - numbers
            )
        )

    def fail(self, number: int, text: str) -> None:
        """Put an error into the queue, and its kind's bit into ``*ESR?``."""
        if len(self._errors) >= LONGEST_QUEUE:
            self._errors[-1] = OVERFLOW
            self._event_status |= 8
        else:
            self._errors.append((number, text))
        self._event_status |= {1: 32, 2: 16, 4: 4}.get(-number // 100, 8)

    def status_byte(self) -> int:
        """Bit 2: the error queue holds something; bit 5: an enabled bit of ``*ESR?`` is set; bit 6: a bit that ``*SRE``
        enables is."""
        self._operations_end()
        summary = 4 if self._errors else 0
        if self._event_status & self._event_enable:
            summary |= 32
        return summary | (64 if summary & self._service_enable & ~64 else 0)

    def pending(self) -> float:
        """Seconds until everything that was begun is done: what ``*OPC?`` and ``*WAI`` wait for."""
        return 0.0

    def reset(self) -> None:
        """What ``*RST`` does besides."""

    def reboot(self) -> None:
        self._errors.clear()
        self._event_status = 128  # power on
        self._event_enable = self._service_enable = 0
        self._complete_at = None
        self.reset()

    def answer(self, line: str) -> list[Reply]:
        texts: list[bytes] = []
        path = ""
        busy = wait = 0.0
        for part in _split(line, ";"):
            text = part.strip()
            if not text:
                continue
            try:
                header, parameters, path = _resolved(text, path)
                answered = self._run(header, parameters)
            except ScpiError as error:
                self.fail(error.number, error.text)
                if -200 < error.number <= -100:
                    break
                continue
            busy += answered.busy
            wait = max(wait, answered.wait)
            if answered.text is not None:
                texts.append(
                    answered.text.encode() if isinstance(answered.text, str) else answered.text
                )
        data = b";".join(texts) + self.reply_terminator if texts else b""
        return [Reply(data, busy, wait)]

    def _run(self, header: str, parameters: list[str]) -> Timed:
        known = header.upper()
        if known not in self._found:
            self._found[known] = self._looked_up(known)
        command, numbers = self._found[known]
        check_count(len(parameters), command.few, command.many)
        answer = command.handler(*numbers, *parameters)
        if isinstance(answer, Timed):
            return Timed(answer.text, command.busy + answer.busy, answer.wait)
        return Timed(answer, command.busy)

    def _looked_up(self, header: str) -> tuple[_Command, list[int]]:
        for command in self._commands:
            found = command.pattern.fullmatch(header)
            if found is not None:
                groups = found.groups()[: command.numbers]
                if any(g and len(g) > 6 for g in groups):
                    break
                return command, [int(g) if g else 1 for g in groups]
        raise ScpiError(*UNDEFINED_HEADER)

    def _reset(self) -> None:
        self.reset()

    def _clear_status(self) -> None:
        self._errors.clear()
        self._event_status = 0
        self._complete_at = None

    def _complete(self) -> None:
        self._complete_at = self.rack.now() + self.pending()
        self._operations_end()

    def _operations_end(self) -> None:
        """``*OPC``'s bit, once what was begun before it is done."""
        if self._complete_at is not None and self.rack.now() >= self._complete_at:
            self._complete_at = None
            self._event_status |= 1

    def _take_events(self) -> str:
        self._operations_end()
        events, self._event_status = self._event_status, 0
        return str(events)

    def _enable_events(self, text: str) -> None:
        self._event_enable = int(number(text, 0, 255))

    def _enable_service(self, text: str) -> None:
        self._service_enable = int(number(text, 0, 255)) & ~64

    def _next_error(self) -> str:
        if not self._errors:
            return self.no_error
        number, text = self._errors.popleft()
        return f'{number},"{text}"'


def arguments_of(handler: Handler) -> tuple[int, int]:
    """How many arguments ``handler`` takes at least and at most, the header's numbers among them."""
    few = many = 0
    for parameter in inspect.signature(handler).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            many = 1 << 20
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            many += 1
            few += parameter.default is parameter.empty
    return few, many


def check_count(given: int, few: int, many: int) -> None:
    """ScpiError unless ``given`` parameters are neither too few nor too many."""
    if given < few:
        raise ScpiError(*MISSING_PARAMETER)
    if given > many:
        raise ScpiError(*PARAMETER_NOT_ALLOWED)


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


ROUNDING = 1e-9
"""Of a limit: 100US is a limit of 1E-4 in spite of binary fractions."""
MEGA = ("HZ", "OHM")
"""Units before which SCPI's ``M`` is mega, not milli."""


def number(
    text: str, low: float, high: float, *, unit: str = "", default: float | None = None
) -> float:
    """A numeric parameter: ``MIN``, ``MAX``, ``DEF``, or a number with ``unit`` and its prefixes behind it.
    ScpiError where it is none or out of range."""
    named = _named(text, low, high, low if default is None else default)
    if named is not None:
        return named
    found = re.fullmatch(
        r"([+-]?(?:\d+\.?\d*|\.\d+)(?:\s?E[+-]?\d{1,4})?)\s*([A-Z]*)", text.strip().upper()
    )
    if found is None:
        raise ScpiError(*DATA_TYPE)
    value, suffix = float(found.group(1).replace(" ", "")), found.group(2)
    if suffix:
        prefix = suffix.removesuffix(unit)
        if not unit or not suffix.endswith(unit) or prefix not in PREFIXES:
            raise ScpiError(*INVALID_SUFFIX)
        value *= 1e6 if prefix == "M" and unit in MEGA else PREFIXES[prefix]
    if not low - ROUNDING * abs(low) <= value <= high + ROUNDING * abs(high):
        raise ScpiError(*OUT_OF_RANGE)
    return min(max(value, low), high)


def asked(
    value: float, text: str | None, low: float, high: float, default: float | None = None
) -> float:
    """What a query of a setting is answered: ``value``, or its limit where the query says ``MIN``, ``MAX`` or ``DEF``."""
    if text is None:
        return value
    named = _named(text, low, high, low if default is None else default)
    if named is None:
        raise ScpiError(*ILLEGAL_VALUE)
    return named


def _named(text: str, low: float, high: float, default: float) -> float | None:
    word = text.strip().upper()
    for short, rest, value in (
        ("MIN", "IMUM", low),
        ("MAX", "IMUM", high),
        ("DEF", "AULT", default),
    ):
        if word in (short, short + rest):
            return value
    return None


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
