"""Whether the records are of this chip and these boxes, and still hold."""

from __future__ import annotations

from hilonn.checks.report import CheckedBench, CheckStep, State
from hilonn.chips import HeaterChip, MatrixChip
from hilonn.chips.nominal import is_nominal
from hilonn.devices import Device, Laser, TemperatureController
from hilonn.records import InstrumentRecord, Record

DAY = 86400.0
OLD = 30 * DAY
"""s after which phases of a chip that nobody has touched have moved noticeably."""
UNDATED = 20 * 365 * DAY
"""s: older than this is no date, but the origin of a simulated clock."""
CALIBRATE = "nothing is known of this chip yet: `hilonn calibrate` is next, before any run"
WARMER = 0.5  # K
OTHER_COLOUR = 1e-9  # m


def record_steps(bench: CheckedBench) -> list[CheckStep]:
    """Age, expiry, temperature and wavelength of every chip's record; serial numbers of its boxes'."""
    steps = []
    for chip in bench.chips.values():
        steps.append(_chip(bench, chip))
        if isinstance(chip, HeaterChip):
            steps += [
                _box(chip.records.modulators, chip.modulators_of),
                _box(chip.records.photodetectors, chip.detectors_of),
            ]
    return steps


def _chip(bench: CheckedBench, chip: MatrixChip) -> CheckStep:
    record = chip.records.chip
    state: State = "ok"
    told, advice = [_dated(record)], []
    if is_nominal(record):
        state = "warn"
        advice.append(CALIBRATE)
    elif record.expired():
        state = "warn"  # a bench whose file does not allow that did not open
        advice.append("measure the chip anew")
    elif OLD < record.age() < UNDATED:
        state = "warn"
        advice.append("if the known pattern comes out poorly, measure the chip anew")
    for device in bench.devices.values():
        if isinstance(device, TemperatureController):
            degrees = device.temperature()
            if abs(degrees - record.temperature) > WARMER:
                state = "warn" if state == "ok" else state
                told.append(
                    f"made at {record.temperature:.2f} degC, and {device.name} is at {degrees:.2f} degC"
                )
                advice.append(f"set {device.name} to the record's temperature")
        if isinstance(device, Laser):
            metres = device.wavelength()
            if abs(metres - record.wavelength) > OTHER_COLOUR:
                state = "warn" if state == "ok" else state
                told.append(
                    f"made at {1e9 * record.wavelength:.2f} nm, and {device.name} is at {1e9 * metres:.2f} nm"
                )
                advice.append(f"set {device.name} to the record's wavelength")
    values: dict[str, object] = {"chip": record.chip, "created": record.created}
    if isinstance(chip, HeaterChip):
        unused = chip.unused
        values["not_accepted"] = unused.heaters
        values |= {"unused_inputs": unused.inputs, "unused_outputs": unused.outputs}
        if unused:
            told.append(f"not used: {unused}; matrices are {chip.outputs} x {chip.inputs}")
    return CheckStep(
        f"record of {chip.name if isinstance(chip, HeaterChip) else chip.id}",
        state,
        f"of chip {record.chip}, {', '.join(told)}",
        "; ".join(advice),
        values,
    )


def _box(record: InstrumentRecord, device: Device) -> CheckStep:
    found = device.identity().serial
    name = f"record of {device.name}"
    values = {"record_serial": record.serial, "serial": found}
    if is_nominal(record):
        return CheckStep(name, "ok", record.source, values=values)
    if record.expired():
        return CheckStep(name, "warn", _dated(record), f"measure {device.name} anew", values)
    if not any(c not in "0 " for c in found):
        found = f"{_dated(record)}; the box has no serial number to compare with"
        return CheckStep(name, "ok", found, values=values)
    if record.serial != found:
        return CheckStep(
            name,
            "warn",
            f"of the box with serial {record.serial}, and {found} is wired",
            f"if the box was exchanged, measure {device.name} anew: gains and zeros are each box's own",
            values,
        )
    return CheckStep(name, "ok", f"of this box ({found}), {_dated(record)}", values=values)


def _dated(record: Record) -> str:
    age = record.age()
    if record.expired():
        return f"expired on {record.expires}"
    if age > UNDATED:
        return record.source
    if age < 2 * DAY:
        return f"{age / 3600:.0f} h old"
    return f"{age / DAY:.0f} days old"
