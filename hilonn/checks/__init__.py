"""Go or no-go: is everything there, is it the right one, dark when it should be, and does a known pattern come out?"""

from hilonn.checks.bench import BY_HAND, check_bench
from hilonn.checks.report import CheckedBench, CheckReport, CheckStep, not_opened

__all__ = ["BY_HAND", "CheckReport", "CheckStep", "CheckedBench", "check_bench", "not_opened"]
