"""A photonic chip in scikit-learn's pipeline and grid search: handwritten digits in 16 components."""

from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline

import hilonn


def main() -> None:
    """One chip, opened once, serves every fit of the search."""
    x, y = load_digits(return_X_y=True)
    train, test, wanted, held_out = train_test_split(x, y, random_state=0, stratify=y)
    with hilonn.Bench.open("simulated", seed=0) as bench:
        chip = hilonn.TwoPassClassifier(hidden=(64,), bench=bench, epochs=3, random_state=0)
        model = make_pipeline(PCA(15), chip)
        search = GridSearchCV(model, {"twopassclassifier__hidden_rate": [0.05, 0.25]}, cv=2)
        search.fit(train, wanted)
        print(f"best {search.best_params_}, test accuracy {search.score(test, held_out):.1%}")


if __name__ == "__main__":
    main()
