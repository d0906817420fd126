"""Lines of Lua as Keithley's TSP instruments run them: assignments, calls, ``print``; the part of the language that
drivers send.

A line is read whole before any of it is run: one that is no Lua is queued as -285 and does nothing. What fails
while it runs is queued as -286, and the rest of the line is not run.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hilonn.simulators.emulators.instrument import LineInstrument, Reply
from hilonn.simulators.emulators.rack import Rack

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\[\d+\])*)"
    r"|(?P<string>\"[^\"]*\"|'[^']*')"
    r"|(?P<sign>==|~=|<=|>=|[-+*/()=,;<>]))"
)
LONGEST_QUEUE = 100
SYNTAX, RUNTIME, TOO_BIG, TOO_SMALL = -285, -286, 1102, 1103
DEEPEST = 20
"""Parentheses within one another."""


class TspError(Exception):
    """An entry of the error queue."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


@dataclass(frozen=True, slots=True)
class Attribute:
    """What can be read and, where ``write`` is given, assigned."""

    read: Callable[[], Any]
    write: Callable[[Any], None] | None = None


Value = Callable[[], list[Any]]
"""An expression; a call may give several values."""


class TspInstrument(LineInstrument):
    """A box that runs Lua. Subclasses fill ``names``: attributes, functions (any callable) and constants by their
    whole names (``smua.source.levelv``), and the tables that they stand in by ``tables``."""

    identity = "Keithley Instruments Inc., Model 0000, 0, 0"

    def __init__(self, name: str, rack: Rack) -> None:
        super().__init__(name, rack)
        self.errors: deque[tuple[int, str]] = deque()
        self.globals: dict[str, Any] = {}
        self.precision = 6
        self.names: dict[str, Any] = {
            "errorqueue.next": self._next_error,
            "errorqueue.clear": self.errors.clear,
            "errorqueue.count": Attribute(lambda: float(len(self.errors))),
            "format.asciiprecision": Attribute(lambda: float(self.precision), self._set_precision),
            "print": self._print,
            "reset": self.reboot,
            "waitcomplete": lambda: None,
            "delay": lambda seconds: rack.sleep(seconds),
        }
        self._out: list[bytes] = []

    @property
    def tables(self) -> set[str]:
        """Every beginning of a name."""
        found = set()
        for name in self.names:
            parts = name.split(".")
            found |= {".".join(parts[:k]) for k in range(1, len(parts))}
        return found

    def send(self, data: bytes) -> None:
        """Answer with ``data``."""
        self._out.append(data)

    def fail(self, code: int, text: str) -> None:
        """Put an error into the queue."""
        if len(self.errors) < LONGEST_QUEUE:
            self.errors.append((code, text))

    def busy_of(self, line: str) -> float:
        """s that ``line`` keeps the box."""
        return 0.0

    def answer(self, line: str) -> list[Reply]:
        self._out.clear()
        text = line.strip()
        if text.upper() == "*IDN?":
            return [Reply(f"{self.identity}\n".encode(), self.busy_of(text))]
        if text.upper() == "*RST":
            self.reboot()
            return []
        try:
            for statement in _Parser(self, text).chunk():
                statement()
        except TspError as error:
            self.fail(error.code, error.text)
        return [Reply(b"".join(self._out), self.busy_of(text))]

    def text(self, value: Any) -> str:
        """``value`` as ``print`` shows it."""
        if value is None:
            return "nil"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            return value
        if isinstance(value, (int, float)):
            return f"{value:.{self.precision - 1}e}"
        return "table: 0x1"

    def _print(self, *values: Any) -> None:
        self.send(("\t".join(self.text(v) for v in values) + "\n").encode())

    def _next_error(self) -> list[Any]:
        if not self.errors:
            return [0.0, "Queue Is Empty", 0.0, 0.0]
        code, text = self.errors.popleft()
        return [float(code), text, 20.0, 1.0]

    def _set_precision(self, value: Any) -> None:
        self.precision = int(checked(value, 1, 16))

    # -- names ------------------------------------------------------------------------------------

    def get(self, name: str) -> Any:
        held = self.names.get(name, self.globals.get(name))
        if isinstance(held, Attribute):
            return held.read()
        if held is None and "." in name and name.rpartition(".")[0] not in self.tables:
            raise _nil(name)
        if held is None and name in self.tables:
            return self.tables
        return held

    def set(self, name: str, value: Any) -> None:
        held = self.names.get(name)
        if isinstance(held, Attribute) and held.write is not None:
            held.write(value)
        elif held is not None:
            raise TspError(RUNTIME, f"TSP Runtime error at line 1: {name} cannot be written")
        elif "." in name:
            raise _nil(name)
        else:
            self.globals[name] = value

    def call(self, name: str, arguments: list[Any]) -> list[Any]:
        held = self.names.get(name)
        if held is None or isinstance(held, Attribute) or not callable(held):
            raise TspError(
                RUNTIME, f"TSP Runtime error at line 1: attempt to call `{name}' (a nil value)"
            )
        try:
            given = held(*arguments)
        except TypeError:
            raise TspError(
                RUNTIME, f"TSP Runtime error at line 1: bad argument to `{name}'"
            ) from None
        return given if isinstance(given, list) else [] if given is None else [given]


