"""A unitary mesh whose outputs are seen as powers only: inner phases by paths, outer phases by meta-interferometers.

Paths: interferometers (column c, upper port m) with the same m - c form a diagonal. Light that enters at its head can leave
at its foot only if every one of them crosses, as long as those between it and the edge are in bar state: the reading
is a product of their cross powers, and each is a clean fringe of its own theta. Where they cross is found first, all of a
column at once (``shutters``). The main diagonal needs nothing known;
each next one uses the ones before as mirrors. Mirrors leak a few per cent of the field, which meets the path's own at an
interferometer's other port and would displace its fringe by as much: the sign turns with phi, and the mean of two fringes,
phi half a turn apart, stands where it should.

Meta-interferometers: with all in bar state but (c - 2, m) and (c, m), which split evenly, the two paths between them
are one interferometer whose fringe is that of phi (c, m). Inputs and outputs carry no known phase: phi of the
interferometers that none stands before (a rectangle's first two columns, a triangle's first diagonal) and the output heaters
are gauges, left at zero.

Reference: calibration.md sections 4 and 5. What neighbours warm is not known yet: it stays in these values (0.1 rad at 1 % a
neighbour), until all heaters are fitted together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field
from scipy.optimize import minimize_scalar

from hilonn.calibration import shutters
from hilonn.calibration.drives import nominal_ohm, on_grid, top_of
from hilonn.calibration.fringes import Fringe, fit_fringe
from hilonn.calibration.raw import Raw
from hilonn.calibration.rig import Rig, Setup
from hilonn.calibration.routine import Effort, Failure, Fit, Parameters, Progress, Routine
from hilonn.calibration.stages import Layout, Optics, layout_of, transfer
from hilonn.calibration.superpositions import Superpositions
from hilonn.errors import CalibrationError
from hilonn.mesh import UNITARY_MESHES
from hilonn.records import Quantity, Records
from hilonn.typing import FloatArray, IntArray

READS = 8
"""Repetitions of a reading's three samples: input forward, input backward, all at rest."""


class PathParameters(Parameters):
    """``points`` of a fringe, ``turns`` that it covers by the datasheet; where an input, a detector or a heater cannot be used, ``tries``: random
    settings among which a path that lets light through is looked for, ``climbs``: rounds of setting all of a path to cross; ``flips``: whether fringes
    behind mirrors are read at two phi half a turn apart, and meta-interferometers' with phi before and behind them so."""

    points: int = Field(default=24, ge=12)
    turns: float = Field(default=1.2, gt=0.5)
    averages: int = Field(default=8, ge=1)
    tries: int = Field(default=200, ge=1)
    climbs: int = Field(default=3, ge=1)
    flips: bool = True


@dataclass(frozen=True, slots=True)
class Path:
    """``mzis`` in the order of the light, from ``entry`` to ``leave`` (ports); ``alone``: there is no other way between these."""

    mzis: IntArray
    entry: int
    leave: int
    alone: bool


def paths(layout: Layout, columns: IntArray) -> list[Path]:
    """All diagonals of a mesh, the main one first: of a triangular mesh those of its rows. ``columns`` (mzis,)."""
    found = []
    shifts = layout.top - columns
    for shift in sorted(set(shifts.tolist()), key=lambda s: (abs(s), s)):
        mzis = np.flatnonzero(shifts == shift)
        mzis = mzis[np.argsort(columns[mzis])]
        first, last = int(mzis[0]), int(mzis[-1])
        found.append(Path(mzis, int(layout.top[first]), int(layout.top[last]) + 1, shift == 0))
    return found


def columns_of(layout: Layout) -> IntArray:
    """The column of each interferometer (mzis,)."""
    found = np.zeros(layout.mzis, int)
    for stage in layout.stages:
        found[stage.mzis] = stage.column
    return found


