"""Benches of small simulated chips, opened as nobody has measured them."""

from __future__ import annotations

from pathlib import Path

from hilonn import registry


def bench_file(
    folder: Path,
    architecture: str = "svd_mesh",
    ports: int = 4,
    plant: str = "",
    preset: str = "typical",
    oscillator: bool = True,
) -> Path:
    """The built-in bench ``simulated`` with another chip; ``plant``: lines of its own section."""
    heaters = {
        "svd_mesh": 2 * ports**2 + ports,
        "unitary_mesh": ports**2,
        "triangular_mesh": ports**2,
        "crossbar": ports**2,
    }[architecture]
    text: str = registry.load("hilonn.benches", "simulated")()
    text = text.replace("ports = 16", f"ports = {ports}")
    text = text.replace('"svd_mesh"', f'"{architecture}"')
    text = text.replace("heaters:0-527", f"heaters:0-{heaters - 1}")
    text = text.replace("heaters:528", f"heaters:{heaters}")
    text = text.replace('preset = "typical"', f'preset = "{preset}"\n{plant}')
    if architecture == "crossbar":
        kept = [
            line
            for line in text.splitlines()
            if not line.startswith(("local_oscillator", "[devices.lo_shutter]"))
        ]
        text = "\n".join(kept).replace('driver = "simulated_switch"\nconnection = "plant"\n', "")
        text = text.replace(', "lo_shutter"', "")
    if not oscillator:  # its shutter stays, to be closed
        text = "\n".join(
            line for line in text.splitlines() if not line.startswith("local_oscillator =")
        )
    path = folder / "bench.toml"
    path.write_text(text, "utf-8")
    return path
