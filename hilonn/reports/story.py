"""What is read from a run's folder for its report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hilonn import workflow
from hilonn.datasets import Dataset
from hilonn.errors import HilonnError
from hilonn.runs import Run
from hilonn.typing import IntArray


@dataclass(frozen=True, slots=True)
class Story:
    """One run. ``result`` is None while it has not ended; sections that it has no data for are None."""

    name: str
    header: dict[str, Any]
    result: dict[str, Any] | None
    epochs: list[dict[str, Any]]
    others: list[dict[str, Any]]
    looks: list[dict[str, Any]]
    heaters: dict[str, Any] | None
    mapping: dict[str, Any] | None
    chip_state: dict[str, Any] | None
    predictions: IntArray | None
    dataset: Dataset | None
    dataset_missing: str

    def column(self, key: str) -> list[float]:
        """``key`` epoch by epoch, NaN where it was not measured."""
        return [float(e[key]) if e.get(key) is not None else float("nan") for e in self.epochs]

    @property
    def accuracy(self) -> float | None:
        return None if self.result is None else float(self.result["test_accuracy"])


def read(folder: Path) -> Story:
    """Everything of the run in ``folder`` that a report shows; reads only."""
    run = Run.open(folder)
    events = run.events()
    single = {e["kind"]: e for e in events if e["kind"] in ("heaters", "mapping", "chip_state")}
    shown = {"epoch", "pass", "monitor", *single}
    predictions: IntArray | None = None
    if any(folder.glob("test_predictions-*.npy")):
        predictions = np.asarray(run.array("test_predictions"), dtype=np.int64)
    dataset, missing = None, ""
    try:
        dataset = workflow.images_of(run)
    except HilonnError as error:
        missing = str(error)
    return Story(
        name=folder.name,
        header=run.header,
        result=run.result(),
        epochs=[e for e in events if e["kind"] == "epoch"],
        others=[e for e in events if e["kind"] not in shown or e.get("fault")],
        looks=[e for e in events if e["kind"] == "monitor"],
        heaters=single.get("heaters"),
        mapping=single.get("mapping"),
        chip_state=single.get("chip_state"),
        predictions=predictions,
        dataset=dataset,
        dataset_missing=missing,
    )