class Paths(Routine):
    name = "paths"
    title = "inner phases by paths"
    parameters = PathParameters

    def applies(self, setup: Setup) -> bool:
        return setup.architecture in UNITARY_MESHES and not setup.oscillator

    def effort(self, setup: Setup, parameters: Any) -> Effort:
        layout = layout_of(setup.architecture, setup.ports)
        ways = paths(layout, columns_of(layout))
        passes = shutters.passes(setup) + layout.mzis * parameters.points
        if parameters.flips:
            passes += (layout.mzis - len(ways[0].mzis)) * parameters.points
        return Effort(passes, passes * 3 * READS * parameters.averages)

    def acquire(
        self, rig: Rig, known: Records, parameters: Any, raw: Raw, progress: Progress
    ) -> None:
        setup = rig.setup
        layout = layout_of(setup.architecture, setup.ports)
        rig.let_oscillator(False)
        volts = _middle(setup)
        ways = paths(layout, columns_of(layout))
        cross = self._cross(rig, known, raw, progress)
        for i, way in enumerate(ways):
            name = f"path-{i:03d}"
            if not raw.has(name):
                raw.save(name, **self._walked(rig, known, parameters, layout, way, volts, cross))
            block = raw.load(name)
            for k, x, y in zip(way.mzis, block["cold"], block["light"], strict=True):
                fringe = _fringe(setup, x, y, known_rise(known))
                # Cross is brightest at theta = 0; from now on this one is a mirror: theta = pi.
                own = int(layout.theta[k])
                volts[own] = _drive_at(setup, fringe, np.pi, own, known_rise(known))
            progress(self.title, i + 1, len(ways))

    def _cross(self, rig: Rig, known: Records, raw: Raw, progress: Progress) -> FloatArray | None:
        """V^2 / R (mzis,) W at which each crosses; None where an input, an output or an inner heater is missing, which its search needs."""
        if not (
            known.modulators.accepted("v_pi").all() and known.photodetectors.accepted("gain").all()
        ):
            return None
        if not raw.has("shutters"):
            found = shutters.find(
                Superpositions(rig, known), lambda i, n: progress("bar and cross", i, n)
            )
            raw.save("shutters", cross=found.cross, lit=found.lit)
        block = raw.load("shutters")
        return np.asarray(block["cross"]) if block["lit"].all() else None

    def _walked(
        self,
        rig: Rig,
        known: Records,
        parameters: PathParameters,
        layout: Layout,
        way: Path,
        volts: FloatArray,
        cross: FloatArray | None,
    ) -> dict[str, Any]:
        """Every fringe of one path: ``cold`` and ``light`` (mzis, points)."""
        setup = rig.setup
        own = layout.theta[way.mzis]
        if cross is not None:
            best = volts.copy()
            best[own] = on_grid(setup, np.sqrt(cross[way.mzis] * nominal_ohm(setup)))
        else:
            best = self._crossing(rig, known, parameters, own, way, volts)
        found = [self._swept(rig, known, parameters, best, int(h), way) for h in own]
        cold, light = (np.array(part) for part in zip(*found, strict=True))
        if parameters.flips and not way.alone:
            for i, k in enumerate(way.mzis):
                phi = int(layout.phi[k])
                flipped = best.copy()
                flipped[phi] = _half_a_turn_off(setup, phi, best[phi])
                light[i] += self._swept(rig, known, parameters, flipped, int(own[i]), way)[1]
            light /= 2
        return {"cold": cold, "light": light, "mzis": way.mzis}

    def _crossing(
        self,
        rig: Rig,
        known: Records,
        parameters: PathParameters,
        own: IntArray,
        way: Path,
        volts: FloatArray,
    ) -> FloatArray:
        """``volts`` with all of a path at cross, from a random setting that lets some light through."""
        setup = rig.setup
        rng = np.random.default_rng([setup.ports, 54, int(own[0])])
        top = top_of(setup, 1.0)[own]
        best, brightest = volts.copy(), -np.inf
        for _ in range(parameters.tries if len(way.mzis) > 2 else 4):
            trial = volts.copy()
            trial[own] = on_grid(setup, np.sqrt(rng.random(len(own)) * top * nominal_ohm(setup)))
            light = _light(rig, known, trial, way.entry, parameters.averages)[way.leave]
            if light > brightest:
                best, brightest = trial, light
        for _ in range(parameters.climbs):
            for h in own:
                x, y = self._swept(rig, known, parameters, best, int(h), way)
                rise = known_rise(known)
                best[h] = _drive_at(setup, _fringe(setup, x, y, rise), 0.0, int(h), rise)
        return best

    def _swept(
        self,
        rig: Rig,
        known: Records,
        parameters: PathParameters,
        volts: FloatArray,
        heater: int,
        way: Path,
    ) -> tuple[FloatArray, FloatArray]:
        return sweep(
            rig,
            known,
            volts,
            heater,
            way.entry,
            way.leave,
            parameters.points,
            parameters.turns,
            parameters.averages,
        )

    def fit(self, setup: Setup, known: Records, parameters: Any, raw: Raw) -> Fit:
        layout = layout_of(setup.architecture, setup.ports)
        blocks = [raw.load(name) for name in raw.blocks("path-")]
        heaters = np.concatenate([layout.theta[b["mzis"]] for b in blocks])
        cold = np.concatenate([b["cold"] for b in blocks])
        light = np.concatenate([b["light"] for b in blocks])
        rise, told = common_rise(setup, cold, light, known_rise(known))
        return _fitted(
            setup, known, heaters, cold, light, lambda h, fringe: fringe.phase, rise, told
        )

    def accept(self, setup: Setup, known: Records, parameters: Any, fit: Fit) -> list[Failure]:
        return _judged(setup, fit)


