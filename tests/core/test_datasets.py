"""Data: fixed splits, and bad files told before anything is opened."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from hilonn.datasets import Dataset, load_dataset, principal_components
from hilonn.datasets.files import MNIST_FILES, MNIST_VALIDATION
from hilonn.errors import ConfigError


def sizes(dataset: Dataset) -> list[int]:
    return [len(part) for part in (dataset.train, dataset.validation, dataset.test)]


@pytest.mark.parametrize(
    ("name", "wanted", "classes"),
    [
        ("digits", [1078, 359, 360], 10),
        ("digits_parity", [1078, 359, 360], 2),
        ("xor", [360, 120, 120], 2),
    ],
)
def test_built_in_splits_are_fixed(name: str, wanted: list[int], classes: int) -> None:
    first, again = load_dataset(name), load_dataset(name)
    assert sizes(first) == wanted
    assert first.classes == classes
    assert first.digest == again.digest
    rows = [
        tuple(row) for part in (first.train, first.validation, first.test) for row in part.inputs
    ]
    assert len(set(rows)) >= len(rows) - 5, "parts share samples"


def test_parity_is_of_the_same_images() -> None:
    digits, parity = load_dataset("digits"), load_dataset("digits_parity")
    np.testing.assert_array_equal(digits.test.inputs, parity.test.inputs)
    np.testing.assert_array_equal(digits.test.targets % 2, parity.test.targets)
    shares = [(digits.train.targets == c).mean() for c in range(10)]
    np.testing.assert_allclose(
        shares, [(digits.test.targets == c).mean() for c in range(10)], atol=0.01
    )


def test_components_come_from_training_data_only() -> None:
    digits = load_dataset("digits")
    reduced = principal_components(digits, 16)
    assert reduced.test.inputs.shape == (360, 16)
    assert np.abs(reduced.train.inputs).max() == pytest.approx(3.0)
    changed = Dataset(
        digits.name,
        digits.train,
        digits.validation,
        type(digits.test)(digits.test.inputs * 0.0, digits.test.targets),
        10,
        "",
    )
    np.testing.assert_array_equal(
        principal_components(changed, 16).train.inputs, reduced.train.inputs
    )
    with pytest.raises(ConfigError, match="65 principal components"):
        principal_components(digits, 65)


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def tiny_mnist(tmp_path: Path) -> Path:
    """Files of MNIST's form with 2 x 2 images; the test files are not gzipped."""
    rng = np.random.default_rng(0)
    count = MNIST_VALIDATION + 50
    folder = tmp_path / "mnist"
    folder.mkdir()
    contents = [
        rng.integers(0, 256, (count, 2, 2)),
        np.arange(count) % 10,
        rng.integers(0, 256, (30, 2, 2)),
        np.arange(30) % 10,
    ]
    for name, content in zip(MNIST_FILES, contents, strict=True):
        data = idx(content)
        if name.startswith("train"):
            (folder / f"{name}.gz").write_bytes(gzip.compress(data))
        else:
            (folder / name).write_bytes(data)
    return tmp_path


def test_mnist_files_are_found_in_the_folder_or_below(
    tiny_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = load_dataset("mnist", folder=tiny_mnist)
    assert sizes(below) == [50, MNIST_VALIDATION, 30]
    assert below.train.inputs.max() <= 1.0
    assert load_dataset("mnist", folder=tiny_mnist / "mnist").digest == below.digest
    monkeypatch.setenv("HILONN_DATA", str(tiny_mnist))
    assert load_dataset("mnist").digest == below.digest


def test_damaged_mnist_is_told(tiny_mnist: Path) -> None:
    images = tiny_mnist / "mnist" / f"{MNIST_FILES[0]}.gz"
    whole = images.read_bytes()
    images.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"train-images.*gz"):
        load_dataset("mnist", folder=tiny_mnist)
    images.write_bytes(gzip.compress(gzip.decompress(whole)[:-3]))
    with pytest.raises(ConfigError, match="cut short or damaged"):
        load_dataset("mnist", folder=tiny_mnist)
    images.write_bytes(b"PNG, really")
    with pytest.raises(ConfigError, match="no IDX file"):
        load_dataset("mnist", folder=tiny_mnist)
    images.unlink()
    with pytest.raises(ConfigError, match="neither"):
        load_dataset("mnist", folder=tiny_mnist)
    with pytest.raises(ConfigError, match="does not exist"):
        load_dataset("mnist", folder=tiny_mnist / "nowhere")


def table(rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, 3)), np.arange(rows) % 2


def test_own_files_are_read(tmp_path: Path) -> None:
    x, y = table()
    np.savez(tmp_path / "one.npz", x=x, y=y)
    np.savez(tmp_path / "parts.npz", x_train=x, y_train=y, x_test=x[:9], y_test=y[:9])
    lines = [
        "a,b,c,label",
        *(",".join(map(repr, [*map(float, r), int(t)])) for r, t in zip(x, y, strict=True)),
    ]
    (tmp_path / "one.csv").write_text("\n".join(lines))
    assert sizes(load_dataset(str(tmp_path / "one.npz"))) == [24, 8, 8]
    assert sizes(load_dataset(str(tmp_path / "parts.npz"))) == [40, 0, 9]
    csv, npz = load_dataset(str(tmp_path / "one.csv")), load_dataset(str(tmp_path / "one.npz"))
    np.testing.assert_array_equal(csv.train.inputs, npz.train.inputs)


def test_bad_own_files_are_told(tmp_path: Path) -> None:
    x, y = table()
    holed = x.copy()
    holed[7, 2] = np.nan
    cases = {
        "sample 7, feature 2 is nan": {"x": holed, "y": y},
        "do not go together": {"x": x, "y": y[:-1]},
        "labels must be whole numbers": {"x": x, "y": y + 0.5},
        "without gaps": {"x": x, "y": y * 2},
        "not numbers": {"x": x.astype(str), "y": y},
        "must hold x and y": {"inputs": x},
    }
    for message, held in cases.items():
        np.savez(tmp_path / "bad.npz", **held)
        with pytest.raises(ConfigError, match=message):
            load_dataset(str(tmp_path / "bad.npz"))
    (tmp_path / "bad.npz").write_bytes(b"not a zip")
    with pytest.raises(ConfigError, match=r"bad\.npz"):
        load_dataset(str(tmp_path / "bad.npz"))
    for text, message in (
        ("1,2,0\n1,x,1\n", "line 2"),
        ("1,2,0\n1,1\n", "line 2"),
        ("", "no rows"),
    ):
        (tmp_path / "bad.csv").write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_dataset(str(tmp_path / "bad.csv"))
    with pytest.raises(ConfigError, match="no dataset 'digit'"):
        load_dataset("digit")
    with pytest.raises(ConfigError, match="does not exist"):
        load_dataset(str(tmp_path / "none.npz"))
