"""The plant as a connection of a bench: options in, clock, records and state out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hilonn.clock import Clock
from hilonn.errors import CalibrationError, ConfigError
from hilonn.simulators.plant import Boxes, Plant
from hilonn.simulators.presets import resolve
from hilonn.simulators.twin import twin_of
from hilonn.typing import Snapshot

if TYPE_CHECKING:
    from hilonn.records import Records


class PlantOptions(BaseModel):
    """``[connections.NAME]`` with ``transport = "plant"``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    architecture: Literal["svd_mesh", "unitary_mesh", "triangular_mesh", "crossbar"] = "svd_mesh"
    ports: int = Field(default=16, ge=2, le=256)
    preset: Literal["ideal", "typical", "harsh"] = "typical"
    chip_seed: int = Field(default=0, ge=0)
    noise_seed: int = Field(default=0, ge=0)
    effects: dict[str, bool] = Field(default_factory=dict)
    parameters: dict[str, float] = Field(default_factory=dict)
    faults: list[str | dict[str, str | float]] = Field(default_factory=list)
    journal: Path | None = None
    record_error: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    record_splitters: bool = True
    record_crosstalk: bool = True
    records: Path | None = None
    """The plant is the twin of these records: a record's JSON file."""
    drive_high: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    drive_step: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    modulator_high: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    full_scale: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    noise_period: float = Field(default=1e-5, gt=0, allow_inf_nan=False)


class PlantConnection:
    """One plant, on which a bench's simulated devices are views.

    Raises ConfigError at once for an unknown effect, parameter or fault. The journal is opened,
    and appended to, by ``open``.
    """

    def __init__(self, name: str, options: PlantOptions) -> None:
        self.name = name
        self.options = options
        try:
            self._parameters = resolve(options.preset, options.effects, options.parameters)
            self.plant = Plant(
                options.architecture,
                options.ports,
                self._parameters,
                chip_seed=options.chip_seed,
                noise_seed=options.noise_seed,
                faults=options.faults,
                twin=None if options.records is None else twin_of(options.records),
                boxes=Boxes(
                    options.drive_high,
                    options.drive_step,
                    options.modulator_high,
                    options.full_scale,
                    options.noise_period,
                ),
            )
        except (ConfigError, CalibrationError) as error:
            raise ConfigError(f"connections.{name}: {error}") from None

    def open(self) -> None:
        """Start the journal, if one is asked for. Raises StorageError if it cannot be written."""
        if self.options.journal is not None:
            self.plant.keep_journal(self.options.journal)

    def close(self) -> None:
        """Close the journal. The plant keeps its state."""
        self.plant.close()

    @property
    def clock(self) -> Clock:
        """The plant's virtual clock: playing light moves it on."""
        return self.plant.clock

    def records(self, chip: str) -> Records:
        """Records for the bench's chip ``chip``, drawn from the plant and marked so."""
        if self.plant.twin is not None:
            return self.plant.twin.records
        error = self.options.record_error
        return self.plant.records(
            chip,
            self._parameters.record_error if error is None else error,
            self.options.record_splitters,
            self.options.record_crosstalk,
        )

    def snapshot(self) -> Snapshot:
        """The plant's whole state."""
        return self.plant.snapshot()

    def restore(self, saved: Snapshot) -> None:
        """Continue from ``saved``, bit for bit. Raises ResumeError for another chip's."""
        self.plant.restore(saved)


def plant_of(name: str, connection: Any) -> Plant:
    """The plant behind ``connection``, or ConfigError that names the device."""
    if not isinstance(connection, PlantConnection):
        raise ConfigError(
            f"devices.{name}: a simulated device needs a connection with transport = 'plant', "
            f"got {'none' if connection is None else type(connection).__name__}"
        )
    return connection.plant
