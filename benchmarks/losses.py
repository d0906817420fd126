"""Takes every box of ``lab-16`` away in the middle of training: ``python -m benchmarks.losses [--seeds 5]``.

One row a box and kind of loss: how long until it was noticed, and from then until all others were safe (looked at
past the wires, every 5 ms); how long until it was back; and the accuracy in the end against undisturbed runs. The lab is
without latencies and in this process; digits16 on a part of its data, without the heater test. With ``--stop`` the bench
file says to stop.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from hilonn.simulators.emulators import lab_16
from hilonn.simulators.emulators.lab import Lab
from hilonn.simulators.emulators.meerstetter_tec import MeerstetterBox
from hilonn.simulators.emulators.santec_tsl import SantecTslBox
from hilonn.simulators.emulators.server import TcpServer
from tests.lab.lab_4 import WATCHED
from tests.lab.truth import Learning, Loss, Truth, running, suffer

BOXES = ("q", "rp0", "rp7", "meter0", "santec", "tec", "shutter")
KINDS = ("dropped", "off", "hung")
WAIT = 'on_connection_lost = "wait"\non_interlock = "wait"\npatience = 120.0\n'
DIGITS16 = """
[data]
name = "digits"
principal_components = 16
centre = false
limit = 640
[[layers]]
outputs = 16
activation = "saturating_square"
[[layers]]
outputs = 10
[rule]
name = "two_pass"
feedback_scale = 0.4
rate = 0.016
hidden_rate = 0.01
averages = 4
[training]
epochs = {epochs}
batch = 32
"""


def loss_of(lab: Lab, box: str, kind: str) -> Loss:
    """What happens to ``box``."""
    if kind == "interlock":
        laser = lab.servers["santec"].instrument
        assert isinstance(laser, SantecTslBox)
        return Loss(box, laser.open_interlock, laser.close_interlock)
    if kind == "out of its window":
        controller = lab.servers["tec"].instrument
        assert isinstance(controller, MeerstetterBox)
        return Loss(box, lambda: controller.disturb(1.5))
    server = lab.servers[box]
    assert isinstance(server, TcpServer)
    if kind == "dropped":
        return Loss(box, server.drop)
    if kind == "off":
        return Loss(box, server.switch_off, server.switch_on)
    return Loss(box, server.hang, server.wake)


def bench_file(lab: Lab, path: Path, safety: str) -> Path:
    """The lab's own, with more in ``[safety]``."""
    lab.write_bench(path)
    text = path.read_text("utf-8").replace("[timing]", f"{safety}{WATCHED}\n[timing]")
    path.write_text(text, "utf-8")
    return path


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=5, help="undisturbed runs")
    parser.add_argument("--plays", type=int, default=60, help="before the loss")
    parser.add_argument("--stop", action="store_true")
    parser.add_argument("--latency", action="store_true", help="with the boxes' busy times")
    options = parser.parse_args()
    cases = [(box, kind) for box in BOXES for kind in KINDS]
    cases += [("santec", "interlock"), ("tec", "out of its window")]
    with tempfile.TemporaryDirectory() as name, lab_16.build(latency=options.latency) as lab:
        folder = Path(name)
        bench = bench_file(lab, folder / "lab.toml", "" if options.stop else WAIT)

        def run(label: str, seed: int) -> Learning:
            where = folder / label.replace(" ", "-")
            return Learning(lab, bench, where, options.epochs, seed, DIGITS16, "rp7")

        undisturbed = []
        for seed in range(0 if options.stop else options.seeds):
            learning = run(f"seed {seed}", seed)
            started = time.perf_counter()
            learning()
            if learning.error is not None:
                raise learning.error
            undisturbed.append(learning.accuracy)
            seconds = time.perf_counter() - started
            print(
                f"undisturbed, seed {seed}: {learning.accuracy:.2%} in {seconds:.0f} s", flush=True
            )
        if undisturbed:
            mean, spread = np.mean(undisturbed), np.std(undisturbed, ddof=1)
            print(f"undisturbed: {mean:.2%}, standard deviation {spread:.2%}\n")
        print("| box | loss | noticed after, s | others safe, s later | then | accuracy |")
        print("|---|---|---|---|---|---|")
        for box, kind in cases:
            print(row(lab, run(f"{box} {kind}", 0), box, kind, options.plays), flush=True)


def row(lab: Lab, learning: Learning, box: str, kind: str, plays: int) -> str:
    """One line of the table."""
    loss = loss_of(lab, box, kind)
    but = "" if kind in ("interlock", "out of its window") else box
    loss.box = but
    with Truth(lab) as truth, running(learning):
        suffer(learning, truth, [loss], plays=plays)
    back = learning.events("back")
    if learning.error is not None:
        then = f"stopped: {type(learning.error).__name__}, exit {learning.error.exit_code}"  # type: ignore[attr-defined]
        accuracy = ""
    else:
        then = f"waited {sum(e['seconds'] for e in back):.1f} s"
        accuracy = f"{learning.accuracy:.2%}"
    return (
        f"| {box} | {kind} | {loss.noticed - loss.began:.3f} | {loss.safe - loss.noticed:.3f} "
        f"| {then} | {accuracy} |"
    )


if __name__ == "__main__":
    main()
