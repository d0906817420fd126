"""What can be said of the boxes without light: who they are, what they may do, whether it is warm enough."""

from __future__ import annotations

import numpy as np

from hilonn.checks.report import CheckedBench, CheckStep, numbered
from hilonn.chips import HeaterChip
from hilonn.devices import Bank, TemperatureController
from hilonn.errors import HilonnError
from hilonn.typing import FloatArray

FULL_TURN = 2.0 * np.pi
LOOSE = 1.5
"""A drive of so many times what 2 pi takes is more than any programming asks for."""
PATIENCE = 30.0
"""s on the bench's clock that a temperature may take to settle."""


def identity_steps(bench: CheckedBench) -> list[CheckStep]:
    """Who answered. What the file expects was compared when the bench was opened; two wires to one box were not."""
    steps = []
    seen: dict[tuple[str, str, str], str] = {}
    for name, identity in bench.identities.items():
        frame = bench.file.devices.get(name)
        expected = frame.identity if frame is not None else {}
        found = str(identity) + (
            f", as the file expects ({', '.join(expected)})" if expected else ""
        )
        step = CheckStep(f"identity of {name}", "ok", found, values={"serial": identity.serial})
        who = (identity.vendor, identity.model, identity.serial)
        twin = seen.setdefault(who, name)
        if twin != name and _numbered(identity.serial) and _apart(bench, name, twin):
            step = CheckStep(
                step.name,
                "BAD",
                f"{identity} answers, which is also {twin}: two connections lead to one box",
                f"compare the addresses of {twin} and {name} in the bench file with the boxes' labels",
                step.values,
            )
        steps.append(step)
    return steps


def _numbered(serial: str) -> bool:
    """Whether a serial number tells boxes apart: some answer 0, or nothing."""
    return any(c not in "0 " for c in serial)


def _apart(bench: CheckedBench, one: str, other: str) -> bool:
    """Whether two devices of the file are said to hang on different wires, and are of one kind."""
    frames = bench.file.devices
    first, second = frames[one], frames[other]
    kinds = type(bench.devices[one]), type(bench.devices[other])
    wires = first.connection, second.connection
    return kinds[0] is kinds[1] and None not in wires and wires[0] != wires[1]


def limit_steps(bench: CheckedBench) -> list[CheckStep]:
    """What file and box admit beside what the chips need."""
    steps = []
    for name, device in bench.devices.items():
        if isinstance(device, Bank) and not device.members:
            steps += _idle_limits(bench, name, device)
    for chip in bench.chips.values():
        if isinstance(chip, HeaterChip):
            steps += [_heaters(bench, chip), _power(bench, chip), _modulators(bench, chip)]
    return steps


def _idle_limits(bench: CheckedBench, name: str, device: Bank) -> list[CheckStep]:
    """Limits of the file that the box's own are stricter than: somebody believes what is not so."""
    asked, spec = bench.file.devices[name].limits, device.spec
    own = {
        "high": (asked.high, spec.bound("high", device.channels).max()),
        "current": (asked.current, spec.bound("max_current", device.channels).max()),
        "max_power": (asked.max_power, spec.bound("max_power", device.channels).max()),
    }
    if spec.resistance is not None:
        own["resistance"] = (asked.resistance, spec.bound("resistance", device.channels).max())
    told = [
        f"{key} = {limit:g}, the box's own is {most:g}"
        for key, (limit, most) in own.items()
        if limit is not None and limit > most * (1 + 1e-9)
    ]
    if not told:
        return []
    return [
        CheckStep(
            f"limits of {name}",
            "warn",
            f"the file allows {'; '.join(told)}: the stricter holds",
            "correct the file, so that it says what is so",
        )
    ]


def _heaters(bench: CheckedBench, chip: HeaterChip) -> CheckStep:
    device = chip.heaters_of
    name = f"limits of {device.name}"
    unit = device.spec.unit
    needed = chip.drives_of(np.full(len(chip.layout), FULL_TURN))
    allowed = bench.gate.admitted(device)[1][chip.heater_channels]
    values = {"needed": float(needed.max()), "allowed": float(allowed.min())}
    short = np.flatnonzero(chip.usable & (needed > allowed))
    if len(short):
        worst = int(short[np.argmax(needed[short] - allowed[short])])
        return CheckStep(
            name,
            "BAD",
            f"{numbered('heater', short.tolist())} cannot reach 2 pi: heater {worst} needs {needed[worst]:.3g} {unit}, "
            f"{allowed[worst]:.3g} {unit} are allowed",
            f"raise the limits of {device.name} if the heaters bear it (high, current, max_power), or do not accept "
            "those heaters in the record",
            values,
        )
    found = f"2 pi takes up to {needed.max():.3g} {unit}, {allowed.min():.3g} {unit} are allowed"
    if bench.gate.resistance(device) is None:
        return CheckStep(
            name,
            "warn",
            f"{found}; no resistance is known, so no power is checked",
            f"add `limits = {{ resistance = ... }}` (ohm) to [devices.{device.name}]",
            values,
        )
    if allowed.max() > LOOSE * needed.max():
        return CheckStep(
            name,
            "warn",
            f"{found}: looser than any programming needs",
            f"`limits = {{ high = {LOOSE * needed.max():.3g} }}` would stop a slip before it reaches a heater",
            values,
        )
    return CheckStep(name, "ok", found, values=values)


