"""The simulated chip: a plant with hidden true parameters, and devices that are views on it."""

from hilonn.simulators.plant import Plant
from hilonn.simulators.presets import EFFECTS, PRESETS, PlantParameters, resolve

__all__ = ["EFFECTS", "PRESETS", "Plant", "PlantParameters", "resolve"]
