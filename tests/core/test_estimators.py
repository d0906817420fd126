"""scikit-learn's face: its own checks, and a chip where a classifier is wanted."""

from __future__ import annotations

import pickle  # noqa: TID251 - scikit-learn users pickle their models
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from hilonn import Bench, ConfigError, TwoPassClassifier, TwoPassRegressor

# By the name of the check, with the reason. None at present on a chip without noise; what is skipped is
# skipped because the estimators say that they are not deterministic: readings are noisy.
EXCEPTIONS: dict[str, str] = {}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [TwoPassClassifier, TwoPassRegressor])
def test_scikit_learn_s_own_checks_pass(kind: Any) -> None:
    estimator = kind(hidden=(16,), bench="ideal")
    results = check_estimator(
        estimator, expected_failed_checks=EXCEPTIONS, on_fail=None, on_skip=None
    )
    failed = {r["check_name"]: repr(r["exception"]) for r in results if r["status"] == "failed"}
    assert failed == {}
    assert len(results) > 40


def test_a_noisy_chip_classifies() -> None:
    x, y = load_wine(return_X_y=True)
    names = np.array(["barolo", "grignolino", "barbera"])[y]
    a, b, c, d = train_test_split(x, names, random_state=0)
    model = make_pipeline(StandardScaler(), TwoPassClassifier(hidden=(16,), random_state=0))
    model.fit(a, c)
    assert model.score(b, d) > 0.9
    scores = model.decision_function(b)
    assert scores.shape == (len(b), 3)
    assert list(model.classes_) == sorted(set(names))


def test_a_noisy_chip_regresses() -> None:
    x, y = load_diabetes(return_X_y=True)
    a, b, c, d = train_test_split(x, y, random_state=0)
    model = TwoPassRegressor(hidden=(16,), random_state=0).fit(a, c)
    assert model.score(b, d) > 0.15
    assert model.predict(b).shape == d.shape
    both = TwoPassRegressor(hidden=(16,), epochs=2, random_state=0).fit(a, np.stack([c, -c], 1))
    assert both.predict(b).shape == (len(b), 2)


def test_one_open_bench_serves_a_grid_search() -> None:
    x, y = load_iris(return_X_y=True)
    with Bench.open("simulated", seed=0) as bench:
        model = make_pipeline(PCA(3), TwoPassClassifier(hidden=(8,), bench=bench, random_state=0))
        search = GridSearchCV(model, {"twopassclassifier__rate": [0.05, 0.2]}, cv=2)
        search.fit(x, y)
        assert search.best_score_ > 0.6
        assert search.best_estimator_[-1].bench is bench
        assert bench.chip().statistics.runs > 0  # type: ignore[attr-defined]


def test_the_same_seed_learns_the_same_and_survives_a_pickle() -> None:
    x, y = load_iris(return_X_y=True)
    model = TwoPassClassifier(hidden=(8,), epochs=2, random_state=3)
    first, second = clone(model).fit(x, y), clone(model).fit(x, y)
    for a, b in zip(first.weights_, second.weights_, strict=True):
        np.testing.assert_array_equal(a, b)
    again = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(again.predict(x), first.predict(x))


def test_bad_settings_are_told_before_the_bench_is_opened() -> None:
    x, y = load_iris(return_X_y=True)
    with pytest.raises(ConfigError, match="activation"):
        TwoPassClassifier(activation="sigmoid", bench="no such bench").fit(x, y)
    with pytest.raises(ValueError, match="one class"):
        TwoPassClassifier(bench="no such bench").fit(x, np.zeros(len(x)))
    with pytest.raises(ConfigError, match="no such bench"):
        TwoPassClassifier(bench="no such bench").fit(x, y)
