"""/api/history.csv: what may be asked, what stands in the file, and that a long one costs little memory."""

from __future__ import annotations

import asyncio
import csv
import io
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import aiohttp
import pytest

from gateway.ledger.bucket import Bucket
from gateway.web import export, server
from gateway.web.history import BadQuery, NotKnown
from gateway.web.server import PageServer
from gateway.web.state import PageState
from tests.support.clock import ManualClock
from tests.support.page_demo import make_demo

CLOCK = ManualClock()
NOW = CLOCK.wall_ms()
HOUR_MS = 3_600_000
START = NOW // HOUR_MS * HOUR_MS - HOUR_MS


class Minutes:
    """A ledger that holds the given minutes, and remembers how long a time it was asked for."""

    def __init__(self, minutes: Sequence[Bucket]) -> None:
        self.minutes = minutes
        self.asked_ms: list[int] = []

    async def history(self, device: str, metric: str, from_ms: int, to_ms: int, step_s: int) -> Sequence[Bucket]:
        self.asked_ms.append(to_ms - from_ms)
        return [b for b in self.minutes if from_ms <= b.start_ms < to_ms]

    def minutes_total(self) -> int:
        return len(self.minutes)


@pytest.fixture
def state() -> PageState:
    return make_demo(CLOCK).state


async def rows(ledger: Minutes, wanted: export.Export) -> list[list[str]]:
    text = "".join([piece async for piece in export.table(ledger, wanted)])
    assert text.startswith(export.BOM)
    return list(csv.reader(io.StringIO(text.removeprefix(export.BOM))))


async def test_one_metric_comes_with_its_statistics_and_a_gap_is_an_empty_row(state: PageState) -> None:
    asked = {"device": "dust-1", "metric": "pm10_ug_m3", "from": str(START), "to": str(START + 300_000), "lang": "zh"}
    ledger = Minutes([Bucket(START + n * 60_000, 40.0, 80.5, 61.234, 12, 1.0) for n in (1, 3)])
    header, *lines = await rows(ledger, export.parse(state, asked, NOW))
    assert header == ["时间 (Asia/Shanghai)", "PM10 平均 (µg/m³)", "PM10 最低 (µg/m³)", "PM10 最高 (µg/m³)",
                      "数据有效率（%）"]  # fmt: skip
    assert [line[1:] for line in lines] == [
        ["61.2", "40.0", "80.5", "100"],
        ["", "", "", "0"],
        ["61.2", "40.0", "80.5", "100"],
        ["", "", "", "0"],
    ], "rows begin with the first data, and a gap after it stays a gap"


async def test_times_are_those_of_the_site(state: PageState) -> None:
    eight_in_shanghai = 1_767_225_600_000  # 2026-01-01T00:00:00Z
    asked = {"device": "noise-1", "from": str(eight_in_shanghai), "to": str(eight_in_shanghai + 60_000)}
    wanted = export.parse(state, asked, eight_in_shanghai + HOUR_MS)
    header, line = await rows(Minutes([Bucket(eight_in_shanghai, 50.0, 60.0, 55.0, 60, 1.0)]), wanted)
    assert line == ["2026-01-01 08:00:00", "55.00", "55.00"]
    assert header[0] == "Time (Asia/Shanghai)"
    assert wanted.file_name == "noise-1-20260101-60s.csv"


async def test_a_counter_brings_its_growth_and_no_extremes(state: PageState) -> None:
    asked = {"device": "main-meter", "metric": "energy_import_kwh", "from": str(START), "to": str(START + 60_000)}
    ledger = Minutes([Bucket(START, 10.0, 12.0, 12.0, 12, 0.5, 2.0)])
    header, line = await rows(ledger, export.parse(state, asked, NOW))
    assert [name.rpartition(" (")[0].rpartition(" ")[2] for name in header[1:3]] == ["last", "growth"]
    assert line[1:] == ["12.000", "2.000", "50"]


