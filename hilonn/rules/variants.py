"""Published variants of two_pass, by name: settings of the one rule, not copies of its code."""

from __future__ import annotations

from typing import Any

PUBLISHED: dict[str, dict[str, Any]] = {
    # Dellaferrera & Kreiman, ICML 2022: presynaptic factor of the second pass, F not normalised.
    "pepita": {
        "feedback_scale": 0.05,
        "normalise": False,
        "presynaptic": "second",
        "output": "softmax",
        "scale_rate": False,
        "rate": 0.1,
        "hidden_rate": 0.1,
        "error_limit": 0.0,
        "step_limit": 0.0,
    },
    # Srinivasan et al., arXiv:2302.05440: the error enters every layer's own input.
    "two_pass_layers": {"error_enters": "layers"},
    # Akrout et al. 2019 for feedback alignment; the weights are known here, and need no measuring.
    "two_pass_mirrored": {"feedback": "mirrored"},
    "two_pass_layers_mirrored": {"error_enters": "layers", "feedback": "mirrored"},
    # The same: each trip's own part is learned right after it.
    "two_pass_time_local": {"update": "time_local"},
    "two_pass_second": {"presynaptic": "second"},
    # A B B A cancels a drift linear in time, at twice the passes (physics rule 10).
    "two_pass_abba": {"order": "ABBA"},
}
