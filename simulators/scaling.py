"""The way back through the gateway's scaling: from the metric's unit to the number that a device would send."""

from __future__ import annotations

from gateway.config.profile import PointRule
from gateway.vocabulary import Kind


def to_raw(rule: PointRule, value: float) -> float:
    """Return the raw number that the pipeline turns into ``value``; a counter with a wrap starts again there."""
    if rule.metric.kind is Kind.COUNTER and rule.wrap is not None:
        value %= rule.wrap
    return rule.unscaled(value)


def shown_raw(rule: PointRule, value: float) -> float | int:
    """Return the raw number as devices print it: a few decimals, states and bits whole."""
    shown = round(to_raw(rule, value), rule.metric.decimals + 2 if rule.metric.decimals else 0)
    return int(shown) if shown.is_integer() else shown
