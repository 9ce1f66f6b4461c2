"""The page's server on a real socket."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from gateway.clock import SystemClock
from gateway.config.site import PageConfig
from gateway.errors import AddressUnavailable
from gateway.web import events, guard
from gateway.web.files import load_files
from gateway.web.guard import host_allowed, host_name
from gateway.web.server import PageServer
from tests.support.page_demo import Demo, make_demo

CLOCK = SystemClock()


@pytest.fixture
def demo() -> Demo:
    return make_demo(CLOCK)


@pytest.fixture
async def server(demo: Demo) -> AsyncIterator[PageServer]:
    page = PageServer(demo.state, "127.0.0.1", 0)
    await page.start()
    yield page
    await page.stop()


@pytest.fixture
async def client(server: PageServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(server.url) as session:
        yield session


async def body(client: aiohttp.ClientSession, path: str, status: int = 200) -> Any:
    async with client.get(path) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def test_every_address_of_the_api_answers(client: aiohttp.ClientSession) -> None:
    assert (await body(client, "/api/site"))["id"] == "changsha-demo"
    assert len(await body(client, "/api/devices")) == 8
    assert {v["device"] for v in await body(client, "/api/latest")} >= {"noise-1", "crane-1"}
    assert {v["device"] for v in await body(client, "/api/latest?device=noise-1")} == {"noise-1"}
    assert {x["name"] for x in await body(client, "/api/links")} == {"meters", "zones", "environment", "equipment"}
    assert await body(client, "/api/alerts") == {"alerts": [], "engine": "not configured", "answerable": False}
    assert len(await body(client, "/api/vocabulary")) > 50


async def test_history_in_minutes_and_single_readings(client: aiohttp.ClientSession) -> None:
    path = "/api/history?device=noise-1&metric=noise_la_db"
    minutes = await body(client, f"{path}&from={CLOCK.wall_ms() - 3_600_000}")
    assert (minutes["unit"], minutes["step_s"], minutes["kind"]) == ("dB(A)", 60, "level_db")
    gaps = [p for p in minutes["points"] if p[1] is None]
    assert 6 <= len(gaps) <= 8, "the demo's ledger has a hole of about seven minutes"
    raw = await body(client, f"{path}&step=1&from={CLOCK.wall_ms() - 60_000}")
    assert raw["step_s"] == 0
    assert 58 <= len(raw["points"]) <= 62


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/history", 400),
        ("/api/history?device=noise-1&metric=noise_la_db&from=x", 400),
        ("/api/history?device=nope&metric=noise_la_db", 404),
        ("/api/latest?device=nope", 404),
        ("/api/nothing", 404),
        ("/static/nothing.js", 404),
        ("/static/..%2fserver.py", 404),
        ("/static/%2e%2e/server.py", 404),
        ("/static/", 404),
    ],
)
async def test_errors_are_one_sentence_in_json(client: aiohttp.ClientSession, path: str, status: int) -> None:
    error = (await body(client, path, status))["error"]
    assert error[0].isupper() or error[0] == "'"
    assert "Traceback" not in error


async def test_healthz_says_why(client: aiohttp.ClientSession, demo: Demo) -> None:
    assert await body(client, "/healthz") == {"status": "ok", "reasons": [], "warnings": []}
    demo.trouble(CLOCK.wall_ms())
    answer = await body(client, "/healthz", 503)
    assert answer["reasons"][0].startswith("Link zones (10.0.4.20:502) is down")
    assert len(answer["reasons"]) == 1


async def test_metrics_are_prometheus_text_with_bounded_labels(client: aiohttp.ClientSession, demo: Demo) -> None:
    demo.trouble(CLOCK.wall_ms())
    async with client.get("/metrics") as answer:
        assert answer.content_type == "text/plain"
        text = await answer.text()
    lines = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}
    assert lines['sitegate_link_up{kind="tcp",link="zones"}'] == 0
    assert lines['sitegate_link_failures_total{cause="no_answer",link="zones"}'] == 3
    assert lines['sitegate_device_up{device="noise-1",link="environment"}'] == 0
    assert lines['sitegate_sink_pending_records{sink="influx"}'] == 41_200
    assert lines['sitegate_values_total{quality="bad"}'] > 0
    assert lines['sitegate_reading{device="dust-1",metric="pm10_ug_m3",zone="gate"}'] > 0
    assert not [line for line in lines if 'device="noise-1",metric' in line], "a bad reading is not repeated"
    ours = [line for line in lines if not line.startswith("process_")]
    assert all(line.startswith("sitegate_") for line in ours)


async def test_the_page_forbids_everything_from_outside(client: aiohttp.ClientSession) -> None:
    for path in ("/", "/api/site", "/static/app.js", "/nothing", "/healthz"):
        async with client.get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Referrer-Policy"] == "no-referrer"


def test_the_files_ask_for_nothing_from_outside() -> None:
    files = load_files()
    assert "index.html" in files
    assert sum(len(f.body) for f in files.values()) < 150_000
    for name, file in files.items():
        text = file.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//cdn|@import|url\(", text), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), name
    page = files["index.html"].body.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", page), "inline code breaks the policy"


def test_the_page_is_small_and_all_of_it_is_fetched_at_once() -> None:
    found = load_files()
    assert sum(len(file.body) for file in found.values()) < 200_000
    index = found["index.html"].body.decode()
    scripts = {name for name in found if name.endswith(".js")}
    assert {name for name in scripts if f'href="/static/{name}"' not in index} == {"app.js"}, "modulepreload each"


async def test_files_are_compressed_and_revalidated(client: aiohttp.ClientSession) -> None:
    async with client.get("/", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        etag = answer.headers["ETag"]
    async with client.get("/", headers={"If-None-Match": etag}) as answer:
        assert answer.status == 304
    async with client.get("/", headers={"If-None-Match": '"another"', "Accept-Encoding": "identity"}) as answer:
        assert answer.status == 200
        assert "<title>Sitegate</title>" in await answer.text()
    assert gzip.decompress(load_files()["app.js"].gzipped) == load_files()["app.js"].body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/api/site", "/events", "/nothing"])
async def test_nothing_but_reading_is_possible(client: aiohttp.ClientSession, method: str, path: str) -> None:
    async with client.request(method, path, data=b"x" if method != "OPTIONS" else None) as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/api/site", "/healthz", "/metrics", "/events"])
async def test_head_answers_without_a_body(client: aiohttp.ClientSession, path: str) -> None:
    async with client.head(path) as answer:
        assert answer.status == 200
        assert await answer.read() == b""


async def test_a_foreign_host_header_is_refused(client: aiohttp.ClientSession) -> None:
    async with client.get("/api/site", headers={"Host": "attacker.example"}) as answer:
        assert answer.status == 421
        assert "error" in await answer.json()


@pytest.mark.parametrize(
    ("header", "bound_to", "allowed"),
    [
        ("127.0.0.1:8080", "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("LOCALHOST:1", "127.0.0.1", True),
        ("[::1]:8080", "127.0.0.1", True),
        ("192.168.1.20:8080", "192.168.1.20", True),
        ("192.168.1.20", "127.0.0.1", False),
        ("gate.example.org:8080", "gate.example.org", True),
        ("attacker.example", "127.0.0.1", False),
        ("localhost.attacker.example", "127.0.0.1", False),
        ("127.0.0.1.attacker.example", "127.0.0.1", False),
        ("127.0.0.1@attacker.example", "127.0.0.1", False),
        ("", "127.0.0.1", False),
        ("192.168.1.20:8080", "0.0.0.0", True),
        ("[fe80::1]:8080", "::", True),
        ("box", "0.0.0.0", True),
        ("box.local:8080", "0.0.0.0", True),
        ("attacker.example", "0.0.0.0", False),
        ("", "0.0.0.0", False),
    ],
)
def test_which_hosts_may_ask(header: str, bound_to: str, allowed: bool) -> None:
    assert host_allowed(header, bound_to) is allowed


def test_host_names_lose_port_and_brackets() -> None:
    assert [host_name(h) for h in ("A.b:80", "[::1]:80", "[::1]", "a:b", "::1")] == ["a.b", "::1", "::1", "", ""]


async def exchange(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


async def test_huge_headers_are_refused_without_a_line_in_the_log(
    server: PageServer, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await exchange(server.port, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n")
    assert answer.split(b" ", 2)[1] == b"400"
    assert caplog.records == []


async def test_a_connection_that_never_finishes_its_request_is_closed(
    server: PageServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "FIRST_REQUEST_S", 0.2)
    assert await exchange(server.port, b"GET / HTTP/1.1\r\nHost: loc") == b""


async def messages(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    """Events of a stream, as (name, body)."""
    name = ""
    async for line in answer.content:
        if line.startswith(b"event: "):
            name = line[7:].strip().decode()
        elif line.startswith(b"data: "):
            yield name, json.loads(line[6:])


async def test_events_bring_everything_first_and_changes_within_two_seconds(
    client: aiohttp.ClientSession, demo: Demo
) -> None:
    async with client.get("/events") as answer:
        assert answer.content_type == "text/event-stream"
        stream = messages(answer)
        name, values = await anext(stream)
        assert (name, len(values)) == ("latest", 68)
        name, summary = await anext(stream)
        assert (name, summary["status"], len(summary["device_list"])) == ("summary", "ok", 8)
        assert len(summary["link_list"]) == 4
        start = time.monotonic()
        demo.fail("noise-1", "D", CLOCK.wall_ms())
        name, values = await anext(stream)
        assert time.monotonic() - start < 2
        assert [(v["device"], v["metric"], v["value"], v["mark"]) for v in values] == [
            ("noise-1", "noise_la_db", None, "D"),
            ("noise-1", "noise_laeq_db", None, "D"),
        ]
        await stream.aclose()  # type: ignore[attr-defined]


async def test_a_summary_comes_as_heartbeat(client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "TICK_S", 0.01)
    async with client.get("/events") as answer:
        names = []
        async for name, _ in messages(answer):
            names.append(name)
            if len(names) == 4:
                break
    assert names == ["latest", "summary", "summary", "summary"]


async def test_one_stream_too_many_is_refused(client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_CLIENTS", 2)
    async with client.get("/events") as one, client.get("/events") as two, client.get("/events") as three:
        assert (one.status, two.status, three.status) == (200, 200, 503)
        assert "error" in await three.json()


async def test_a_client_that_does_not_read_is_dropped(
    server: PageServer, demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "WRITE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(events, "TICK_S", 0.001)
    monkeypatch.setattr(events, "SUMMARY_TICKS", 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    hub = server._hub
    async with asyncio.timeout(20):
        while not (hub.dropped_clients and hub.clients == 0):
            await asyncio.sleep(0.02)
    writer.close()
    del reader


async def test_stop_ends_open_streams_at_once(demo: Demo) -> None:
    page = PageServer(demo.state, "127.0.0.1", 0)
    await page.start()
    async with aiohttp.ClientSession(page.url) as session, session.get("/events") as answer:
        await answer.content.readline()
        start = time.monotonic()
        await page.stop()
        assert time.monotonic() - start < 1
        await answer.content.read()  # ends instead of hanging
    await page.stop()


async def test_a_port_in_use_is_a_sentence(server: PageServer, demo: Demo) -> None:
    second = PageServer(demo.state, "127.0.0.1", server.port)
    with pytest.raises(AddressUnavailable, match=r"another program uses this port.*page\.port"):
        await second.start()
    await second.stop()


async def test_an_address_of_another_machine_is_a_sentence(demo: Demo) -> None:
    page = PageServer(demo.state, "192.0.2.1", 0)
    with pytest.raises(AddressUnavailable, match="no such address"):
        await page.start()
    await page.stop()


async def test_a_page_with_a_password_asks_for_it_and_slows_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    demo = make_demo(CLOCK)
    site = demo.state.site.model_copy(update={"page": PageConfig(password="工地-right")})
    page = PageServer(replace(demo.state, site=site), "127.0.0.1", 0)
    monkeypatch.setattr(guard, "WRONG_PASSWORD_S", 0.15)
    await page.start()
    try:
        async with aiohttp.ClientSession() as session:

            async def status(path: str, password: str | None) -> tuple[int, float]:
                basic = base64.b64encode(f"any:{password}".encode()).decode()
                headers = {} if password is None else {"Authorization": f"Basic {basic}"}
                begun_s = time.monotonic()
                async with session.get(page.url + path, headers=headers) as answer:
                    return answer.status, time.monotonic() - begun_s

            assert (await status("api/latest", None))[0] == 401
            assert (await status("static/app.js", None))[0] == 401
            assert (await status("healthz", None))[0] == 200
            assert (await status("api/latest", "工地-right"))[0] == 200
            wrong, seconds = await status("api/latest", "工地-wrong")
            assert wrong == 401
            assert seconds >= 0.15
    finally:
        await page.stop()
