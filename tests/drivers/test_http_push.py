"""The port to which equipment posts, with a real HTTP client and with raw sockets for what no client does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.api import Heard, Rejected, Report, Subscribed
from drivers.errors import LinkDown
from drivers.http_push import listener as module
from drivers.http_push.codec import Address, Allowance, Limits, Point
from drivers.http_push.driver import check_point, check_write, read_example
from drivers.http_push.listener import Door, PushListener
from tests.support.machine import free_port
from tests.support.mosquitto import make_certificates

TOKEN, OTHER = "token-of-the-crane", "token-of-the-hoist"
POINTS = {"load_t": Point("load"), "wind_speed_m_s": Point("wind")}
GOOD = {"load": 2.5, "wind": "3.2", "t": 1_790_000_000_000}
REPORT = Report("crane", ("load_t", "wind_speed_m_s"), (2.5, 3.2), 1_790_000_000_000, False)


@dataclass
class Bench:
    source: PushListener
    url: str
    session: aiohttp.ClientSession
    heard: list[Heard] = field(default_factory=list)
    durable: bool = True
    """False: the disk takes nothing."""

    async def post(self, body: Any, token: str | None = TOKEN, **more: Any) -> tuple[int, dict[str, str]]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.session.post(more.pop("url", self.url), data=data, headers=headers, **more) as answer:
            text = await answer.text()
            return answer.status, json.loads(text)

    async def consume(self, up: asyncio.Event) -> None:
        async with aclosing(self.source.reports()) as messages:
            async for message in messages:
                self.heard.append(message)
                up.set()
                if self.durable:
                    self.source.acknowledge(len(self.heard))

    def causes(self) -> list[tuple[str | None, str]]:
        return [(m.device, m.cause) for m in self.heard if isinstance(m, Rejected)]


@asynccontextmanager
async def running(door: Door | None = None, **changes: Any) -> AsyncIterator[Bench]:
    door = replace(door or Door("127.0.0.1", free_port(), max_per_min=6000), **changes)
    devices = {
        "crane": (Address(TOKEN), POINTS, Limits(time_path="t")),
        "hoist": (Address(OTHER), {"load_t": Point("load")}, Limits()),
    }
    scheme = "https" if door.cert_file else "http"
    async with aiohttp.ClientSession() as session:
        bench = Bench(PushListener(door, devices), f"{scheme}://127.0.0.1:{door.port}{door.path}", session)
        up = asyncio.Event()
        task = asyncio.create_task(bench.consume(up))
        try:
            async with asyncio.timeout(10):
                await up.wait()
                yield bench
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_two_devices_are_told_apart_by_their_tokens() -> None:
    async with running() as bench:
        assert await bench.post(GOOD) == (202, {"status": "taken"})
        assert await bench.post({"load": 1}, OTHER) == (202, {"status": "taken"})
        assert (await bench.post({"load": 2}, None, url=f"{bench.url}?token={OTHER}"))[0] == 202
        assert bench.heard == [
            Subscribed(),
            REPORT,
            Report("hoist", ("load_t",), (1,), None, False),
            Report("hoist", ("load_t",), (2,), None, False),
        ]


async def test_202_is_said_only_when_the_reading_is_durable() -> None:
    async with running() as bench:
        bench.durable = False
        answer = asyncio.ensure_future(bench.post(GOOD))
        while len(bench.heard) < 2:
            await asyncio.sleep(0.005)
        bench.source.acknowledge(1)
        await asyncio.sleep(0.02)
        assert not answer.done(), "what came before it is durable, it is not"
        bench.source.acknowledge(2)
        assert (await answer)[0] == 202


async def test_a_disk_that_takes_nothing_makes_the_device_send_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DURABLE_S", 0.05)
    async with running() as bench:
        bench.durable = False
        status, words = await bench.post(GOOD)
        assert (status, words) == (503, {"error": "not stored in time: send it again"})


@pytest.mark.parametrize(
    ("body", "status", "cause"),
    [
        (b"{", 422, "not_json"),
        (b'{"load": NaN}', 422, "not_a_number"),
        ('{"load": "重"}'.encode("gbk"), 422, "not_utf8"),
        (b'{"load": 1, "load": 2}', 422, "not_json"),
        (b"[" * 30_000, 422, "not_json"),
        (b"{}", 422, "missing_field"),
        (b"1" * 70_000, 413, "too_large"),
    ],
)
async def test_what_is_not_understood_is_refused_with_its_reason(body: bytes, status: int, cause: str) -> None:
    async with running() as bench:
        got, words = await bench.post(body)
        assert (got, words["cause"]) == (status, cause)
        assert (await bench.post(GOOD))[0] == 202, "and the next one is taken"
        assert bench.causes() == [("crane", cause)]


async def test_a_body_without_a_length_is_measured_as_it_comes() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"1" * 10_000

    async with (
        running() as bench,
        bench.session.post(bench.url, data=endless(), headers={"Authorization": f"Bearer {TOKEN}"}) as answer,
    ):
        assert answer.status == 413


async def test_strangers_are_counted_and_held_back_before_their_body_is_read() -> None:
    async with running() as bench:
        statuses = [(await bench.post(GOOD, token))[0] for token in (None, "wrong", *["x"] * 20)]
        assert set(statuses) == {401, 429}
        assert statuses[:3] == [401, 401, 401]
        assert bench.causes() == [(None, "unknown_token")] * 22
        assert TOKEN not in repr(bench.source.__dict__), "tokens are kept as digests only"
        assert (await bench.post(GOOD))[0] == 202, "strangers do not use up what our devices may send"


async def test_a_device_that_floods_is_refused_and_its_neighbours_are_not() -> None:
    async with running(max_per_min=8) as bench:
        statuses = [(await bench.post(GOOD | {"t": n}))[0] for n in range(4)]
        assert statuses == [202, 202, 429, 429]
        assert bench.causes() == [("crane", "too_often")] * 2
        assert (await bench.post({"load": 1}, OTHER))[0] == 202


async def test_other_ways_are_refused() -> None:
    async with running() as bench:
        assert (await bench.post(GOOD, url=bench.url + "/x"))[0] == 404
        async with bench.session.get(bench.url) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Encoding": "gzip"}
        async with bench.session.post(bench.url, data=b"bomb", headers=headers) as answer:
            assert answer.status == 415, "a small body may unpack to a large one"
        assert not any(isinstance(m, Report) for m in bench.heard)


async def test_who_sends_nothing_or_slowly_is_shown_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.2)
    monkeypatch.setattr(module, "BODY_S", 0.1)
    async with running() as bench:
        port = int(bench.url.rsplit(":", 1)[1].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /push HTTP/1.1\r\nHost: x\r\n")  # and no end of headers, ever
        slow_reader, slow = await asyncio.open_connection("127.0.0.1", port)
        slow.write(
            f"POST /push HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nHost: x\r\nContent-Length: 9\r\n\r\n1".encode()
        )
        assert b" 408 " in await slow_reader.readline()
        assert bench.causes() == [("crane", "half")]
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        for each in (writer, slow):
            each.close()


async def test_who_hangs_up_in_mid_message_is_counted_and_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        port = int(bench.url.rsplit(":", 1)[1].split("/")[0])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /push HTTP/1.1\r\nAuthorization: Bearer {TOKEN}\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        writer.write(head.encode() + b'{"lo')
        await writer.drain()
        writer.close()
        async with asyncio.timeout(5):
            while not bench.causes():
                await asyncio.sleep(0.01)
        assert bench.causes() == [("crane", "half")]
        assert await bench.post(GOOD) == (202, {"status": "taken"})
    assert caplog.records == []


async def test_the_number_of_connections_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CONNECTIONS", 3)
    async with running() as bench:
        port = int(bench.url.rsplit(":", 1)[1].split("/")[0])
        pairs = []
        for _ in range(3):
            pairs.append(await asyncio.open_connection("127.0.0.1", port))
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        for _, each in [*pairs, (reader, writer)]:
            each.close()


async def test_tls(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    async with running(cert_file=certificates.cert_file, key_file=certificates.key_file) as bench:
        trust = ssl.create_default_context(cafile=certificates.ca_file)
        assert (await bench.post(GOOD, ssl=trust))[0] == 202


async def test_a_port_that_cannot_be_had_is_link_down(tmp_path: Path) -> None:
    async with running() as bench:
        taken = Door("127.0.0.1", bench.source._door.port)
        with pytest.raises(LinkDown, match="a port that no other program has"):
            await anext(PushListener(taken, {}).reports())
    file = tmp_path / "none.pem"
    with pytest.raises(LinkDown, match="cannot be used"):
        await anext(PushListener(Door("127.0.0.1", free_port(), cert_file=file, key_file=file), {}).reports())


async def test_nothing_can_be_written() -> None:
    with pytest.raises(ValueError, match="only ever read"):
        await PushListener(Door("127.0.0.1", 1), {}).write("crane", "load_t", 1)
    assert "only ever read" in (check_write("load_t", POINTS["load_t"], Limits(), timed=False) or "")


@given(st.lists(st.floats(0, 30)), st.integers(1, 600))
def test_an_allowance_is_never_exceeded(waits: list[float], per_min: int) -> None:
    allowance, now_s, taken = Allowance(per_min), 0.0, 0
    for wait_s in waits:
        now_s += wait_s
        taken += allowance.take(now_s) == 0.0
    assert taken <= max(1, per_min / 4) + now_s * per_min / 60 + 1e-6
    left_s = Allowance(per_min)
    while not (after_s := left_s.take(0.0)):
        pass
    assert left_s.take(after_s + 1e-6) == 0.0, "the time that was named is enough"


def test_tokens_points_and_examples() -> None:
    for token in ("short", "wörter-sind-nicht-gut", "with\nline-end-in-it---"):
        with pytest.raises(ValueError, match="at least 16 plain"):
            Address(token)
    assert TOKEN not in repr(Address(TOKEN))
    assert "empty step" in (check_point("load_t", Point("a..b"), Limits()) or "")
    assert check_point("load_t", POINTS["load_t"], Limits()) is None
    assert read_example(POINTS, {"body": {"load": 1, "wind": 2}}) == {"load_t": 1, "wind_speed_m_s": 2}
    with pytest.raises(ValueError, match="raw must be body"):
        read_example(POINTS, {"load": 1})
