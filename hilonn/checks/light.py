"""Every detector by itself: what it reads in the dark, and how much more with light."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hilonn.checks.report import CheckedBench, CheckStep, numbered
from hilonn.chips import HeaterChip, Settings
from hilonn.chips.nominal import is_nominal
from hilonn.devices import Laser
from hilonn.errors import HilonnError
from hilonn.typing import BoolArray, FloatArray

SAMPLES = 64
SEEN = 5.0
"""Standard errors above which a mean is not by chance."""
SEEN_TWICE = 8.0
"""As ``SEEN``, of a mean product of two readings: without light it is noise^2 / sqrt(samples) off, with longer tails than a
mean has (one of 70,000 detectors is beyond 8 at 64 samples)."""
STRAY = 0.02
"""Of the smallest range: light in the dark that is worth a word."""
FAINT = 0.05
"""Of the median detector's signal: below it a detector is as good as dead."""


@dataclass(frozen=True, slots=True)
class Darkness:
    """What every detector (detectors,) reads without light, in its own unit: ``mean``, ``scatter`` of one reading; ``railed``:
    it stands at the end of its largest range."""

    mean: FloatArray
    scatter: FloatArray
    railed: BoolArray

    @classmethod
    def of(cls, chip: HeaterChip) -> Darkness:
        """Read ``chip``'s detectors at the smallest range, where little shows, and at the largest. Light must be off."""
        _, full = chip.still(chip.ranges - 1, SAMPLES)
        for index in range(chip.ranges):
            signal, end = chip.still(index, SAMPLES)
            if not (end.any(axis=0) & ~full.any(axis=0)).any():
                break  # a zero may be higher than the smallest range
        return cls(signal.mean(axis=0), signal.std(axis=0), np.asarray(full.any(axis=0)))


def darken(bench: CheckedBench) -> list[CheckStep]:
    """Lasers that were found on are switched off, and said so."""
    on = [d for d in bench.devices.values() if isinstance(d, Laser) and d.emission()]
    for laser in on:
        laser.set_emission(False)
    still = [laser.name for laser in on if laser.emission()]
    if still:
        return [
            CheckStep(
                "light off",
                "BAD",
                f"{', '.join(still)} cannot be switched off",
                "switch it off by its key, and see what holds it",
            )
        ]
    if on:
        names = ", ".join(laser.name for laser in on)
        return [CheckStep("light off", "warn", f"{names} was on; it was switched off")]
    return []


def light_step(bench: CheckedBench) -> CheckStep:
    """Light on, as a run does it."""
    try:
        bench.light_on()
    except HilonnError as error:
        return CheckStep(
            "light on",
            "BAD",
            str(error),
            "look at the laser's interlock, key and front panel; then check again",
        )
    lasers = [d for d in bench.devices.values() if isinstance(d, Laser)]
    told = [
        f"{d.name} {1e3 * d.power():.4g} mW at {1e9 * d.wavelength():.3f} nm, {_whose(bench, d.name)}"
        for d in lasers
    ]
    values = {f"{d.name}.power": d.power() for d in lasers}
    return CheckStep("light on", "ok", ", ".join(told) or "no laser in the file", values=values)


def _whose(bench: CheckedBench, name: str) -> str:
    """Who set the laser's power."""
    frame = bench.file.devices.get(name)
    if frame is None or frame.power is None:
        return "as it was found set (the file states no `power`: whoever sets it last decides)"
    return "as the file states"


def laser_steps(bench: CheckedBench) -> list[CheckStep]:
    """Lasers that went off by themselves meanwhile."""
    off = [d.name for d in bench.devices.values() if isinstance(d, Laser) and not d.emission()]
    if not off:
        return []
    return [
        CheckStep(
            "light stays on",
            "BAD",
            f"{', '.join(off)} went off by itself during the check",
            "an interlock, a key, or a box that is too hot: see to it before a run",
        )
    ]


def names(chip: HeaterChip) -> list[str]:
    """Detectors as a person finds them: number, output and side, channel of the device."""
    half = chip.ports
    return [f"{k} (output {k % half}, {'plus' if k < half else 'minus'})" for k in range(2 * half)]


