"""``/api/outputs`` and ``/api/journal``: what control does, and what a person's command may say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gateway.model import JournalEntry, OutputStatus
from gateway.web.bodies import read_by, read_object
from gateway.web.history import BadQuery, NotKnown, whole
from gateway.web.state import OutputDesk, PageState

Json = dict[str, Any]

COMMANDS = ("on", "off", "auto")
USUAL_MINUTES = 15.0
"""How long an output stays in somebody's hands when the command does not say."""
MAX_MINUTES = 24 * 60.0
DAY_MS = 86_400_000
MAX_JOURNAL_MS = 31 * DAY_MS
MAX_ENTRIES = 2_000


@dataclass(frozen=True, slots=True)
class Command:
    """What a person asks of an output."""

    by: str
    minutes: float
    """How long it stays in that person's hands; without meaning for ``auto``."""


@dataclass(frozen=True, slots=True)
class JournalQuery:
    """A checked question; ``output`` None means all."""

    from_ms: int
    to_ms: int
    output: str | None


def desk(state: PageState) -> OutputDesk:
    """Return control. Raises NotKnown on a site without outputs."""
    if state.outputs is None:
        raise NotKnown("This site has no outputs: write them under outputs in the site file.")
    return state.outputs


def read_command(body: bytes) -> Command:
    """Check the body of a POST. Raises BadQuery with one sentence."""
    given = read_object(body, ("by", "minutes"), 'Send a JSON object with "by" (who you are) and "minutes".')
    by, minutes = read_by(given.get("by")), given.get("minutes", USUAL_MINUTES)
    if isinstance(minutes, bool) or not isinstance(minutes, (int, float)):
        raise BadQuery('"minutes" must be a number.')
    if not 0 < minutes <= MAX_MINUTES:  # whole numbers of any length, and NaN, compare
        raise BadQuery(f'"minutes" must be more than 0 and at most {MAX_MINUTES:.0f}.')
    return Command(by, float(minutes))


def parse_journal(state: PageState, query: Mapping[str, str], now_ms: int) -> JournalQuery:
    """Check the parameters; without any the last day. Raises BadQuery or NotKnown with one sentence."""
    to_ms = whole(query, "to", now_ms + 1)
    from_ms = whole(query, "from", to_ms - DAY_MS)
    if from_ms >= to_ms:
        raise BadQuery("'from' must be before 'to'; both are Unix milliseconds.")
    if to_ms - from_ms > MAX_JOURNAL_MS:
        raise BadQuery("The journal is given for at most 31 days at once; ask for a shorter time.")
    output = query.get("output")
    if output is not None and output not in {each.name for each in desk(state).outputs()}:
        raise NotKnown(f"There is no output {output[:80]!r} on this site. /api/outputs lists them.")
    return JournalQuery(from_ms, to_ms, output)


def listing(state: PageState) -> Json:
    """``/api/outputs``. ``switchable``: whether people may switch here (they need the password)."""
    found = [] if state.outputs is None else state.outputs.outputs()
    return {"switchable": state.site.page.locked, "outputs": [status(each) for each in found]}


def status(each: OutputStatus) -> Json:
    """One output."""
    body = asdict(each)
    label = {"en": body.pop("en"), "zh": body.pop("zh")}
    return {**body, "label": label}


def journal(query: JournalQuery, entries: Sequence[JournalEntry]) -> Json:
    """``/api/journal``: the newest first; ``complete`` is false when older ones of that time were left off."""
    return {
        "from_ms": query.from_ms,
        "to_ms": query.to_ms,
        "complete": len(entries) <= MAX_ENTRIES,
        "entries": [{**asdict(each), "details": dict(each.details)} for each in entries[:MAX_ENTRIES]],
    }
