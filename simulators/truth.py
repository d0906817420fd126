"""The hidden true parameters of one chip and its instruments, drawn from a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hilonn.mesh import UNITARY_MESHES, RectangularMesh, SvdMesh
from hilonn.simulators.presets import PlantParameters
from hilonn.simulators.randomness import generator
from hilonn.typing import ComplexArray, FloatArray

Architecture = Literal["svd_mesh", "unitary_mesh", "triangular_mesh", "crossbar"]
WAVELENGTH = 1.55e-6  # m, the only one
FULL_TURN = 2.0  # in units of the power that turns by pi


@dataclass(frozen=True, eq=False)
class Truth:
    """What nobody at the bench knows. Heater arrays end with the local oscillator's, if any.

    ``layout`` (chip heaters, 2): column and row in heater pitches. Fields are in sqrt(W).
    """

    architecture: Architecture
    ports: int
    layout: FloatArray
    splitter_errors: FloatArray  # (mzis, 2) rad
    mzi_transmission: FloatArray  # (mzis,) power
    resistance: FloatArray  # (heaters,) ohm, cold
    resistance_rise: FloatArray  # (heaters,) 1/W
    power_per_pi: FloatArray  # (heaters,) W
    phase_offset: FloatArray  # (heaters,) rad
    temperature_phase: FloatArray  # (heaters,) rad/K
    dead: np.ndarray  # (heaters,) bool
    launched_field: float  # sqrt(W) at full drive and nominal laser power, before the facet
    input_facet: ComplexArray  # (ports,) field factor
    output_facet: ComplexArray  # (ports,) field factor
    lo_field: FloatArray  # (ports,) sqrt(W) at an output; zeros where there is none
    v_pi: FloatArray  # (ports,) V
    bias: FloatArray  # (ports,) V of the null
    leak: FloatArray  # (ports,) field at the null, relative to full drive
    gain: FloatArray  # (2 * ports,) A/W
    dark: FloatArray  # (2 * ports,) A
    largest_power: float  # W, largest expected on one detector

    @property
    def chip_heaters(self) -> int:
        """Heaters on the chip; the local oscillator's, where there is one, is the next."""
        return len(self.layout)

    @property
    def heaters(self) -> int:
        return len(self.resistance)


def draw(architecture: Architecture, ports: int, p: PlantParameters, seed: int) -> Truth:
    """One chip of the process ``p``; the same ``seed`` gives the same chip."""
    layout, mzis, columns = geometry(architecture, ports)
    chip_heaters = len(layout)
    has_lo = architecture != "crossbar"
    heaters = chip_heaters + has_lo

    rng = generator(seed, "couplers")
    errors = p.splitter_error * rng.standard_normal((mzis, 2))
    loss = np.maximum(p.mzi_loss + p.mzi_loss_spread * rng.standard_normal(mzis), 0.0)

    rng = generator(seed, "heaters")
    power_per_pi = p.power_per_pi * _spread(rng, heaters, p.power_per_pi_spread)
    resistance = p.resistance * _spread(rng, heaters, p.resistance_spread)
    turn = 2 * np.pi * p.static_phase
    offset = turn * rng.random(heaters)
    warmth = p.temperature_phase * rng.standard_normal(heaters)
    warmth[chip_heaters:] = 0.0  # the local oscillator's heater stands off the chip
    dead = np.zeros(heaters, dtype=bool)
    broken = round(p.dead_heater_fraction * chip_heaters)
    dead[rng.choice(chip_heaters, size=broken, replace=False)] = True

    rng = generator(seed, "facets")
    facet_in = _facet(rng, ports, p) * np.exp(1j * turn * rng.random(ports))
    facet_out = _facet(rng, ports, p) * np.exp(1j * turn * rng.random(ports))

    rng = generator(seed, "modulators")
    v_pi = p.v_pi * _spread(rng, ports, p.v_pi_spread)
    bias = p.v_pi * p.modulator_bias_spread * np.clip(rng.standard_normal(ports), -3, 3)
    leak = 10 ** (-p.modulator_extinction / 20) * rng.choice([-1.0, 1.0], size=ports)

    rng = generator(seed, "detectors")
    gain = p.responsivity * _spread(rng, 2 * ports, p.detector_gain_spread)
    dark = p.dark_current * (0.5 + rng.random(2 * ports))

    power = p.launched_power * 10 ** (-(2 * p.coupling_loss + columns * p.mzi_loss) / 10)
    rng = generator(seed, "local oscillator")
    lo = np.sqrt(power) * _facet(rng, ports, p) / 10 ** (-p.coupling_loss / 20)
    return Truth(
        architecture=architecture,
        ports=ports,
        layout=layout,
        splitter_errors=errors,
        mzi_transmission=10 ** (-loss / 10),
        resistance=resistance,
        resistance_rise=np.full(heaters, p.resistance_rise / (FULL_TURN * p.power_per_pi)),
        power_per_pi=power_per_pi,
        phase_offset=offset,
        temperature_phase=warmth,
        dead=dead,
        launched_field=float(np.sqrt(p.launched_power)),
        input_facet=facet_in,
        output_facet=facet_out,
        lo_field=lo if has_lo else np.zeros(ports),
        v_pi=v_pi,
        bias=bias,
        leak=leak,
        gain=gain,
        dark=dark,
        # Signal and local oscillator in phase, split on two detectors: (|E| + |LO|)^2 / 2.
        largest_power=2 * power if has_lo else power,
    )


def geometry(architecture: Architecture, ports: int) -> tuple[FloatArray, int, int]:
    """Layout, number of interferometers, and how many of them light passes."""
    if architecture == "svd_mesh":
        svd = SvdMesh(ports)
        return svd.layout, 2 * svd.mzis + ports, 2 * ports + 1
    if architecture in UNITARY_MESHES:
        mesh = UNITARY_MESHES[architecture](ports)
        # A triangle's ways are of 1 to 2 ports - 3 columns: detectors are made for the brightest.
        return mesh.layout, mesh.mzis, ports if isinstance(mesh, RectangularMesh) else 1
    row, column = np.divmod(np.arange(ports * ports), ports)
    return np.stack((column, row), axis=1).astype(float), ports * ports, 1


def _spread(rng: np.random.Generator, count: int, sd: float) -> FloatArray:
    """Factors around 1, cut at three standard deviations: no process ships worse."""
    return 1 + sd * np.clip(rng.standard_normal(count), -3, 3)


def _facet(rng: np.random.Generator, ports: int, p: PlantParameters) -> FloatArray:
    loss = np.maximum(p.coupling_loss + p.coupling_loss_spread * rng.standard_normal(ports), 0.0)
    field: FloatArray = 10 ** (-loss / 20)
    return field
