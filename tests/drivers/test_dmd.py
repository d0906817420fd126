"""The micromirror device on a stand-in for ALP4lib: contract, pictures bit by bit, timing, refusals, a board that goes away."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilonn.devices import Device, Timing
from hilonn.drivers import dmd as driver
from hilonn.drivers.dmd import Dmd, DmdOptions, dmd
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, LimitError
from hilonn.testing import ModulatorsContract

WORDS = {
    "ALP_DEVICE_NUMBER": 2000,
    "ALP_VERSION": 2001,
    "ALP_AVAIL_MEMORY": 2003,
    "ALP_TRIGGER_EDGE": 2005,
    "ALP_EDGE_FALLING": 2008,
    "ALP_EDGE_RISING": 2009,
    "ALP_SEQ_REPEAT": 2100,
    "ALP_BIN_MODE": 2104,
    "ALP_BIN_UNINTERRUPTED": 2106,
    "ALP_DATA_FORMAT": 2110,
    "ALP_DATA_BINARY_TOPDOWN": 2,
    "ALP_PICTURE_TIME": 2203,
    "ALP_MIN_PICTURE_TIME": 2211,
    "ALP_PROJ_MODE": 2300,
    "ALP_MASTER": 2301,
    "ALP_SLAVE": 2302,
}
ERRORS = {
    1001: "The specified ALP device has not been found or is not ready.",
    1002: "The ALP device is not in idle state.",
    1003: "The specified ALP device identifier is not valid.",
    1007: "The requested memory is not available (full?).",
    1008: "The sequence specified is currently in use.",
    1011: "Communication error.",
    1012: "The specified ALP has been removed.",
}


class AlpError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(ERRORS[code])


@dataclass
class Sequence:
    """One on the board; compared by identity, as ctypes numbers are."""

    count: int
    settings: dict[int, int] = field(default_factory=dict)
    data: np.ndarray | None = None

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


class Board:
    """As much of the ALP API as is used, with its rules: sequences in use are not freed or written, modes need an idle board."""

    width, height, shortest, memory = 1024, 768, 44, 4000
    removed = False
    boards: list[Board]

    def __init__(self, version: str = "4.3", libDir: str | None = None) -> None:
        print("Loading library: alp")
        self.sequences: list[Sequence] = []
        self.running: Sequence | None = None
        self.slave = False
        self.shown: list[tuple[Sequence, bool]] = []
        self.uploads = 0
        self.freed = False
        Board.boards.append(self)

    def _there(self) -> None:
        if Board.removed or self.freed:
            raise AlpError(1012)

    def Initialize(self, DeviceNum: int | None = None) -> None:
        self._there()
        self.nSizeX, self.nSizeY = self.width, self.height

    def DevInquire(self, what: int) -> int:
        self._there()
        return {2000: 12345, 2001: 18, 2003: self.memory}[what]

    def DevControl(self, what: int, value: int) -> None:
        self._there()

    def ProjControl(self, what: int, value: int) -> None:
        self._there()
        if self.running is not None:
            raise AlpError(1002)
        self.slave = value == WORDS["ALP_SLAVE"]

    def SeqAlloc(self, nbImg: int = 1, bitDepth: int = 1) -> Sequence:
        self._there()
        if sum(s.count for s in self.sequences) + nbImg > self.memory:
            raise AlpError(1007)
        self.sequences.append(Sequence(nbImg))
        return self.sequences[-1]

    def SeqControl(self, what: int, value: int, SequenceId: Sequence) -> None:
        self._there()
        SequenceId.settings[what] = value

    def SeqInquire(self, what: int, SequenceId: Sequence) -> int:
        self._there()
        if what == WORDS["ALP_MIN_PICTURE_TIME"]:
            return self.shortest
        return SequenceId.settings.get(what, 33333)

    def SetTiming(self, SequenceId: Sequence, pictureTime: int) -> None:
        self._there()
        SequenceId.settings[WORDS["ALP_PICTURE_TIME"]] = pictureTime

    def SeqPut(self, imgData: np.ndarray, SequenceId: Sequence) -> None:
        self._there()
        if SequenceId is self.running:
            raise AlpError(1008)
        self.uploads += 1
        SequenceId.data = imgData.astype(np.uint8)

    def Run(self, SequenceId: Sequence, loop: bool = True) -> None:
        self._there()
        assert SequenceId.data is not None
        self.shown.append((SequenceId, loop))
        if loop or self.slave:
            self.running = SequenceId

    def Wait(self) -> None:
        self._there()
        self.running = None

    def Halt(self) -> None:
        self._there()
        self.running = None

    def FreeSeq(self, SequenceId: Sequence) -> None:
        if SequenceId is self.running:
            raise AlpError(1008)
        self.sequences.remove(SequenceId)

    def Free(self) -> None:
        self._there()
        self.freed = True


@pytest.fixture(autouse=True)
def alp(monkeypatch: pytest.MonkeyPatch) -> None:
    Board.removed, Board.boards = False, []
    module = SimpleNamespace(ALP4=Board, ALP_ERRORS=ERRORS, **WORDS)
    monkeypatch.setattr(driver, "library", lambda name, extra: module)


def made(**more: Any) -> Dmd:
    chosen = {"grid": (2, 3), "area": (16, 8, 48, 20), "max_samples": 64, **more}
    device = dmd.build("mirrors", DmdOptions.model_validate(chosen), None)
    assert isinstance(device, Dmd)
    return device


class TestDmd(ModulatorsContract):
    @pytest.fixture(params=["internal", "external"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[Device]:
        with made(trigger=request.param) as opened:
            yield opened
        assert all(b.freed and not b.sequences for b in Board.boards)


def mirrors(data: np.ndarray, width: int, height: int, row: int, offset: int = 0) -> np.ndarray:
    rows = data.reshape(-1, height, row)[:, :, offset : offset + -(-width // 8)]
    return np.unpackbits(rows, axis=2)[:, :, :width]


def test_each_channel_is_its_block_of_mirrors() -> None:
    with made() as device:
        drive = np.zeros((2, 6))
        drive[0, 1] = drive[1, 5] = 1.0
        device.load(drive, Timing(1e-4))
        device.play()
        board = Board.boards[-1]
        sequence, loop = board.shown[-1]
        assert not loop
        assert sequence.settings[WORDS["ALP_PICTURE_TIME"]] == 100
        assert sequence.settings[WORDS["ALP_BIN_MODE"]] == WORDS["ALP_BIN_UNINTERRUPTED"]
        assert sequence.data is not None
        shown = mirrors(sequence.data, 1024, 768, 128)
        wanted = np.zeros((2, 768, 1024))
        wanted[0, 8:18, 32:48] = 1
        wanted[1, 18:28, 48:64] = 1
        np.testing.assert_array_equal(shown, wanted)


@pytest.mark.parametrize(
    ("width", "height", "row", "offset"),
    [(1024, 768, 128, 0), (1920, 1080, 256, 0), (1400, 1050, 176, 1), (2560, 1600, 320, 0)],
)
def test_rows_are_as_long_as_the_board_wants_them(
    monkeypatch: pytest.MonkeyPatch, width: int, height: int, row: int, offset: int
) -> None:
    monkeypatch.setattr(Board, "width", width)
    monkeypatch.setattr(Board, "height", height)
    with made(grid=(1, 2), area=None) as device:
        device.load(np.array([[0.0, 1.0]]), Timing(1e-4))
        data = Board.boards[-1].sequences[-1].data
        assert data is not None
        assert len(data) == row * height
        shown = mirrors(data, width, height, row, offset)[0]
        assert shown[:, width // 2 :].all()
        assert not shown[:, : width // 2].any()


def test_a_half_is_refused_and_leaves_what_was_loaded() -> None:
    with made() as device:
        device.load(np.ones((1, 6)), Timing(1e-4))
        for value in (0.5, 1e-9, np.nan, 2.0):
            drive = np.ones((1, 6))
            drive[0, 2] = value
            with pytest.raises(LimitError, match="channel 2"):
                device.load(drive, Timing(1e-4))
        assert Board.boards[-1].uploads == 1
        device.play()


def test_the_same_pictures_are_uploaded_once_and_averages_cost_no_memory() -> None:
    with made() as device:
        drive = np.tile(np.array([1.0, 0.0]), (4, 3))
        device.load(drive, Timing(1e-4, plays=8))
        device.play()
        device.load(drive.copy(), Timing(1e-4, plays=8))
        device.play()
        board = Board.boards[-1]
        assert board.uploads == 1
        assert len(board.shown) == 2
        assert board.shown[-1][0].settings[WORDS["ALP_SEQ_REPEAT"]] == 8
        device.load(drive, Timing(2e-4, plays=8))
        assert board.uploads == 2
        assert len(board.sequences) == 1


def test_too_fast_uneven_or_too_many_pictures_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with made() as device:
        with pytest.raises(DeviceError, match="40 us are asked for, the board needs 44 us"):
            device.load(np.ones((1, 6)), Timing(40e-6))
        with pytest.raises(DeviceError, match="whole microseconds"):
            device.load(np.ones((1, 6)), Timing(100.5e-6))
        with pytest.raises(DeviceError, match="nothing is loaded"):
            device.play()
    monkeypatch.setattr(Board, "memory", 10)
    with pytest.raises(DeviceError, match="room for 10 pictures"):
        made().open()


def test_the_safe_state_is_dark_and_shown() -> None:
    with made(trigger="external") as device:
        device.load(np.ones((2, 6)), Timing(1e-4))
        device.play()
        device.safe_state()
        board = Board.boards[-1]
        sequence, loop = board.shown[-1]
        assert loop
        assert not board.slave
        assert sequence.data is not None
        assert not sequence.data.any()
        device.load(np.ones((2, 6)), Timing(1e-4))
        assert board.slave


def test_a_board_that_goes_is_lost_and_allocated_anew_when_it_is_back() -> None:
    with made() as device:
        identity = device.identity()
        Board.removed = True
        with pytest.raises(ConnectionLost, match="removed"):
            device.load(np.ones((1, 6)), Timing(1e-4))
        with pytest.raises(ConnectionLost):
            device.identity()
        Board.removed = False
        assert device.identity() == identity
        device.load(np.ones((1, 6)), Timing(1e-4))
        device.play()
        assert len(Board.boards) > 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"grid": None}, "one of"),
        ({"regions": [(0, 0, 1, 1)]}, "one of"),
        ({"grid": (0, 2)}, "one row"),
    ],
)
def test_senseless_blocks_are_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        made(**more)


@pytest.mark.parametrize(
    "more",
    [
        {"area": (1000, 0, 48, 20)},
        {"area": (0, 0, 2, 20)},
        {"grid": None, "area": None, "regions": [(0, 0, 8, 8), (0, 760, 8, 9)]},
    ],
)
def test_blocks_outside_the_mirrors_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="mirrors at"):
        made(**more).open()


def test_what_the_library_says_stays_off_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with made():
        assert capsys.readouterr().out == ""


@given(st.lists(st.booleans(), min_size=6, max_size=6))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_pattern_comes_back_from_the_bits(bits: list[bool]) -> None:
    with made() as device:
        device.load(np.array([bits], dtype=float), Timing(1e-4))
        data = Board.boards[-1].sequences[-1].data
        assert data is not None
        shown = mirrors(data, 1024, 768, 128)[0]
        blocks = [shown[y : y + 10, x : x + 16] for y in (8, 18) for x in (16, 32, 48)]
        assert [bool(b.all()) for b in blocks] == bits
        assert int(shown.sum()) == 160 * sum(bits)
    Board.boards.clear()


def test_the_real_library_has_what_is_used() -> None:
    real = pytest.importorskip("ALP4", reason="the extra `dmd` is not installed")
    for name, value in WORDS.items():
        assert getattr(real, name) == value
    for code in driver.GONE:
        assert code in real.ALP_ERRORS
    for method, names in {
        "SeqPut": {"imgData", "SequenceId"},
        "SetTiming": {"SequenceId", "pictureTime"},
        "Run": {"SequenceId", "loop"},
        "SeqControl": {"controlType", "value", "SequenceId"},
        "SeqInquire": {"inquireType", "SequenceId"},
        "SeqAlloc": {"nbImg", "bitDepth"},
    }.items():
        assert names <= set(inspect.signature(getattr(real.ALP4, method)).parameters)


def test_without_the_vendor_s_library_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = pytest.importorskip("ALP4", reason="the extra `dmd` is not installed")
    monkeypatch.setattr(driver, "library", lambda name, extra: real)
    with pytest.raises((ConnectionLost, DeviceError), match="ALP says"):
        made(folder="/nowhere/").open()
