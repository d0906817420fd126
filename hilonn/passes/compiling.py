"""Phases of a layer's tiles, worked out beside the passes of the tiles before them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from hilonn.chips import MatrixChip, Settings
from hilonn.typing import FloatArray

WORKERS = min(3, (os.cpu_count() or 1) - 1)
"""Threads beside the one that drives the chip."""


class Compiler:
    """Owns the threads that compile. One a runner; idle threads end with the process."""

    def __init__(self, chip: MatrixChip) -> None:
        self._chip = chip
        self._pool: ThreadPoolExecutor | None = None
        # Few enough that the first tiles are ready soon, enough that SVDs come in batches.
        self._share = max(2, 256 // max(chip.outputs, 1))
        # The first are worked out by the thread that drives the chip, which then has something to do.
        self._first = max(1, self._share // 4)

    def compile(
        self, matrices: FloatArray, near: Sequence[Settings | None], ahead: bool = False
    ) -> CompiledTiles:
        """Begin with ``matrices`` (tiles, m, n), each to be programmed nearest to its ``near``. ``ahead``: others are asked for
        before them."""
        return self._begin(self._chip.compile, matrices, near, ahead)

    def follow(self, matrices: FloatArray, near: Sequence[Settings]) -> list[Settings]:
        """``chip.follow`` of all tiles, on every core."""
        return self._begin(self._chip.follow, matrices, near).all()

    def _begin(
        self,
        what: Callable[..., list[Settings]],
        matrices: FloatArray,
        near: Sequence[Settings | None],
        ahead: bool = False,
    ) -> CompiledTiles:
        first = self._first if len(matrices) > self._share else len(matrices)
        ends = [*range(first, len(matrices), self._share), len(matrices)] if len(matrices) else []
        jobs = [
            partial(what, matrices[first:end], near[first:end])
            for first, end in zip([0, *ends], ends, strict=False)
        ]
        # One tile is worked out in about the time that another thread needs to take it over.
        ahead = ahead and len(matrices) > 1
        if WORKERS < 1 or (len(jobs) < 2 and not ahead):
            return CompiledTiles(jobs, [None] * len(jobs), ends)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(WORKERS, "compile")
        mine = 0 if ahead else 1  # the first is done by whoever asks for it, at once
        begun = [None] * mine + [self._pool.submit(job) for job in jobs[mine:]]
        return CompiledTiles(jobs, begun, ends)


class CompiledTiles:
    """Settings tile by tile: waited for, or worked out here where no thread has begun with them."""

    def __init__(
        self,
        jobs: Sequence[partial[list[Settings]]],
        begun: Sequence[Future[list[Settings]] | None],
        ends: Sequence[int],
    ) -> None:
        self._jobs = jobs
        self._begun = begun
        self._place = [
            (job, tile - first)
            for job, (first, end) in enumerate(zip([0, *ends], ends, strict=False))
            for tile in range(first, end)
        ]
        self._done: dict[int, list[Settings]] = {}

    def __getitem__(self, tile: int) -> Settings:
        """Settings of ``tile``. Raises what compiling them, or one of the next ones, raised."""
        job, place = self._place[tile]
        self._work_out(job)
        return self._done[job][place]

    def _work_out(self, job: int) -> None:
        if job in self._done:
            return
        future = self._begun[job]
        if future is None or future.cancel():
            self._done[job] = self._jobs[job]()
            return
        while not future.done() and self._help(job):
            pass
        self._done[job] = future.result()

    def _help(self, job: int) -> bool:
        """While another thread works on ``job``: work out the next one that no thread has begun with, rather than wait. False
        where there is none."""
        for later in range(job + 1, len(self._jobs)):
            future = self._begun[later]
            if later not in self._done and future is not None and future.cancel():
                self._done[later] = self._jobs[later]()
                return True
        return False

    def all(self) -> list[Settings]:
        """Settings of every tile."""
        for job in range(len(self._jobs)):
            self._work_out(job)
        return [settings for job in sorted(self._done) for settings in self._done[job]]
