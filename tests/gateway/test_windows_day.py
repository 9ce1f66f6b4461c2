"""Local time: blocks, days, nights, months; where clocks are never changed, and where they are."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.day import BLOCK_MINUTES, LENGTHS, Calendar, Span

M = 60_000
CHINA = Calendar(ZoneInfo("Asia/Shanghai"))
BERLIN = Calendar(ZoneInfo("Europe/Berlin"))
LORD_HOWE = Calendar(ZoneInfo("Australia/Lord_Howe"))  # clocks move by half an hour
KATHMANDU = Calendar(ZoneInfo("Asia/Kathmandu"))  # UTC+5:45
BEIRUT = Calendar(ZoneInfo("Asia/Beirut"))  # clocks are changed at midnight
MOMENTS = st.integers(*(round(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (2000, 2040))).map(
    lambda s: s * 1000 + 7
)
ZONES = [CHINA, BERLIN, LORD_HOWE, KATHMANDU, BEIRUT, Calendar(ZoneInfo("America/New_York"))]


def at(calendar: Calendar, text: str, fold: int = 0) -> int:
    local = datetime.fromisoformat(text).replace(tzinfo=calendar.zone, fold=fold)
    return round(local.timestamp() * 1000)


def shown(calendar: Calendar, span: Span | None) -> str:
    assert span is not None
    first, last = (datetime.fromtimestamp(ms / 1000, calendar.zone) for ms in span)
    return f"{first:%m-%d %H:%M}..{last:%m-%d %H:%M}"


@pytest.mark.parametrize(
    ("length", "moment", "expected"),
    [
        ("1min", "2026-03-05 10:17:59.999", "03-05 10:17..03-05 10:18"),
        ("5min", "2026-03-05 10:17", "03-05 10:15..03-05 10:20"),
        ("15min", "2026-03-05 10:45", "03-05 10:45..03-05 11:00"),
        ("20min", "2026-03-05 10:39:59", "03-05 10:20..03-05 10:40"),
        ("20min", "2026-03-05 10:40", "03-05 10:40..03-05 11:00"),
        ("60min", "2026-03-05 23:59:59", "03-05 23:00..03-06 00:00"),
        ("day", "2026-03-05 06:00", "03-05 06:00..03-05 22:00"),
        ("day", "2026-03-05 21:59:59.999", "03-05 06:00..03-05 22:00"),
        ("night", "2026-03-05 22:00", "03-05 22:00..03-06 06:00"),
        ("night", "2026-03-06 05:59:59.999", "03-05 22:00..03-06 06:00"),
        ("24h", "2026-03-05 00:00", "03-05 00:00..03-06 00:00"),
        ("24h", "2028-02-29 12:00", "02-29 00:00..03-01 00:00"),
        ("night", "2028-03-01 01:00", "02-29 22:00..03-01 06:00"),
        ("month", "2028-02-29 23:59", "02-01 00:00..03-01 00:00"),
        ("month", "2026-12-31 23:59", "12-01 00:00..01-01 00:00"),
    ],
)
def test_windows_on_the_clock(length: str, moment: str, expected: str) -> None:
    assert shown(CHINA, CHINA.window(length, at(CHINA, moment))) == expected


def test_there_is_no_day_at_night_and_no_night_by_day() -> None:
    night_ms, day_ms = at(CHINA, "2026-03-05 22:00"), at(CHINA, "2026-03-06 06:00")
    assert CHINA.window("day", night_ms) is None
    assert CHINA.window("night", day_ms) is None
    assert CHINA.is_night(night_ms)
    assert not CHINA.is_night(day_ms)
    assert CHINA.next_window("day", night_ms) == CHINA.window("day", day_ms)
    assert CHINA.next_window("day", day_ms + 1) == CHINA.window("day", day_ms + 24 * 60 * M)
    with pytest.raises(ValueError, match="'7min' is not a window"):
        CHINA.window("7min", day_ms)


def test_a_night_is_filed_under_the_date_it_begins() -> None:
    night = CHINA.window("night", at(CHINA, "2026-01-01 03:00"))
    assert night is not None
    assert CHINA.date_of(night.start_ms) == date(2025, 12, 31)


def test_hours_are_those_of_the_site_and_cut_blocks_where_it_matters() -> None:
    site = Calendar(CHINA.zone, time(6, 30), time(21, 30))
    early, late = at(site, "2026-03-05 06:40"), at(site, "2026-03-05 21:29")
    assert shown(site, site.window("60min", early, cut=True)) == "03-05 06:30..03-05 07:00"
    assert shown(site, site.window("60min", late, cut=True)) == "03-05 21:00..03-05 21:30"
    assert shown(site, site.window("60min", late)) == "03-05 21:00..03-05 22:00"
    assert shown(site, site.window("night", late + 2 * M)) == "03-05 21:30..03-06 06:30"
    with pytest.raises(ValueError, match="day must begin before the night"):
        Calendar(CHINA.zone, time(22), time(6))
    with pytest.raises(ValueError, match="full minute"):
        Calendar(CHINA.zone, time(6, 0, 30))


@pytest.mark.parametrize(
    ("calendar", "moment", "hours", "night_hours"),
    [
        (CHINA, "2026-03-29 12:00", 24, 8),
        (BERLIN, "2026-03-29 12:00", 23, 7),
        (BERLIN, "2026-10-25 12:00", 25, 9),
        (LORD_HOWE, "2026-10-04 12:00", 23.5, 7.5),
        (LORD_HOWE, "2026-04-05 12:00", 24.5, 8.5),
        (BEIRUT, "2026-03-29 12:00", 23, 7),
    ],
)
def test_days_with_a_change_of_the_clock(calendar: Calendar, moment: str, hours: float, night_hours: float) -> None:
    day = calendar.window("24h", at(calendar, moment))
    assert day is not None
    assert (day.end_ms - day.start_ms) / (60 * M) == hours
    assert calendar.night_minutes(day) == night_hours * 60
    daytime = calendar.window("day", at(calendar, moment))
    assert daytime is not None
    assert daytime.end_ms - daytime.start_ms == 16 * 60 * M


def test_blocks_end_where_the_clock_is_changed_by_half_an_hour() -> None:
    before = at(LORD_HOWE, "2026-04-05 01:40")
    blocks = [LORD_HOWE.window("60min", before)]
    for _ in range(2):
        assert blocks[-1] is not None
        blocks.append(LORD_HOWE.window("60min", blocks[-1].end_ms))
    minutes = [(b.end_ms - b.start_ms) // M for b in blocks if b is not None]
    assert minutes == [60, 30, 60]  # 01:00 to 02:00, then 01:30 to 02:00 once more


def test_an_hour_that_is_skipped_begins_at_the_change() -> None:
    site = Calendar(BERLIN.zone, time(2, 30), time(22))
    change = datetime(2026, 3, 29, 1, 0, tzinfo=UTC).timestamp() * 1000  # 02:00 becomes 03:00
    assert site.at_ms(date(2026, 3, 29), time(2, 30)) == change
    assert not site.is_night(int(change))
    assert site.is_night(int(change) - 1)


@given(
    st.sampled_from(ZONES),
    MOMENTS,
    st.sampled_from(LENGTHS),
    st.booleans(),
)
def test_windows_of_a_kind_touch_and_never_overlap(calendar: Calendar, ms: int, length: str, cut: bool) -> None:
    span = calendar.window(length, ms, cut=cut)
    if span is None:
        assert calendar.is_night(ms) != (length == "night")
        return
    assert span.start_ms <= ms < span.end_ms
    assert span.start_ms % M == span.end_ms % M == 0
    for inside in (span.start_ms, span.end_ms - 1):
        assert calendar.window(length, inside, cut=cut) == span
    following = calendar.next_window(length, span.end_ms, cut=cut)
    assert following.start_ms >= span.end_ms
    if length not in ("day", "night"):
        assert following.start_ms == span.end_ms
    if length in BLOCK_MINUTES:
        assert span.end_ms - span.start_ms <= BLOCK_MINUTES[length] * M
        if cut:
            assert calendar.is_night(span.start_ms) == calendar.is_night(span.end_ms - 1)


@given(MOMENTS)
def test_china_by_plain_arithmetic(ms: int) -> None:
    local = datetime.fromtimestamp(ms / 1000, UTC) + timedelta(hours=8)
    assert CHINA.is_night(ms) == (local.hour < 6 or local.hour >= 22)
    night = local.hour < 6 or local.hour >= 22
    filed = (local - timedelta(hours=6)).date() if night else local.date()
    assert CHINA.date_of(CHINA.period(ms).start_ms) == filed
