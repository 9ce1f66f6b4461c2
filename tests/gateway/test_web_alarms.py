"""Alarms over HTTP: what is listed, who may answer, and how little gets through otherwise."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from gateway.clock import SystemClock
from gateway.web import guard, server
from gateway.web.bodies import MAX_BODY_BYTES
from gateway.web.server import PageServer
from tests.support.alarm_demo import PASSWORD, DemoDesk, with_alarms
from tests.support.page_demo import Demo, make_demo

CLOCK = SystemClock()
BASIC = "Basic " + base64.b64encode(f"any:{PASSWORD}".encode()).decode()
OURS = {"Authorization": BASIC, "X-Sitegate": "1"}
SAID = {"by": "Li Wei", "note": "water cannon started"}


@pytest.fixture
def site() -> tuple[Demo, DemoDesk]:
    return with_alarms(CLOCK)


@pytest.fixture
def desk(site: tuple[Demo, DemoDesk]) -> DemoDesk:
    return site[1]


@pytest.fixture
async def page(site: tuple[Demo, DemoDesk]) -> AsyncIterator[PageServer]:
    server = PageServer(site[0].state, "127.0.0.1", 0)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def client(page: PageServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(page.url, headers={"Authorization": BASIC}) as session:
        yield session


async def post(
    client: aiohttp.ClientSession, alarm: str, step: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(SAID if body is None else body).encode()
    path = f"/api/alerts/{alarm}/{step}"
    async with client.post(path, data=data, headers=OURS if headers is None else headers) as answer:
        return answer.status, await answer.json()


async def body(client: aiohttp.ClientSession, path: str, status: int = 200) -> Any:
    async with client.get(path) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def test_open_alarms_say_what_where_since_when_and_against_which_rule(
    client: aiohttp.ClientSession, desk: DemoDesk
) -> None:
    found = await body(client, "/api/alerts")
    assert (found["engine"], found["answerable"], len(found["alerts"])) == ("running", True, 2)
    alarm = next(a for a in found["alerts"] if a["id"] == desk.dust)
    assert (alarm["rule"], alarm["subject"], alarm["state"], alarm["active"]) == ("dust_pm10", "dust-1", "open", True)
    assert (alarm["details"]["value"], alarm["details"]["limit"], alarm["details"]["edition"]) == (236.4, 200.0, "2026")
    assert (await body(client, "/api/site"))["alarms"] == {
        "revision": 3, "active": 1, "unanswered": 2, "worst": "alarm",
    }  # fmt: skip


async def test_all_alarms_of_a_time(client: aiohttp.ClientSession) -> None:
    now_ms = CLOCK.wall_ms()
    assert len((await body(client, "/api/alerts?state=all"))["alerts"]) == 2
    recent = await body(client, f"/api/alerts?state=all&from={now_ms - 3_600_000}&to={now_ms}")
    assert [a["rule"] for a in recent["alerts"]] == ["dust_pm10"]
    for bad in ("state=x", "state=all&from=5&to=5", "state=all&from=-1"):
        assert "error" in await body(client, f"/api/alerts?{bad}", 400)


async def test_the_history_of_one_alarm(client: aiohttp.ClientSession, desk: DemoDesk) -> None:
    found = await body(client, f"/api/alerts/{desk.night}")
    assert [e["kind"] for e in found["events"]] == ["raised", "cleared"]
    assert not found["active"]
    assert "no such alarm" in (await body(client, "/api/alerts/noise@x@1", 404))["error"]


async def test_limits_and_verdicts(client: aiohttp.ClientSession) -> None:
    lines = await body(client, "/api/limits")
    assert {(line["metric"], line["value"], line["warning"]) for line in lines} >= {("pm10_ug_m3", 120.0, True)}
    assert "en" not in lines[0]
    assert lines[0]["label"] == {"en": "PM10 alarm", "zh": "PM10 报警"}
    results = [v["result"] for v in await body(client, "/api/verdicts")]
    assert results == ["passed", "exceeded", "not_enough_data", "open"]


async def test_an_alarm_is_acknowledged_acted_on_and_closed(client: aiohttp.ClientSession, desk: DemoDesk) -> None:
    assert (await post(client, desk.dust, "acknowledge", {"by": "Li Wei"}))[1]["state"] == "acknowledged"
    status, refused = await post(client, desk.dust, "acknowledge")
    assert (status, refused["error"]) == (409, "This alarm is acknowledged already.")
    assert (await post(client, desk.dust, "act"))[1]["state"] == "acted"
    status, refused = await post(client, desk.dust, "close")
    assert (status, refused["error"].startswith("The cause still holds")) == (409, True)
    desk.tell("dust_pm10", "dust-1", "cleared", CLOCK.wall_ms(), "alarm", {}, desk.dust)
    status, refused = await post(client, desk.dust, "close", {"by": "Li Wei"})
    assert (status, "note" in refused["error"]) == (409, True)
    assert (await post(client, desk.dust, "close"))[1]["state"] == "closed"
    assert (await post(client, desk.dust, "act"))[0] == 409
    told = (await body(client, f"/api/alerts/{desk.dust}"))["events"]
    assert [e["kind"] for e in told] == ["raised", "acknowledged", "acted", "cleared", "closed"]
    assert told[-1]["details"] == SAID


async def test_only_our_own_page_may_answer(
    client: aiohttp.ClientSession, page: PageServer, desk: DemoDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "WRONG_PASSWORD_S", 0.0)
    wrong = "Basic " + base64.b64encode(b"any:wrong").decode()
    own = f"http://127.0.0.1:{page.port}"
    for headers, status in [
        ({"Authorization": BASIC}, 403),  # what a form of another page could send, with the browser's password
        ({**OURS, "X-Sitegate": "yes"}, 403),
        ({**OURS, "Origin": "http://attacker.example"}, 403),
        ({**OURS, "Origin": "null"}, 403),
        ({**OURS, "Origin": f"http://127.0.0.1:{page.port + 1}"}, 403),
        ({**OURS, "Sec-Fetch-Site": "cross-site"}, 403),
        ({**OURS, "Sec-Fetch-Site": "same-site"}, 403),
        ({**OURS, "Authorization": wrong}, 401),
        ({**OURS, "Host": "attacker.example"}, 421),
        ({**OURS, "Origin": own, "Sec-Fetch-Site": "same-origin"}, 200),
    ]:
        got, answer = await post(client, desk.dust, "acknowledge", headers=headers)
        assert got == status, headers
        assert (got == 200) == ("error" not in answer)
    assert [e.kind for e in desk.events if e.alarm == desk.dust] == ["raised", "acknowledged"]


async def test_without_a_password_nobody_answers_alarms() -> None:
    demo, desk = with_alarms(CLOCK, password=None)
    page = PageServer(demo.state, "127.0.0.1", 0)
    await page.start()
    try:
        async with aiohttp.ClientSession(page.url) as client:
            status, refused = await post(client, desk.dust, "acknowledge", headers={"X-Sitegate": "1"})
            assert (status, "page.password" in refused["error"]) == (403, True)
            assert not (await body(client, "/api/alerts"))["answerable"]
    finally:
        await page.stop()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", 400),
        (b"by=me", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b"[" * 4000, 400),
        (b'{"by": 5}', 400),
        (b'{"by": ""}', 400),
        (b'{"by": "  "}', 400),
        (b'{"by": "a\\nb"}', 400),
        (b'{"by": "a", "note": null}', 400),
        (b'{"by": "a", "note": "\\u001b[31mred"}', 400),
        (b'{"by": "a", "note": "b", "state": "closed"}', 400),
        (json.dumps({"by": "x" * 61}).encode(), 400),
        (json.dumps({"by": "a", "note": "x" * 1001}).encode(), 400),
        (b"x" * (MAX_BODY_BYTES + 1), 413),
        (json.dumps({"by": "李伟", "note": "已开雾炮\n第二行"}).encode(), 200),
    ],
)
async def test_what_an_answer_may_say(client: aiohttp.ClientSession, desk: DemoDesk, sent: bytes, status: int) -> None:
    got, answer = await post(client, desk.dust, "act", sent)
    assert got == status, answer
    assert (status == 200) == ("error" not in answer)


async def test_no_other_address_takes_a_post(client: aiohttp.ClientSession, desk: DemoDesk) -> None:
    for path in ("/api/alerts", f"/api/alerts/{desk.dust}", f"/api/alerts/{desk.dust}/delete", "/api/alerts/a/b/act"):
        async with client.post(path, headers=OURS) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert (await post(client, "nothing@x@1", "act"))[0] == 404


async def test_a_body_that_never_comes_is_not_waited_for(
    page: PageServer, desk: DemoDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "BODY_S", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", page.port)
    head = f"POST /api/alerts/{desk.dust}/act HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\nX-Sitegate: 1\r\n"
    writer.write(f"{head}Authorization: {BASIC}\r\n\r\n{{".encode())
    assert b" 408 " in await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def test_a_site_without_rules_says_so() -> None:
    page = PageServer(make_demo(CLOCK).state, "127.0.0.1", 0)
    await page.start()
    try:
        async with aiohttp.ClientSession(page.url) as client:
            assert (await body(client, "/api/alerts"))["engine"] == "not configured"
            assert (await body(client, "/api/site"))["alarms"] is None
            assert (await body(client, "/api/limits"), await body(client, "/api/verdicts")) == ([], [])
            assert "alerts in the site file" in (await body(client, "/api/alerts/a@b@1", 404))["error"]
    finally:
        await page.stop()


async def test_a_new_alarm_is_told_at_the_next_tick(client: aiohttp.ClientSession, desk: DemoDesk) -> None:
    async with client.get("/events") as stream:
        revisions: list[int] = []
        async for line in stream.content:
            if line.startswith(b"data: {"):
                revisions.append(json.loads(line[6:])["alarms"]["revision"])
                if len(revisions) == 2:
                    break
                await asyncio.sleep(0)
                desk.tell("dust_pm10", "dust-1", "escalated", CLOCK.wall_ms(), "critical", {}, desk.dust)
        assert revisions == [3, 4]
