"""Standard normal numbers for the noise of detectors, of which a pass takes tens of thousands.

numpy's ziggurat draws one at a time: for a step of training, as long as all the light. Here each random word of
numpy's bit generator gives two uniform numbers of 32 bits, and those two normal ones (Box and Muller 1958), in
plain arithmetic that the compiler turns into vector instructions: several times as fast (``python -m benchmarks loop``).
The largest number that can come is 6.66, which a normal one exceeds once in 3.6e10.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from hilonn.mesh.jit import dense_kernel
from hilonn.simulators.randomness import generator, generator_state, restore_generator
from hilonn.typing import FloatArray, IntArray, Snapshot

BLOCK = 512
"""Words taken at a time: what is worked out of them stays in the first cache."""
AHEAD = 1 << 16
"""Numbers drawn at once, 512 kB: about those of a pass of 64 ports."""
_ONE = np.uint64(0x3FF0000000000000)  # 1.0
_ROOT = np.int64(0x3FE6A09E667F3BCD)  # sqrt(1/2)


def standard_normal(source: np.random.Generator, count: int) -> FloatArray:
    """Standard normal numbers (count,) from ``source``, which moves on by one word for each two of them."""
    numbers = np.empty(count)
    _fill(source.bit_generator.random_raw((count + 1) // 2), numbers)
    return numbers


class NormalStream:
    """One sequence of standard normal numbers, of ``seed`` and ``purpose``, however it is asked for them.

    They are drawn in blocks, the next one by another thread while the last one is used. Not for two threads at once.
    """

    def __init__(self, seed: int, purpose: str) -> None:
        self._source = generator(seed, purpose)
        self._before = generator_state(self._source)
        self._block: FloatArray | None = None
        self._used = 0
        self._coming: Future[tuple[Snapshot, FloatArray]] | None = None
        self._worker: ThreadPoolExecutor | None = None

    def take(self, count: int) -> FloatArray:
        """The next numbers (count,); not to be changed."""
        parts = []
        while count:
            block = self._present()
            part = block[self._used : self._used + count]
            self._used += len(part)
            count -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0)

    def snapshot(self) -> Snapshot:
        """What ``restore`` needs to go on with the same numbers."""
        return {"generator": self._before, "used": self._used}

    def restore(self, saved: Snapshot) -> None:
        """Go on as after ``snapshot``."""
        if self._coming is not None:
            self._coming.result()
        restore_generator(self._source, saved["generator"])
        self._before, self._used = dict(saved["generator"]), int(saved["used"])
        self._block, self._coming = None, None

    def _present(self) -> FloatArray:
        """The block in use, with numbers left."""
        if self._block is None:  # first use: short runs, and tests, never ask for another
            self._before, self._block = self._draw()
        if self._used == AHEAD:
            # In an order in which an interruption anywhere costs a wait at most, and no block comes twice.
            if self._coming is None:
                self._begin()
            assert self._coming is not None
            drawn = self._coming.result()
            self._coming = None
            (self._before, self._block), self._used = drawn, 0
            self._begin()
        return self._block

    def _begin(self) -> None:
        """Have the next block drawn."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "detector noise")
        self._coming = self._worker.submit(self._draw)

    def _draw(self) -> tuple[Snapshot, FloatArray]:
        return generator_state(self._source), standard_normal(self._source, AHEAD)


@dense_kernel
def _uniform(words: NDArray[np.uint64], first: IntArray, second: IntArray) -> None:
    """The bits of 1 + u from each half of ``words``, u in [0, 1)."""
    for i in range(words.size):
        w = words[i]
        first[i] = ((w >> np.uint64(32)) << np.uint64(20)) | _ONE
        second[i] = ((w & np.uint64(0xFFFFFFFF)) << np.uint64(20)) | _ONE


@dense_kernel
def _mirror(above: FloatArray, within: FloatArray) -> None:
    """u in (0, 1] of 1 + (1 - u)."""
    for i in range(above.size):
        within[i] = 2.0 - above[i]


@dense_kernel
def _split(bits: IntArray, fraction: IntArray, exponent: FloatArray) -> None:
    """The bits of m and e of numbers m 2^e, m between sqrt(1/2) and sqrt(2)."""
    for i in range(bits.size):
        e = (bits[i] - _ROOT) >> np.int64(52)
        fraction[i] = bits[i] - (e << np.int64(52))
        exponent[i] = np.float64(np.int32(e))


@dense_kernel
def _radius(fraction: FloatArray, exponent: FloatArray, radius: FloatArray) -> None:
    """sqrt(-2 log u); log m = 2 artanh((m - 1) / (m + 1)), whose series ends below 1e-13."""
    for i in range(fraction.size):
        f = (fraction[i] - 1.0) / (fraction[i] + 1.0)
        z = f * f
        series = 2.0 / 13 + z * (2.0 / 15)
        series = 2.0 / 7 + z * (2.0 / 9 + z * (2.0 / 11 + z * series))
        series = 2.0 + z * (2.0 / 3 + z * (2.0 / 5 + z * series))
        log = 0.6931471805599453 * exponent[i] + f * series
        radius[i] = np.sqrt(max(-2.0 * log, 0.0))


@dense_kernel
def _turn(above: FloatArray, radius: FloatArray, across: FloatArray, along: FloatArray) -> None:
    """radius sin(2 pi u) and radius cos(2 pi u) of 1 + u."""
    for i in range(above.size):
        quarters = 4.0 * above[i] - 4.0
        whole = np.rint(quarters)
        r = (quarters - whole) * 1.5707963267948966
        z = r * r
        high = 1 / 362880 - z / 39916800
        s = r + r * z * (-1 / 6 + z * (1 / 120 + z * (-1 / 5040 + z * high)))
        high = 1 / 40320 - z / 3628800
        c = 1.0 - z * (0.5 - z * (1 / 24 - z * (1 / 720 - z * high)))
        odd = (whole == 1.0) | (whole == 3.0)
        a = c if odd else s
        b = s if odd else c
        across[i] = radius[i] * (-a if (whole == 2.0) | (whole == 3.0) else a)
        along[i] = radius[i] * (-b if (whole == 1.0) | (whole == 2.0) else b)


@dense_kernel
def _fill(words: NDArray[np.uint64], numbers: FloatArray) -> None:
    """``numbers`` (n,) of ``words`` ((n + 1) // 2,)."""
    first, second = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    within, fraction = np.empty(BLOCK), np.empty(BLOCK, np.int64)
    exponent, radius, last = np.empty(BLOCK), np.empty(BLOCK), np.empty(2 * BLOCK)
    for start in range(0, words.size, BLOCK):
        n = min(BLOCK, words.size - start)
        _uniform(words[start : start + n], first[:n], second[:n])
        _mirror(first.view(np.float64)[:n], within[:n])
        _split(within.view(np.int64)[:n], fraction[:n], exponent[:n])
        _radius(fraction.view(np.float64)[:n], exponent[:n], radius[:n])
        into = numbers[2 * start : 2 * (start + n)]
        if into.size == 2 * n:
            _turn(second.view(np.float64)[:n], radius[:n], into[:n], into[n:])
        else:
            _turn(second.view(np.float64)[:n], radius[:n], last[:n], last[n : 2 * n])
            into[:] = last[: into.size]
