"""Runs the cases beside a rule file: what is fed, and what must happen when (``case_file``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.alerts.case_file import Case, CaseFile, cases_beside, offset_ms, offset_text, read_cases, samples
from gateway.alerts.play import Feeds, play
from gateway.alerts.presets import bind
from gateway.alerts.rule_file import Written
from gateway.alerts.state import Event
from gateway.ledger.day import Calendar

_WORDS = {"firing": "raised", "silent": "no_data"}
"""Words for people that mean a kind of event."""


@dataclass(frozen=True, slots=True)
class Result:
    """How one case went."""

    file: str
    case: str
    rule: str
    faults: tuple[str, ...]


def test_rules(file: Path) -> list[Result]:
    """Run the cases of a rule file or of a file of cases. Raises ConfigError for what is wrong in either."""
    cases, rules = read_cases(file)
    by_name = {rule.keys.alert: rule for rule in rules}
    case_file = cases_beside(file)
    return [_run(cases, case, by_name[case.rule or rules[0].keys.alert], case_file) for case in cases.cases]


# --- one case ---------------------------------------------------------------------------------------------------


def _run(cases: CaseFile, case: Case, written: Written, file: Path) -> Result:
    calendar = Calendar(ZoneInfo(cases.timezone), *cases.site.hours.day)
    rule = bind(written.keys, written, calendar, cases.site)
    zero_ms = round(case.start.replace(tzinfo=calendar.zone).timestamp() * 1000)
    feeds: Feeds = {name: samples(text) for name, text in case.feed.items()}
    events = list(play(rule, feeds, calendar, zero_ms, round((case.step or cases.step) * 1000)))
    return Result(str(file), case.name, rule.name, tuple(_compare(case.expect, events, zero_ms)))


def _compare(expect: Sequence[str], events: Sequence[Event], zero_ms: int) -> Iterator[str]:
    happened = [_told(event, zero_ms) for event in events]
    for i in range(max(len(expect), len(happened))):
        wanted = expect[i].split() if i < len(expect) else []
        got = happened[i].split() if i < len(happened) else []
        if not wanted:
            yield f"not expected: {' '.join(got)}"
        elif not got:
            yield f"did not happen: {' '.join(wanted)}"
        elif (offset_ms(wanted[0]), [_WORDS.get(w, w) for w in wanted[1:]]) != (
            offset_ms(got[0]),
            got[1 : len(wanted)],
        ):
            yield f"expected {' '.join(wanted)}, got {' '.join(got)}"


def _told(event: Event, zero_ms: int) -> str:
    word = event.details.get("outcome") if event.kind == "verdict" else event.severity
    return f"{offset_text(event.at_ms - zero_ms)} {event.kind} {word}"
