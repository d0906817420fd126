"""The global fit as a routine: random settings with all inputs lit, then every parameter at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from hilonn.calibration import global_fit
from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import Rig, Setup
from hilonn.calibration.routine import Effort, Failure, Fit, Parameters, Progress, Routine
from hilonn.calibration.shots import Draw, Shots, acquire, draw, joined
from hilonn.calibration.stages import MESHES
from hilonn.errors import CalibrationError
from hilonn.records import Records

READINGS = 300
"""Of a detector, for each heater."""
FEWEST, MOST = 300, 640
"""Settings, where they are not asked for ..."""
LARGE, ENOUGH = 32, 160
"""... and above ``LARGE`` ports ``ENOUGH``: each reads as much as sixteen of 16 ports, and time goes with their number. 128 leave
0.8 % of a 64-port matrix wrong."""
DOUBT = 0.3
"""rad, of a phase that the global fit of a large mesh starts from (sd). Phases that were found column by column are wrong together
along a diagonal, by 0.1 rad at its end: as a prior of each alone, 0.05 rad holds on to that against what readings tell."""
PART = 64
"""Settings a block."""
MISFIT = 3.0
"""Residuals over noise from which the fit is refused: it explains something else."""


class GlobalParameters(Parameters):
    """``settings`` of ``samples`` patterns, each the mean of ``averages``; 0 settings: as many as the chip's
    parameters need, 300 to 640 up to 32 ports, 160 above. ``dark`` is the share with the oscillator's shutter closed; ``reach``
    (pitches) of the crosstalk; ``wander`` (rad) of the oscillator from setting to setting."""

    settings: Annotated[int, Field(ge=0)] = 0
    samples: Annotated[int, Field(ge=2)] = 8
    averages: Annotated[int, Field(ge=1)] = 4
    amplitude: Annotated[float, Field(gt=0, le=1)] = 1.0
    dark: Annotated[float, Field(ge=0, lt=1)] = 0.1
    reach: Annotated[float, Field(ge=0)] = 3.0
    wander: Annotated[float, Field(gt=0)] = 0.1
    seed: int = 0


class GlobalFit(Routine):
    """See ``hilonn.calibration.global_fit``."""

    name: ClassVar[str] = "global"
    title: ClassVar[str] = "All parameters at once, from random settings"
    parameters: ClassVar[type[Parameters]] = GlobalParameters

    def applies(self, setup: Setup) -> bool:
        """Meshes whose fields are read against an oscillator."""
        return setup.oscillator and setup.architecture in MESHES

    def effort(self, setup: Setup, parameters: Any) -> Effort:
        count = settings(setup, parameters)
        return Effort(count, count * parameters.samples * parameters.averages)

    def acquire(
        self, rig: Rig, known: Records, parameters: Any, raw: Raw, progress: Progress
    ) -> None:
        count = settings(rig.setup, parameters)
        rng = np.random.default_rng([parameters.seed, 47])
        wanted = draw(
            known,
            count,
            parameters.samples,
            rng,
            rig.setup.drive_high,
            amplitude=parameters.amplitude,
            dark=parameters.dark if rig.setup.shutter else 0.0,
            step=rig.setup.drive_step,
        )
        for first in range(0, count, PART):
            block = f"shots-{first // PART:04d}"
            if not raw.has(block):
                part = slice(first, first + PART)
                some = Draw(wanted.heaters[part], wanted.modulators[part], wanted.through[part])
                use = known.photodetectors.accepted("gain")
                parts = list(acquire(rig, some, parameters.averages, use))
                raw.save(block, **joined(parts).arrays())
            progress("random settings", min(first + PART, count), count)
        if raw.finished is None:
            raw.finish(settings=count)

    def fit(self, setup: Setup, known: Records, parameters: Any, raw: Raw) -> Fit:
        shots = joined([Shots(**raw.load(name)) for name in raw.blocks("shots-")])
        doubts = {"heater_phase_offset": DOUBT} if setup.ports > LARGE else {}
        options = global_fit.Options(
            reach=parameters.reach, wander=parameters.wander, doubts=doubts
        )
        created = datetime.now(UTC).isoformat(timespec="seconds")
        found = global_fit.fit(known, shots, setup.ranges, created, options)
        figures = {"residuals_over_noise": found.excess}
        if found.blind is not None:
            figures["blind_directions"] = float(found.blind)
        figures |= {f"{name}_sd": q.posterior for name, q in found.quantities.items()}
        return Fit(
            chip=found.records.chip.quantities,
            modulators=found.records.modulators.quantities,
            photodetectors=found.records.photodetectors.quantities,
            figures=figures,
        )

    def accept(self, setup: Setup, known: Records, parameters: Any, fit: Fit) -> list[Failure]:
        excess = fit.figures["residuals_over_noise"]
        if excess > MISFIT:
            raise CalibrationError(
                f"the global fit leaves residuals of {excess:.1f} times the noise (allowed {MISFIT:g}): the start is "
                "too far off, or the chip does something that the model does not hold; the record is left as it was"
            )
        return []

    def update(self, known: Records, fit: Fit, failures: Sequence[Failure]) -> Records:
        """A kernel of more offsets than before is accepted whole."""
        chip = {**known.chip.quantities, "crosstalk_kernel": fit.chip["crosstalk_kernel"]}
        return super().update(
            replace(known, chip=replace(known.chip, quantities=chip)), fit, failures
        )


def settings(setup: Setup, parameters: GlobalParameters) -> int:
    """How many settings are shot."""
    if parameters.settings:
        return parameters.settings
    if setup.ports > LARGE:
        return ENOUGH
    wanted = READINGS * setup.heaters // (2 * setup.ports * parameters.samples)
    return min(max(wanted, FEWEST), MOST)
