"""ViALUX digital micromirror devices as binary modulators: blocks of mirrors, on or off.

Source: ALP4lib 1.1 (its constants carry the ALP API's own comments) and the ALP API description. There is no wire to see: the
vendor's library talks to the board over USB.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import numpy as np
from pydantic import Field

from hilonn.devices import ChannelSpec, Device, Identity, Modulators, Timing
from hilonn.drivers.libraries import library, quietly
from hilonn.drivers.options import Options
from hilonn.drivers.page import DriverPage
from hilonn.errors import ConfigError, ConnectionLost, DeviceError, HilonnError, LimitError
from hilonn.registry import Driver
from hilonn.typing import FloatArray

PAGE = DriverPage(
    instruments="ViALUX ALP-4.1 to 5.1 boards with a DMD (extra `dmd`, and the vendor's ALP library on the machine)",
    wiring=(
        'USB 3. The frame synch output triggers the camera (`trigger = "internal"`), or an external edge advances the pictures '
        '(`trigger = "external"`). Each channel is a block of mirrors: `grid = [rows, columns]` over `area = [x, y, width, height]`.'
    ),
    connection="",
    device='driver = "dmd"\ngrid = [16, 16]\narea = [256, 128, 512, 512]\nmax_samples = 1024\nversion = "4.3"',
    quirks=(
        (
            "Only 0 and 1 can be shown: any other drive is refused. Grey levels by pulse width would be averages over time, which "
            "a field is not.",
            "two-pass rule",
        ),
        ("Without a timing of its own a sequence runs at 30 Hz.", "ALP4lib, SetTiming"),
        (
            "With dark phases between pictures the light blinks: sequences run binary and uninterrupted.",
            "ALP API, ALP_BIN_UNINTERRUPTED",
        ),
        (
            "ALP4lib takes a sequence whose number is 0 for none given, and prints errors of FreeSeq: one sequence is kept at a "
            "time.",
            "ALP4lib 1.1",
        ),
        ("ALP4lib prints to stdout; it goes to stderr here.", "ALP4lib 1.1"),
    ),
    unverified=(
        "The driver has never run on a board: the tests use a stand-in for `ALP4.ALP4` with the API's documented rules.",
        "A row takes width / 8 bytes, but 256 at 1920 mirrors and 176, the first one unused, at 1400: `row_bytes`, `row_offset`.",
        "Binary rates of 10 to 22 kHz by model: the board is asked for its shortest picture time, and a shorter one is refused.",
        "After an uninterrupted sequence its last picture stays, until `load` or the safe state halts the board.",
    ),
)
ROWS = {1920: (256, 0), 1400: (176, 1)}
"""(bytes of a row, bytes before its first mirror), where it is not width / 8."""
GONE = (1001, 1003, 1011, 1012)
"""ALP's codes: not online, no such device, communication error, removed."""
Region = tuple[int, int, int, int]


class DmdOptions(Options):
    """``grid``: rows and columns of channels, over ``area`` (x, y, width, height in mirrors; None: all of it), counted row by
    row; or ``regions``, one rectangle a channel. ``max_samples``: patterns that the board keeps. ``serial`` of the board; None: the
    first one found. ``version`` of the ALP library, ``folder`` where it lies. ``row_bytes``, ``row_offset``: see the page."""

    grid: tuple[int, int] | None = None
    area: Region | None = None
    regions: list[Region] | None = None
    max_samples: int = Field(default=1024, ge=1)
    trigger: Literal["internal", "external"] = "internal"
    serial: int | None = None
    version: Literal["4.1", "4.2", "4.3", "4.4", "5.0", "5.1"] = "4.3"
    folder: str | None = None
    row_bytes: int | None = Field(default=None, ge=1)
    row_offset: int | None = Field(default=None, ge=0)


def channels_of(options: DmdOptions) -> int:
    """How many channels the options make. ConfigError unless exactly one of grid and regions is given."""
    if (options.grid is None) == (options.regions is None):
        raise ConfigError("give one of `grid` and `regions`")
    if options.regions is not None:
        return len(options.regions)
    assert options.grid is not None
    rows, columns = options.grid
    if rows < 1 or columns < 1:
        raise ConfigError(f"grid = {options.grid}: one row and one column at least")
    return rows * columns


