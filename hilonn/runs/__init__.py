"""Run folders, checkpoints, what a run was made with."""

from hilonn.runs.checkpoint import generator_state, restore_generator
from hilonn.runs.environment import environment, hilonn_version
from hilonn.runs.run import Run, differences, weights_sha256

__all__ = [
    "Run",
    "differences",
    "environment",
    "generator_state",
    "hilonn_version",
    "restore_generator",
    "weights_sha256",
]
