"""What two records say differently, in units of what they are unsure of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hilonn.records import Quantity, Record, Records
from hilonn.typing import FloatArray

TURNS = {"heater_phase_offset", "output_phase"}
"""Quantities that are known modulo 2 pi."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one quantity: root mean square and largest change, at which index, the largest in standard deviations of both
    records, and how many values only one of them accepts."""

    record: str
    quantity: str
    rms: float
    largest: float
    where: int
    deviations: float
    masks: int
    note: str = ""

    def __str__(self) -> str:
        if self.note:
            return f"{self.record} {self.quantity}: {self.note}"
        text = f"{self.record} {self.quantity}: rms {self.rms:.3g}, largest {self.largest:.3g} at {self.where}"
        text += f" ({self.deviations:.1f} sd)"
        return text + (f"; {self.masks} accepted in one only" if self.masks else "")


def differences(first: Records, second: Records) -> list[Difference]:
    """Every quantity in which ``second`` differs from ``first``; nothing where they say the same."""
    found = []
    for role in ("chip", "modulators", "photodetectors"):
        found += _of(role, getattr(first, role), getattr(second, role))
    return found


def _of(role: str, first: Record, second: Record) -> list[Difference]:
    found = []
    if first.title != second.title:
        found.append(_note(role, "", f"{first.title} against {second.title}"))
    for name in sorted({*first.quantities, *second.quantities}):
        if name not in first.quantities or name not in second.quantities:
            found.append(_note(role, name, "in one of them only"))
            continue
        a, b = first.quantities[name], second.quantities[name]
        if name == "crosstalk_kernel":
            a, b = _ordered(a), _ordered(b)
        if a.value.shape != b.value.shape:
            found.append(_note(role, name, f"of shape {a.value.shape} against {b.value.shape}"))
            continue
        masks = int((a.accepted != b.accepted).sum())
        both = np.isfinite(a.value) & np.isfinite(b.value)
        change = np.zeros(a.value.shape)
        change[both] = _change(name, a.value[both], b.value[both])
        if not masks and not change.any():
            continue
        doubt = np.hypot(a.uncertainty, b.uncertainty)
        scaled = change / np.where((doubt > 0) & np.isfinite(doubt), doubt, np.inf)
        where = int(np.argmax(change)) if change.size else 0
        found.append(
            Difference(
                role,
                name,
                float(np.sqrt((change**2).mean())) if change.size else 0.0,
                float(change.max(initial=0.0)),
                where,
                float(scaled.max(initial=0.0)),
                masks,
            )
        )
    return found


def _ordered(kernel: Quantity) -> Quantity:
    """Rows by their offsets: a kernel is a set."""
    rows = np.lexsort(kernel.value[:, :2].T)
    return Quantity(kernel.value[rows], kernel.uncertainty[rows], kernel.accepted[rows])


def _note(role: str, name: str, text: str) -> Difference:
    return Difference(role, name, 0.0, 0.0, 0, 0.0, 0, text)


def _change(name: str, a: np.ndarray, b: np.ndarray) -> FloatArray:
    if name in TURNS:
        return np.asarray(np.abs(np.angle(np.exp(1j * (b - a)))))
    return np.asarray(np.abs(b - a))
