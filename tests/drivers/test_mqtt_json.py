"""The mapping from JSON messages to numbers: what is taken, what is refused, and that nothing else can happen."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.api import Rejected, Report, Value
from drivers.json_fields.fields import Reader
from drivers.mqtt_json.codec import Limits, Point, by_topic, compose

TOPIC = "site/crane/{id}/live"
CAUSES = {"too_large", "not_utf8", "not_json", "not_a_number", "bad_time", "missing_field"}


def read(payload: bytes | str | Any, *points: Point, limits: Limits = Limits()) -> Report | Rejected:  # noqa: B008
    if not isinstance(payload, bytes):
        payload = (payload if isinstance(payload, str) else json.dumps(payload)).encode()
    named = {f"p{n}": point for n, point in enumerate(points or (Point(TOPIC, "x"),))}
    return Reader("crane", "site/crane/1/live", named, limits, 1000).read(payload)


def values(payload: Any, *points: Point) -> tuple[Value, ...]:
    report = read(payload, *points)
    assert isinstance(report, Report), report
    return report.values


def rejected(payload: Any, *points: Point, limits: Limits = Limits()) -> str:  # noqa: B008
    result = read(payload, *points, limits=limits)
    assert isinstance(result, Rejected), result
    assert result.device == "crane"
    assert result.detail.startswith("site/crane/1/live: ")
    assert len(result.detail) <= 200
    assert result.detail.isprintable()
    return result.cause


def test_paths() -> None:
    message = {"data": {"windSpeed": 3.2, "sensors": [{"v": 1}, {"v": 2}], "7": 9}, "list": [4, 5]}
    paths = ["data.windSpeed", "data.sensors.1.v", "data.7", "list.0"]
    assert values(message, *[Point(TOPIC, path) for path in paths]) == (3.2, 2, 9, 4)


@pytest.mark.parametrize("path", ["data.none", "list.2", "list.x", "number.x", "data.sensors.v", "data.list.-1"])
def test_absent_field_has_no_value_while_others_live(path: str) -> None:
    message = {"data": {"sensors": []}, "list": [4, 5], "number": 1, "x": 7}
    assert values(message, Point(TOPIC, path), Point(TOPIC, "x")) == (None, 7)
    assert rejected(message, Point(TOPIC, path)) == "missing_field"


def test_null_is_no_value() -> None:
    assert values({"x": None}) == (None,)


def test_the_payload_itself_may_be_the_value() -> None:
    assert values("23.5", Point(TOPIC)) == (23.5,)


@pytest.mark.parametrize(
    ("raw", "value"), [(1, 1), (-2.5, -2.5), ("23.5", 23.5), (" +4e2 ", 400), (".5", 0.5), ("7.", 7), (10**30, 10**30)]
)
def test_numbers(raw: Any, value: float) -> None:
    assert values({"x": raw}) == (value,)


@pytest.mark.parametrize(
    "raw", ["", "--", "nan", "inf", "1e999", "1_000", "0x10", "٣", "1,5", True, False, [], {}, [1], 10**400]
)
def test_what_is_no_number(raw: Any) -> None:
    assert rejected({"x": raw}) == "not_a_number"


@pytest.mark.parametrize("text", ['{"x": NaN}', '{"y": Infinity, "x": 1}', '{"x": -Infinity}', '{"x": 1e999}'])
def test_infinities_and_nan(text: str) -> None:
    assert rejected(text) == "not_a_number"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b'{"x": 1',
        b'{"x": 1} {"x": 2}',
        b'{"x": 1, "x": 2}',
        b'{"x": 1, "deep": {"y": 1, "y": 1}}',
        b'\xef\xbb\xbf{"x": 1}',
        b'{"x": ' + b"9" * 900 + b"}{",
        b"[" * 1000,
        b"{'x': 1}",
    ],
)
def test_what_is_not_json(payload: bytes) -> None:
    assert rejected(payload) == "not_json"


def test_deep_nesting_and_endless_digits_within_a_large_limit() -> None:
    reader = Reader("crane", "t", {"x": Point(TOPIC, "x")}, Limits(), 10_000_000)
    for payload in (b"[" * 5_000_000, b'{"x":' * 100_000, b'{"x": ' + b"9" * 100_000 + b"}"):
        result = reader.read(payload)
        assert isinstance(result, Rejected)
        assert result.cause == "not_json"


def test_endless_digits_in_a_text_cost_no_more_than_their_length() -> None:
    """Matched carelessly, one message of 60 kB held up everything for minutes (the 30 s limit of tests ends this)."""
    payload = json.dumps({"x": "1" * 60_000 + "x"}).encode()
    result = Reader("crane", "t", {"x": Point(TOPIC, "x")}, Limits()).read(payload)
    assert isinstance(result, Rejected)
    assert result.cause == "not_a_number"


def test_gbk_is_not_utf8() -> None:
    assert rejected('{"name": "塔吊", "x": 1}'.encode("gbk")) == "not_utf8"


def test_too_large_is_refused_before_parsing() -> None:
    assert rejected(b"\xff" * 1001) == "too_large"


def test_the_detail_shows_no_control_characters() -> None:
    result = read({"x": "\x1b[31m\n" + "塔" * 300})
    assert isinstance(result, Rejected)
    assert result.detail.isascii()


BITS = "00000000000000000000000000001001"  # as the Yunzhu platform writes it: leftmost is bit 31


def test_bit_texts() -> None:
    msb = [Point(TOPIC, "x", "bits_msb_first", bit) for bit in (None, 0, 1, 3, 31)]
    assert values({"x": BITS}, *msb) == (9, 1, 0, 1, 0)
    lsb = [Point(TOPIC, "x", "bits_lsb_first", bit) for bit in (None, 28, 31, 0)]
    assert values({"x": BITS}, *lsb) == (2**28 + 2**31, 1, 1, 0)


@pytest.mark.parametrize("raw", ["", "102", "1" * 54, 9, True, "１", None])
def test_what_is_no_bit_text(raw: Any) -> None:
    point = Point(TOPIC, "x", "bits_msb_first")
    if raw is None:
        assert values({"x": raw}, point) == (None,)
    else:
        assert rejected({"x": raw}, point) == "not_a_number"


def test_a_bit_that_did_not_come_is_not_zero() -> None:
    assert rejected({"x": "00000001"}, Point(TOPIC, "x", "bits_msb_first", 8)) == "not_a_number"


def test_bits_of_a_number() -> None:
    assert values({"x": 5}, *[Point(TOPIC, "x", bit=bit) for bit in (0, 1, 2)]) == (1, 0, 1)
    assert rejected({"x": 2.5}, Point(TOPIC, "x", bit=0)) == "not_a_number"
    assert rejected({"x": -1}, Point(TOPIC, "x", bit=0)) == "not_a_number"


def test_bools_and_texts() -> None:
    onoff = Point(TOPIC, "state", "text", map={"ON": 1, "OFF": 0})
    assert values({"x": True, "state": "OFF"}, Point(TOPIC, "x", "bool"), onoff) == (1, 0)
    assert values({"x": 0, "state": "ON"}, Point(TOPIC, "x", "bool"), onoff) == (0, 1)
    assert rejected({"state": "BROKEN"}, onoff) == "not_a_number"
    assert rejected({"x": 2}, Point(TOPIC, "x", "bool")) == "not_a_number"
    assert rejected({"x": "true"}, Point(TOPIC, "x", "bool")) == "not_a_number"


@pytest.mark.parametrize(
    ("time_format", "raw", "sent_at_ms"),
    [
        ("unix_s", 1_790_000_000, 1_790_000_000_000),
        ("unix_s", "1790000000.5", 1_790_000_000_500),
        ("unix_ms", 1_790_000_000_123, 1_790_000_000_123),
        ("iso8601", "2026-09-21T22:13:20+08:00", 1_790_000_000_000),
        ("iso8601", "2026-09-21T14:13:20.5Z", 1_790_000_000_500),
        ("iso8601", "2026-09-21T22:13:20", 1_790_000_000_000),
        ("local:%Y-%m-%d %H:%M:%S", "2026-09-21 22:13:20", 1_790_000_000_000),
        ("unix_ms", None, None),
    ],
)
def test_time_stamps(time_format: str, raw: Any, sent_at_ms: int | None) -> None:
    report = read({"x": 1, "t": raw}, limits=Limits("t", time_format))
    assert isinstance(report, Report)
    assert report.sent_at_ms == sent_at_ms


def test_a_message_without_its_time_stamp_counts_on_arrival() -> None:
    report = read({"x": 1}, limits=Limits("t"))
    assert isinstance(report, Report)
    assert report.sent_at_ms is None


@pytest.mark.parametrize("time_format", ["unix_s", "unix_ms", "iso8601", "local:%Y-%m-%d %H:%M:%S"])
@pytest.mark.parametrize("raw", ["", "yesterday", -1, 1e300, [], {}, True, "0001-01-01T00:00:00+14:00", "1e999"])
def test_impossible_time_stamps(time_format: str, raw: Any) -> None:
    assert rejected({"x": 1, "t": raw}, limits=Limits("t", time_format)) == "bad_time"


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match='time_format "unix"'):
        Limits("t", "unix")
    with pytest.raises(ValueError, match='time_zone "Asia/Changsha"'):
        Limits("t", time_zone="Asia/Changsha")


def test_topics_of_one_device() -> None:
    points = {"a": Point("x/{id}/live", "a"), "b": Point("x/{id}/work", "b"), "c": Point("x/{id}/live", "c")}
    assert {topic: set(fields) for topic, fields in by_topic(points, "f/7").items()} == {
        "x/f/7/live": {"a", "c"},
        "x/f/7/work": {"b"},
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("xyzt") | st.text(), inner),
    max_leaves=12,
)
ANY_POINT = st.builds(
    Point,
    st.just(TOPIC),
    st.sampled_from([None, "x", "y.x", "x.0"]),
    st.sampled_from(["number", "bool", "bits_msb_first", "bits_lsb_first", "text"]),
    st.none() | st.integers(0, 52),
    st.just({"on": 1.0}),
)


@given(
    st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()),
    st.lists(ANY_POINT, min_size=1, max_size=4),
    st.sampled_from(["unix_s", "unix_ms", "iso8601", "local:%Y-%m-%d %H:%M:%S"]),
)
def test_any_payload_gives_finite_numbers_or_a_known_cause(
    payload: bytes, points: list[Point], time_format: str
) -> None:
    result = read(payload, *points, limits=Limits("t", time_format))
    if isinstance(result, Rejected):
        assert result.cause in CAUSES
        assert result.detail.isprintable()
    else:
        assert len(result.values) == len(points)
        assert all(value is None or math.isfinite(value) for value in result.values)


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.tuples(FINITE, FINITE, st.integers(0, 1), st.integers(0, 1), st.integers(0, 1), st.integers(0, 2**32 - 1)),
    st.sampled_from(["unix_s", "unix_ms", "iso8601", "local:%Y-%m-%d %H:%M:%S.%f"]),
    st.integers(0, 4_102_444_800_000),
)
def test_what_is_composed_is_read_back(numbers: tuple[float, ...], time_format: str, sent_at_ms: int) -> None:
    points = {
        "load": Point(TOPIC, "data.0.load"),
        "wind": Point(TOPIC, "data.1.wind"),
        "moving": Point(TOPIC, "moving", "bool"),
        "mode": Point(TOPIC, "mode", "text", map={"ON": 1, "OFF": 0}),
        "limit": Point(TOPIC, "warning", "bits_lsb_first", 14),
        "alarms": Point(TOPIC, "alarms", "bits_msb_first"),
    }
    limits = Limits("sent.at", time_format)
    sent = dict(zip(points, numbers, strict=True))
    [(topic, payload)] = compose(points, sent, "7", limits, sent_at_ms).items()
    assert topic == "site/crane/7/live"
    report = Reader("crane", topic, points, limits).read(payload, retained=True)
    assert report == Report("crane", tuple(points), numbers, sent_at_ms, True)


def test_missing_values_are_composed_as_null() -> None:
    points = {"a": Point(TOPIC, "a"), "b": Point(TOPIC, "b", "bits_msb_first", 3)}
    assert compose(points, {"a": None}, "7", Limits(), 0) == {"site/crane/7/live": b'{"a":null,"b":null}'}


def test_bits_of_one_word_are_composed_together() -> None:
    points = {"one": Point(TOPIC, "w", bit=0), "four": Point(TOPIC, "w", bit=2)}
    assert compose(points, {"one": 1, "four": 1}, "7", Limits(), 0) == {"site/crane/7/live": b'{"w":5}'}
