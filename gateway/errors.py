"""Errors of the gateway: one class per reaction."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a configuration file. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    path: str
    text: str
    """What is wrong and what to do."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.path}: {self.text}"


class ConfigError(Exception):
    """The configuration is wrong: nothing starts. Carries every problem at once."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(p) for p in problems))
        self.problems = problems


class SinkUnavailable(Exception):
    """The sink took nothing. Keep everything and come back after ``retry_after_s`` (None: own back-off)."""

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class SinkTimeout(SinkUnavailable):
    """The sink was reached but did not answer in time: come back with less at once (large requests may stall)."""


class StoreBusy(Exception):
    """Another process holds the store. The second one stops with this sentence."""


class NotNow(Exception):
    """What a person asked for is known but cannot be done in the present state; the sentence says why."""


class AddressUnavailable(Exception):
    """The page cannot listen where the site file says (port in use, not ours, no right): says what to do."""
