"""What a dataset is: three fixed parts, checked once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from hilonn.datasets.shifts import Shifts
from hilonn.errors import ConfigError
from hilonn.typing import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Split:
    """``inputs`` (samples, features) float64, ``targets`` (samples,) labels from 0, or (samples,
    outputs) numbers to be learned as they are. ``shifts``: how images are moved where one learns from
    them (``batch``); ``inputs`` are unmoved."""

    inputs: FloatArray
    targets: IntArray | FloatArray
    shifts: Shifts | None = None

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.targets):
            raise ConfigError(
                f"{len(self.inputs)} inputs stand beside {len(self.targets)} labels; they must be "
                "as many"
            )

    def __len__(self) -> int:
        return len(self.targets)

    def batch(self, chosen: IntArray, rng: np.random.Generator) -> FloatArray:
        """Inputs (samples, features) of a training step, moved as ``shifts`` say."""
        inputs = self.inputs[chosen]
        return inputs if self.shifts is None else self.shifts(inputs, rng)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Training, validation and test parts; ``classes`` labels; ``digest`` sha256 of all of it."""

    name: str
    train: Split
    validation: Split
    test: Split
    classes: int
    digest: str

    @property
    def mean(self) -> FloatArray:
        """Mean of the training inputs, (features,)."""
        return np.asarray(self.train.inputs.mean(axis=0))

    def centred(self) -> Dataset:
        """The same data less the training part's mean, feature by feature (physics rule 7)."""
        mean = self.mean
        train, validation, test = (
            Split(part.inputs - mean, part.targets)
            for part in (self.train, self.validation, self.test)
        )
        return replace(self, train=train, validation=validation, test=test)


def cropped(dataset: Dataset, side: int) -> Dataset:
    """The middle ``side`` x ``side`` pixels of square images; ConfigError where there are none."""
    features = dataset.train.inputs.shape[1]
    whole = round(features**0.5)
    if whole * whole != features or side > whole:
        raise ConfigError(
            f"{dataset.name}: the middle {side} x {side} pixels were asked of samples of {features} "
            "features; crop needs square images at least as large"
        )
    first = (whole - side) // 2
    kept = np.arange(features).reshape(whole, whole)[first : first + side, first : first + side]
    train, validation, test = (
        Split(np.ascontiguousarray(part.inputs[:, kept.ravel()]), part.targets)
        for part in (dataset.train, dataset.validation, dataset.test)
    )
    return replace(dataset, train=train, validation=validation, test=test)


def make_dataset(
    name: str,
    parts: tuple[
        tuple[FloatArray, IntArray], tuple[FloatArray, IntArray], tuple[FloatArray, IntArray]
    ],
) -> Dataset:
    """A dataset from (inputs, labels) of the three parts.

    Raises ConfigError, naming the part and the first bad place, for NaN or infinity, mismatched
    lengths or widths, labels that are no whole numbers from 0, or a class without training samples.
    """
    splits = []
    for part, (inputs, labels) in zip(("training", "validation", "test"), parts, strict=True):
        splits.append(check_split(name, part, inputs, labels))
    train = splits[0]
    if not len(train):
        raise ConfigError(f"{name}: the training part is empty")
    widths = {s.inputs.shape[1] for s in splits if len(s)}
    if len(widths) > 1:
        raise ConfigError(f"{name}: the parts have different numbers of features: {sorted(widths)}")
    classes = int(max(s.targets.max() for s in splits if len(s))) + 1
    missing = sorted(set(range(classes)) - set(np.unique(train.targets).tolist()))
    if missing:
        raise ConfigError(
            f"{name}: no training sample has the label {missing[0]}"
            + (f" (nor {len(missing) - 1} others)" if len(missing) > 1 else "")
            + "; labels are 0, 1, 2 ... without gaps"
        )
    if classes < 2:
        raise ConfigError(f"{name}: all labels are 0; two classes are needed at least")
    digest = hashlib.sha256(name.encode())
    for split in splits:
        digest.update(np.ascontiguousarray(split.inputs).tobytes())
        digest.update(np.ascontiguousarray(split.targets).tobytes())
    return Dataset(name, splits[0], splits[1], splits[2], classes, digest.hexdigest())


def check_split(name: str, part: str, inputs: FloatArray, labels: IntArray) -> Split:
    """Inputs (samples, features) and labels (samples,) as a split; ConfigError names what is bad."""
    x, y = np.asarray(inputs), np.asarray(labels)
    if x.ndim != 2 or y.ndim != 1 or len(x) != len(y):
        raise ConfigError(
            f"{name}, {part} part: inputs {x.shape} and labels {y.shape} do not go together; they "
            "are (samples, features) and (samples,)"
        )
    if x.dtype.kind not in "fiub":
        raise ConfigError(f"{name}, {part} part: inputs are {x.dtype}, not numbers")
    x = np.ascontiguousarray(x, dtype=np.float64)
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        row, column = bad[0]
        raise ConfigError(
            f"{name}, {part} part: sample {row}, feature {column} is {x[row, column]}"
            + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")
        )
    whole = y.dtype.kind in "iub" or (
        y.dtype.kind == "f" and bool(np.isfinite(y).all()) and bool((y == np.round(y)).all())
    )
    if not whole or (len(y) and y.min() < 0):
        raise ConfigError(
            f"{name}, {part} part: labels must be whole numbers from 0 (classes); regression is not "
            "in this version"
        )
    return Split(x, np.ascontiguousarray(y, dtype=np.int64))
