"""``check``: go or no-go."""

from __future__ import annotations

import json as json_module
import sys

from hilonn.bench import Bench
from hilonn.checks import BY_HAND, CheckReport, CheckStep, not_opened
from hilonn.errors import ConfigError, HilonnError


def check_command(
    bench: str, *, seed: int, chip_seed: int, imports: tuple[str, ...], json: bool
) -> int:
    """Print the report; the exit code is 0 for go and 1 for no-go, one that does not open among them. ConfigError where
    the file is wrong."""
    report: CheckReport | None = None
    try:
        with Bench.open(bench, seed=seed, chip_seed=chip_seed, imports=imports) as opened:
            report = opened.check()
    except ConfigError:
        raise
    except HilonnError as error:
        if report is None:
            report = not_opened(bench, error)
        else:
            report = report.and_then(CheckStep("closing", "BAD", str(error), BY_HAND))
    if json:
        sys.stdout.write(json_module.dumps(report.as_dict()) + "\n")
    else:
        sys.stdout.write(f"{report}\n")
    return 0 if report.go else 1