async def test_a_device_comes_one_column_each_and_in_small_pieces(state: PageState) -> None:
    asked = {"device": "dust-1", "from": str(NOW - 30 * 24 * HOUR_MS)}
    ledger = Minutes([Bucket(NOW // 60_000 * 60_000 - 20 * 24 * HOUR_MS, 1.0, 2.0, 1.5, 12, 1.0)])
    wanted = export.parse(state, asked, NOW)
    header, *lines = await rows(ledger, wanted)
    assert len(header) == 1 + len(state.devices["dust-1"].every_s)
    assert len(lines) == 20 * 24 * 60
    assert max(ledger.asked_ms) / 60_000 * len(wanted.metrics) <= export.CHUNK_VALUES


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        ({}, BadQuery, "Say which device"),
        ({"device": "nope"}, NotKnown, "no device 'nope'"),
        ({"device": "noise-1", "metric": "pm10_ug_m3"}, NotKnown, "no metric 'pm10_ug_m3'"),
        ({"device": "noise-1", "step": "86400"}, BadQuery, "'step' must be one of 60, 300, 900, 3600"),
        ({"device": "noise-1", "from": "5", "to": "5"}, BadQuery, "'from' must be before 'to'"),
        ({"device": "noise-1", "from": "0"}, BadQuery, "more than 1000000 values"),
        ({"device": "noise-1", "lang": "fr"}, BadQuery, "'lang' must be en or zh"),
    ],
)
def test_bad_questions_get_one_sentence(
    state: PageState, asked: dict[str, str], error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        export.parse(state, asked, NOW)
    assert text in str(caught.value)


@pytest.fixture
async def page(state: PageState) -> AsyncIterator[PageServer]:
    started = PageServer(state, "127.0.0.1", 0)
    await started.start()
    yield started
    await started.stop()


async def test_a_browser_saves_it_as_a_file(page: PageServer) -> None:
    path = f"{page.url}api/history.csv?device=noise-1&lang=zh"
    async with aiohttp.ClientSession() as session:
        async with session.get(path) as answer:
            body = await answer.read()
            assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
            assert answer.headers["Content-Encoding"] in ("deflate", "gzip")
            assert answer.headers["Content-Disposition"].startswith('attachment; filename="noise-1-')
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        async with session.head(path) as answer:
            assert (answer.status, await answer.read()) == (200, b"")
    assert body.startswith(b"\xef\xbb\xbf")
    lines = body.decode().splitlines()
    assert len(lines) == 1 + 1440
    assert sum(line.endswith(",,") for line in lines) in (6, 7), "the demo's ledger has a hole"


async def test_one_download_too_many_is_refused(page: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_DOWNLOADS", 0)
    async with aiohttp.ClientSession() as session, session.get(f"{page.url}api/history.csv?device=noise-1") as answer:
        assert answer.status == 503
        assert "downloads are under way" in (await answer.json())["error"]


async def test_a_ledger_that_fails_midway_never_looks_like_a_whole_file(state: PageState) -> None:
    class Broken(Minutes):
        async def history(self, device: str, metric: str, from_ms: int, to_ms: int, step_s: int) -> Sequence[Bucket]:
            if self.asked_ms:
                raise OSError("the disk is gone")
            return await super().history(device, metric, from_ms, to_ms, step_s)

    filled = Broken([Bucket(START - 9 * 24 * HOUR_MS, 1.0, 1.0, 1.0, 1, 1.0)])
    broken = PageServer(replace(state, ledger=filled), "127.0.0.1", 0)
    await broken.start()
    try:
        path = f"{broken.url}api/history.csv?device=noise-1&metric=noise_la_db&from={START - 9 * 24 * HOUR_MS}"
        async with aiohttp.ClientSession() as session, session.get(path) as answer:
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
    finally:
        await broken.stop()


async def test_a_client_that_takes_nothing_makes_room_for_the_next(
    state: PageState, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Minutes):
        async def history(self, device: str, metric: str, from_ms: int, to_ms: int, step_s: int) -> Sequence[Bucket]:
            return [Bucket(start, 50.0, 60.0, 55.0, 60, 1.0) for start in range(from_ms, to_ms, step_s * 1000)]

    monkeypatch.setattr(server, "DOWNLOAD_S", 0.2)
    monkeypatch.setattr(server, "MAX_DOWNLOADS", 1)
    page = PageServer(replace(state, ledger=Full([])), "127.0.0.1", 0)
    await page.start()
    path = "/api/history.csv?device=noise-1&metric=noise_la_db"
    lazy = socket.socket()
    try:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.setblocking(False)
        await asyncio.get_running_loop().sock_connect(lazy, ("127.0.0.1", page.port))
        request = f"GET {path}&from={NOW - 300 * 24 * HOUR_MS} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        await asyncio.get_running_loop().sock_sendall(lazy, request.encode())
        async with asyncio.timeout(10), aiohttp.ClientSession(page.url) as session:
            for awaited in (503, 200):  # refused while the lazy one holds the place, served once it is dropped
                status = 0
                while status != awaited:
                    async with session.get(path) as answer:
                        status = answer.status
    finally:
        lazy.close()
        await page.stop()
