"""MeCom, the protocol of Meerstetter's controllers, over a serial line or TCP.

Source: pyMeCom (commit 12aac00) and Meerstetter's protocol 5117. A frame is ``#``, address (2 hex digits), sequence number
(4), payload, CRC (4) and CR; an answer begins with ``!`` and carries the same address and number. The CRC is CCITT (polynomial
0x1021, start 0) over all that stands before it; a set is acknowledged by an empty payload with the request's own CRC.
"""

from __future__ import annotations

import math
import re
import struct

from hilonn.clock import WallClock
from hilonn.errors import DeviceError
from hilonn.transports import Dialect, Reader, Transport
from hilonn.transports.numbering import next_number

DIALECT = Dialect(write="\r", read="\r")
ERRORS = {
    1: "command not available",
    2: "device busy",
    3: "communication error",
    4: "format error",
    5: "parameter not available",
    6: "parameter is read-only",
    7: "value out of range",
    8: "instance not available",
    9: "parameter could not be read or written",
}
BUSY = 2
BUSY_TRIES = 5
BUSY_PAUSE = 0.05
"""s before a busy box is asked again."""
_ANSWER = re.compile(r"!([0-9A-F]{2})([0-9A-F]{4})(.*)([0-9A-F]{4})")
_ERROR = re.compile(r"\+([0-9A-F]{2})")


def crc(data: bytes) -> int:
    """CRC-CCITT of ``data``, start 0."""
    value = 0
    for byte in data:
        value ^= byte << 8
        for _ in range(8):
            value = ((value << 1) ^ 0x1021 if value & 0x8000 else value << 1) & 0xFFFF
    return value


def frame(address: int, sequence: int, payload: str, start: str = "#") -> bytes:
    """A whole frame, with its CR."""
    body = f"{start}{address:02X}{sequence:04X}{payload}".encode("ascii")
    return body + f"{crc(body):04X}\r".encode("ascii")


class MeCom:
    """The controller at ``address`` on a wire. Requests are numbered; an answer with another number came late and is passed
    over. A busy box is asked again, ``BUSY_TRIES`` times in all. DeviceError names the parameter and what the box says."""

    def __init__(self, name: str, transport: Transport, address: int) -> None:
        self._name = name
        self._transport = transport
        self._address = address
        self._clock = WallClock()
        transport.speak(DIALECT)

    def identify(self) -> str:
        """What ``?IF`` answers: 20 characters of the device's type."""
        return self._ask("?IF", "?IF").strip()

    def integer(self, parameter: int, instance: int = 1) -> int:
        """An INT32 parameter."""
        found: int = struct.unpack(">i", self._get(parameter, instance))[0]
        return found

    def number(self, parameter: int, instance: int = 1) -> float:
        """A FLOAT32 parameter; DeviceError for NaN and infinity."""
        found: float = struct.unpack(">f", self._get(parameter, instance))[0]
        if not math.isfinite(found):
            raise DeviceError(f"{self._name}: parameter {parameter} is {found}, no number")
        return found

    def set_integer(self, parameter: int, value: int, instance: int = 1) -> None:
        """Write an INT32; negative ones in two's complement (pyMeCom writes a minus sign, which is no frame)."""
        self._set(parameter, instance, struct.pack(">i", value))

    def set_number(self, parameter: int, value: float, instance: int = 1) -> None:
        """Write a FLOAT32."""
        self._set(parameter, instance, struct.pack(">f", value))

    # -- frames -------------------------------------------------------------------------------------

    def _get(self, parameter: int, instance: int) -> bytes:
        what = f"reading parameter {parameter}"
        answer = self._ask(f"?VR{parameter:04X}{instance:02X}", what)
        if re.fullmatch(r"[0-9A-F]{8}", answer) is None:
            raise DeviceError(
                f"{self._name}: {what} was answered {answer[:40]!r}, not 8 hex digits"
            )
        return bytes.fromhex(answer)

    def _set(self, parameter: int, instance: int, value: bytes) -> None:
        what = f"setting parameter {parameter}"
        answer = self._ask(f"VS{parameter:04X}{instance:02X}{value.hex().upper()}", what)
        if answer:
            raise DeviceError(f"{self._name}: {what} was answered {answer[:40]!r}, not by its CRC")

    def _ask(self, payload: str, what: str) -> str:
        for turn in range(BUSY_TRIES):
            if turn:
                self._clock.sleep(BUSY_PAUSE)
            answer = self._once(payload)
            found = _ERROR.fullmatch(answer)
            if found is None:
                return answer
            code = int(found.group(1), 16)
            if code != BUSY:
                meaning = ERRORS.get(code, "an error that the protocol does not list")
                raise DeviceError(f"{self._name}: {what}: error {code}, {meaning}")
        raise DeviceError(f"{self._name}: {what}: the box was busy {BUSY_TRIES} times running")

    def _once(self, payload: str) -> str:
        with self._transport.atomic():
            sequence = next_number(self._transport)
            request = frame(self._address, sequence, payload)

            def read(reader: Reader) -> str:
                while (answer := self._parsed(reader.line(), request, sequence)) is None:
                    pass  # it came late
                return answer

            return self._transport.ask(request, read)

    def _parsed(self, line: str, request: bytes, sequence: int) -> str | None:
        """The payload of the answer to ``sequence``; its CRC, or as an acknowledgement the request's, holds. None: the answer
        to something else."""
        found = _ANSWER.fullmatch(line)
        if found is None:
            raise DeviceError(f"{self._name}: {line[:60]!r} came, which is no frame of MeCom")
        address = int(found.group(1), 16)
        if address != self._address:
            raise DeviceError(
                f"{self._name}: box {address} answered, box {self._address} was asked: {line[:60]!r}"
            )
        if int(found.group(2), 16) != sequence:
            return None
        payload, check = found.group(3), int(found.group(4), 16)
        wanted = crc(line[:-4].encode("ascii") if payload else request[:-5])
        if check != wanted:
            raise DeviceError(f"{self._name}: {line[:60]!r} came; its CRC should be {wanted:04X}")
        return payload
