"""Learning rules on the same requests and traces."""

from hilonn.rules.backprop import Backprop
from hilonn.rules.direct_feedback_alignment import DirectFeedbackAlignment
from hilonn.rules.in_situ_backprop import InSituBackprop
from hilonn.rules.physics_aware import PhysicsAware
from hilonn.rules.rule import (
    QUIET,
    NoiseReading,
    Rule,
    RuleModel,
    StepGenerator,
    StepResult,
    TrainingBatch,
)
from hilonn.rules.spsa import Spsa
from hilonn.rules.two_pass import TwoPass

__all__ = [
    "QUIET",
    "Backprop",
    "DirectFeedbackAlignment",
    "InSituBackprop",
    "NoiseReading",
    "PhysicsAware",
    "Rule",
    "RuleModel",
    "Spsa",
    "StepGenerator",
    "StepResult",
    "TrainingBatch",
    "TwoPass",
]