class OuterPhases(Routine):
    name = "outer_phases"
    title = "outer phases by meta-interferometers"
    parameters = PathParameters

    def applies(self, setup: Setup) -> bool:
        return setup.architecture in UNITARY_MESHES and not setup.oscillator

    def effort(self, setup: Setup, parameters: Any) -> Effort:
        layout = layout_of(setup.architecture, setup.ports)
        passes = len(meta(layout)) * parameters.points * (2 if parameters.flips else 1)
        return Effort(passes, passes * 3 * READS * parameters.averages)

    def acquire(
        self, rig: Rig, known: Records, parameters: Any, raw: Raw, progress: Progress
    ) -> None:
        setup = rig.setup
        layout = layout_of(setup.architecture, setup.ports)
        rig.let_oscillator(False)
        jobs = meta(layout)
        behind = {before: k for k, before in jobs}
        for i, (k, before) in enumerate(jobs):
            name = f"meta-{k:04d}"
            if not raw.has(name):
                port = int(layout.top[k])
                volts = meta_drives(setup, known, layout, k, before)

                def swept(
                    volts: FloatArray, k: int = k, port: int = port
                ) -> tuple[FloatArray, FloatArray]:
                    return sweep(
                        rig,
                        known,
                        volts,
                        int(layout.phi[k]),
                        port,
                        port,
                        parameters.points,
                        parameters.turns,
                        parameters.averages,
                    )

                x, y = swept(volts)
                if parameters.flips:
                    # What leaks to the other port before it, and behind it, turns its sign.
                    flipped = volts.copy()
                    for other in (before, behind.get(k)):
                        if other is not None:
                            h = int(layout.phi[other])
                            flipped[h] = _half_a_turn_off(setup, h, volts[h])
                    y = (y + swept(flipped)[1]) / 2
                raw.save(name, cold=x, light=y, volts=volts, mzi=k)
            progress(self.title, i + 1, len(jobs))

    def fit(self, setup: Setup, known: Records, parameters: Any, raw: Raw) -> Fit:
        layout = layout_of(setup.architecture, setup.ports)
        chip, h = known.chip, layout.heaters
        offset = chip.value("heater_phase_offset")[:h].copy()
        offset[layout.phi] = 0.0
        optics = Optics(
            chip.value("splitter_errors"),
            chip.value("mzi_transmission"),
            np.ones(setup.ports, complex),
            np.ones(setup.ports, complex),
        )
        per_pi = chip.value("heater_power_per_pi")[:h].copy()
        rise = known_rise(known)
        heaters, cold, light = [], [], []
        phases: dict[int, float] = {}
        for k, _ in meta(layout):
            block = raw.load(f"meta-{k:04d}")
            fringe = _fringe(setup, block["cold"], block["light"], rise)
            phi, port = int(layout.phi[k]), int(layout.top[k])
            per_pi[phi] = np.pi / fringe.frequency
            rest = _power(block["volts"] ** 2 / nominal_ohm(setup), rise)
            own = np.pi * rest / per_pi
            # Where the fringe would stand with phi = 0, by what is known of everything on its way.
            psi = np.tile(offset + own, (3, 1))
            psi[:, phi] = np.arange(3) * 2 * np.pi / 3
            powers = np.abs(transfer(layout, psi, optics)[:, port, port]) ** 2
            stands = np.angle((powers * np.exp(1j * psi[:, phi])).sum())  # A + B cos(phi - stands)
            phases[phi] = fringe.phase + stands
            offset[phi] = np.mod(phases[phi], 2 * np.pi)
            heaters.append(phi)
            cold.append(block["cold"])
            light.append(block["light"])
        fit = _fitted(
            setup,
            known,
            np.array(heaters),
            np.array(cold),
            np.array(light),
            lambda h, f: phases[h],
            rise,
            float(np.median(chip.uncertainty("heater_resistance_rise"))),
        )
        first = np.setdiff1d(np.arange(layout.mzis), [k for k, _ in meta(layout)])
        unseen = np.concatenate((layout.phi[first], layout.stages[-1].index))
        values = dict(fit.chip)
        gauge = values["heater_phase_offset"]
        value, told = gauge.value.copy(), gauge.uncertainty.copy()
        value[unseen], told[unseen] = 0.0, 0.0
        values["heater_phase_offset"] = Quantity(value, told, gauge.accepted)
        # A gauge's heater is as the others are, as far as is known.
        middle = float(np.median(per_pi[heaters])) if heaters else setup.nominal.power_per_pi
        power = values["heater_power_per_pi"].value.copy()
        power[unseen] = middle
        values["heater_power_per_pi"] = Quantity(
            power, values["heater_power_per_pi"].uncertainty, values["heater_power_per_pi"].accepted
        )
        return Fit(chip=values, arrays=fit.arrays, figures=fit.figures)

    def accept(self, setup: Setup, known: Records, parameters: Any, fit: Fit) -> list[Failure]:
        return _judged(setup, fit)


