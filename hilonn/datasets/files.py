"""Datasets from files: MNIST's IDX, .npz and .csv."""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from hilonn.datasets.dataset import Dataset, check_split, make_dataset
from hilonn.errors import ConfigError
from hilonn.typing import FloatArray, IntArray

MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
MNIST_VALIDATION = 5000
"""The last so many of MNIST's 60,000 training images are the validation part."""


def mnist(folder: Path | None) -> Dataset:
    """MNIST: 55,000 training, 5,000 validation, all 10,000 test images, scaled to [0, 1].

    From ``folder``, else HILONN_DATA (the folder itself or its ``mnist``), else OpenML.
    """
    if folder is None and "HILONN_DATA" in os.environ:
        folder = Path(os.environ["HILONN_DATA"])
    if folder is None:
        images, labels, test_images, test_labels = _openml()
    else:
        where = _mnist_folder(folder)
        images, labels, test_images, test_labels = (read_idx(_find(where, n)) for n in MNIST_FILES)
    if images.ndim != 3 or len(images) <= MNIST_VALIDATION:
        raise ConfigError(f"mnist: the training images have the shape {images.shape}")
    x = images.reshape(len(images), -1) / 255.0
    cut = len(x) - MNIST_VALIDATION
    if len(labels) != len(x):
        raise ConfigError(f"mnist: {len(x)} training images stand beside {len(labels)} labels")
    return make_dataset(
        "mnist",
        (
            (x[:cut], labels[:cut]),
            (x[cut:], labels[cut:]),
            (test_images.reshape(len(test_images), -1) / 255.0, test_labels),
        ),
    )


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, gzipped or plain (Y. LeCun's format description)."""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path}: cannot be read as gzip: {error}") from None
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise ConfigError(f"{path} is no IDX file of bytes: it begins with {data[:4].hex()}")
    dimensions = data[3]
    start = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4))
    if len(data) - start != int(np.prod(shape)):
        raise ConfigError(
            f"{path} should hold {int(np.prod(shape))} bytes of data ({shape}), it holds "
            f"{len(data) - start}: it is cut short or damaged"
        )
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def npz(path: Path, seed: int = 0) -> Dataset:
    """``x_train, y_train, x_test, y_test`` and maybe ``x_validation, y_validation``; or ``x, y``,
    which are split 60/20/20 as the built-in data is."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            held = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"{path}: cannot be read as .npz: {error}") from None
    if {"x_train", "y_train", "x_test", "y_test"} <= set(held):
        empty = (held["x_train"][:0], held["y_train"][:0])
        has = {"x_validation", "y_validation"} <= set(held)
        validation = (held["x_validation"], held["y_validation"]) if has else empty
        return make_dataset(
            str(path.name),
            (
                (held["x_train"], held["y_train"]),
                validation,
                (held["x_test"], held["y_test"]),
            ),
        )
    if {"x", "y"} <= set(held):
        return split_dataset(path.name, held["x"], held["y"], seed)
    raise ConfigError(
        f"{path} holds {', '.join(held) or 'nothing'}; it must hold x and y, or x_train, y_train, "
        "x_test and y_test"
    )


def csv(path: Path, seed: int = 0) -> Dataset:
    """Numbers separated by commas, the label last in each line; a first line of names is skipped."""
    try:
        lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    rows: list[list[float]] = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append([float(cell) for cell in line.split(",")])
        except ValueError as error:
            if number > 1:
                raise ConfigError(f"{path}, line {number}: {error}") from None
        if rows and len(rows[-1]) != len(rows[0]):
            raise ConfigError(
                f"{path}, line {number}: {len(rows[-1])} columns, the lines before have {len(rows[0])}"
            )
    if not rows or len(rows[0]) < 2:
        raise ConfigError(f"{path}: no rows of features and a label")
    table = np.array(rows)
    return split_dataset(path.name, table[:, :-1], table[:, -1], seed)


def split_dataset(name: str, inputs: FloatArray, labels: IntArray, seed: int = 0) -> Dataset:
    """60/20/20, stratified by label, always the same way for one ``seed``."""
    from sklearn.model_selection import train_test_split

    whole = check_split(name, "whole", inputs, labels)
    inputs, labels = whole.inputs, np.asarray(whole.targets, dtype=int)
    try:
        train, rest = train_test_split(
            np.arange(len(labels)), test_size=0.4, random_state=seed, stratify=labels
        )
        validation, test = train_test_split(
            rest, test_size=0.5, random_state=seed, stratify=labels[rest]
        )
    except ValueError as error:
        raise ConfigError(f"{name}: cannot be split 60/20/20 by label: {error}") from None
    x, y = inputs, labels
    return make_dataset(
        name, ((x[train], y[train]), (x[validation], y[validation]), (x[test], y[test]))
    )


def _mnist_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise ConfigError(f"mnist: the data folder {folder} does not exist")
    for where in (folder, folder / "mnist"):
        if any((where / f"{MNIST_FILES[0]}{suffix}").exists() for suffix in ("", ".gz")):
            return where
    raise ConfigError(
        f"mnist: neither {folder} nor {folder / 'mnist'} holds {MNIST_FILES[0]}(.gz); the four "
        "files are " + ", ".join(MNIST_FILES)
    )


def _find(folder: Path, name: str) -> Path:
    for suffix in (".gz", ""):
        if (folder / f"{name}{suffix}").exists():
            return folder / f"{name}{suffix}"
    raise ConfigError(f"mnist: {folder} has no {name}.gz (nor {name})")


def _openml() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    from sklearn.datasets import fetch_openml

    try:
        data = fetch_openml("mnist_784", version=1, as_frame=False)
    except OSError as error:
        raise ConfigError(
            "mnist: no folder was given (--data or HILONN_DATA) and OpenML cannot be reached: "
            f"{error}. Put the four IDX files into a folder and name it with --data"
        ) from None
    x = np.asarray(data.data, dtype=np.uint8).reshape(-1, 28, 28)
    y = np.asarray(data.target, dtype=np.int64)
    return x[:60000], y[:60000], x[60000:], y[60000:]
