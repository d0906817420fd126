"""Modbus TCP: golden frames, numbers of transactions, exceptions, fragments, anything on the wire."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.errors import ConfigError, ConnectionLost, DeviceError, DeviceTimeout
from hilonn.transports import ScriptWire, Transport
from hilonn.transports.modbus import Modbus, ModbusError
from hilonn.transports.numbering import next_number
from tests.drivers.wires import scripted


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


GOLDEN = [
    (hexed("0001 0000 0006 01 03 0000 0002"), hexed("0001 0000 0007 01 03 04 3f000000")),
    (
        hexed("0002 0000 0006 01 03 0000 0008"),
        hexed("0002 0000 0013 01 03 10 3f000000 3f800000 40000000 bf000000"),
    ),
    (
        hexed("0003 0000 000b 01 10 03e8 0002 04 3fa00000"),
        hexed("0003 0000 0006 01 10 03e8 0002"),
    ),
    (hexed("0004 0000 0006 01 03 ea60 0002"), hexed("0004 0000 0007 01 03 04 40e00000")),
]


def test_golden_frames() -> None:
    with scripted(GOLDEN) as transport:
        box = Modbus("t7", transport)
        np.testing.assert_array_equal(box.read_floats(0), [0.5])
        np.testing.assert_array_equal(box.read_floats(0, 4), [0.5, 1.0, 2.0, -0.5])
        box.write_floats(1000, [1.25])
        np.testing.assert_array_equal(box.read_floats(60000), [7.0])


def test_words_and_unsigned_numbers() -> None:
    exchanges = [
        (hexed("0001 0000 0006 01 03 d73c 0002"), hexed("0001 0000 0007 01 03 04 00112233")),
        (
            hexed("0002 0000 000b 01 10 a028 0002 04 00c7 0001"),
            hexed("0002 0000 0006 01 10 a028 0002"),
        ),
        (hexed("0003 0000 0006 01 03 a028 0002"), hexed("0003 0000 0007 01 03 04 00c7 0001")),
    ]
    with scripted(exchanges) as transport:
        box = Modbus("t7", transport)
        assert box.read_unsigned(55100) == 0x00112233
        box.write_words(41000, [199, 1])
        assert box.read_words(41000, 2) == [199, 1]


@pytest.mark.parametrize(("code", "words"), [(2, "illegal data address"), (99, "does not list")])
def test_an_exception_is_raised_with_its_meaning_and_the_wire_goes_on(
    code: int, words: str
) -> None:
    exchanges = [
        (GOLDEN[0][0], hexed("0001 0000 0003 01 83") + bytes([code])),
        (hexed("0002 0000 0006 01 03 0000 0002"), hexed("0002 0000 0007 01 03 04 3f000000")),
    ]
    with scripted(exchanges) as transport:
        box = Modbus("t7", transport)
        with pytest.raises(
            ModbusError, match=f"reading 0\\+2: exception {code}, .*{words}"
        ) as caught:
            box.read_floats(0)
        assert caught.value.code == code
        assert not transport._dirty
        assert box.read_floats(0)[0] == 0.5


def test_an_answer_to_another_transaction_is_never_taken() -> None:
    late = GOLDEN[0][1]
    exchanges = [
        GOLDEN[0],
        (hexed("0002 0000 0006 01 03 0000 0002"), late + hexed("0002 0000 0007 01 03 04 40000000")),
    ]
    with scripted(exchanges) as transport:
        box = Modbus("t7", transport)
        assert box.read_floats(0)[0] == 0.5
        assert box.read_floats(0)[0] == 2.0


def test_two_devices_on_one_wire_never_share_a_number() -> None:
    with scripted(GOLDEN[:2]) as transport:
        Modbus("a", transport).read_floats(0)
        Modbus("b", transport).read_floats(0, 4)
        assert next_number(transport) == 3
        for _ in range(0xFFFF - 3):
            next_number(transport)
        assert next_number(transport) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("0001 0001 0007 01 03 04 3f000000", "no frame"),
        ("0001 0000 0100 01 03 04 3f000000", "no frame"),
        ("0001 0000 0007 02 03 04 3f000000", "unit 2 answered"),
        ("0001 0000 0007 01 04 04 3f000000", "answered by function 4"),
        ("0001 0000 0005 01 03 02 3f00", "reading 2 registers"),
        ("0001 0000 0007 01 03 03 3f000000", "reading 2 registers"),
    ],
)
def test_an_answer_that_is_none(answer: str, words: str) -> None:
    wire = scripted([(GOLDEN[0][0], hexed(answer))])
    with wire as transport, pytest.raises(DeviceError, match=words):
        Modbus("t7", transport).read_floats(0)


def test_an_acknowledgement_of_something_else_is_refused() -> None:
    request = hexed("0001 0000 000b 01 10 03e8 0002 04 3fa00000")
    wire = scripted([(request, hexed("0001 0000 0006 01 10 03e8 0001"))])
    with wire as transport, pytest.raises(DeviceError, match="acknowledged as"):
        Modbus("t7", transport).write_floats(1000, [1.25])


@pytest.mark.parametrize(
    "act",
    [
        lambda box: box.read(0, 0),
        lambda box: box.read(0, 126),
        lambda box: box.read(65535, 2),
        lambda box: box.write(0, bytes(2 * 124)),
    ],
)
def test_what_no_request_holds_is_not_sent(act: Callable[[Modbus], object]) -> None:
    with scripted([]) as transport, pytest.raises(ConfigError, match="no request of Modbus"):
        act(Modbus("t7", transport))


class Crumbs(ScriptWire):
    """Gives its answers byte by byte."""

    def receive(self, timeout: float) -> bytes:
        data = bytes(self._coming[:1])
        del self._coming[:1]
        return data


def test_fragments_are_put_together() -> None:
    transport = Transport("box", Crumbs(GOLDEN), timeout=0.25)
    transport.open()
    box = Modbus("t7", transport)
    assert box.read_floats(0)[0] == 0.5
    np.testing.assert_array_equal(box.read_floats(0, 4), [0.5, 1.0, 2.0, -0.5])
    transport.close()


@given(
    st.one_of(
        st.binary(max_size=40),
        st.binary(max_size=12).map(lambda rest: struct.pack(">HHH", 1, 0, len(rest)) + rest),
    )
)
@settings(max_examples=1000, deadline=None, derandomize=True)
def test_any_answer_gives_a_value_or_a_named_error(answer: bytes) -> None:
    with scripted([(GOLDEN[0][0], answer)]) as transport:
        transport.timeout = 0.01
        try:
            found = Modbus("t7", transport).read(0, 2)
        except (ConnectionLost, DeviceError, DeviceTimeout):
            return
        assert len(found) == 4
