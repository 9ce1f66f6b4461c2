"""The ``report:`` block of a site, a device or a point: which readings go to the buffer and on to the sinks."""

from __future__ import annotations

from math import inf
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gateway.config.model import Duration, Model
from gateway.config.profile import ReportRule


class ReportConfig(Model):
    """Thins what goes to buffer and sinks; page, minutes, alarms and control see every reading all the same."""

    when: Literal["change", "all"] = "change"
    """change: what differs from the last report by more than the deadband. all: every reading."""
    deadband: Annotated[float, Field(ge=0)] = 0.0
    """In the unit of each metric. States are reported at any change, whatever stands here."""
    deadband_percent: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Percent of the value last reported, of directions of the circle, not for counters. The larger deadband counts."""
    min_interval: Duration | None = None
    """No default; a value is reported at most this often. What a device says of its quality goes at once."""
    max_interval: Duration = 600.0
    """After so long the next reading is reported though nothing changed; an old value is never sent again."""
    last_before: bool = True
    """A change brings the last value before it along, so that a step stays a step."""

    @model_validator(mode="after")
    def _agree(self) -> ReportConfig:
        useless = {"deadband", "deadband_percent", "max_interval", "last_before"} & self.model_fields_set
        if self.when == "all" and useless:
            raise ValueError(f"{min(useless)} belongs to when: change; remove it, or when: all")
        if self.min_interval is not None and self.when == "change" and self.min_interval > self.max_interval:
            raise ValueError("min_interval is longer than max_interval, which is 10min if not written")
        return self

    def rule(self) -> ReportRule:
        """Return the same without YAML."""
        return ReportRule(
            on_change=self.when == "change",
            deadband=self.deadband,
            deadband_percent=self.deadband_percent,
            min_s=self.min_interval or 0.0,
            max_s=self.max_interval if self.when == "change" else inf,
            last_before=self.last_before,
        )
