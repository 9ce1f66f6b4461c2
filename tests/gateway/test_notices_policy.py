"""When people are told, and of what: pure, by tables and against a simple model."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.alerts.state import Event
from gateway.ledger.day import Calendar
from gateway.notices import text
from gateway.notices.line import SEVERITIES, Line, follow, rank, told
from gateway.notices.policy import HOUR_MS, MOST_WAITING, Plan, Quiet, Settings, plan

ZONE = ZoneInfo("Asia/Shanghai")
ABOUT = text.About({"en": "Lot 2", "zh": "二标段"}, ZONE, link="https://box.example.com/")
MINUTE_MS = 60_000
QUIET = Quiet(time(22), time(6), "critical", Calendar(ZONE))
PLAIN = Settings("warning", fold_ms=30_000, expire_ms=12 * HOUR_MS, most_per_hour=12)
WORDS = {
    "title": {"en": "PM10, live", "zh": "PM10 实时预警"},
    "label": {"en": "East gate", "zh": "东门"},
    "text": {"en": "East gate: PM10 236 µg/m³, limit 200", "zh": "东门：PM10 236 µg/m³，限值 200"},
    "value": 236.0, "limit": 200.0, "unit": "µg/m³", "kind": "warning", "source": "nobody reads this here",
}  # fmt: skip


def at(clock: str, day: int = 22) -> int:
    """A time on the site."""
    return round(datetime(2026, 11, day, *map(int, clock.split(":")), tzinfo=ZONE).timestamp() * 1000)


NOON = at("12:00")


def event(what: str, at_ms: int = NOON, alarm: str = "dust@gate@1", severity: str = "alarm", **details: Any) -> Event:
    words = WORDS if what in ("raised", "no_data", "escalated") else {}
    return Event(alarm, what, at_ms, "dust", "gate", severity, {**words, **details})  # type: ignore[arg-type]


def line_of(*events: Event, at_least: str = "warning") -> Line | None:
    line: Line | None = None
    for number, each in enumerate(events, 1):
        line = follow(line, each, number, at_least, each.at_ms)
    return line


def some(alarm: str = "dust@gate@1", at_ms: int = NOON, severity: str = "alarm") -> Line:
    line = line_of(event("raised", at_ms, alarm, severity))
    assert line is not None
    return line


def news_of(line: Line | None) -> set[str]:
    return set() if line is None else set(line.news)


# --- lines ------------------------------------------------------------------------------------------------------


def test_an_alarm_that_comes_gets_worse_and_goes_untold_is_one_line() -> None:
    line = line_of(
        event("raised", severity="warning"),
        event("escalated", NOON + 1, reason="limit", value=300.0),
        event("cleared", NOON + 2, peak=310.0),
    )
    assert line is not None
    assert (line.severity, line.ended_ms, line.details["value"], line.details["peak"]) == (
        "alarm",
        NOON + 2,
        300.0,
        310.0,
    )
    assert "source" not in line.details, "only what a text can use"
    assert told(line, line, NOON + 3) is None, "all is said"


@pytest.mark.parametrize(
    ("events", "news"),
    [
        ([event("raised", severity="info")], set()),
        ([event("raised", severity="info"), event("escalated", reason="limit")], {"began"}),
        ([event("no_data", severity="warning")], {"began"}),
        ([event("verdict", outcome="exceeded")], set()),
        ([event("suppressed", severity="info")], set()),
        ([event("raised"), event("acknowledged", by="Li"), event("acted")], {"began"}),
        ([event("raised"), event("cleared"), event("closed")], {"began", "ended"}),
        ([event("raised", severity="info"), event("cleared")], set()),
        ([event("cleared")], set()),
    ],
)
def test_what_is_news(events: list[Event], news: set[str]) -> None:
    assert news_of(line_of(*events)) == news


def test_told_alarms_are_told_again_only_when_something_happens() -> None:
    begun = some()
    line = told(begun, begun, NOON)
    assert line is not None
    assert news_of(line) == set()
    assert news_of(follow(line, event("acknowledged"), 2, "warning", NOON)) == set()
    assert news_of(follow(line, event("escalated", reason="limit"), 2, "warning", NOON)) == {"worse"}
    assert news_of(follow(line, event("escalated", reason="unacknowledged"), 2, "warning", NOON)) == {"unanswered"}
    assert news_of(follow(line, event("cleared"), 2, "warning", NOON)) == {"ended"}
    assert follow(line, event("closed"), 2, "warning", NOON) is None


def test_what_happens_while_a_message_is_under_way_is_told_by_the_next() -> None:
    sent = some()
    line = follow(sent, event("cleared", NOON + 5), 2, "warning", NOON + 5)
    assert line is not None
    left = told(line, sent, NOON + 6)
    assert news_of(left) == {"ended"}
    assert left is not None
    assert left.waits_since_ms == NOON + 6


def test_the_end_of_a_stated_window_is_no_news() -> None:
    stated = line_of(event("raised", kind="verdict"), event("cleared", reason="the window has ended"))
    assert news_of(stated) == {"began"}
    assert stated is not None
    begun = told(replace(stated, ended_ms=None), stated, NOON)
    assert follow(begun, event("cleared"), 3, "warning", NOON) is None


def test_a_line_survives_as_text() -> None:
    line = line_of(event("raised"), event("cleared", NOON + 1))
    assert line is not None
    assert Line.from_json(line.to_json()) == line


# --- when -------------------------------------------------------------------------------------------------------


def test_a_message_waits_for_others_to_join_it() -> None:
    early, late = some("a"), some("b", NOON + 20_000)
    assert plan([early, late], PLAIN, [], NOON + 29_999) == Plan()
    assert plan([early, late], PLAIN, [], NOON + 30_000).send == (late, early)


def test_a_first_critical_alarm_goes_at_once_and_the_next_joins_the_next_message() -> None:
    crane = some("crane", severity="critical")
    assert plan([crane], PLAIN, [], NOON).send == (crane,)
    assert plan([crane], PLAIN, [NOON - 10_000], NOON).send == ()
    assert plan([crane], PLAIN, [NOON - 30_000], NOON).send == (crane,)


def test_messages_per_hour_and_the_quarter_that_is_kept_for_critical_alarms() -> None:
    sent = [NOON - minute * MINUTE_MS for minute in range(1, 10)]
    due = some(at_ms=NOON - MINUTE_MS)
    assert plan([due], PLAIN, sent[:8], NOON).send == (due,)
    assert plan([due], PLAIN, sent, NOON).send == (), "nine of twelve"
    crane = some("crane", severity="critical")
    assert plan([due, crane], PLAIN, sent, NOON).send == (crane, due), "and whatever waits goes with it"
    assert plan([crane], PLAIN, [NOON - minute * MINUTE_MS for minute in range(1, 13)], NOON).send == ()
    assert plan([due], replace(PLAIN, most_per_hour=1), [], NOON).send == (due,)
    assert plan([due], PLAIN, [NOON + HOUR_MS] * 12, NOON).send == (due,), "the clock was set back: nothing is held up"


@pytest.mark.parametrize(
    ("moment", "released"),
    [("21:59", "21:59"), ("22:00", "06:00+1"), ("23:30", "06:00+1"), ("05:59", "06:00"), ("06:00", "06:00")],
)
def test_quiet_hours_are_half_open_and_cross_midnight(moment: str, released: str) -> None:
    clock, _, later = released.partition("+")
    assert QUIET.released_ms(at(moment)) == at(clock, 22 + int(later or 0))
    by_day = Quiet(time(12), time(14), "critical", Calendar(ZONE))
    assert by_day.released_ms(at("13:00")) == at("14:00")
    assert by_day.released_ms(at("14:00")) == at("14:00")


def test_quiet_hours_end_in_one_summary_and_what_is_severe_enough_does_not_wait() -> None:
    quiet = replace(PLAIN, quiet=QUIET)
    noise, crane = some("noise", at("23:00")), some("crane", at("23:30"), severity="critical")
    assert plan([noise, crane], quiet, [], at("23:30")).send == (crane,)
    over = follow(told(crane, crane, at("23:31")), event("cleared", at("23:50")), 9, "warning", at("23:50"))
    assert over is not None
    assert plan([noise, over], quiet, [], at("03:00", 23)).send == (), "that it is over can wait"
    assert plan([noise, over], quiet, [], at("06:00", 23)).send == ()
    assert plan([noise, over], quiet, [], at("06:00", 23) + 30_000).send == (over, noise)


def test_what_is_over_expires_and_what_holds_does_not() -> None:
    holding, over = some("a"), replace(some("b"), ended_ms=NOON + MINUTE_MS)
    assert plan([holding, over], PLAIN, [], NOON + 12 * HOUR_MS) == Plan((holding, over))
    assert plan([holding, over], PLAIN, [], NOON + 13 * HOUR_MS) == Plan((holding,), (over,))


def test_quiet_hours_do_not_count_as_age() -> None:
    quiet = replace(PLAIN, expire_ms=HOUR_MS, quiet=QUIET)
    over = replace(some(at_ms=at("22:10")), ended_ms=at("22:20"))
    assert plan([over], quiet, [], at("06:01", 23)).send == (over,)
    assert plan([over], quiet, [], at("07:00", 23)).expired == (over,)


def test_reminders_only_where_wanted_and_while_nobody_answers() -> None:
    begun = some()
    line = told(begun, begun, NOON)
    assert line is not None
    hourly = replace(PLAIN, remind_ms=HOUR_MS)
    assert plan([line], PLAIN, [], NOON + 99 * HOUR_MS) == Plan()
    assert plan([line], hourly, [], NOON + HOUR_MS) == Plan()
    (reminder,) = plan([line], hourly, [], NOON + HOUR_MS + 30_000).send
    assert news_of(reminder) == {"unanswered"}
    after = told(line, reminder, NOON + HOUR_MS)
    assert after is not None
    assert plan([after], hourly, [], NOON + 2 * HOUR_MS) == Plan()
    assert plan([replace(line, answer="acknowledged")], hourly, [], NOON + 9 * HOUR_MS) == Plan()


def test_lines_are_bounded_and_the_mildest_go_first() -> None:
    many = [some(f"a{i}", severity="warning") for i in range(MOST_WAITING)]
    crane = some("crane", severity="critical")
    found = plan([*many, crane], PLAIN, [], NOON + HOUR_MS)
    assert len(found.send) == MOST_WAITING
    assert found.send[0] == crane
    assert len(found.expired) == 1


Step = tuple[str, int, int, bool]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["raised", "escalated", "cleared", "closed", "nothing"]),
        st.integers(0, 4),
        st.sampled_from([0, 1, 20, 300, 4000, 40_000]),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=150)
@given(STEPS, st.sampled_from(SEVERITIES), st.integers(1, 12), st.booleans(), st.integers(0, 5))
def test_nothing_is_lost_nothing_is_told_twice_and_never_too_often(
    steps: list[Step], at_least: str, most: int, with_quiet: bool, seed: int
) -> None:
    """A day or more of alarms on a channel that is up and down; in the end it is up, and all is said or counted."""
    chance = random.Random(seed)
    wanted = Settings(at_least, 30_000, 12 * HOUR_MS, most, quiet=QUIET if with_quiet else None)
    lines: dict[str, Line] = {}
    sent_ms: list[int] = []
    said: Counter[tuple[str, str, int]] = Counter()
    must: set[str] = set()
    expired: set[str] = set()
    open_alarms: dict[int, str] = {}
    now_ms = NOON

    def send(up: bool) -> None:
        found = plan(lines.values(), wanted, sent_ms, now_ms)
        for line in found.expired:
            assert line.ended_ms is not None
            del lines[line.alarm]
            expired.add(line.alarm)
        if not found.send or not up:
            return
        if with_quiet and QUIET.released_ms(now_ms) > now_ms:
            assert all(line.severity == "critical" and line.ended_ms is None for line in found.send)
        sent_ms.append(now_ms)
        assert sum(now_ms - ms < HOUR_MS for ms in sent_ms) <= most
        for line in found.send:
            for kind, n in line.news.items():
                said[line.alarm, kind, n] += 1
            left = told(lines[line.alarm], line, now_ms)
            if left is None:
                del lines[line.alarm]
            else:
                lines[line.alarm] = left

    for number, (kind, place, pause_s, up) in enumerate(steps, 1):
        now_ms += pause_s * 1000
        begins = kind == "raised" and place not in open_alarms
        if begins:
            open_alarms[place] = f"dust@{place}@{number}"
        if begins or (kind not in ("raised", "nothing") and place in open_alarms):
            alarm, severity = open_alarms[place], chance.choice(SEVERITIES)
            line = follow(lines.get(alarm), event(kind, now_ms, alarm, severity), number, at_least, now_ms)
            if begins and rank(severity) >= rank(at_least):
                must.add(alarm)
            if kind in ("cleared", "closed"):
                del open_alarms[place]
            lines.pop(alarm, None) if line is None else lines.__setitem__(alarm, line)
        send(up)
    for _ in range(60):
        now_ms += 31 * MINUTE_MS
        send(True)
    assert all(not line.news for line in lines.values())
    assert must - {alarm for alarm, kind, _ in said if kind == "began"} <= expired
    assert set(said.values()) <= {1}


# --- words ------------------------------------------------------------------------------------------------------


def test_one_alarm_in_both_languages() -> None:
    line = some("dust@gate@1")
    english = text.compose([line], ABOUT, "en", 0, NOON + 1)
    assert english.title == "Lot 2: NEW, East gate: PM10, live (alarm)"
    assert english.body.splitlines() == [
        "[NEW] East gate: PM10 236 µg/m³, limit 200",
        "alarm; since 12:00; limit 200 µg/m³; not acknowledged",
        "See and answer: https://box.example.com/#alarm=dust@gate@1",
    ]
    chinese = text.compose([line], ABOUT, "zh", 0, NOON + 1)
    assert chinese.title == "二标段：新，东门：PM10 实时预警（报警）"
    assert "12:00 起；限值 200 µg/m³；未确认" in chinese.body
    assert chinese.alarms == ("dust@gate@1",)


def test_came_and_went_recovery_missing_data_and_the_day_before() -> None:
    over = replace(some(), ended_ms=NOON + 25 * MINUTE_MS, details={**WORDS, "peak": 260.44})
    went = text.compose([over], ABOUT, "en", 0, at("09:00", 23)).body
    assert "[WAS] East gate" in went
    assert "11-22 12:00 to 11-22 12:25 (25 min); limit 200 µg/m³; worst 260.4 µg/m³" in went
    assert "[OVER]" in text.compose([replace(over, told_ms=NOON)], ABOUT, "en", 0, NOON).body
    silent = replace(some(), cause="no_data")
    assert text.sentence(silent, "zh") == "东门：PM10 实时预警无数据"
    stated = replace(over, details={**WORDS, "kind": "verdict"})
    assert "stated 12:00" in text.compose([stated], ABOUT, "en", 0, NOON).body


def test_a_simulated_site_says_so_in_title_and_text() -> None:
    simulated = replace(ABOUT, simulated=True)
    for message in (
        text.compose([some()], simulated, "zh", 0, NOON),
        text.compose([some("a"), some("b")], simulated, "zh", 3, NOON),
        text.test_message(simulated, "zh", "office"),
    ):
        assert message.title.startswith("【模拟】")
        assert message.body.startswith("模拟工地")
    assert "SIMULATED" in text.test_message(simulated, "en", "office").title
    assert "模拟" not in text.compose([some()], ABOUT, "zh", 0, NOON).body


@pytest.mark.parametrize("language", ["en", "zh"])
def test_two_hundred_alarms_fit_into_a_robots_message_and_all_are_counted(language: str) -> None:
    lines = [replace(some(f"a{i}"), subject=f"gate-{i}", rule=f"rule{i % 7}") for i in range(200)]
    message = text.compose(lines, ABOUT, language, 37, NOON)
    assert len(message.body.encode()) <= text.BODY_BYTES
    assert len(message.title) <= text.TITLE_LETTERS
    shown = message.body.count("#alarm=")
    assert 4 <= shown < 200
    assert f"{200 - shown}" in message.body
    assert "37" in message.body
    assert len(message.alarms) == 200


def test_an_alarm_that_came_again_and_again_is_one_paragraph() -> None:
    lines = [replace(some(f"a{i}", NOON - i * HOUR_MS), ended_ms=NOON) for i in range(5)]
    body = text.compose(lines, ABOUT, "en", 0, NOON).body
    assert body.count("East gate") == 1
    assert "5 times, first 08:00" in body


def test_both_languages_know_the_same_words() -> None:
    assert text._EN.keys() == text._ZH.keys()
    for key in text._EN:
        assert sorted(_fields(text._EN[key])) == sorted(_fields(text._ZH[key])), key


def _fields(template: str) -> list[str]:
    import string

    return [name for _, name, _, _ in string.Formatter().parse(template) if name]


@given(st.text(max_size=400), st.text(max_size=400), st.sampled_from(SEVERITIES), st.integers(0, 10**9))
def test_no_name_breaks_or_bloats_a_message(label: str, title: str, severity: str, expired: int) -> None:
    words = {"title": {"en": title}, "label": {"en": label}}
    line = replace(some(severity=severity), details=words)
    message = text.compose([line, replace(line, subject="b")], ABOUT, "en", expired, NOON)
    assert len(message.body.encode()) <= 2048
    assert "\n" not in message.title
