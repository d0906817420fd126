"""Modbus TCP on a wire: framed, numbered, and answered by its own answer.

Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, section 3; MODBUS Application Protocol V1.1b3, sections 6 and 7. A frame is
transaction number, protocol 0, length (2 bytes each, big-endian), unit, function, data. Registers are 16 bits; LabJack's and
many others' numbers are two of them, high word first.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from hilonn.errors import ConfigError, DeviceError
from hilonn.transports.numbering import next_number
from hilonn.transports.reader import Reader
from hilonn.transports.transport import Dialect, Transport
from hilonn.typing import FloatArray

DIALECT = Dialect(write="", read="")
READ, WRITE = 3, 16
MOST_READ, MOST_WRITTEN = 125, 123
"""Registers of one request (V1.1b3, 6.3 and 6.12)."""
LONGEST = 254
"""Bytes that a header's length may tell."""
EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledged, still at work",
    6: "server device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "the device behind the gateway does not answer",
}


class ModbusError(DeviceError):
    """The box answered with exception ``code``."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Modbus:
    """Unit ``unit`` at the other end of ``transport``. An answer to another transaction came late and is passed over.

    Raises ModbusError for an exception, with its meaning; DeviceError for an answer that is none; what a Transport raises.
    """

    def __init__(self, name: str, transport: Transport, unit: int = 1) -> None:
        self._name = name
        self._transport = transport
        self._unit = unit
        transport.speak(DIALECT)

    def read(self, address: int, count: int) -> bytes:
        """``count`` registers from ``address``, 2 bytes each."""
        _check(address, count, MOST_READ)
        data = self._ask(READ, struct.pack(">HH", address, count), f"reading {address}+{count}")
        if len(data) != 1 + 2 * count or data[0] != 2 * count:
            raise DeviceError(
                f"{self._name}: reading {count} registers at {address} was answered with {data[:20].hex()}"
            )
        return data[1:]

    def write(self, address: int, data: bytes) -> None:
        """Registers from ``address`` on, 2 bytes of ``data`` each."""
        count = len(data) // 2
        _check(address, count, MOST_WRITTEN)
        head = struct.pack(">HHB", address, count, len(data))
        answer = self._ask(WRITE, head + data, f"writing {address}+{count}")
        if answer != head[:4]:
            raise DeviceError(
                f"{self._name}: writing {count} registers at {address} was acknowledged as {answer[:20].hex()}"
            )

    def read_floats(self, address: int, count: int = 1) -> FloatArray:
        """``count`` FLOAT32 from ``address`` on, two registers each. NaN and infinity are returned as they are."""
        words = np.frombuffer(self.read(address, 2 * count), ">f4")
        with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
            return words.astype(float)

    def write_floats(self, address: int, values: Sequence[float] | FloatArray) -> None:
        """FLOAT32 from ``address`` on, two registers each."""
        self.write(address, np.asarray(values, dtype=">f4").tobytes())

    def read_words(self, address: int, count: int = 1) -> list[int]:
        """``count`` UINT16."""
        return [int(word) for word in np.frombuffer(self.read(address, count), ">u2")]

    def write_words(self, address: int, values: Sequence[int]) -> None:
        """UINT16 from ``address`` on."""
        self.write(address, struct.pack(f">{len(values)}H", *values))

    def read_unsigned(self, address: int) -> int:
        """A UINT32, two registers."""
        found: int = struct.unpack(">I", self.read(address, 2))[0]
        return found

    # -- frames -------------------------------------------------------------------------------------

    def _ask(self, function: int, data: bytes, doing: str) -> bytes:
        with self._transport.atomic():
            number = next_number(self._transport)
            body = struct.pack(">BB", self._unit, function) + data
            request = struct.pack(">HHH", number, 0, len(body)) + body
            answered, rest = self._transport.ask(
                request, lambda reader: self._answer(reader, number)
            )
        if answered == function | 0x80 and len(rest) == 1:
            code = rest[0]
            meaning = EXCEPTIONS.get(code, "an exception that the protocol does not list")
            raise ModbusError(f"{self._name}: {doing}: exception {code}, {meaning}", code)
        if answered != function:
            raise DeviceError(
                f"{self._name}: {doing} was answered by function {answered}: {rest[:20].hex()}"
            )
        return rest

    def _answer(self, reader: Reader, number: int) -> tuple[int, bytes]:
        """Function and data of the answer to transaction ``number``."""
        while True:
            head = reader.exactly(6)
            transaction, protocol, length = struct.unpack(">HHH", head)
            if protocol != 0 or not 3 <= length <= LONGEST:
                raise DeviceError(
                    f"{self._name}: {head.hex()} came, which begins no frame of Modbus TCP"
                )
            body = reader.exactly(length)
            if transaction != number:
                continue
            if body[0] != self._unit:
                raise DeviceError(
                    f"{self._name}: unit {body[0]} answered, unit {self._unit} was asked"
                )
            return body[1], body[2:]


def _check(address: int, count: int, most: int) -> None:
    if not (0 <= address <= 0xFFFF and 1 <= count <= most and address + count <= 0x10000):
        raise ConfigError(
            f"no request of Modbus holds {count} registers at {address}: 1 to {most}, up to 65535"
        )