def meta(layout: Layout) -> list[tuple[int, int]]:
    """Interferometers behind another on the same two ports, each with it: it stands two columns before."""
    columns = columns_of(layout)
    where = {(int(c), int(m)): k for k, (c, m) in enumerate(zip(columns, layout.top, strict=True))}
    return [(k, where[c - 2, m]) for (c, m), k in sorted(where.items()) if (c - 2, m) in where]


def meta_drives(setup: Setup, known: Records, layout: Layout, mzi: int, before: int) -> FloatArray:
    """Volts with every interferometer in bar state but two, which split evenly."""
    wanted = np.full(layout.mzis, np.pi)
    wanted[[mzi, before]] = np.pi / 2
    chip = known.chip
    own = np.mod(wanted - chip.value("heater_phase_offset")[layout.theta], 2 * np.pi)
    volts = _middle(setup)
    power = own * chip.value("heater_power_per_pi")[layout.theta] / np.pi
    rise = chip.value("heater_resistance_rise")[layout.theta]
    ohm = chip.value("heater_resistance")[layout.theta]
    volts[layout.theta] = np.sqrt(power * ohm * (1 + rise * power))
    return on_grid(setup, np.minimum(volts, setup.drive_high[: setup.heaters]))


def sweep(
    rig: Rig,
    known: Records,
    volts: FloatArray,
    heater: int,
    entry: int,
    leave: int,
    points: int,
    turns: float,
    averages: int,
) -> tuple[FloatArray, FloatArray]:
    """V^2 / R (W) of ``heater``, uniform up to ``turns``, and the light from ``entry`` to ``leave`` (A): (points,)."""
    setup = rig.setup
    top = top_of(setup, turns)[heater]
    drives = on_grid(setup, np.sqrt(np.linspace(0.0, top, points) * nominal_ohm(setup)))
    light = np.empty(points)
    for k, drive in enumerate(drives):
        trial = volts.copy()
        trial[heater] = drive
        light[k] = _light(rig, known, trial, entry, averages)[leave]
    return drives**2 / nominal_ohm(setup), light