def checked(value: Any, low: float, high: float) -> float:
    """A number from ``low`` to ``high``; TspError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TspError(RUNTIME, "TSP Runtime error at line 1: number expected")
    if not value <= high:
        raise TspError(TOO_BIG, "Parameter too big")
    if value < low:
        raise TspError(TOO_SMALL, "Parameter too small")
    return float(value)


def _nil(name: str) -> TspError:
    above = name.rpartition(".")[0]
    return TspError(
        RUNTIME, f"TSP Runtime error at line 1: attempt to index `{above}' (a nil value)"
    )


class _Parser:
    """Recursive descent over one line."""

    def __init__(self, box: TspInstrument, line: str) -> None:
        self._box = box
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(line.rstrip()):
            found = _TOKEN.match(line, at)
            if found is None:
                raise _unexpected(line[at:].strip()[:1])
            assert found.lastgroup is not None
            self._tokens.append((found.lastgroup, found.group(found.lastgroup)))
            at = found.end()
        self._at = 0
        self._depth = 0

    def chunk(self) -> list[Callable[[], None]]:
        statements = []
        while self._at < len(self._tokens):
            if not self._takes(";"):
                statements.append(self._statement())
        return statements

    def _statement(self) -> Callable[[], None]:
        name = self._name()
        if self._takes("("):
            arguments = self._arguments()
            return lambda: _ignore(self._box.call(name, arguments()))
        self._needs("=")
        value = self._expression()
        return lambda: self._box.set(name, _one(value()))

    def _name(self) -> str:
        kind, text = self._peek()
        if kind != "name":
            raise _unexpected(text)
        self._at += 1
        return text

    def _arguments(self) -> Value:
        found: list[Value] = []
        if not self._takes(")"):
            found.append(self._expression())
            while self._takes(","):
                found.append(self._expression())
            self._needs(")")

        def values() -> list[Any]:
            given: list[Any] = []
            for k, one in enumerate(found):
                several = one()
                given += several if k == len(found) - 1 else [_one(several)]
            return given

        return values

    def _expression(self) -> Value:
        left = self._sum()
        if self._peek()[1] in ("==", "~=", "<", ">", "<=", ">="):
            sign = self._tokens[self._at][1]
            self._at += 1
            right = self._sum()
            first = left
            return lambda: [_compared(sign, _one(first()), _one(right()))]
        return left

    def _sum(self) -> Value:
        left = self._term()
        while self._peek() in (("sign", "+"), ("sign", "-"), ("sign", "*"), ("sign", "/")):
            sign = self._tokens[self._at][1]
            self._at += 1
            left = _calculated(sign, left, self._term())
        return left

    def _term(self) -> Value:
        self._depth += 1
        if self._depth > DEEPEST:
            raise TspError(SYNTAX, "TSP Syntax error at line 1: chunk has too many syntax levels")
        try:
            return self._inner()
        finally:
            self._depth -= 1

    def _inner(self) -> Value:
        kind, text = self._peek()
        self._at += 1
        if kind == "number":
            number = float(text)
            return lambda: [number]
        if kind == "string":
            return lambda: [text[1:-1]]
        if text == "-":
            inner = self._term()
            return lambda: [-_number(_one(inner()))]
        if text == "(":
            inner = self._expression()
            self._needs(")")
            return lambda: [_one(inner())]
        if kind != "name":
            raise _unexpected(text)
        if text in ("true", "false", "nil"):
            value = {"true": True, "false": False, "nil": None}[text]
            return lambda: [value]
        if self._takes("("):
            arguments = self._arguments()
            return lambda: self._box.call(text, arguments())
        return lambda: [self._box.get(text)]

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "<eof>")

    def _takes(self, sign: str) -> bool:
        if self._peek() == ("sign", sign):
            self._at += 1
            return True
        return False

    def _needs(self, sign: str) -> None:
        if not self._takes(sign):
            raise _unexpected(self._peek()[1])


def _unexpected(text: str) -> TspError:
    return TspError(SYNTAX, f"TSP Syntax error at line 1: unexpected symbol near `{text}'")


def _ignore(values: list[Any]) -> None:
    return None


def _one(values: list[Any]) -> Any:
    return values[0] if values else None


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TspError(RUNTIME, "TSP Runtime error at line 1: attempt to perform arithmetic")
    return float(value)


def _calculated(sign: str, left: Value, right: Value) -> Value:
    def value() -> list[Any]:
        a, b = _number(_one(left())), _number(_one(right()))
        if sign == "/":
            return [a / b if b else float("nan")]
        return [{"+": a + b, "-": a - b, "*": a * b}[sign]]

    return value


def _compared(sign: str, a: Any, b: Any) -> bool:
    if sign in ("==", "~="):
        same = type(a) is type(b) and a == b
        return same if sign == "==" else not same
    first, second = _number(a), _number(b)
    return {
        "<": first < second,
        ">": first > second,
        "<=": first <= second,
        ">=": first >= second,
    }[sign]
