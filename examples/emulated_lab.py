"""A lab on this machine: instruments that speak their true protocols over sockets, checked, and trained on.

The same as in two terminals: `hilonn emulate lab-16`, then `hilonn check lab-16.toml` and `hilonn train xor --bench lab-16.toml`.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hilonn

EPOCHS = 12


@contextmanager
def emulated_lab(bench_file: Path) -> Iterator[None]:
    """Within: `lab-16` is served by a process of its own, and ``bench_file`` points at it."""
    command = [sys.executable, "-m", "hilonn", "emulate", "lab-16", "--no-latency"]
    lab = subprocess.Popen([*command, "--out", str(bench_file)], stdout=subprocess.PIPE, text=True)
    try:
        assert lab.stdout is not None
        for line in lab.stdout:  # every box with its address, then the bench file
            if line.startswith("bench "):
                break
        else:
            raise SystemExit("the lab did not start; it says why above")
        yield
    finally:
        lab.terminate()
        lab.wait(timeout=30)


def main() -> None:
    """Check, train, test."""
    with tempfile.TemporaryDirectory() as folder:
        bench_file = Path(folder) / "lab-16.toml"
        with emulated_lab(bench_file), hilonn.Bench.open(bench_file) as bench:
            report = bench.check()
            print(report)
            if not report.go:
                raise SystemExit(1)
            data = hilonn.load_dataset("xor").centred()
            network = hilonn.Network(
                hilonn.Dense(2, 8, activation="saturating_square"),
                hilonn.Dense(8, 2),
            )
            rule = hilonn.TwoPass(feedback_scale=1.0, rate=0.02, hidden_rate=0.2)
            trainer = hilonn.Trainer(bench.chip(), network, rule, seed=0)
            trainer.fit(data.train, validation=data.validation, epochs=EPOCHS, batch=20)
            print(f"test accuracy {trainer.evaluate(data.test).accuracy:.1%}")


if __name__ == "__main__":
    main()
