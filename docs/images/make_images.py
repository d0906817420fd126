"""Draws docs/images/digits.svg from a run: ``python docs/images/make_images.py RUN``.

Needs matplotlib (extra ``plot``).
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt

from hilonn.runs import Run


def main() -> None:
    """Accuracy against passes, training and validation, on white, for colour-blind eyes too."""
    run = Run.open(sys.argv[1])
    epochs = [event for event in run.events() if event["kind"] == "epoch"]
    result = run.result()
    passes = [event["passes"] / 1000 for event in epochs]
    plt.rcParams["svg.hashsalt"] = "hilonn"
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    axes.plot(
        passes, [100 * e["accuracy"] for e in epochs], "--", color="#0072b2", label="training"
    )
    axes.plot(
        passes,
        [100 * e["validation_accuracy"] for e in epochs],
        color="#d55e00",
        label="validation",
    )
    axes.set(
        xlabel="passes through the chip (thousands)",
        ylabel="accuracy (%)",
        ylim=(85, 100.5),
        title=f"{run.header['experiment']} on {run.header['bench_source']}: a 16-port chip with "
        "typical faults",
    )
    if result is not None:
        axes.annotate(
            f"held-out test {result['test_accuracy']:.2%}", (0.62, 0.12), xycoords="axes fraction"
        )
    axes.grid(alpha=0.3)
    axes.legend(loc="center right")
    figure.savefig(Path(__file__).with_name("digits.svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