def dark_step(chip: HeaterChip, dark: Darkness) -> CheckStep:
    """The zeros of all detectors beside those that the record knows; what it does not accept may read anything."""
    device = chip.detectors_of
    used = chip.records.photodetectors.accepted("gain")
    dark = replace(dark, railed=dark.railed & used)
    known = chip.records.photodetectors.value("dark")
    floor = STRAY * device.ranges[0] + SEEN * dark.scatter / np.sqrt(SAMPLES)
    away = np.where(used, dark.mean - known, 0.0)
    stray = np.flatnonzero((away > floor) & ~dark.railed)
    below = np.flatnonzero((away < -floor) & ~dark.railed)
    unit = device.spec.unit
    values = {
        "railed": np.flatnonzero(dark.railed).tolist(),
        "stray": stray.tolist(),
        "below": below.tolist(),
        "dark": dark.mean.tolist(),
        "dark_noise": dark.scatter.tolist(),
    }
    name = f"darkness at {device.name}"
    if dark.railed.any():
        return CheckStep(
            name,
            "BAD",
            f"at the end of the largest range without light: {numbered('detector', values['railed'])}",
            "unplugged, broken, flooded by other light, or at the wrong gain: look at that channel by itself",
            values,
        )
    if is_nominal(chip.records.photodetectors):
        return CheckStep(
            name,
            "ok",
            f"{len(known)} detectors read up to {np.abs(dark.mean).max():.2g} {unit}, noise {np.median(dark.scatter):.2g} {unit}; "
            "their zeros are not measured yet",
            values=values,
        )
    if len(stray):
        worst = int(stray[np.argmax(away[stray])])
        return CheckStep(
            name,
            "warn" if away[worst] < device.ranges[0] else "BAD",
            f"light that is not ours at {numbered('detector', stray.tolist())}, most at {names(chip)[worst]}, "
            f"{away[worst]:.3g} {unit} above its zero",
            "cover the chip and the fibre ends, switch the room's light off; if it stays, zero the detector and "
            "measure its record anew",
            values,
        )
    if len(below):
        return CheckStep(
            name,
            "warn",
            f"less than the record's zero at {numbered('detector', below.tolist())}",
            "zero the detectors, and measure their record anew",
            values,
        )
    return CheckStep(
        name,
        "ok",
        f"{int(used.sum())} detectors within {np.abs(away).max():.2g} {unit} of their zeros, noise {np.median(dark.scatter):.2g} {unit}",
        values=values,
    )


def rise_step(
    chip: HeaterChip, settings: Settings, inputs: FloatArray, averages: int, dark: Darkness
) -> CheckStep:
    """Every detector beside the others while ``inputs`` (samples, n) are played: dead ones, stuck ones, faint ones."""
    name = f"detectors of {chip.detectors_of.name}"
    plus, minus, index = chip.watch(settings, inputs, averages)
    again = chip.watch(settings, inputs, averages, index)
    first = np.concatenate((plus, minus), axis=1)
    second = np.concatenate(again[:2], axis=1)
    rise = np.sqrt(np.maximum((first * second).mean(axis=0), 0.0))  # of what is the same in both
    noise = np.sqrt(((first - second) ** 2).mean(axis=0) / 2.0)
    middle = max(float(np.median(rise)), 1e-300)
    decibels = 20 * np.log10(np.maximum(rise, 1e-3 * middle) / middle)
    # What changes with the samples: each reading's baseline is common to all of them, with a noise of its own.
    changes = ((first - first.mean(axis=0)) * (second - second.mean(axis=0))).mean(axis=0)
    seen = changes > SEEN_TWICE * noise**2 / np.sqrt(len(inputs))
    known = chip.records.photodetectors.accepted("gain")
    dead = np.flatnonzero((~seen | (rise < FAINT * middle)) & known)
    values = {
        "rise": rise.tolist(),
        "rise_db": decibels.tolist(),
        "noise": noise.tolist(),
        "dead": dead.tolist(),
        "range": index,
    }
    if not seen.any():
        return CheckStep(
            name,
            "BAD",
            "no detector sees light",
            "laser on, fibre in, shutters open, polarisation right? Are modulators and detectors started by the same "
            "trigger?",
            values,
        )
    if len(dead):
        still = dark.scatter[dead] == 0.0
        how = "stuck at one value" if still.all() and (dark.scatter > 0).any() else "no light"
        shown = ", ".join(names(chip)[k] for k in dead[:4])
        return CheckStep(
            name,
            "BAD",
            f"{how} at {numbered('detector', dead.tolist())}: {shown}{' ...' if len(dead) > 4 else ''}",
            "is the diode's cable in, its fibre on the right port and its facet clean, its bias on? Swap two cables: does the "
            "fault go with the cable or stay with the channel?",
            values,
        )
    return CheckStep(
        name,
        "ok",
        f"all {'' if known.all() else 'that the record accepts, '}{int(known.sum())}, see light, from {decibels.min():+.1f} to {decibels.max():+.1f} dB of the median",
        values=values,
    )
