"""What one channel has still to say of one alarm: its events folded into one line. Pure.

An alarm that comes, gets worse and goes while nobody can be reached stays one line; what was told already is not told
again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, get_args

from gateway.config.notices import Severity

SEVERITIES: tuple[str, ...] = get_args(Severity)
"""From the mildest to the worst."""
_BEGINS = frozenset({"raised", "no_data"})
_ENDS = frozenset({"cleared", "data_back"})
_ANSWERS = ("open", "acknowledged", "acted", "closed")
_KEPT = ("title", "label", "text", "value", "limit", "unit", "peak", "kind", "simulated")
"""Details of an event that a text may use."""


class AlarmEvent(Protocol):
    """One step in an alarm's life, as the alarms keep it."""

    @property
    def alarm(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def at_ms(self) -> int: ...
    @property
    def rule(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def severity(self) -> str: ...
    @property
    def details(self) -> Mapping[str, object]: ...


@dataclass(frozen=True, slots=True)
class Line:
    """One alarm as one channel sees it."""

    alarm: str
    rule: str
    subject: str
    cause: str
    """raised or no_data."""
    severity: str
    began_ms: int
    details: Mapping[str, object]
    """Of the event that began it, brought up to date: title, sentence, value, limit."""
    ended_ms: int | None = None
    answer: str = "open"
    """What people did about it: open, acknowledged, acted or closed."""
    news: Mapping[str, int] = field(default_factory=dict)
    """What has not been told yet: began, worse, unanswered, ended -> number of the event. Empty: nothing."""
    waits_since_ms: int | None = None
    """When the oldest news came in."""
    told_ms: int | None = None
    """When a message last spoke of it; None: never."""

    def to_json(self) -> str:
        """Return the line as text for a store."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Line:
        """Return what ``to_json`` wrote. Raises ValueError or TypeError when it is something else."""
        data: dict[str, Any] = json.loads(text)
        return cls(**data)


def rank(severity: str) -> int:
    """Return how bad it is, to compare with; what is not known is taken for the worst."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


def follow(line: Line | None, event: AlarmEvent, number: int, at_least: str, now_ms: int) -> Line | None:
    """Return the line after one more event of its alarm; None: there is nothing (more) to say.

    ``number`` is the event's own, ``at_least`` the severity from which this channel tells.
    """
    if line is None:
        if event.kind not in _BEGINS or not event.alarm:
            return None
        details = {key: event.details[key] for key in _KEPT if key in event.details}
        line = Line(event.alarm, event.rule, event.subject, event.kind, event.severity, event.at_ms, details)
        return _with_news(line, "began", number, now_ms) if rank(line.severity) >= rank(at_least) else line
    if event.kind == "escalated":
        new = {key: event.details[key] for key in _KEPT if event.details.get(key)}
        line = replace(line, severity=event.severity, details={**line.details, **new})
        if rank(line.severity) < rank(at_least):
            return line
        if line.told_ms is None and not line.news:
            return _with_news(line, "began", number, now_ms)
        unanswered = event.details.get("reason") == "unacknowledged"
        return _with_news(line, "unanswered" if unanswered else "worse", number, now_ms)
    if event.kind in _ENDS:
        peak = {key: event.details[key] for key in ("peak",) if event.details.get(key) is not None}
        line = replace(line, ended_ms=event.at_ms, details={**line.details, **peak})
        if is_verdict(line) or (line.told_ms is None and not line.news):
            return line if line.news else None
        return _with_news(line, "ended", number, now_ms)
    if event.kind in _ANSWERS and _ANSWERS.index(event.kind) > _ANSWERS.index(line.answer):
        line = replace(line, answer=event.kind)
    return None if line.answer == "closed" and not line.news else line


def told(line: Line, sent: Line, now_ms: int) -> Line | None:
    """Return the line after a message carried it as ``sent``; it may have gone on since. None: it is done."""
    news = {kind: number for kind, number in line.news.items() if sent.news.get(kind) != number}
    if not news and (line.ended_ms is not None or line.answer == "closed"):
        return None
    return replace(line, news=news, told_ms=now_ms, waits_since_ms=now_ms if news else None)


def is_verdict(line: Line) -> bool:
    """True for what was stated of a closed window: a fact that stands, so its end is no news."""
    return line.details.get("kind") == "verdict"


def _with_news(line: Line, kind: str, number: int, now_ms: int) -> Line:
    since_ms = now_ms if line.waits_since_ms is None else line.waits_since_ms
    return replace(line, news={**line.news, kind: number}, waits_since_ms=since_ms)
