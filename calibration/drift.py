"""A monitor of drift: sentinel settings looked at again and again, and the record's offsets moved after them.

Sentinels are a few dozen random programmings of all heaters, the oscillator's among them, with a few superpositions of
all inputs. The first look is the reference: what the record's forward model misses there (it is never perfect) is
kept, and later looks are compared with the model plus that. A Kalman filter (``tracking``) estimates what
has walked since; where the record in use misses the readings by more than the gate allows, the chip is given its record with those
offsets, gains and biases moved. What no drift explains is a fault: it is told, and nothing is learned from that look.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hilonn.bench import Bench
from hilonn.calibration.normal import Noise
from hilonn.calibration.rig import Rig, rig_of
from hilonn.calibration.shots import FILLED, Draw, Shots, draw
from hilonn.calibration.stages import MESHES
from hilonn.calibration.tracking import WALKING, Belief, Tracker, Update, Wander, weight_of
from hilonn.chips.forward import ForwardModel
from hilonn.chips.parameters import LOGARITHMS
from hilonn.errors import CalibrationError, ConfigError
from hilonn.monitors import Look, MonitorType
from hilonn.records import Quantity, Record, Records
from hilonn.typing import BoolArray, FloatArray, Snapshot

HOUR = 3600.0
AGEING = 0.3
"""Of what a good look leaves beyond the noise, taken for noise from then on: what the model misses at the sentinels changes as
phases drift away from where they were at the reference (measured: doubled after 70 mrad, with a record of 10 mrad)."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Least = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class DriftOptions(BaseModel):
    """``settings`` sentinels of ``samples`` patterns, each reading the mean of ``averages``; the reference the mean of
    ``repeats`` looks. ``heaters`` and ``bias`` (rad), ``gains`` (relative): what each walks in the square root of an hour; rather
    too much than too little. ``oscillator`` and ``inputs`` (rad): how far those fibres' phases wander to and fro, ``jitter`` that of the
    oscillator from setting to setting within a look.

    ``gate``: misfit of the record in use, in units of the noise, from which it is replaced; ``fault``: what a look may differ from
    all that drift explains, in the same units; ``jump``: standard deviations by which one heater, gain or bias may be
    further away than it can have walked. ``reference`` "record" compares with the record as it is: for one that
    predicts readings to within their noise; what drifted in the ``age`` (h) that it has at the first look is then found too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    settings: Annotated[int, Field(ge=4)] = 24
    samples: Annotated[int, Field(ge=2)] = 8
    averages: Annotated[int, Field(ge=1)] = 16
    repeats: Annotated[int, Field(ge=1)] = 4
    amplitude: Annotated[float, Field(gt=0, le=1)] = 1.0
    heaters: Positive = 5e-3
    bias: Positive = 10e-3
    gains: Positive = 1e-3
    oscillator: Positive = 0.1
    inputs: Least = 0.005
    jitter: Least = 0.02
    gate: Annotated[float, Field(ge=1)] = 1.1
    fault: Annotated[float, Field(gt=1)] = 2.0
    jump: Annotated[float, Field(gt=1)] = 8.0
    reference: Literal["first_look", "record"] = "first_look"
    age: Least = 0.0
    seed: int = 0


@dataclass(frozen=True)
class _Watch:
    """What is known since the first look. ``reference`` (settings, samples, channels) A: what the record's model misses;
    ``excess``: noise over what the record says of it, model errors that came with drift included; ``given`` (walking,): drift that the chip's record accounts for."""

    start: Records
    wanted: Draw
    range: int
    reference: FloatArray
    excess: float
    belief: Belief
    given: FloatArray
    seen: float


