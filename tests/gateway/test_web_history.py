"""/api/history without a server: what may be asked, and gaps that stay gaps."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.bucket import Bucket
from gateway.web.history import (
    MAX_POINTS,
    BadQuery,
    NotKnown,
    Query,
    bucket_points,
    bucket_summary,
    parse,
    reading_summary,
    single_points,
)
from tests.support.clock import ManualClock
from tests.support.page_demo import make_demo

CLOCK = ManualClock()
NOW = CLOCK.wall_ms()
STATE = make_demo(CLOCK).state
NOISE = {"device": "noise-1", "metric": "noise_la_db"}


def bucket(start_ms: int, mean: float | None) -> Bucket:
    return Bucket(start_ms, mean, mean, mean, 1, 1.0)


def test_the_default_is_every_reading_of_the_last_quarter_of_an_hour() -> None:
    assert parse(STATE, NOISE, NOW) == Query("noise-1", "noise_la_db", NOW - 900_000, NOW, 0)


@pytest.mark.parametrize("extra", [{"step": "5"}, {"step": "0"}, {"raw": "1"}, {"raw": "", "step": "60"}])
def test_small_steps_and_raw_mean_single_readings(extra: dict[str, str]) -> None:
    assert parse(STATE, NOISE | extra, NOW).step_s == 0


@pytest.mark.parametrize(("hours", "step"), [(1, 60), (24, 300), (24 * 7, 3600), (24 * 365, 86_400)])
def test_the_default_step_keeps_the_answer_small(hours: int, step: int) -> None:
    asked = NOISE | {"from": str(NOW - hours * 3_600_000)}
    assert parse(STATE, asked, NOW).step_s == step


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ({}, BadQuery, "Say which device"),
        ({"device": "noise-1"}, BadQuery, "Say which metric"),
        ({"device": "nope", "metric": "noise_la_db"}, NotKnown, "no device 'nope'"),
        ({"device": "noise-1", "metric": "pm10_ug_m3"}, NotKnown, "no metric 'pm10_ug_m3'"),
        ({"device": "noise-1", "metric": "x'; drop"}, NotKnown, "no metric"),
        (NOISE | {"from": "yesterday"}, BadQuery, "'from' must be a whole number of Unix milliseconds"),
        (NOISE | {"from": "-1"}, BadQuery, "'from'"),
        (NOISE | {"to": "1e12"}, BadQuery, "'to'"),
        (NOISE | {"to": "٣"}, BadQuery, "'to'"),
        (NOISE | {"to": "9" * 40}, BadQuery, "'to'"),
        (NOISE | {"step": "nan"}, BadQuery, "'step' must be a whole number of seconds"),
        (NOISE | {"step": "90"}, BadQuery, "multiple of 60"),
        (NOISE | {"from": "1000", "to": "1000"}, BadQuery, "'from' must be before 'to'"),
        (NOISE | {"from": "0", "step": "60"}, BadQuery, f"more than {MAX_POINTS} points"),
        (NOISE | {"from": "0", "raw": "1"}, BadQuery, "at most 2 hours"),
    ],
)
def test_bad_questions_get_one_sentence(asked: dict[str, str], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        parse(STATE, asked, NOW)
    assert text in str(caught.value)


@given(st.dictionaries(st.sampled_from(["device", "metric", "from", "to", "step", "raw"]), st.text(max_size=20)))
def test_no_question_raises_anything_else(asked: dict[str, str]) -> None:
    try:
        query = parse(STATE, NOISE | asked, NOW)
    except (BadQuery, NotKnown):
        return
    assert query.from_ms < query.to_ms


@given(st.integers(0, 30_000), st.integers(1, 300), st.sampled_from([60, 300, 3600]), st.data())
def test_every_past_step_is_there_once_and_only_buckets_have_values(
    offset_s: int, steps: int, step_s: int, data: st.DataObject
) -> None:
    step_ms = step_s * 1000
    from_ms = NOW - offset_s * 1000
    query = Query("noise-1", "noise_la_db", from_ms, from_ms + steps * step_ms, step_s)
    grid = range(from_ms // step_ms * step_ms, query.to_ms, step_ms)
    present = data.draw(st.sets(st.sampled_from([t for t in grid if t <= NOW] or [grid[0]])))
    points = bucket_points([bucket(t, 50.0) for t in sorted(present)], query, NOW)
    times = [p[0] for p in points]
    assert times == sorted(set(times))
    assert {t for t, mean, *_ in points if mean is not None} == present
    assert set(times) >= {t for t in grid if t + step_ms < min(NOW, query.to_ms)}
    assert not [p for p in points if p[1] is None and p[0] + step_ms > NOW], "the open step is no gap"


def test_points_carry_mean_low_high_and_share() -> None:
    start = NOW // 60_000 * 60_000 - 60_000
    query = Query("noise-1", "noise_la_db", start, start + 60_000, 60)
    points = bucket_points([Bucket(start, 51.0, 63.5, 58.2, 55, 0.92)], query, NOW)
    assert points == [(start, 58.2, 51.0, 63.5, 0.92)]


def test_single_readings_that_were_not_good_are_null() -> None:
    assert single_points([(1, 2.5), (2, None)]) == [(1, 2.5, 2.5, 2.5, 1.0), (2, None, None, None, 0.0)]


MINUTE = Query("d", "noise_la_db", NOW - 600_000, NOW, 60)


def buckets_of(*parts: tuple[float, int, float]) -> list[Bucket]:
    """Minutes from the start of the range: mean, readings, share."""
    start = MINUTE.from_ms
    return [Bucket(start + i * 60_000, m, m, m, count, share, 0.5) for i, (m, count, share) in enumerate(parts)]


def test_decibels_are_averaged_as_energy() -> None:
    mean = bucket_summary(buckets_of((60.0, 60, 1.0), (80.0, 60, 1.0)), MINUTE, NOW)["mean"]
    assert mean is not None
    assert math.isclose(mean, 77.0, abs_tol=0.05)


def test_a_minute_with_one_reading_does_not_weigh_as_much_as_a_full_one() -> None:
    pm10 = replace(MINUTE, metric="pm10_ug_m3")
    assert bucket_summary(buckets_of((10.0, 59, 1.0), (70.0, 1, 0.0)), pm10, NOW)["mean"] == 11.0


def test_the_share_is_of_all_the_time_that_was_asked_for() -> None:
    assert bucket_summary(buckets_of((10.0, 60, 1.0), (10.0, 30, 0.5)), MINUTE, NOW)["share"] == 0.15
    assert bucket_summary([], MINUTE, NOW)["share"] == 0.0
    readings: list[tuple[int, float | None]] = [(NOW - 2_000, 1.0), (NOW - 1_000, None), (NOW, 1.0)]
    assert reading_summary(readings, replace(MINUTE, step_s=0), NOW, 1.0)["share"] == 2 / 600
    future = replace(MINUTE, from_ms=NOW - 2_000, to_ms=NOW + 600_000, step_s=0)
    assert reading_summary(readings, future, NOW, 1.0)["share"] == 1.0, "what lies ahead is no gap"


def test_summary_by_kind() -> None:
    readings: list[tuple[int, float | None]] = [(1, 10.0), (2, 12.5), (3, None), (4, 3.0), (5, 4.0)]

    def summary(metric: str) -> dict[str, float | None]:
        return reading_summary(readings, replace(MINUTE, metric=metric), NOW, 1.0)

    assert summary("pm10_ug_m3") | {"share": 0} == {"low": 3, "high": 12.5, "mean": 7.375, "growth": None, "share": 0}
    assert [summary("wind_direction_deg")[key] for key in ("low", "high", "mean")] == [None, None, None]
    assert summary("energy_import_kwh")["growth"] == 3.5, "a meter that was replaced does not subtract"
    energy = replace(MINUTE, metric="energy_import_kwh")
    assert bucket_summary(buckets_of((1.0, 60, 1.0), (2.0, 60, 1.0)), energy, NOW)["growth"] == 1.0
