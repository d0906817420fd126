"""hilonn: trains optical neural networks on the chip itself, by two-pass forward propagation.

Public names are imported when they are first used, so that ``import hilonn`` stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "Backprop": "hilonn.rules",
    "Bench": "hilonn.bench",
    "ConfigError": "hilonn.errors",
    "Dense": "hilonn.network",
    "HilonnError": "hilonn.errors",
    "LimitError": "hilonn.errors",
    "Network": "hilonn.network",
    "RectangularMesh": "hilonn.mesh",
    "ReplayBench": "hilonn.replay",
    "Run": "hilonn.runs",
    "SvdMesh": "hilonn.mesh",
    "Trainer": "hilonn.training",
    "TriangularMesh": "hilonn.mesh",
    "TwoPass": "hilonn.rules",
    "TwoPassClassifier": "hilonn.estimators",
    "TwoPassRegressor": "hilonn.estimators",
    "load_dataset": "hilonn.datasets",
    "report": "hilonn.reports",
    "load_experiment": "hilonn.experiment",
}

if TYPE_CHECKING:
    from hilonn.bench import Bench as Bench
    from hilonn.datasets import load_dataset as load_dataset
    from hilonn.errors import ConfigError as ConfigError
    from hilonn.errors import HilonnError as HilonnError
    from hilonn.errors import LimitError as LimitError
    from hilonn.estimators import TwoPassClassifier as TwoPassClassifier
    from hilonn.estimators import TwoPassRegressor as TwoPassRegressor
    from hilonn.experiment import load_experiment as load_experiment
    from hilonn.mesh import RectangularMesh as RectangularMesh
    from hilonn.mesh import SvdMesh as SvdMesh
    from hilonn.mesh import TriangularMesh as TriangularMesh
    from hilonn.network import Dense as Dense
    from hilonn.network import Network as Network
    from hilonn.replay import ReplayBench as ReplayBench
    from hilonn.reports import report as report
    from hilonn.rules import Backprop as Backprop
    from hilonn.rules import TwoPass as TwoPass
    from hilonn.runs import Run as Run
    from hilonn.training import Trainer as Trainer

__all__ = [*sorted(_WHERE), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'hilonn' has no attribute {name!r}")
    value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_WHERE]