def _power(bench: CheckedBench, chip: HeaterChip) -> CheckStep:
    """What all heaters may take together, beside what phases at random take."""
    device, total = chip.heaters_of, bench.gate.total_power
    ohm = bench.gate.resistance(device)
    typical = power_at(bench, chip, chip.drives_of(np.full(len(chip.layout), np.pi)))
    _, high = bench.gate.admitted(device)
    most = float("inf") if ohm is None else float((high * high / ohm).sum())
    name = f"power of {device.name}"
    values = {"typical": typical, "largest": most, "allowed": total}
    found = f"heaters at pi, which is typical, take {typical:.3g} W"
    if not np.isfinite(total):
        return CheckStep(
            name,
            "warn",
            f"{found}; no total is set, and all at their limits would take {most:.3g} W",
            f"set `total_power` in [safety]: what chip and mount bear, at least {1.5 * typical:.3g} W",
            values,
        )
    if typical > total:
        return CheckStep(
            name,
            "BAD",
            f"{found}, {total:g} W are allowed: programmings will be refused",
            f"raise `total_power` in [safety] to {1.5 * typical:.3g} W if chip and mount bear it",
            values,
        )
    held = "holds them back" if most > total else "is never reached"
    return CheckStep(
        name,
        "ok",
        f"{found}; all at their limits {most:.3g} W, and the total of {total:g} W {held}",
        values=values,
    )


def power_at(bench: CheckedBench, chip: HeaterChip, drive: FloatArray) -> float:
    """W that the gate counts for ``drive`` (heaters,), or the record's resistances where it knows none."""
    ohm = bench.gate.resistance(chip.heaters_of)
    if ohm is None:
        return float(chip.heater_power(drive[np.newaxis])[0])
    return float((drive * drive / ohm[chip.heater_channels]).sum())


def _modulators(bench: CheckedBench, chip: HeaterChip) -> CheckStep:
    device = chip.modulators_of
    unit = device.spec.unit
    lowest, highest, channels = chip.full_drives
    low, high = (bound[channels] for bound in bench.gate.admitted(device))
    values = {
        "needed": float(max(-lowest.min(), highest.max())),
        "allowed": float(min((-low).min(), high.min())),
    }
    found = (
        f"inputs from -1 to 1 take {lowest.min():.3g} .. {highest.max():.3g} {unit}, "
        f"{low.max():.3g} .. {high.min():.3g} {unit} are allowed"
    )
    short = np.flatnonzero((lowest < low) | (highest > high))
    if len(short):
        return CheckStep(
            f"limits of {device.name}",
            "BAD",
            f"{found}: {numbered('input', chip.at.inputs[short].tolist())} cannot be driven fully",
            f"raise the limits of {device.name}, or its amplifier's gain; is the bias in the record right?",
            values,
        )
    return CheckStep(f"limits of {device.name}", "ok", found, values=values)


def temperature_steps(bench: CheckedBench) -> list[CheckStep]:
    """Every controller: stable, or waited for a while."""
    steps = []
    for device in bench.devices.values():
        if not isinstance(device, TemperatureController):
            continue
        until = bench.clock.now() + PATIENCE
        while not device.stable() and bench.clock.now() < until:
            bench.clock.sleep(0.5)
        degrees = device.temperature()
        good = device.stable()
        steps.append(
            CheckStep(
                f"temperature of {device.name}",
                "ok" if good else "BAD",
                f"{degrees:.3f} degC, {'stable' if good else f'not stable within {PATIENCE:g} s; light stays off'}",
                ""
                if good
                else "is its output on, the setpoint what it should be, the sensor in place?",
                {"temperature": degrees},
            )
        )
    return steps


def interlock_step(bench: CheckedBench) -> list[CheckStep]:
    """Whether an interlock of the file stands in the way."""
    names = [f"{lock.device}.{lock.quantity}" for lock in bench.file.safety.interlocks]
    if not names:
        return []
    try:
        bench.gate.check_interlocks()
    except HilonnError as error:
        return [
            CheckStep(
                "interlocks",
                "BAD",
                str(error),
                "bring it back within its limits, or correct them in [[safety.interlocks]]",
            )
        ]
    return [CheckStep("interlocks", "ok", f"{', '.join(names)} within their limits")]
