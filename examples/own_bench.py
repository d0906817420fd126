"""A bench file of one's own: a chip of 8 ports with a heater that jumps by 0.3 rad while it learns."""

import tempfile
from pathlib import Path

import hilonn

PORTS = 8
HEATERS = 2 * PORTS * (PORTS - 1) + 3 * PORTS

BENCH = f"""
backend = "simulated"

[connections.plant]
transport = "plant"
architecture = "svd_mesh"
ports = {PORTS}
preset = "typical"
faults = ["drift_step:17=0.3@0.2s"]

[devices]
laser = {{ driver = "simulated_laser", connection = "plant" }}
heaters = {{ driver = "simulated_phase_shifters", connection = "plant" }}
inputs = {{ driver = "simulated_modulators", connection = "plant" }}
meter = {{ driver = "simulated_photodetectors", connection = "plant" }}
shutter = {{ driver = "simulated_switch", connection = "plant" }}

[chips.mesh]
architecture = "svd_mesh"
ports = {PORTS}
record = "connection:plant"

[chips.mesh.wiring]
phase_shifters = "heaters:0-{HEATERS - 1}"
local_oscillator = "heaters:{HEATERS}"
modulators = "inputs"
photodetectors = "meter"
local_oscillator_switch = "shutter"
"""


def main() -> None:
    """Check the bench, train xor on it, print what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.toml"
        path.write_text(BENCH)
        with hilonn.Bench.open(path, seed=0) as bench:
            print(bench.check())
            data = hilonn.load_dataset("xor").centred()
            network = hilonn.Network(
                hilonn.Dense(2, 8, activation="saturating_square"),
                hilonn.Dense(8, 2),
            )
            rule = hilonn.TwoPass(feedback_scale=1.0, rate=0.02, hidden_rate=0.2)
            trainer = hilonn.Trainer(bench.chip(), network, rule, seed=0)
            trainer.fit(data.train, validation=data.validation, epochs=25, batch=20)
            print(f"test accuracy {trainer.evaluate(data.test).accuracy:.1%}")


if __name__ == "__main__":
    main()