def _light(rig: Rig, known: Records, volts: FloatArray, entry: int, averages: int) -> FloatArray:
    """Currents (ports,) A of both detectors of each output that come of full light at ``entry``: the mean of its two
    signs, which takes out the beat with what leaks elsewhere, less what is there without it."""
    mods, ports = known.modulators, rig.setup.ports
    rest = mods.value("bias")
    full = mods.value("v_pi")[entry]
    pattern = np.tile(rest, (3 * READS, 1))
    pattern[:READS, entry] += full
    pattern[READS : 2 * READS, entry] -= full
    pattern = np.minimum(np.maximum(pattern, rig.setup.modulator_low), rig.setup.modulator_high)
    rig.program(np.append(volts, 0.0) if rig.setup.oscillator else volts)
    signal, _ = rig.ranged(pattern, averages, np.asarray(~known.photodetectors.accepted("dark")))
    both = signal[:, :ports] + signal[:, ports:]
    return np.asarray(both[: 2 * READS].mean(axis=0) - both[2 * READS :].mean(axis=0))


def _half_a_turn_off(setup: Setup, heater: int, volts: float) -> float:
    """Volts at half a turn more by the datasheet, or less where that is out of range."""
    ohm, half = nominal_ohm(setup), setup.nominal.power_per_pi
    cold = volts**2 / ohm
    more = cold + half
    if more > setup.drive_high[heater] ** 2 / ohm:
        more = max(cold - half, 0.0)
    return float(on_grid(setup, np.array(np.sqrt(more * ohm))))


def _middle(setup: Setup) -> FloatArray:
    """Volts (heaters,) of half a turn by the datasheet: the chip as warm as it will be."""
    cold = top_of(setup, 0.5)[: setup.heaters]
    return on_grid(setup, np.sqrt(cold * nominal_ohm(setup)))


def known_rise(known: Records) -> float:
    """Self-heating (1/W) as far as is known, one for all."""
    return float(np.median(known.chip.value("heater_resistance_rise")))


def common_rise(
    setup: Setup, cold: FloatArray, light: FloatArray, start: float
) -> tuple[float, float]:
    """Self-heating (1/W) at which fringes (heaters, points) fit best, and roughly how well that is told."""
    found = [_fringe(setup, x, y, start) for x, y in zip(cold, light, strict=True)]
    clear = np.flatnonzero([f.size > 4 * f.residual for f in found])
    if not len(clear):
        return start, float(0.5 / cold.max())
    chosen = clear[np.linspace(0, len(clear) - 1, min(len(clear), SAMPLED)).astype(int)]

    def left(rise: float) -> float:
        found = [_fringe(setup, cold[i], light[i], rise) for i in chosen]
        return sum((f.residual / max(f.size, 1e-300)) ** 2 for f in found)

    top = 0.5 / float(cold.max())
    least = minimize_scalar(
        left, bounds=(0.0, top), method="bounded", options={"xatol": 1e-3 * top}
    )
    best, step = float(least.x), 0.1 * top
    bend = (left(best + step) - 2 * float(least.fun) + left(max(best - step, 0.0))) / step**2
    freedom = max(len(chosen) * (cold.shape[1] - 4), 1)
    told = np.sqrt(
        2 * float(least.fun) * cold.shape[1] / freedom / max(bend * cold.shape[1], 1e-300)
    )
    return best, float(min(told, top))


