"""``load_dataset``: built-in data by name, the user's by path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from hilonn.datasets.dataset import Dataset, Split, make_dataset
from hilonn.datasets.files import csv, mnist, npz, split_dataset
from hilonn.errors import ConfigError

BUILT_IN = ("digits", "digits_parity", "mnist", "xor")
XOR_JITTER = 0.1


def load_dataset(name: str, *, seed: int = 0, folder: Path | None = None) -> Dataset:
    """A built-in dataset, or the .npz or .csv file at ``name``.

    The split is always the same for one ``seed`` (the command line and all figures use 0); MNIST's
    and that of files with parts of their own do not depend on it.

    - ``digits``: scikit-learn's 1,797 images of 8 x 8, scaled to [0, 1]; 60/20/20, stratified.
    - ``digits_parity``: the same images and split; label = digit mod 2.
    - ``xor``: 600 points about the corners of the unit square (sd 0.1), label = x xor y.
    - ``mnist``: see ``hilonn.datasets.files.mnist``; ``folder`` says where it lies.
    """
    if name in ("digits", "digits_parity"):
        return _digits(parity=name == "digits_parity", seed=seed)
    if name == "xor":
        return _xor(seed)
    if name == "mnist":
        return mnist(folder)
    path = Path(name)
    if folder is not None and not path.exists():
        path = folder / name
    if path.suffix not in (".npz", ".csv"):
        raise ConfigError(
            f"no dataset {name!r}: built in are {', '.join(BUILT_IN)}; anything else is the path "
            "of an .npz or .csv file"
        )
    if not path.is_file():
        raise ConfigError(f"the data file {path} does not exist")
    return npz(path, seed) if path.suffix == ".npz" else csv(path, seed)


def principal_components(dataset: Dataset, count: int) -> Dataset:
    """The ``count`` strongest principal directions of the training inputs, not centred.

    Projections are divided by the square root of their rms (so that weak directions are not lost
    in noise) and scaled together to a largest training value of 3. Directions come from the
    training part only. Not centring keeps the mean as a direction of its own, which a layer whose
    detectors square needs: it cannot tell x from -x.
    """
    width = dataset.train.inputs.shape[1]
    if not 1 <= count <= min(width, len(dataset.train)):
        raise ConfigError(
            f"{dataset.name}: {count} principal components of {width} features and "
            f"{len(dataset.train)} samples are not to be had"
        )
    directions = np.linalg.svd(dataset.train.inputs, full_matrices=False)[2][:count].T
    # A direction's sign is arbitrary: its largest entry is made positive.
    directions *= np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(count)])
    scores = dataset.train.inputs @ directions
    scale = np.maximum(np.sqrt(np.sqrt((scores**2).mean(axis=0))), 1e-12)
    directions = directions / scale
    directions *= 3.0 / np.abs(dataset.train.inputs @ directions).max()

    def projected(split: Split) -> Split:
        return Split(split.inputs @ directions, split.targets)

    return replace(
        dataset,
        name=f"{dataset.name}, {count} principal components",
        train=projected(dataset.train),
        validation=projected(dataset.validation),
        test=projected(dataset.test),
    )


def _digits(parity: bool, seed: int) -> Dataset:
    from sklearn.datasets import load_digits

    inputs, labels = load_digits(return_X_y=True)
    dataset = split_dataset("digits", inputs / 16.0, labels, seed)
    if not parity:
        return dataset
    parts = (dataset.train, dataset.validation, dataset.test)
    train, validation, test = ((s.inputs, np.asarray(s.targets, dtype=int) % 2) for s in parts)
    return make_dataset("digits_parity", (train, validation, test))


def _xor(seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    corners = rng.permutation(np.repeat(np.arange(4), 150))
    bits = np.stack([corners // 2, corners % 2], axis=1)
    points = bits + XOR_JITTER * rng.standard_normal(bits.shape)
    labels = bits[:, 0] ^ bits[:, 1]
    parts = [(points[a:b], labels[a:b]) for a, b in ((0, 360), (360, 480), (480, 600))]
    return make_dataset("xor", (parts[0], parts[1], parts[2]))
