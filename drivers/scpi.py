"""What SCPI instruments have in common: identity, error queue, checked settings."""

from __future__ import annotations

from hilonn.devices import Identity
from hilonn.drivers.texts import integer
from hilonn.errors import DeviceError
from hilonn.transports import Transport

LONGEST_QUEUE = 100


def identity(transport: Transport, expected: str = "") -> Identity:
    """Who answers ``*IDN?``: vendor, model, serial, firmware. DeviceError where ``expected`` (part of it, in any
    case) is not in the answer."""
    text = transport.query("*IDN?").strip()
    parts = [part.strip() for part in text.split(",", 3)]
    if len(parts) != 4 or not all(parts[:3]):
        raise DeviceError(
            f"{transport.name}: *IDN? was answered {text!r}, not vendor,model,serial,firmware"
        )
    if expected.lower() not in text.lower():
        raise DeviceError(
            f"{transport.name} ({transport.address}): a {expected} was expected, {text!r} answers; is another box "
            "on this address?"
        )
    return Identity(*parts)


def raise_errors(
    transport: Transport,
    doing: str,
    query: str = "SYST:ERR?",
    harmless: frozenset[int] = frozenset(),
) -> None:
    """Empty the instrument's error queue; DeviceError with all of it unless it was empty.

    Only the number says whether there was an error: boxes word "No error" in several ways. ``harmless``
    numbers are passed over.
    """
    found = []
    for _ in range(LONGEST_QUEUE):
        answer = transport.query(query).strip()
        head, _, text = answer.partition(",")
        code = integer(head, f"{transport.name}: {query}")
        if code == 0:
            break
        if code not in harmless:
            found.append(f"{code} {text.strip()}")
    else:
        found.append(f"and more: {LONGEST_QUEUE} errors did not empty the queue")
    if found:
        raise DeviceError(f"{transport.name}: {doing}: the instrument says {'; '.join(found)}")


def set_checked(transport: Transport, command: str, query: str = "SYST:ERR?") -> None:
    """Send ``command``; DeviceError with what the error queue then holds."""
    with transport.atomic():
        transport.write(command)
        raise_errors(transport, command, query)
