"""When a rule holds: half open, in the site's time, over midnight and over the new year."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.alerts.schedule import CHINA, Period, When
from gateway.ledger.day import Calendar

BERLIN = Calendar(ZoneInfo("Europe/Berlin"))


def covers(when: When, start: str, minutes: int = 1) -> bool:
    begin = datetime.fromisoformat(start).replace(tzinfo=when.calendar.zone)
    start_ms = round(begin.timestamp() * 1000)
    return when.covers(start_ms, start_ms + round(timedelta(minutes=minutes) / timedelta(milliseconds=1)))


@pytest.mark.parametrize(
    ("keys", "start", "minutes", "expected"),
    [
        ({"name": "day"}, "2026-06-01 21:59", 1, True),
        ({"name": "day"}, "2026-06-01 22:00", 1, False),
        ({"name": "night"}, "2026-06-01 22:00", 1, True),
        ({"name": "night"}, "2026-06-01 21:50", 20, False),
        ({"name": "day"}, "2026-06-01 21:50", 20, False),
        ({"name": "night"}, "2026-06-02 05:40", 20, True),
        ({"name": "night"}, "2026-06-01 22:00", 480, True),
        ({"name": "night"}, "2026-06-01 22:00", 481, False),
        ({"name": "hours", "begin": 720, "end": 840}, "2026-06-01 12:00", 120, True),
        ({"name": "hours", "begin": 720, "end": 840}, "2026-06-01 13:59", 2, False),
        ({"name": "hours", "begin": 1380, "end": 60}, "2026-06-01 23:30", 60, True),
        ({"name": "hours", "begin": 1380, "end": 60}, "2026-06-02 01:00", 1, False),
        ({"valid_from": date(2026, 1, 1)}, "2025-12-31 23:59", 1, False),
        ({"valid_from": date(2026, 1, 1)}, "2026-01-01 00:00", 1, True),
        ({"valid_until": date(2025, 12, 31), "name": "night"}, "2026-01-01 05:00", 60, True),
        ({"valid_from": date(2026, 1, 1), "name": "night"}, "2026-01-01 05:00", 60, False),
        ({"season": ((11, 15), (3, 15))}, "2026-01-10 12:00", 1, True),
        ({"season": ((11, 15), (3, 15))}, "2026-03-16 00:00", 1, False),
        ({"season": ((2, 1), (2, 29))}, "2028-02-29 23:59", 1, True),
        ({"season": ((2, 1), (2, 29))}, "2027-03-01 00:00", 1, False),
        ({"name": "night", "calendar": BERLIN}, "2026-10-24 22:00", 540, True),  # the clocks go back: nine hours
        ({"name": "night", "calendar": BERLIN}, "2026-03-28 22:00", 420, True),  # and forward: seven
        ({"name": "night", "calendar": BERLIN}, "2026-03-28 22:00", 480, False),
    ],
)  # fmt: skip
def test_covers(keys: dict[str, Any], start: str, minutes: int, expected: bool) -> None:
    assert covers(When(**keys), start, minutes) is expected


def test_permits_hold_for_what_lies_wholly_inside_and_maintenance_touches() -> None:
    period = Period(1000, 2000)
    assert period.holds(1000, 2000)
    assert not period.holds(999, 1500)
    assert period.touches(0, 1001)
    assert not period.touches(0, 1000)
    assert not period.touches(2000, 3000)


def test_the_default_is_always_in_china() -> None:
    assert CHINA.zone.key == "Asia/Shanghai"
    assert covers(When(), "2026-06-01 21:50", 20)
