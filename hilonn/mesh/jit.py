"""The two ways in which this package compiles a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba  # type: ignore[import-untyped, unused-ignore]

Function = TypeVar("Function", bound=Callable[..., object])


def kernel(function: Function) -> Function:
    """Compile on first use for the types it is called with, cache on disk, release the GIL.

    Serial on purpose: a numba-parallel kernel followed by a BLAS call makes the two thread pools
    wait for each other. ``contract``, ``nsz`` and ``reassoc`` let sums use vector units; NaN and
    infinity keep their meaning.
    """
    compiled = numba.njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc"})
    return cast(Function, compiled(function))


def dense_kernel(function: Function) -> Function:
    """``kernel``, and a division by zero gives what numpy gives instead of an error: without a branch for it,
    loops that divide become vectors."""
    compiled = numba.njit(
        cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"}
    )
    return cast(Function, compiled(function))
