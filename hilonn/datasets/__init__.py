"""Data: built in, MNIST's files, the user's."""

from hilonn.datasets.dataset import Dataset, Split, cropped, make_dataset
from hilonn.datasets.loading import BUILT_IN, load_dataset, principal_components
from hilonn.datasets.shifts import Shifts

__all__ = [
    "BUILT_IN",
    "Dataset",
    "Shifts",
    "Split",
    "cropped",
    "load_dataset",
    "make_dataset",
    "principal_components",
]
