"""Learning rules on the same requests and traces."""

from hilonn.rules.backprop import Backprop
from hilonn.rules.rule import Rule, StepGenerator, StepResult, TrainingBatch
from hilonn.rules.two_pass import TwoPass

__all__ = ["Backprop", "Rule", "StepGenerator", "StepResult", "TrainingBatch", "TwoPass"]
