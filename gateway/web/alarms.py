"""``/api/alerts``: alarms, limits and verdicts as plain dictionaries, and what a person's answer may say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gateway.model import Alarm, LimitLine, WindowVerdict
from gateway.web.bodies import read_by, read_object
from gateway.web.history import BadQuery, NotKnown, whole
from gateway.web.state import AlarmDesk, AlarmStep, PageState

Json = dict[str, Any]

MAX_NOTE = 1000
LIST_MS = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person says to an alarm."""

    by: str
    note: str


def desk(state: PageState) -> AlarmDesk:
    """Return the alarms. Raises NotKnown on a site without rules."""
    if state.alarms is None:
        raise NotKnown("This site has no alarm rules: name some under alerts in the site file.")
    return state.alarms


def span(query: Mapping[str, str], now_ms: int) -> tuple[int, int] | None:
    """Return the time asked for, None for what is open now. Raises BadQuery with one sentence."""
    wanted = query.get("state", "open")
    if wanted not in ("open", "all"):
        raise BadQuery("'state' must be open or all.")
    if wanted == "open":
        return None
    to_ms = whole(query, "to", now_ms + 1)
    from_ms = whole(query, "from", to_ms - LIST_MS)
    if from_ms >= to_ms:
        raise BadQuery("'from' must be before 'to'; both are Unix milliseconds.")
    return from_ms, to_ms


def read_answer(body: bytes) -> Answer:
    """Check the body of a POST. Raises BadQuery with one sentence."""
    given = read_object(body, ("by", "note"), 'Send a JSON object with "by" (who you are) and "note".')
    by, note = read_by(given.get("by")), given.get("note", "")
    if not isinstance(note, str):
        raise BadQuery('"note" must be a text.')
    note = note.strip()
    if len(note) > MAX_NOTE or not note.replace("\n", " ").isprintable():
        raise BadQuery(f'"note" must be plain text of at most {MAX_NOTE} letters.')
    return Answer(by, note)


def listing(state: PageState, alarms: Sequence[Alarm]) -> Json:
    """``/api/alerts``. ``answerable``: whether people may acknowledge and close here (they need a password)."""
    return {
        "engine": "not configured" if state.alarms is None else "running",
        "answerable": state.site.page.locked,
        "alerts": [alarm(each) for each in alarms],
    }


def alarm(each: Alarm) -> Json:
    """One alarm."""
    return {**asdict(each), "details": dict(each.details)}


def with_history(each: Alarm, steps: Sequence[AlarmStep]) -> Json:
    """``/api/alerts/{id}``: one alarm and all that happened to it, in order."""
    events = [{"kind": s.kind, "at_ms": s.at_ms, "severity": s.severity, "details": dict(s.details)} for s in steps]
    return {**alarm(each), "events": events}


def limits(lines: Sequence[LimitLine]) -> list[Json]:
    """``/api/limits``: the levels of all rules, per series."""
    return [_labelled(line) for line in lines]


def verdicts(found: Sequence[WindowVerdict]) -> list[Json]:
    """``/api/verdicts``: how the days and nights stand."""
    return [_labelled(verdict) for verdict in found]


def _labelled(each: LimitLine | WindowVerdict) -> Json:
    body = asdict(each)
    label = {"en": body.pop("en"), "zh": body.pop("zh")}
    return {**body, "label": label}