class DriftMonitor:
    """See the module."""

    def __init__(self, options: DriftOptions) -> None:
        self.options = options
        self._watch: _Watch | None = None
        self._model: tuple[Tracker, Noise, FloatArray] | None = None

    @property
    def drift(self) -> FloatArray | None:
        """Drift since the first look as believed, in the order of ``tracking.WALKING``; None before it."""
        if self._watch is None:
            return None
        return self._watch.belief.mean[: len(self._watch.given)].copy()

    def look(self, bench: Bench, chip: str) -> Look:
        """As ``Monitor.look``. ConfigError for a chip without an oscillator; CalibrationError where the sentinels cannot be read."""
        rig = rig_of(bench, chip)
        if self._watch is None:
            found = self._begin(rig, bench.chip(chip).records)
        else:
            found = self._go_on(rig, self._watch)
        cost = {"passes": rig.tally.passes, "light": rig.tally.seconds}
        return replace(found, found={**found.found, **cost})

    def snapshot(self) -> Snapshot:
        watch = self._watch
        if watch is None:
            return {"watch": None}
        plain = ("range", "reference", "excess", "given", "seen")
        return {
            "watch": {name: getattr(watch, name) for name in plain}
            | {
                "start": watch.start.pack(),
                "heaters": watch.wanted.heaters,
                "modulators": watch.wanted.modulators,
                "mean": watch.belief.mean,
                "covariance": watch.belief.covariance,
            }
        }

    def restore(self, snapshot: Snapshot) -> None:
        saved, self._model = snapshot["watch"], None
        if saved is None:
            self._watch = None
            return
        self._watch = _Watch(
            start=Records.unpack(saved["start"]),
            wanted=Draw(saved["heaters"], saved["modulators"], _all(saved["heaters"])),
            range=saved["range"],
            reference=saved["reference"],
            excess=saved["excess"],
            belief=Belief(saved["mean"], saved["covariance"]),
            given=saved["given"],
            seen=saved["seen"],
        )

    # -- looking ----------------------------------------------------------------------------------

    def _begin(self, rig: Rig, records: Records) -> Look:
        """Draw the sentinels and read the reference."""
        o, setup = self.options, rig.setup
        if not setup.oscillator or setup.architecture not in MESHES:
            raise ConfigError(
                f"a drift monitor needs a mesh that is read against a local oscillator; {setup.chip} is a "
                f"{setup.architecture}" + ("" if setup.oscillator else " without one")
            )
        wanted = draw(
            records,
            o.settings,
            o.samples,
            np.random.default_rng([o.seed, 101]),
            setup.drive_high,
            amplitude=o.amplitude,
            step=setup.drive_step,
        )
        low, high = setup.modulator_low, setup.modulator_high
        wanted = replace(wanted, modulators=np.clip(wanted.modulators, low, high))
        index = _fitting(rig, wanted, records.photodetectors.accepted("gain"))
        tracker, noise, use = self._models(records, setup.ranges)
        missed = []
        given: FloatArray = np.zeros(len(tracker.walking))
        for _ in range(o.repeats):
            shots = _read(rig, wanted, index, o.averages)
            weight = weight_of(noise, shots, use, 1.0)
            phase = tracker.oscillator(shots, weight, np.zeros_like(weight), given)
            missed.append(shots.signal - tracker.expected(shots, phase))
        doubts, inputs = given, o.inputs
        reference: FloatArray = np.mean(missed, axis=0)
        if o.reference == "record":
            walked = self._rates(tracker, records) * np.sqrt(HOUR * o.age)
            doubts = np.hypot(_doubts(records, tracker), walked)
            inputs, reference = 0.0, np.zeros_like(reference)
        belief = tracker.start(doubts, inputs)
        shots = _read(rig, wanted, index, o.averages)
        weight = weight_of(noise, shots, use, 1.0)
        update = tracker.update(belief, shots, weight, reference, given)
        excess = max(update.left, 1.0)
        told = {
            "look": "reference",
            "excess": excess,
            "record_misfit": float(np.sqrt(np.mean((missed[0] * weight)[weight > 0] ** 2))),
        }
        if o.reference == "record" and excess > o.fault:
            raise CalibrationError(
                f"the record predicts the sentinels to no more than {excess:.1f} times their noise: it cannot be the "
                'reference. Calibrate anew, or compare with the first look (reference = "first_look")'
            )
        watch = _Watch(records, wanted, index, reference, excess, belief, given, rig.clock.now())
        if o.reference == "record":
            found = self._go_on(rig, watch)  # what has drifted since the record was made
            return replace(found, found=told | dict(found.found))
        self._watch = watch
        return Look(
            f"reference of {o.settings} settings; the record predicts them to {told['record_misfit']:.1f} times their noise",
            told,
        )

    def _go_on(self, rig: Rig, watch: _Watch) -> Look:
        """Read the sentinels again."""
        o = self.options
        tracker, noise, use = self._models(watch.start, rig.setup.ranges)
        shots = _read(rig, watch.wanted, watch.range, o.averages)
        now = rig.clock.now()
        before = watch.belief.later(self._rates(tracker, watch.start), now - watch.seen)
        weight = weight_of(noise, shots, use, watch.excess)
        update = tracker.update(before, shots, weight, watch.reference, watch.given)
        if update.surprise > o.fault or update.jump > o.jump:
            # The filter stays as it was at the last good look.
            fault = _accusation(update, o)
            figures = {
                "look": "fault",
                "misfit": update.misfit,
                "surprise": update.surprise,
                "jump": update.jump,
            }
            self._watch = watch
            return Look(fault, figures, fault=fault)
        excess = max(watch.excess * (1 + AGEING * (update.left - 1)), 1.0)
        watch = replace(watch, belief=update.belief, seen=now, excess=excess)
        records = None
        if update.misfit > o.gate:
            watch = replace(watch, given=update.belief.mean[: len(watch.given)].copy())
            records = moved(watch.start, tracker, update.belief, now)
        self._watch = watch
        figures = _figures(update, tracker)
        return Look(_told(update, figures), {"look": "drift", **figures}, records)

    def _models(self, records: Records, ranges: FloatArray) -> tuple[Tracker, Noise, FloatArray]:
        if self._model is None:
            model, estimate = ForwardModel.of(
                records, records.chip.value("crosstalk_kernel")[:, :2]
            )
            wander = Wander(self.options.oscillator, self.options.jitter, self.options.inputs)
            detectors = records.photodetectors
            self._model = (
                Tracker(model, estimate.values, wander),
                Noise.of(detectors, ranges),
                detectors.accepted("gain").astype(float),
            )
        return self._model

    def _rates(self, tracker: Tracker, records: Records) -> FloatArray:
        """What each walks in the square root of a second, in the record's units."""
        o, ports = self.options, tracker.model.ports
        volts = 2 * records.modulators.value("v_pi") / np.pi
        rates = (np.full(tracker.model.heaters, o.heaters), np.full(2 * ports, o.gains))
        whole: FloatArray = np.concatenate((*rates, o.bias * volts)) / np.sqrt(HOUR)
        return whole


