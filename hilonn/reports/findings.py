"""What stands out in a run, in words, the gravest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from hilonn.chips import Unused
from hilonn.reports.story import Story

Gravity = Literal["bad", "warning", "note", "good"]
WRONG = 0.35
"""Relative error of the products from which a run suffers."""
NOTICEABLE = 0.3
"""Relative error of one output, or noise of a reading, that is worth a word."""
ORDER: tuple[Gravity, ...] = ("bad", "warning", "note", "good")


@dataclass(frozen=True, slots=True)
class Finding:
    """``text`` says what was seen; ``meaning`` what it means and what to do."""

    gravity: Gravity
    text: str
    meaning: str


def findings(story: Story, compared: list[Story]) -> list[Finding]:
    """Everything that stands out."""
    found = [
        *_ending(story),
        *_heaters(story),
        *_mapping(story, compared),
        *_noise(story),
        *_learning(story),
        *_monitors(story),
        *_passes(story),
    ]
    if not any(f.gravity in ("bad", "warning") for f in found):
        found.append(Finding("good", "Nothing out of the ordinary was seen.", ""))
    return sorted(found, key=lambda f: ORDER.index(f.gravity))


def _ending(story: Story) -> list[Finding]:
    if story.result is None:
        return [
            Finding(
                "warning",
                f"The run has not ended: {len(story.epochs)} epochs are there.",
                "It is still being written, was interrupted, or failed. `hilonn resume` goes on with it.",
            )
        ]
    return []


def _silent(story: Story) -> list[int]:
    """Heaters that did not answer and are not masked."""
    if story.heaters is None:
        return []
    masked = set(story.heaters.get("masked", []))
    return [h for h in story.heaters["silent"] if h not in masked]


def _heaters(story: Story) -> list[Finding]:
    if story.heaters is None:
        return []
    masked = set(story.heaters.get("masked", []))
    silent = _silent(story)
    found = []
    count = len(story.heaters["response"])
    if silent:
        found.append(
            Finding(
                "bad",
                f"{len(silent)} of {count} heaters did not answer although the record says that they work: "
                f"{_channels(story, silent)}.",
                "Before training, each heater was turned by a quarter turn and all outputs were read; "
                "nothing moved at these. Dead or unwired heaters: the phases that they should set are "
                "wrong in every matrix, so the chip multiplies by something else than it was asked to, "
                "and accuracy is lost. " + _remedy(story),
            )
        )
    if masked:
        found.append(
            Finding(
                "warning",
                f"{len(masked)} heaters are masked in the chip's record: {_listed(sorted(masked))}.",
                "They are not driven; the other phases are chosen around them where that is possible.",
            )
        )
    unused = Unused(
        [], story.heaters.get("unused_inputs", []), story.heaters.get("unused_outputs", [])
    )
    if unused:
        found.append(
            Finding(
                "warning",
                f"Not used of the chip: {unused}, which its record does not accept.",
                "A modulator that is stuck or a detector that is dead: tiles are smaller, and there may be more of them. What is "
                "stuck at an input is led nowhere; what is left of it is in the baseline of every play.",
            )
        )
    return found


def _channels(story: Story, heaters: list[int]) -> str:
    """Heaters of the chip, with the channels of the device that drives them."""
    assert story.heaters is not None
    channels, device = story.heaters.get("channels"), story.heaters.get("device")
    if channels is None:
        return _listed(heaters)
    return f"{_listed(heaters)} ({device}, channels {_listed([channels[h] for h in heaters])})"


def _remedy(story: Story) -> str:
    if story.header["backend"] == "simulated":
        return (
            "This chip is simulated: look at `faults` and the preset in the bench file. On a real one check "
            "the wiring of these channels, or mask them in the record, so that programming works around them."
        )
    return (
        "Check the wiring of these channels first; if they are dead, mask them in the record, so that "
        "programming works around them. Then run again: the other findings may go with them."
    )


def _mapping(story: Story, compared: list[Story]) -> list[Finding]:
    if story.mapping is None:
        return []
    error, lasting = story.mapping["layers"][0], _lasting(story.mapping)
    noise = story.mapping.get("noise", [0.0])[0]
    outputs = story.mapping.get("outputs_lasting", story.mapping["outputs"])
    worst = [
        i for i, e in enumerate(outputs) if e > 2.0 * float(np.median(outputs)) and e > NOTICEABLE
    ]
    text = f"The first layer's matrix product came out {error:.0%} away from what was asked"
    others = [s.mapping["layers"][0] for s in compared if s.mapping is not None]
    if others:
        text += f" (in the runs compared: {', '.join(f'{e:.0%}' for e in others)})"
    text += "."
    if "noise" in story.mapping:
        text += f" About {lasting:.0%} came again at every reading; noise of one reading is {noise:.0%}."
    if worst:
        text += f" Chip outputs {_listed(worst)} are far worse than the rest."
    grave: Gravity = "warning" if lasting > WRONG or worst else "note"
    if noise > lasting:
        return [Finding(grave, text, f"{_of_noise(noise)} {_of_record(story)}".strip())]
    return [Finding(grave, text, _of_record(story))]


def _lasting(mapping: dict[str, Any]) -> float:
    """What the first layer misses at every reading; runs of earlier versions know it with the noise in it."""
    return float(mapping.get("lasting", mapping["layers"])[0])


def _of_noise(noise: float) -> str:
    text = "Most of it is noise of the readings, which no calibration lowers"
    if noise < NOTICEABLE:
        return f"{text}; it is small."
    return (
        f'{text}: more light on the detectors, a smaller range of theirs, more `averages` in the rule (or "auto"), and '
        "reading by a local oscillator instead of power do."
    )


def _of_record(story: Story) -> str:
    """What the part means that comes again."""
    assert story.mapping is not None
    mend = "The heaters that did not answer are in it: mend these first. " if _silent(story) else ""
    apart = "noise" in story.mapping
    if apart and _lasting(story.mapping) < story.mapping["noise"][0]:
        if _lasting(story.mapping) < NOTICEABLE:
            return mend
        return (
            f"{mend}What comes again is what the record does not know (splitters, phases, crosstalk), drift and leaked "
            "light: a new calibration lowers it."
        )
    return (
        f"{mend}{'Besides them it' if mend else 'This'} holds what the record does not know (splitters, phases, crosstalk), "
        f"drift{',' if not apart else ' and'} leaked light{'' if apart else ' and noise'}. Training in the loop learns around "
        "a part of it; above about 50 % it cannot. A new calibration lowers it."
    )


def _noise(story: Story) -> list[Finding]:
    found = []
    for key in sorted({k for e in story.epochs for k in e if k.startswith("snr_")}):
        values = np.array(story.column(key))
        values = values[np.isfinite(values)]
        if len(values) and values[-1] < 1.0:
            found.append(
                Finding(
                    "warning",
                    f"Hidden layer {key[4:]}: the signal-to-noise ratio of the difference of the two trips "
                    f"fell to {values[-1]:.2f}.",
                    "What this layer learns from is mostly noise by then. More averages or a larger "
                    'feedback_scale raise it (both can be "auto").',
                )
            )
    return found


def _learning(story: Story) -> list[Finding]:
    found = []
    wrong = story.mapping is not None and _lasting(story.mapping) > WRONG
    back = [e["epoch"] for e in story.epochs if e.get("taken_back")]
    if back:
        found.append(
            Finding(
                "warning",
                f"Learning went wrong in epochs {_listed(back)}: what they learned was taken back, "
                "and the rates were halved each time.",
                (
                    "A consequence of what stands above, most likely: where the chip multiplies by something else, "
                    "a step of learning moves it otherwise than was meant. Mend that first; lower `rate` and "
                    "`hidden_rate` only if it still happens then."
                    if wrong or _silent(story)
                    else "The rates are too high for this chip: lower `rate` and `hidden_rate`."
                ),
            )
        )
    if len(story.epochs) >= 4 and story.result is not None:
        validation = np.array(story.column("validation_accuracy"))
        training = story.column("accuracy")[-1]
        if np.isfinite(validation[-1]) and training - validation[-1] > 0.05:
            found.append(
                Finding(
                    "note",
                    f"Training accuracy {training:.1%} is well above validation accuracy "
                    f"{validation[-1]:.1%}.",
                    "The network has learned its samples by heart: more data, or fewer hidden units.",
                )
            )
        best = np.nanmax(validation) if np.isfinite(validation).any() else np.nan
        if np.isfinite(best) and np.nanargmax(validation) == len(validation) - 1:
            found.append(
                Finding("note", "Validation accuracy was still rising at the end.", "Train longer.")
            )
    return found


def _monitors(story: Story) -> list[Finding]:
    faults = [e for e in story.looks if e["fault"]]
    if not faults:
        return []
    return [
        Finding(
            "bad",
            f"A monitor saw what no drift explains, {len(faults)} of {len(story.looks)} times. First: {faults[0]['fault']}.",
            "Something broke or was touched: the record was not moved after it, and what the chip multiplied by from then on "
            "is not what it was asked. Look at what is named; then calibrate anew.",
        )
    ]


def _passes(story: Story) -> list[Finding]:
    if story.result is None:
        return []
    passes, retakes = story.result["passes"], story.result["retakes"]
    if passes and retakes > 0.02 * passes:
        return [
            Finding(
                "warning",
                f"{retakes:,} of {passes:,} passes were taken again because a detector was saturated.",
                "Light is close to the end of the detectors' ranges; lower the laser's power.",
            )
        ]
    return []


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(str(n) for n in numbers[:12])
    return shown + (f" and {len(numbers) - 12} more" if len(numbers) > 12 else "")
