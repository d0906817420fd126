"""Requests, plans and the runner that drives passes through a chip."""

from hilonn.passes.log import PassLog
from hilonn.passes.placement import Placement
from hilonn.passes.plan import PassPlan, PlannedPass, plan
from hilonn.passes.request import Keep, PassRequest, Trace, Weights
from hilonn.passes.runner import PairRetake, PassRunner, Programmed, RunnerStatistics

__all__ = [
    "Keep",
    "PairRetake",
    "PassLog",
    "PassPlan",
    "PassRequest",
    "PassRunner",
    "Placement",
    "PlannedPass",
    "Programmed",
    "RunnerStatistics",
    "Trace",
    "Weights",
    "plan",
]