def moved(start: Records, tracker: Tracker, belief: Belief, now: float) -> Records:
    """``start`` with what walked where it is believed to be: offsets, gains and biases, nothing else."""
    n = len(tracker.walking)
    vector, sd = np.zeros(tracker.model.names.size), np.zeros(tracker.model.names.size)
    vector[tracker.walking] = belief.mean[:n]
    sd[tracker.walking] = np.sqrt(np.diagonal(belief.covariance)[:n])
    by, doubt = tracker.model.names.split(vector), tracker.model.names.split(sd)

    def changed(record: Any, name: str) -> Any:
        q = record.quantities[name]
        value = q.value * np.exp(by[name]) if name in LOGARITHMS else q.value + by[name]
        own = q.value * doubt[name] if name in LOGARITHMS else doubt[name]
        new = Quantity(value, np.hypot(q.uncertainty, own), q.accepted)
        source = f"{record.source}; drift tracked until {now:.3f} s of the bench's clock"
        return replace(record, quantities={**record.quantities, name: new}, source=source)

    chip, detectors, modulators = (
        changed(record, name)
        for record, name in zip(
            (start.chip, start.photodetectors, start.modulators), WALKING, strict=True
        )
    )
    return Records(chip, modulators, detectors)


def _doubts(records: Records, tracker: Tracker) -> FloatArray:
    owners: tuple[Record, ...] = (records.chip, records.photodetectors, records.modulators)
    found = []
    for record, name in zip(owners, WALKING, strict=True):
        doubt = record.uncertainty(name)
        found.append(doubt / record.value(name) if name in LOGARITHMS else doubt)
    return np.concatenate(found)


