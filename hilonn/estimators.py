"""scikit-learn's face: a chip where a classifier or a regressor is wanted.

Needs nothing but what hilonn needs anyway. The estimators take part in pipelines, cross-validation and
grid searches; a bench is opened for every fit and every prediction, or is handed in open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from hilonn.bench import Bench
from hilonn.datasets import Split
from hilonn.network import Dense, Network
from hilonn.passes import PassRequest, PassRunner
from hilonn.rules import TwoPass
from hilonn.training import Progress, Trainer
from hilonn.typing import FloatArray, IntArray
from hilonn.workflow import one_blas_thread

INPUT_SPREAD = 0.25
"""Inputs are centred feature by feature and brought to this rms over all of them: what digits and MNIST
have, at which the default rates were chosen."""
REFERENCE = 0.5
"""A last input that is always lit, at this amplitude: the activations by detection are even functions,
and without it a network could not tell x from -x."""
MOST_SAMPLES = 4096
"""Samples of one prediction's batch, so that memory stays bounded."""


class _TwoPassEstimator(BaseEstimator):  # type: ignore[misc]
    """What classifier and regressor share. Parameters are the subclasses'."""

    def __init__(
        self,
        hidden: Sequence[int] = (64,),
        *,
        bench: str | Path | Bench = "simulated",
        activation: str = "saturating_square",
        epochs: int = 30,
        batch: int = 32,
        feedback_scale: float | Literal["auto"] = "auto",
        averages: int | Literal["auto"] = "auto",
        rate: float = 0.2,
        hidden_rate: float = 0.25,
        momentum: float = 0.9,
        chip_seed: int | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.hidden = hidden
        self.bench = bench
        self.activation = activation
        self.epochs = epochs
        self.batch = batch
        self.feedback_scale = feedback_scale
        self.averages = averages
        self.rate = rate
        self.hidden_rate = hidden_rate
        self.momentum = momentum
        self.chip_seed = chip_seed
        self.random_state = random_state

    def _learn(self, inputs: FloatArray, targets: FloatArray | IntArray, outputs: int) -> None:
        """Train on the bench and keep weights, settled rule and loss curve."""
        self.mean_ = inputs.mean(axis=0)
        spread = float(np.sqrt(np.mean((inputs - self.mean_) ** 2)))
        self.scale_ = spread / INPUT_SPREAD if spread > 0.0 else 1.0
        rule = TwoPass(
            feedback_scale=self.feedback_scale,
            averages=self.averages,
            rate=self.rate,
            hidden_rate=self.hidden_rate,
            momentum=self.momentum,
        )
        self.network_ = self._layers(inputs.shape[1] + 1, outputs)
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.loss_curve_: list[float] = []

        def note(progress: Progress) -> None:
            if progress.kind == "epoch":
                self.loss_curve_.append(progress.metrics["loss"])

        with self._opened() as bench, one_blas_thread():
            trainer = Trainer(bench.chip(), self.network_, rule, seed=self.seed_, on_progress=note)
            trainer.fit(Split(self._scaled(inputs), targets), epochs=self.epochs, batch=self.batch)
            self.passes_ = trainer.runner.statistics.passes
        self.weights_ = [np.array(w) for w in trainer.weights]
        self.rule_ = trainer.rule
        self.n_iter_ = len(self.loss_curve_)

    def _outputs(self, inputs: FloatArray) -> FloatArray:
        """Readings of the last layer, (samples, outputs), measured on the bench."""
        scaled = self._scaled(inputs)
        weights = tuple(self.weights_)
        parts = []
        with self._opened() as bench, one_blas_thread():
            chip = bench.chip()
            runner = PassRunner(chip, self.network_.place(chip))
            bench.light_on()
            for first in range(0, len(scaled), MOST_SAMPLES):
                request = PassRequest(
                    scaled[first : first + MOST_SAMPLES],
                    weights,
                    keep="output",
                    averages=self.rule_.plays,
                )
                runner.begin_step()
                (trace,) = runner.run([request])
                parts.append(trace.output)
        return np.concatenate(parts)

    def _scaled(self, inputs: FloatArray) -> FloatArray:
        scaled = (inputs - self.mean_) / self.scale_
        return np.hstack([scaled, np.full((len(scaled), 1), REFERENCE)])

    def _layers(self, inputs: int, outputs: int) -> Network:
        widths = [inputs, *(int(width) for width in self.hidden), outputs]
        last = len(widths) - 2
        return Network(
            *(
                Dense(a, b, self.activation if index < last else "linear")
                for index, (a, b) in enumerate(pairwise(widths))
            )
        )

    @contextmanager
    def _opened(self) -> Iterator[Bench]:
        """The bench that was handed in, which stays open, or one of our own."""
        if isinstance(self.bench, Bench):
            yield self.bench
            return
        with Bench.open(self.bench, seed=self.seed_, chip_seed=self.chip_seed) as bench:
            yield bench

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True  # readings are noisy
        return tags


class TwoPassClassifier(ClassifierMixin, _TwoPassEstimator):  # type: ignore[misc]
    """A network on a photonic chip, trained by two passes, as a scikit-learn classifier.

    Parameters
    ----------
    hidden : widths of the hidden layers; () is a linear readout.
    bench : a built-in bench, a bench file's path, or an open ``Bench`` (one chip for all fits of a
        search: then ``n_jobs`` must be 1).
    activation : of the hidden layers.
    epochs, batch, feedback_scale, averages, rate, hidden_rate, momentum : see ``hilonn.TwoPass``.
    chip_seed : draws another simulated chip; None keeps the bench file's.
    random_state : seeds weights, order, feedback, and a simulated bench's noise.

    Attributes
    ----------
    classes_, n_features_in_, weights_ (one (outputs, inputs) array a layer), rule_ (with what
    "auto" settled to), loss_curve_, n_iter_, passes_, mean_, scale_.

    Raises what training raises: ConfigError, and the bench's errors.
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on ``X`` (samples, features) and labels ``y`` (samples,)."""
        inputs, labels = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(labels)
        encoder = LabelEncoder().fit(labels)
        self.classes_ = encoder.classes_
        if len(self.classes_) < 2:
            raise ValueError(
                f"TwoPassClassifier needs two classes or more; y holds one class, "
                f"{self.classes_[0]!r}"
            )
        self._learn(inputs, encoder.transform(labels), len(self.classes_))
        return self

    def decision_function(self, X: ArrayLike) -> FloatArray:
        """Readings of the outputs, (samples, classes); their difference, (samples,), for two."""
        outputs = self._read(X)
        return outputs[:, 1] - outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict(self, X: ArrayLike) -> np.ndarray:
        """The label whose output is largest, (samples,)."""
        outputs = self._read(X)
        return np.asarray(self.classes_[outputs.argmax(axis=1)])

    def _read(self, X: ArrayLike) -> FloatArray:
        check_is_fitted(self)
        return self._outputs(validate_data(self, X, dtype=np.float64, reset=False))


class TwoPassRegressor(RegressorMixin, _TwoPassEstimator):  # type: ignore[misc]
    """A network on a photonic chip, trained by two passes, as a scikit-learn regressor.

    Parameters and attributes are the classifier's, without ``classes_``. ``y`` is (samples,) or
    (samples, targets); each target is standardised while the chip learns.
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on ``X`` (samples, features) and ``y``."""
        inputs, wanted = validate_data(
            self, X, y, dtype=np.float64, multi_output=True, y_numeric=True
        )
        targets = np.asarray(wanted, dtype=float)
        self._flat = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        self.target_mean_ = targets.mean(axis=0)
        spread = targets.std(axis=0)
        self.target_scale_ = np.where(spread > 0.0, spread, 1.0)
        standard = (targets - self.target_mean_) / self.target_scale_
        self._learn(inputs, standard, targets.shape[1])
        return self

    def predict(self, X: ArrayLike) -> FloatArray:
        """Readings of the outputs in the units of ``y``."""
        check_is_fitted(self)
        inputs = validate_data(self, X, dtype=np.float64, reset=False)
        outputs = np.asarray(self._outputs(inputs) * self.target_scale_ + self.target_mean_)
        return outputs[:, 0] if self._flat else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
