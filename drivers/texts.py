"""Numbers out of answers. An answer that is none is a DeviceError that shows it."""

from __future__ import annotations

import math
import re

from hilonn.errors import DeviceError

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def number(text: str, asked: str) -> float:
    """A finite number, alone in ``text``."""
    word = text.strip()
    if NUMBER.fullmatch(word) is None:
        raise DeviceError(f"{asked} was answered {text[:60]!r}, which is no number")
    value = float(word)
    if not math.isfinite(value):
        raise DeviceError(f"{asked} was answered {text[:60]!r}, which is beyond all numbers")
    return value


def numbers(text: str, asked: str, count: int | None = None, mark: str = ",") -> list[float]:
    """``count`` numbers (None: any) with ``mark`` between them."""
    found = [number(word, asked) for word in text.split(mark)]
    if count is not None and len(found) != count:
        raise DeviceError(f"{asked} was answered with {len(found)} numbers, {count} were asked for")
    return found


def integer(text: str, asked: str) -> int:
    """A whole number, alone in ``text``."""
    word = text.strip()
    if re.fullmatch(r"[+-]?\d+", word) is None:
        raise DeviceError(f"{asked} was answered {text[:60]!r}, which is no whole number")
    return int(word)


def flag(text: str, asked: str) -> bool:
    """``1`` or ``0``, ``ON`` or ``OFF``, with or without a sign."""
    word = text.strip().upper().lstrip("+")
    if word not in ("0", "1", "ON", "OFF"):
        raise DeviceError(f"{asked} was answered {text[:60]!r}, which is neither on nor off")
    return word in ("1", "ON")