def _read(rig: Rig, wanted: Draw, index: int, averages: int) -> Shots:
    """Every sentinel once."""
    signal, saturated, times = [], [], []
    rig.set_range(index)
    rig.let_oscillator(True)
    for heaters, modulators in zip(wanted.heaters, wanted.modulators, strict=True):
        rig.program(heaters)
        found = rig.read(modulators, averages)
        signal.append(found[0])
        saturated.append(found[1])
        times.append(rig.clock.now())
    count = len(times)
    return Shots(
        wanted.heaters,
        wanted.modulators,
        wanted.through,
        np.stack(signal),
        np.stack(saturated),
        np.full(count, index),
        np.array(times),
        np.array(averages),
        np.array(rig.setup.sample_period),
    )


def _fitting(rig: Rig, wanted: Draw, use: BoolArray) -> int:
    """The smallest range that holds all but a few of the sentinels' readings by the detectors in ``use`` (2 ports,); those few
    are left out."""
    last = len(rig.setup.ranges) - 1
    shots = _read(rig, wanted, last, 1)
    clipped = float(shots.saturated[..., use].mean())
    if clipped > 0.05:
        raise CalibrationError(
            f"{clipped:.0%} of the sentinels' readings are saturated at the largest range "
            f"({rig.setup.ranges[last]:g}): lower the laser's power or the monitor's `amplitude`"
        )
    largest = float(np.quantile(shots.signal[..., use], 0.995))
    fits = np.flatnonzero(FILLED * rig.setup.ranges >= largest)
    return int(fits[0]) if fits.size else last


def _told(update: Update, figures: dict[str, Any]) -> str:
    moved, sd = 1e3 * figures["heaters_rms"], 1e3 * figures["heaters_sd"]
    return (
        f"heaters have drifted by {moved:.1f} mrad rms, known to {sd:.1f}; the record in use missed the sentinels by "
        f"{update.misfit:.2f} times their noise"
    )


def _figures(update: Update, tracker: Tracker) -> dict[str, Any]:
    n, heaters, ports = len(tracker.walking), tracker.model.heaters, tracker.model.ports
    drift = update.belief.mean[:n]
    sd = np.sqrt(np.diagonal(update.belief.covariance)[:n])
    offsets = drift[:heaters]
    worst = int(np.abs(offsets).argmax())
    return {
        "misfit": update.misfit,
        "left": update.left,
        "surprise": update.surprise,
        "jump": update.jump,
        "oscillator": update.oscillator,
        "heaters_common": float(offsets[:-1].mean()),
        "heaters_rms": _rms(offsets),
        "heaters_sd": _rms(sd[:heaters]),
        "heaters_largest": [worst, float(offsets[worst])],
        "gains_rms": _rms(drift[heaters : heaters + 2 * ports]),
        "bias_rms": _rms(drift[heaters + 2 * ports :]),
    }


def _accusation(update: Update, options: DriftOptions) -> str:
    if update.surprise > options.fault:
        who = update.suspect
        return (
            f"the sentinels read {update.surprise:.1f} times their noise away from all that drift explains (allowed "
            f"{options.fault:g}); {who.title} moved by {who.moved:.3g} would explain {who.share:.0%} of it. The record is left "
            "as it was"
        )
    return (
        f"{update.jumped} has moved by {update.jumped_by:.3g}, {update.jump:.1f} times what it walks since the last good look "
        f"(allowed {options.jump:g}). The record is left as it was"
    )


def _rms(values: FloatArray) -> float:
    return float(np.sqrt((values**2).mean()))


def _all(heaters: FloatArray) -> BoolArray:
    return np.ones(len(heaters), bool)


drift = MonitorType(DriftOptions, DriftMonitor)
