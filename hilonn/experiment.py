"""Experiment files: data, layers, rule and training, validated before anything is touched."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hilonn import registry
from hilonn.activations import ACTIVATIONS
from hilonn.config_errors import describe_validation_error
from hilonn.datasets import Dataset, Shifts, Split, cropped, load_dataset, principal_components
from hilonn.errors import ConfigError
from hilonn.network import Dense, Network
from hilonn.rules import Rule
from hilonn.typing import FloatArray

ActivationName = Literal["linear", "relu", "tanh", "square", "saturating_square", "sine_squared"]
assert set(ActivationName.__args__) == set(ACTIVATIONS)  # type: ignore[attr-defined]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSection(_Section):
    """``name``: a built-in dataset, or a path to an .npz or .csv file (relative to the experiment
    file). ``crop``: of square images, keep the middle so many pixels a side. ``principal_components``: keep so many, fitted on the training part. ``centre``:
    subtract the training part's mean, feature by feature. ``limit``: use only the first samples
    of the training part (0: all). ``merge_validation``: train on the validation part too. ``shift``: move square images by
    up to so many pixels along each side while learning from them, a ``shift_share`` of each batch, otherwise in every epoch."""

    name: str
    centre: bool = True
    crop: Annotated[int, Field(ge=1)] | None = None
    principal_components: Annotated[int, Field(ge=1)] | None = None
    limit: Annotated[int, Field(ge=0)] = 0
    merge_validation: bool = False
    shift: Annotated[int, Field(ge=0)] = 0
    shift_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5


class DenseSection(_Section):
    """One layer; ``inputs`` may be left out (the layer before, or the data, says it)."""

    type: Literal["dense"] = "dense"
    outputs: Annotated[int, Field(ge=1)]
    inputs: Annotated[int, Field(ge=1)] | None = None
    activation: ActivationName = "linear"
    readout: Literal["auto", "power", "homodyne", "balanced"] = "auto"
    initial_gain: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] | None = None
    offset: Annotated[float, Field(allow_inf_nan=False)] = 0.0


class TrainingSection(_Section):
    """As the arguments of ``Trainer.fit``; ``patience`` 0 trains to the end. ``follow_test``: read the
    test part after each epoch too, for a curve; nothing is chosen by it."""

    epochs: Annotated[int, Field(ge=1)] = 40
    batch: Annotated[int, Field(ge=1)] = 32
    patience: Annotated[int, Field(ge=0)] = 0
    evaluate_every: Annotated[int, Field(ge=1)] = 1
    checkpoint_seconds: Annotated[float, Field(gt=0.0)] = 30.0
    follow_test: bool = False


class ExperimentFile(_Section):
    """The whole file. ``rule`` is checked by the rule it names; ``compare`` holds settings of other
    rules for ``hilonn compare``, by name."""

    data: DataSection
    layers: Annotated[list[DenseSection], Field(min_length=1)]
    rule: dict[str, Any]
    training: TrainingSection = TrainingSection()
    compare: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True, slots=True)
class Experiment:
    """A validated experiment: what to learn, with what, how. Names no device and no port."""

    name: str
    text: str
    file: ExperimentFile
    rule: Rule
    folder: Path

    def load_data(self, folder: Path | None = None) -> Dataset:
        """The dataset, prepared as the file says: components, centring, limit."""
        section = self.file.data
        source = section.name
        if source.endswith((".npz", ".csv")) and not Path(source).is_absolute():
            source = str(self.folder / source)
        dataset = load_dataset(source, folder=folder)
        if section.crop is not None:
            dataset = cropped(dataset, section.crop)
        if section.principal_components is not None:
            dataset = principal_components(dataset, section.principal_components)
        if section.shift and section.principal_components is not None:
            raise ConfigError(
                f"{self.name}: shift moves images, and principal_components leave none; drop one"
            )
        empty: FloatArray = np.zeros(dataset.train.inputs.shape[1])
        if section.centre:
            empty = -dataset.mean
            dataset = dataset.centred()
        if section.merge_validation:
            dataset = _merged(dataset)
        if section.limit:
            cut = Split(
                dataset.train.inputs[: section.limit], dataset.train.targets[: section.limit]
            )
            dataset = replace(dataset, train=cut)
        if section.shift:
            shifts = Shifts(section.shift, section.shift_share, empty)
            dataset = replace(dataset, train=replace(dataset.train, shifts=shifts))
        return dataset

    def network(self, dataset: Dataset) -> Network:
        """The layers, with their widths taken from the data where the file leaves them out."""
        layers = []
        width = dataset.train.inputs.shape[1]
        for index, section in enumerate(self.file.layers):
            if section.inputs is not None and section.inputs != width:
                raise ConfigError(
                    f"{self.name}: layers[{index}].inputs is {section.inputs}, but "
                    + ("the data has" if index == 0 else "the layer before has")
                    + f" {width}; leave it out or correct it"
                )
            layers.append(
                Dense(
                    width,
                    section.outputs,
                    section.activation,
                    section.readout,
                    section.initial_gain,
                    section.offset,
                )
            )
            width = section.outputs
        if width < dataset.classes:
            raise ConfigError(
                f"{self.name}: the last layer has {width} outputs, {dataset.name} has "
                f"{dataset.classes} classes"
            )
        return Network(*layers)


def builtin_experiments() -> list[str]:
    """Names that ``load_experiment`` knows without a file."""
    folder = resources.files("hilonn") / "experiments"
    return sorted(
        entry.name.removesuffix(".toml")
        for entry in folder.iterdir()
        if entry.name.endswith(".toml")
    )


def load_experiment(source: str | Path) -> Experiment:
    """A built-in experiment by name, or a TOML file. ConfigError names file, key and value."""
    names = builtin_experiments()
    if str(source) in names:
        text = (resources.files("hilonn") / "experiments" / f"{source}.toml").read_text("utf-8")
        return parse_experiment(text, name=str(source), folder=Path.cwd())
    path = Path(source)
    if path.suffix != ".toml" and not path.exists():
        raise ConfigError(
            f"no experiment {str(source)!r}: built in are {', '.join(names)}; anything else is "
            "the path of a TOML file"
        )
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the experiment file {path}: {error}") from None
    return parse_experiment(text, name=path.stem, folder=path.resolve().parent, where=str(path))


def parse_experiment(text: str, *, name: str, folder: Path, where: str | None = None) -> Experiment:
    """Validate the text of an experiment file."""
    where = where or f"experiment {name}"
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from None
    try:
        file = ExperimentFile.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, where, ExperimentFile)) from None
    rule_name = file.rule.get("name")
    if not isinstance(rule_name, str):
        raise ConfigError(
            f"{where}: rule.name is missing; known rules: "
            f"{', '.join(registry.names('hilonn.rules'))}"
        )
    rule_type = registry.load("hilonn.rules", rule_name)
    try:
        rule: Rule = rule_type.model_validate(file.rule)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, where, rule_type, "rule")) from None
    return Experiment(name, text, file, rule, folder)


def _merged(dataset: Dataset) -> Dataset:
    parts = (dataset.train, dataset.validation)
    inputs = np.concatenate([part.inputs for part in parts])
    targets = np.concatenate([part.targets for part in parts])
    empty = Split(dataset.validation.inputs[:0], dataset.validation.targets[:0])
    return replace(dataset, train=Split(inputs, targets), validation=empty)
