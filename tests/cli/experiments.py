"""The experiment of this folder's tests: xor on 2-8-2, a second or two long."""

from __future__ import annotations

RULE = """
name = "two_pass"
feedback_scale = 1.0
rate = 0.02
hidden_rate = 0.2
"""


def short(rule: str = RULE, *, epochs: int = 4, hidden: str = "", training: str = "") -> str:
    """The file's text; ``hidden`` and ``training`` are more lines of those sections."""
    return f"""
[data]
name = "xor"

[[layers]]
outputs = 8
activation = "saturating_square"
{hidden}

[[layers]]
outputs = 2

[rule]
{rule}

[training]
epochs = {epochs}
batch = 20
{training}
"""
