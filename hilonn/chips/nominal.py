"""What a datasheet says of a chip that nobody has measured: the record that a calibration starts from."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hilonn.errors import ConfigError
from hilonn.mesh import UNITARY_MESHES, RectangularMesh, SvdMesh
from hilonn.records import ChipRecord, InstrumentRecord, Quantity, Record, Records

CREATED = "1970-01-01T00:00:00+00:00"
"""A datasheet has no date: the same one gives the same record, hash and all."""
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SOURCE = "nominal: from the bench file, not measured"
PERIOD_NOISE = 0.005
"""Noise of a reading as a share of the full scale, until it is measured."""


class Nominal(BaseModel):
    """``[chips.NAME.nominal]``: SI units; losses in dB, positive. What is about right is enough."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    chip: str | None = None
    """The chip's own number, for its record; the chip's name in the bench file where it is not given."""
    power_per_pi: Positive = 0.020
    resistance: Positive = 500.0
    resistance_rise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Relative, a watt: R = R0 (1 + rise P)."""
    v_pi: Positive = 3.5
    responsivity: Positive = 0.9
    launched_power: Positive = 1e-3
    """W an input at full drive, before the facet."""
    mzi_loss: Annotated[float, Field(ge=0)] = 0.1
    coupling_loss: Annotated[float, Field(ge=0)] = 2.0
    temperature: float = 25.0
    wavelength: Positive = 1.55e-6


def is_nominal(record: Record) -> bool:
    """Whether nothing of what ``record`` is of has been measured."""
    return record.source == SOURCE


def geometry(architecture: str, ports: int) -> tuple[int, int, int]:
    """Heaters, interferometers, and how many of these light passes on its way. ConfigError for an unknown one."""
    if architecture == "svd_mesh":
        svd = SvdMesh(ports)
        return svd.phases, 2 * svd.mzis + ports, 2 * ports + 1
    if architecture in UNITARY_MESHES:
        mesh = UNITARY_MESHES[architecture](ports)
        # A triangle's ways are of 1 to 2 ports - 3 columns: the brightest counts.
        return mesh.phases, mesh.mzis, mesh.depth if isinstance(mesh, RectangularMesh) else 1
    if architecture == "crossbar":
        return ports * ports, ports * ports, 1
    raise ConfigError(f"no nominal record is known of a {architecture}: give its record's file")


def nominal_records(
    name: str,
    architecture: str,
    ports: int,
    nominal: Nominal,
    modulators: str = "",
    photodetectors: str = "",
    full_scale: float = 1.0,
) -> Records:
    """Records of the chip called ``name`` that hold ``nominal`` values and claim nothing: phases are unknown.

    ``modulators``, ``photodetectors``: serial numbers; ``full_scale``: of the detectors' largest range.
    """
    heaters, mzis, columns = geometry(architecture, ports)
    count = heaters + (architecture != "crossbar")
    into = np.sqrt(nominal.launched_power * 10 ** (-nominal.coupling_loss / 10))
    out = 10 ** (-nominal.coupling_loss / 10)
    loss = 10 ** (-nominal.mzi_loss / 10)
    quantities = {
        "heater_resistance": Quantity.of(
            np.full(count, nominal.resistance), 0.1 * nominal.resistance
        ),
        "heater_resistance_rise": Quantity.of(np.full(count, nominal.resistance_rise), 1.0),
        "heater_phase_offset": Quantity.of(np.zeros(count), np.pi / np.sqrt(3.0)),
        "heater_power_per_pi": Quantity.of(
            np.full(count, nominal.power_per_pi), 0.1 * nominal.power_per_pi
        ),
        "crosstalk_kernel": Quantity.of(np.zeros((0, 3))),
    }
    if architecture == "crossbar":
        quantities["input_power"] = Quantity.of(np.full(ports, into**2), 0.2 * into**2)
        quantities["weight_gain"] = Quantity.of(
            np.full((ports, ports), out * loss / ports), 0.2 * out
        )
    else:
        lo = np.sqrt(
            nominal.launched_power
            * 10 ** (-(nominal.coupling_loss + columns * nominal.mzi_loss) / 10)
        )
        quantities |= {
            "splitter_errors": Quantity.of(np.zeros((mzis, 2)), 0.03),
            "mzi_transmission": Quantity.of(np.full(mzis, loss), 0.01),
            "input_field": Quantity.of(np.full(ports, into, np.complex128), 0.1 * into),
            "output_gain": Quantity.of(np.full(ports, 2 * lo * np.sqrt(out)), 0.2 * lo),
            "output_phase": Quantity.of(np.zeros(ports), np.pi / np.sqrt(3.0)),
            "output_power_gain": Quantity.of(np.full(ports, out), 0.2 * out),
        }
    source = SOURCE
    ones = np.ones(2 * ports)
    noise = (PERIOD_NOISE * full_scale) ** 2
    return Records(
        chip=ChipRecord(
            chip=nominal.chip or name,
            architecture=architecture,
            ports=ports,
            created=CREATED,
            source=source,
            temperature=nominal.temperature,
            wavelength=nominal.wavelength,
            quantities=quantities,
        ),
        modulators=InstrumentRecord(
            serial=modulators,
            kind="modulators",
            created=CREATED,
            source=source,
            quantities={
                "v_pi": Quantity.of(np.full(ports, nominal.v_pi), 0.05 * nominal.v_pi),
                "bias": Quantity.of(np.zeros(ports), 0.05 * nominal.v_pi),
                "extinction_leak": Quantity.of(np.zeros(ports), 0.05),
            },
        ),
        photodetectors=InstrumentRecord(
            serial=photodetectors,
            kind="photodetectors",
            created=CREATED,
            source=source,
            quantities={
                "gain": Quantity.of(nominal.responsivity * ones, 0.1 * nominal.responsivity),
                "dark": Quantity.of(0.0 * ones, 1e-7),
                "noise_v0": Quantity.of(noise * ones),
                "noise_v1": Quantity.of(0.0 * ones),
                "noise_v2": Quantity.of(0.0 * ones),
            },
        ),
    )
