"""What rules with slopes need of a trace: the signed field of every layer, as measured."""

from __future__ import annotations

from hilonn.errors import ConfigError
from hilonn.passes import Trace
from hilonn.typing import FloatArray


def fields(trace: Trace, rule: str) -> list[FloatArray]:
    """Signed fields z (samples, outputs) before the nonlinearity, layer by layer.

    The trace was asked with ``keep="all"``. ConfigError where a layer's detector read its power:
    the sign of z, which the slope of an even nonlinearity takes, is lost there.
    """
    for index, readout in enumerate(trace.readouts):
        if readout == "power":
            raise ConfigError(
                f"rule {rule!r} needs the sign of every layer's field, and layer "
                f"{trace.request.first + index} is read by power; set readout = 'homodyne' there, or "
                "use two_pass or spsa, which need no slope"
            )
    return trace.before