class Dmd(Modulators):
    """Patterns of 0 and 1, stored on the board and shown on its own clock."""

    def __init__(self, name: str, options: DmdOptions) -> None:
        spec = ChannelSpec(unit="on", low=0.0, high=1.0, resolution=1.0)
        most = options.max_samples
        super().__init__(name, channels_of(options), spec, most, stored_patterns=most)
        self._options = options
        self._alp = library("ALP4", "dmd")
        self._board: Any = None
        self._sequence: Any = None
        self._shown: tuple[bytes, int, int] | None = None
        self._regions: list[Region] = []
        self._broken = False

    def check_drive(self, drive: FloatArray, verb: str, shape: tuple[int, ...]) -> FloatArray:
        """``drive`` as an array; LimitError where a mirror would have to be half on."""
        array = super().check_drive(drive, verb, shape)
        partial = (array != 0.0) & (array != 1.0)
        if partial.any():
            where = tuple(np.argwhere(partial)[0])
            raise LimitError(
                f"{self.name}.{verb}: {float(array[where]):g} on channel {where[-1]}: mirrors are on (1) or off (0); nothing was "
                "written"
            )
        return array

    def identity(self) -> Identity:
        self._renew()
        with self._named("who it is"):
            serial = self._board.DevInquire(self._alp.ALP_DEVICE_NUMBER)
            version = self._board.DevInquire(self._alp.ALP_VERSION)
            size = f"{self._board.nSizeX} x {self._board.nSizeY}"
            return Identity(
                "ViALUX", f"ALP-{self._options.version} {size}", str(serial), str(version)
            )

    def _open(self) -> None:
        """Allocate the board; nothing is shown."""
        with self._named("open"):
            with quietly():
                self._board = self._alp.ALP4(self._options.version, self._options.folder)
                self._board.Initialize(self._options.serial)
            memory = self._board.DevInquire(self._alp.ALP_AVAIL_MEMORY)
        self._shown, self._sequence, self._broken = None, None, False
        if memory < self.max_samples:
            raise DeviceError(
                f"{self.name}: max_samples = {self.max_samples} is asked for, the board has room for {memory} pictures"
            )
        self._regions = self._laid_out(self._board.nSizeX, self._board.nSizeY)

    def _close(self) -> None:
        """Halt, free the sequence and the board, each whatever became of the one before."""
        board, self._board = self._board, None
        if board is None:
            return
        with suppress(
            Exception
        ):  # a board that idles or is gone refuses; it is let go all the same
            board.Halt()
        with suppress(Exception), quietly():
            if self._sequence is not None:
                board.FreeSeq(self._sequence)
        self._sequence = None
        with self._named("close"):
            board.Free()

    def _load(self, drive: FloatArray, timing: Timing) -> None:
        """Upload packed bits, unless the board has these pictures with this timing already."""
        picture = 1e6 * timing.sample_period * timing.samples_per_reading
        if abs(picture - round(picture)) > 1e-6 * picture or picture < 1:
            raise DeviceError(
                f"{self.name}: a picture lasts whole microseconds; {picture:g} us are asked for"
            )
        self._renew()
        wanted = (drive.astype(np.uint8).tobytes(), round(picture), timing.plays)
        if self._shown == wanted:
            return
        self._shown = None
        with self._named("load"):
            self._halt()
            self._mode(self._options.trigger == "external", timing.edge)
            self._upload(self._pictures(drive), round(picture), timing.plays)
        self._shown = wanted

    def _play(self) -> None:
        """Show the pictures once; an external trigger advances them, so that there is no end to wait for."""
        if self._shown is None:
            raise DeviceError(f"{self.name}.play: nothing is loaded")
        with self._named("play"):
            if self._options.trigger == "external":
                self._board.Halt()
            self._board.Run(self._sequence, loop=False)
            if self._options.trigger == "internal":
                self._board.Wait()

    def _safe_state(self) -> None:
        """All mirrors off, and shown so."""
        self._renew()
        self._shown = None
        with self._named("safe state"):
            self._halt()
            self._mode(False, "rising")
            self._upload(self._pictures(np.zeros((1, self.channels))), None, 1)
            self._board.Run(self._sequence, loop=True)

    # -- pictures -------------------------------------------------------------------------------------

    def _laid_out(self, width: int, height: int) -> list[Region]:
        """A rectangle a channel. ConfigError where one lies outside the mirrors or has none."""
        regions = self._options.regions
        if regions is None:
            assert self._options.grid is not None
            rows, columns = self._options.grid
            x, y, w, h = self._options.area or (0, 0, width, height)
            xs = x + np.arange(columns + 1) * w // columns
            ys = y + np.arange(rows + 1) * h // rows
            regions = [
                (int(xs[c]), int(ys[r]), int(xs[c + 1] - xs[c]), int(ys[r + 1] - ys[r]))
                for r in range(rows)
                for c in range(columns)
            ]
        for k, (x, y, w, h) in enumerate(regions):
            if w < 1 or h < 1 or x < 0 or y < 0 or x + w > width or y + h > height:
                raise ConfigError(
                    f"{self.name}: channel {k} is {w} x {h} mirrors at {x}, {y}; the DMD has {width} x {height}"
                )
        return regions

    def _pictures(self, drive: FloatArray) -> np.ndarray:
        """``drive`` (samples, channels) as packed bytes, top row first, bit 7 the leftmost of eight mirrors."""
        width, height = self._board.nSizeX, self._board.nSizeY
        mirrors = np.zeros((len(drive), height, width), dtype=bool)
        for k, (x, y, w, h) in enumerate(self._regions):
            mirrors[:, y : y + h, x : x + w] = drive[:, k, np.newaxis, np.newaxis] == 1.0
        packed = np.packbits(mirrors, axis=2)
        usual, before = ROWS.get(width, (packed.shape[2], 0))
        count = self._options.row_bytes or usual
        offset = before if self._options.row_offset is None else self._options.row_offset
        if count < offset + packed.shape[2]:
            raise ConfigError(
                f"{self.name}: row_bytes = {count} cannot hold a row of {width} mirrors"
            )
        rows = np.zeros((*packed.shape[:2], count), dtype=np.uint8)
        rows[:, :, offset : offset + packed.shape[2]] = packed
        return rows.reshape(-1)

    def _upload(self, data: np.ndarray, picture: int | None, plays: int) -> None:
        """``data`` as the board's only sequence; ``picture`` in us, None: any."""
        alp, board = self._alp, self._board
        size = self._board.nSizeY * (
            self._options.row_bytes or ROWS.get(board.nSizeX, (-(-board.nSizeX // 8), 0))[0]
        )
        count = len(data) // size
        self._sequence = sequence = board.SeqAlloc(count, 1)
        board.SeqControl(alp.ALP_BIN_MODE, alp.ALP_BIN_UNINTERRUPTED, sequence)
        board.SeqControl(alp.ALP_DATA_FORMAT, alp.ALP_DATA_BINARY_TOPDOWN, sequence)
        if plays > 1:
            board.SeqControl(alp.ALP_SEQ_REPEAT, plays, sequence)
        if picture is not None:
            shortest = board.SeqInquire(alp.ALP_MIN_PICTURE_TIME, sequence)
            if picture < shortest:
                raise DeviceError(
                    f"{self.name}: pictures of {picture} us are asked for, the board needs {shortest} us; raise sample_period"
                )
            board.SetTiming(sequence, pictureTime=picture)
            found = board.SeqInquire(alp.ALP_PICTURE_TIME, sequence)
            if found != picture:
                raise DeviceError(
                    f"{self.name}: pictures of {picture} us were asked for, the board made it {found} us"
                )
        board.SeqPut(data, sequence)

    # -- the board ------------------------------------------------------------------------------------

    def _halt(self) -> None:
        self._board.Halt()
        sequence, self._sequence = self._sequence, None
        if sequence is not None:
            with quietly():
                self._board.FreeSeq(sequence)

    def _mode(self, slave: bool, edge: str) -> None:
        alp = self._alp
        self._board.ProjControl(alp.ALP_PROJ_MODE, alp.ALP_SLAVE if slave else alp.ALP_MASTER)
        if slave:
            rising = edge == "rising"
            self._board.DevControl(
                alp.ALP_TRIGGER_EDGE, alp.ALP_EDGE_RISING if rising else alp.ALP_EDGE_FALLING
            )

    def _renew(self) -> None:
        """After an error the board is allocated anew: what it kept is not known."""
        if self._broken:
            with suppress(HilonnError):
                self._close()
            self._open()

    @contextmanager
    def _named(self, doing: str) -> Iterator[None]:
        """Within: ALP's errors become ours; AttributeError is a board that could not be opened."""
        try:
            yield
        except HilonnError:
            raise
        except Exception as error:
            self._broken = True
            text = f"{self.name}: {doing}: ALP says {type(error).__name__}: {error}"
            lost = {self._alp.ALP_ERRORS[code] for code in GONE}
            if str(error) in lost or isinstance(error, OSError | AttributeError):
                raise ConnectionLost(
                    f"{text}; is the board on, and the ALP library installed?"
                ) from error
            raise DeviceError(text) from error


def _build(name: str, options: Any, connection: object) -> Device:
    if connection is not None:
        raise ConfigError(
            f"devices.{name}: the ALP library finds its board itself; it takes no connection"
        )
    return Dmd(name, options)


dmd = Driver(options=DmdOptions, build=_build)