SAMPLED = 12
"""Fringes that the common self-heating is taken from."""


def _power(cold: FloatArray, rise: float) -> FloatArray:
    """W at V^2 / R of the cold resistance."""
    return np.asarray(2 * cold / (1 + np.sqrt(1 + 4 * rise * cold)))


def _fringe(setup: Setup, cold: FloatArray, light: FloatArray, rise: float) -> Fringe:
    nominal = np.pi / setup.nominal.power_per_pi
    return fit_fringe(_power(cold, rise), light, 0.6 * nominal, 1.6 * nominal)


def _drive_at(setup: Setup, fringe: Fringe, phase: float, heater: int, rise: float) -> float:
    """The least volts at which a fringe's own angle is ``phase`` rad."""
    power = np.mod(phase - fringe.phase, 2 * np.pi) / fringe.frequency
    cold = min(power * (1 + rise * power), setup.drive_high[heater] ** 2 / nominal_ohm(setup))
    return float(on_grid(setup, np.array(np.sqrt(cold * nominal_ohm(setup)))))


def _fitted(
    setup: Setup,
    known: Records,
    heaters: IntArray,
    cold: FloatArray,
    light: FloatArray,
    phase_of: Any,
    rise: float,
    rise_told: float,
) -> Fit:
    """Quantities of heaters with a fringe each."""
    chip = known.chip
    offset, told = (
        chip.value("heater_phase_offset").copy(),
        chip.uncertainty("heater_phase_offset").copy(),
    )
    power, power_told = (
        chip.value("heater_power_per_pi").copy(),
        chip.uncertainty("heater_power_per_pi").copy(),
    )
    n, points = setup.heaters, cold.shape[1]
    arrays: dict[str, np.ndarray] = {
        "cold": np.full((n, points), np.nan),
        "own": np.full((n, points), np.nan),
        "line": np.full((n, points), np.nan + 0j),
        "size": np.zeros(n),
        "noise": np.ones(n),
        "scale": np.ones(n),
        "swept": np.sort(heaters),
    }
    for h, x, y in zip((int(h) for h in heaters), cold, light, strict=True):
        fringe = _fringe(setup, x, y, rise)
        power[h] = np.pi / fringe.frequency
        power_told[h] = power[h] * fringe.uncertainty[2] / fringe.frequency
        offset[h], told[h] = np.mod(phase_of(h, fringe), 2 * np.pi), fringe.uncertainty[3]
        arrays["cold"][h], arrays["own"][h] = x, fringe.frequency * _power(x, rise) + fringe.phase
        arrays["line"][h] = (y - fringe.mean) / max(fringe.size, 1e-300)
        arrays["size"][h], arrays["noise"][h] = fringe.size, fringe.residual
        arrays["scale"][h] = setup.nominal.power_per_pi / power[h]
    quantities = {
        "heater_phase_offset": Quantity(offset, told, chip.accepted("heater_phase_offset")),
        "heater_power_per_pi": Quantity(power, power_told, chip.accepted("heater_power_per_pi")),
        "heater_resistance_rise": Quantity.of(np.full(len(power), rise), rise_told),
    }
    figures = {"power_per_pi": float(np.median(power[heaters])), "resistance_rise": rise}
    return Fit(chip=quantities, arrays=arrays, figures=figures)


def _judged(setup: Setup, fit: Fit) -> list[Failure]:
    size, noise, swept = (fit.arrays[name] for name in ("size", "noise", "swept"))
    failures = [
        Failure("heater", int(h), "no fringe: nothing changes with its drive")
        for h in swept
        if size[h] < 4 * noise[h]
    ]
    if len(failures) > len(swept) // 2:
        raise CalibrationError(
            f"{len(failures)} of {len(swept)} heaters show no usable fringe (the first: {failures[0]}): too little light "
            "goes through the path, or the heaters' supply is off"
        )
    return failures
