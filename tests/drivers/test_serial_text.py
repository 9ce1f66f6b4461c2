"""Instruments that print lines: the codec in any slices, the listener on a real pty."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.api import Heard, Rejected, Report, Subscribed
from drivers.errors import LinkDown
from drivers.serial_text import listener as listening
from drivers.serial_text.codec import LONGEST, Address, Limits, LineCutter, Point, Reader, check_text, printed
from drivers.serial_text.driver import check_address, check_point, check_write, read_example
from drivers.serial_text.listener import LineListener
from drivers.transport.serial import SerialStream
from tests.support.pty import PtyWire

PATTERN = r"PM10=(?P<pm10>[^,]*),N=(?P<noise>[^,]*)"
POINTS = {"pm10_ug_m3": Point("pm10"), "noise_la_db": Point("noise")}
LIMITS = Limits(PATTERN, end="\r\n", no_value=("---",))
NMEA = r"\$(?P<body>[A-Z]+,(?P<id>\d+),(?P<v>[^*]*))\*(?P<check>[0-9A-Fa-f]{2})"


def read(line: bytes, limits: Limits = LIMITS, points: dict[str, Point] = POINTS, id: str | None = None) -> object:  # noqa: A002
    return Reader("gate", Address(id), points, limits).read(line)


def gate(pm10: float | None, noise: float | None) -> Report:
    return Report("gate", ("pm10_ug_m3", "noise_la_db"), (pm10, noise), None, False)


def test_a_line_is_read() -> None:
    assert read(b"PM10=35,N=61.2") == gate(35, 61.2)
    assert read(b"PM10= 35 ,N=+6.12e1") == gate(35, 61.2)
    assert read(b"PM10=---,N=") == gate(None, None)


@pytest.mark.parametrize("line", [b"", b"xPM10=35,N=61.2", b"PM10=35,N=61.2,", b"PM10=3\xff,N=1", b"\x00" * 50])
def test_what_the_pattern_does_not_match_wholly_is_not_ours(line: bytes) -> None:
    assert read(line) is None


@pytest.mark.parametrize("text", [b"nan", b"inf", b"1e999", b"3 5", b"0x12", b"1_0", b"\xa1"])
def test_what_is_no_number_is_rejected_whole(text: bytes) -> None:
    said = read(b"PM10=" + text + b",N=61.2")
    assert said is None or (isinstance(said, Rejected) and said.cause == "not_a_number")


def test_checks_and_ids() -> None:
    assert check_text("xor", b"GPGLL,5300.97914,N,00259.98174,E,125926,A") == "28", "a sentence of NMEA 0183"
    assert check_text("sum", b"AB") == "83"
    points = {"pm10_ug_m3": Point("v")}
    for kind in ("xor", "sum"):
        body = b"DUST,01,35"
        check = check_text(kind, body).encode()
        limits = Limits(NMEA, check=kind)  # type: ignore[arg-type]
        good = b"$" + body + b"*" + check
        assert isinstance(read(good.replace(check, check.lower()), limits, points), Report)
        wrong = read(good.replace(b"35", b"36"), limits, points)
        assert isinstance(wrong, Rejected)
        assert wrong.cause == "bad_check"
        assert isinstance(read(good, limits, points, "01"), Report)
        assert read(good, limits, points, "02") is None, "another instrument on the same line"


def test_a_line_says_nothing_of_points_whose_group_takes_no_part() -> None:
    limits = Limits("(?:P=(?P<pm10>[0-9]+))|(?:N=(?P<noise>[0-9.]+))")
    assert read(b"N=60", limits) == Report("gate", ("noise_la_db",), (60.0,), None, False)


def test_words_have_numbers() -> None:
    points = {"running": Point("state", {"ON": 1, "OFF": 0})}
    limits = Limits("STATE (?P<state>.*)")
    assert read(b"STATE ON", limits, points) == Report("gate", ("running",), (1,), None, False)
    broken = read(b"STATE ?", limits, points)
    assert isinstance(broken, Rejected)


@given(st.lists(st.floats(-999, 9999, allow_nan=False), min_size=2, max_size=2))
def test_what_is_printed_is_read_back(values: list[float]) -> None:
    limits = Limits(NMEA.replace("(?P<v>[^*]*)", "(?P<pm10>[^,]*),(?P<noise>[^*]*)"), check="xor")
    named = dict(zip(POINTS, values, strict=True))
    line = printed("$DUST,01,0035.0,61.25*00", named, POINTS, limits, "07")
    said = read(line.encode(), limits, id="07")
    assert isinstance(said, Report)
    assert said.values == pytest.approx((round(values[0], 1), round(values[1], 2)))


def cut(data: bytes, cuts: list[int], end: bytes) -> list[bytes]:
    cutter = LineCutter(end)
    cutter.silence()
    edges = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts)})
    return [line for a, b in pairwise(edges) for line in cutter.feed(data[a:b])]


@given(st.lists(st.binary(min_size=1, max_size=20)), st.lists(st.integers(0, 500)), st.sampled_from([b"\n", b"\r\n"]))
def test_lines_are_the_same_in_any_slices(lines: list[bytes], cuts: list[int], end: bytes) -> None:
    lines = [line.translate(None, b"\r\n") for line in lines]
    data = b"".join(line + end for line in lines)
    assert cut(data, cuts, end) == [line for line in lines if line]


@given(st.binary(max_size=4000), st.lists(st.integers(0, 4000), max_size=5))
def test_noise_never_piles_up(data: bytes, cuts: list[int]) -> None:
    assert all(len(line) <= 2 * LONGEST + 20 or b"\n" not in data[:LONGEST] for line in cut(data, cuts, b"\n"))
    cutter = LineCutter(b"\n")
    for _ in range(3):
        cutter.feed(data.replace(b"\n", b"") * 10)
    assert len(cutter._buffer) <= LONGEST


@pytest.mark.parametrize("size", [1, 500, 10_000], ids=["byte by byte", "in pieces", "at once"])
def test_a_line_that_is_too_long_is_broken_however_it_comes(size: int) -> None:
    data = b"9" * (LONGEST + 1) + b"\n35.2\n"
    cutter = LineCutter(b"\n")
    cutter.clear()
    assert [line for at in range(0, len(data), size) for line in cutter.feed(data[at : at + size])] == [b"35.2"]
    assert cutter.broken == 1


def test_the_rest_of_a_line_is_never_taken_for_a_line() -> None:
    cutter = LineCutter(b"\n")
    assert cutter.feed(b"5.2\n35.2\n") == [b"35.2"], "opened in the middle of 35.2"
    assert cutter.feed(b"13") == []
    cutter.silence()
    assert cutter.feed(b"5.2\n4") == [], "silence has torn 135.2 in two"
    assert cutter.feed(b"1.0\n") == [b"41.0"]
    assert cutter.broken == 1
    cutter.feed(b"9" * (LONGEST + 1))
    assert cutter.feed(b"9\n1\n") == [b"1"]
    assert cutter.broken == 2


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(), "pattern is missing"),
        (Limits("PM10=(?P<other>.*)"), 'has no group "pm10"'),
    ],
)
def test_points_that_cannot_be(limits: Limits, words: str) -> None:
    assert words in (check_point("pm10_ug_m3", Point("pm10"), limits) or "")


def test_reserved_groups_are_no_values() -> None:
    assert "meaning of its own" in (check_point("x", Point("id"), Limits("(?P<id>.)")) or "")
    assert "only ever read" in (check_write("x", Point("pm10"), LIMITS, timed=False) or "")
    assert "id is empty" in (check_address(Address(""), "serial") or "")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"pattern": "(?P<a>"}, "no regular expression"),
        ({"pattern": "a", "end": ""}, "end: "),
        ({"pattern": "(?P<body>a)", "check": "xor"}, "groups body and check"),
    ],
)
def test_limits_that_cannot_be(keys: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Limits(**keys)  # type: ignore[arg-type]


def test_examples() -> None:
    assert read_example(POINTS, {"lines": ["PM10=35,N=61.2"]}, LIMITS) == {"pm10_ug_m3": 35, "noise_la_db": 61.2}
    for raw, words in (({}, "raw must be lines"), ({"lines": ["PM10=35"]}, "does not match the whole")):
        with pytest.raises(ValueError, match=words):
            read_example(POINTS, raw, LIMITS)


# --- on a wire -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def wire(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PtyWire]:
    monkeypatch.setattr(listening, "SILENCE_S", 0.05)
    wire = PtyWire()
    yield wire
    wire.unplug()


@asynccontextmanager
async def opened(
    wire: PtyWire,
    limits: Limits = LIMITS,
    ids: tuple[str | None, ...] = (None,),
    points: dict[str, Point] = POINTS,
) -> AsyncIterator[AsyncIterator[Heard]]:
    devices = {f"gate{n or ''}": (Address(id), points, limits) for n, id in enumerate(ids)}  # noqa: A001
    source = LineListener(SerialStream(wire.port, 9600), devices, dict.fromkeys(devices, 0.05), 0.2)
    async with asyncio.timeout(10), aclosing(source.reports()) as messages:
        assert await anext(messages) == Subscribed()
        yield messages


async def test_lines_that_come_by_themselves(wire: PtyWire) -> None:
    async with opened(wire) as messages:
        wire.write(b"5.2\r\nPM10=35,N=61.2\r\nPM10")
        assert await anext(messages) == gate(35, 61.2), "the rest of the first line is nobody's value"
        wire.write(b"=36,N=6")
        wire.write(b"2\r\n???\r\n")
        assert await anext(messages) == gate(36, 62)
        odd = await anext(messages)
        assert isinstance(odd, Rejected)
        assert (odd.device, odd.cause) == ("gate", "not_understood")


async def test_half_a_line_and_silence_is_told_and_never_completed_by_another(wire: PtyWire) -> None:
    """Fault 70, for lines."""
    async with opened(wire) as messages:
        wire.write(b"\r\nPM10=35,N=6")
        broken = await anext(messages)
        assert isinstance(broken, Rejected)
        assert broken.cause == "broken_line"
        wire.write(b"1.2\r\nPM10=36,N=62\r\n")
        assert await anext(messages) == gate(36, 62)


async def test_an_unplugged_wire_is_down(wire: PtyWire) -> None:
    async with opened(wire) as messages:
        wire.unplug()
        with pytest.raises(LinkDown):
            await anext(messages)


ASKED = Limits(r"#(?P<id>\d\d) (?P<pm10>.*)", request="?{id}\r")
ONE = {"pm10_ug_m3": Point("pm10")}


async def test_instruments_that_are_asked_answer_one_after_the_other(wire: PtyWire) -> None:
    async with opened(wire, ASKED, ("01", "02"), ONE) as messages:
        first = asyncio.ensure_future(anext(messages))
        assert await wire.read(4) == b"?01\r"
        wire.write(b"#02 99\n#01 35\n")
        assert await first == Report("gate", ("pm10_ug_m3",), (35.0,), None, False), "not what the other one says"
        second = asyncio.ensure_future(anext(messages))
        assert await wire.read(4) == b"?02\r"
        wire.write(b"#02 36\n")
        assert await second == Report("gate1", ("pm10_ug_m3",), (36.0,), None, False)


async def test_a_late_line_is_not_the_answer_to_the_next_question(wire: PtyWire) -> None:
    async with opened(wire, ASKED, ("01",), ONE) as messages:
        silent = asyncio.ensure_future(anext(messages))
        await wire.read(4)
        await asyncio.sleep(0.22)
        wire.write(b"#01 11\n")  # just after the time-out
        missed = await silent
        assert isinstance(missed, Rejected)
        assert missed.cause == "no_answer"
        answered = asyncio.ensure_future(anext(messages))
        await wire.read(4)
        wire.write(b"#01 12\n")
        assert await answered == Report("gate", ("pm10_ug_m3",), (12.0,), None, False)


async def test_a_wrong_answer_is_shown(wire: PtyWire) -> None:
    async with opened(wire, ASKED, ("01",), ONE) as messages:
        silent = asyncio.ensure_future(anext(messages))
        await wire.read(4)
        wire.write(b"ERR 3\n")
        wrong = await silent
        assert isinstance(wrong, Rejected)
        assert wrong.cause == "not_understood"
        assert "ERR 3" in wrong.detail
