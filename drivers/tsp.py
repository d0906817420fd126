"""What Keithley's TSP instruments have in common: they run lines of Lua, and ``print`` answers.

Source: Series 2600B reference manual 2600BS-901-01. Values of one ``print`` have a TAB between them. A line that cannot
be read as Lua is not run at all and says so in the error queue alone, so that what is checked is sent as two lines:
the statements, and the question after errors.
"""

from __future__ import annotations

from collections.abc import Sequence

from hilonn.devices import Identity
from hilonn.drivers.texts import number
from hilonn.errors import DeviceError
from hilonn.transports import Dialect, Reader, Transport

DIALECT = Dialect(write="\n", read="\n", resync=("*IDN?", r"(?i)keithley.*,\s*model .*"))
LONGEST_QUEUE = 100
NO_READING = 9.9e37
"""A or V: from here on a number means that there is none; 9.91e37 is an overflow (manual, measurement overflow)."""


def identity(transport: Transport, expected: str) -> Identity:
    """Who answers ``*IDN?``: ``Keithley Instruments Inc., Model 2602B, 1234567, 3.2.1``. DeviceError where
    ``expected`` is not in it."""
    text = transport.query("*IDN?").strip()
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(parts[:3]):
        raise DeviceError(
            f"{transport.name}: *IDN? was answered {text[:60]!r}, not vendor, model, serial, firmware"
        )
    if expected.lower() not in text.lower():
        raise DeviceError(
            f"{transport.name} ({transport.address}): a {expected} was expected, {text!r} answers; is another box "
            "on this address?"
        )
    vendor, model, serial, firmware = parts
    return Identity(vendor, model.removeprefix("MODEL ").removeprefix("Model "), serial, firmware)


def ask(
    transport: Transport, expressions: Sequence[str], timeout: float | None = None
) -> list[str]:
    """What ``print`` gives for ``expressions``, one text each."""
    return answered(transport, "", expressions, timeout)


def run(
    transport: Transport,
    statements: str,
    doing: str,
    expressions: Sequence[str] = (),
    timeout: float | None = None,
) -> list[str]:
    """Run ``statements``, and give ``expressions`` as they are afterwards; DeviceError with what the error queue holds."""
    with transport.atomic():
        count, *values = answered(
            transport, statements, ["errorqueue.count", *expressions], timeout
        )
        if number(count, f"{transport.name}: errorqueue.count") > 0:
            raise_errors(transport, doing)
    return values


def answered(
    transport: Transport, statements: str, expressions: Sequence[str], timeout: float | None = None
) -> list[str]:
    """``statements`` as one line and a ``print`` of ``expressions`` as the next, in one go; errors are not looked at."""
    asked = f"print({', '.join(expressions)})"
    first = f"{statements}\n" if statements else ""
    line = transport.ask(f"{first}{asked}\n".encode("ascii"), Reader.line, timeout)
    values = line.strip().split("\t")
    if len(values) != len(expressions):
        raise DeviceError(
            f"{transport.name}: {asked} was answered {line[:60]!r}; {len(expressions)} values with TABs were asked for"
        )
    return values


def raise_errors(transport: Transport, doing: str) -> None:
    """Empty the error queue; DeviceError with all of it unless it was empty."""
    found = []
    for _ in range(LONGEST_QUEUE):
        line = transport.query("print(errorqueue.next())").strip()
        code, *rest = line.split("\t")
        if number(code, f"{transport.name}: errorqueue.next()") == 0:
            break
        found.append(f"{int(float(code))} {rest[0] if rest else ''}".strip())
    else:
        found.append(f"and more: {LONGEST_QUEUE} errors did not empty the queue")
    if found:
        raise DeviceError(f"{transport.name}: {doing}: the instrument says {'; '.join(found)}")


def flag(text: str, asked: str) -> bool:
    """``true`` or ``false``."""
    word = text.strip()
    if word not in ("true", "false"):
        raise DeviceError(f"{asked} was answered {text[:60]!r}, which is neither true nor false")
    return word == "true"
