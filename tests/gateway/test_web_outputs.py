"""Outputs over HTTP: how they stand, what the journal says, and who may switch them by hand."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from gateway.clock import SystemClock
from gateway.control.reasons import REASONS
from gateway.web import guard, outputs
from gateway.web.files import load_files
from gateway.web.history import BadQuery
from gateway.web.outputs import MAX_ENTRIES, MAX_MINUTES, USUAL_MINUTES, JournalQuery, read_command
from gateway.web.server import PageServer
from tests.support.alarm_demo import PASSWORD, with_alarms
from tests.support.output_demo import DemoOutputs, with_outputs
from tests.support.page_demo import Demo

CLOCK = SystemClock()
BASIC = "Basic " + base64.b64encode(f"any:{PASSWORD}".encode()).decode()
OURS = {"Authorization": BASIC, "X-Sitegate": "1"}
M, H = 60_000, 3_600_000


@pytest.fixture
def site() -> tuple[Demo, DemoOutputs]:
    demo, _, found = with_outputs(CLOCK, protects="answers")
    return demo, found


@pytest.fixture
def desk(site: tuple[Demo, DemoOutputs]) -> DemoOutputs:
    return site[1]


@pytest.fixture
async def client(site: tuple[Demo, DemoOutputs]) -> AsyncIterator[aiohttp.ClientSession]:
    server = PageServer(site[0].state, "127.0.0.1", 0)
    await server.start()
    async with aiohttp.ClientSession(server.url) as session:
        yield session
    await server.stop()


async def body(client: aiohttp.ClientSession, path: str, status: int = 200) -> Any:
    async with client.get(path) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def switch(
    client: aiohttp.ClientSession, output: str, want: str, said: object, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    path = f"/api/outputs/{output}/{want}"
    async with client.post(path, data=json.dumps(said), headers=OURS if headers is None else headers) as answer:
        return answer.status, await answer.json()


async def test_outputs_say_how_they_stand_and_why(client: aiohttp.ClientSession) -> None:
    found = await body(client, "/api/outputs")
    assert found["switchable"] is True
    cannon, sprinkler, lamp = found["outputs"]
    assert (cannon["name"], cannon["state"], cannon["is_on"], cannon["reason"]) == ("cannon-gate", "on", True, "alarm")
    assert cannon["label"] == {"en": "Fog cannon, gate", "zh": "大门雾炮"}
    assert "en" not in cannon
    assert sprinkler["blocked_by"] == ["no_water", "wind"]
    assert (lamp["mode"], lamp["is_on"], lamp["dead_man_s"]) == ("off", None, 20.0)
    summary = (await body(client, "/api/site"))["outputs"]
    assert summary == {"revision": 1, "on": 1, "faults": 0}


async def test_a_cannon_is_taken_over_and_given_back(client: aiohttp.ClientSession, desk: DemoOutputs) -> None:
    before_ms = CLOCK.wall_ms()
    status, told = await switch(client, "cannon-gate", "off", {"by": "Li Wei", "minutes": 30})
    assert (status, told["state"], told["owner"], told["by"]) == (200, "off", "manual", "Li Wei")
    assert 30 * M <= told["lease_until_ms"] - before_ms <= 31 * M
    status, told = await switch(client, "cannon-gate", "auto", {"by": "Li Wei"})
    assert (status, told["owner"], told["lease_until_ms"]) == (200, "automatic", None)
    steps = [e["step"] for e in (await body(client, "/api/journal?output=cannon-gate"))["entries"]][:2]
    assert steps == ["released", "manual"]


async def test_an_interlock_refuses_with_a_sentence(client: aiohttp.ClientSession) -> None:
    status, told = await switch(client, "sprinkler-road", "on", {"by": "Li Wei", "minutes": 5})
    assert (status, told["error"]) == (409, "sprinkler-road cannot be switched on. There is not enough water.")
    assert (await switch(client, "nothing", "on", {"by": "Li Wei", "minutes": 5}))[0] == 404


async def test_looking_is_open_and_switching_is_not(
    client: aiohttp.ClientSession, desk: DemoOutputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "WRONG_PASSWORD_S", 0.0)
    wrong = "Basic " + base64.b64encode(b"any:wrong").decode()
    async with client.get("/", headers={"Authorization": wrong}) as answer:
        assert answer.status == 200, "a browser's stale password does not shut it out of what is open"
    for headers, status in [
        ({"X-Sitegate": "1"}, 401),
        ({"X-Sitegate": "1", "Authorization": wrong}, 401),
        ({"Authorization": BASIC}, 403),
        ({**OURS, "Origin": "http://attacker.example"}, 403),
        ({**OURS, "Sec-Fetch-Site": "cross-site"}, 403),
        (OURS, 200),
    ]:
        assert (await switch(client, "cannon-gate", "off", {"by": "a", "minutes": 1}, headers))[0] == status, headers
    assert desk.revision == 2
    async with client.post("/api/outputs/cannon-gate/off") as answer:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), "else the browser asks before the page can"
    async with client.post("/api/outputs/cannon-gate/explode", headers=OURS) as answer:
        assert answer.status == 405


async def test_without_a_password_nobody_switches() -> None:
    demo, _, desk = with_outputs(CLOCK, password=None)
    page = PageServer(demo.state, "127.0.0.1", 0)
    await page.start()
    try:
        async with aiohttp.ClientSession(page.url) as client:
            assert (await body(client, "/api/outputs"))["switchable"] is False
            status, told = await switch(client, "cannon-gate", "off", {"by": "a"}, {"X-Sitegate": "1"})
            assert (status, "page.password" in told["error"]) == (403, True)
    finally:
        await page.stop()
    assert desk.revision == 1


@pytest.mark.parametrize(
    "given",
    [
        b"", b"[]", b'{"by": "a", "minutes": true}', b'{"by": "a", "minutes": "5"}', b'{"by": "a", "minutes": 0}',
        b'{"by": "a", "minutes": ' + b"9" * 400 + b"}",
        b'{"by": "a", "minutes": -1}', b'{"by": "a", "minutes": 1e999}', b'{"by": "a", "minutes": NaN}',
        b'{"by": "", "minutes": 5}', b'{"minutes": 5}', b'{"by": "a", "minutes": 5, "force": true}',
        json.dumps({"by": "a", "minutes": MAX_MINUTES + 1}).encode(), b'{"by": "a\\u001b[2J", "minutes": 5}',
    ],
)  # fmt: skip
def test_what_a_command_may_not_say(given: bytes) -> None:
    with pytest.raises(BadQuery, match=r"^(Send a JSON object|\"(by|minutes)\" must)"):
        read_command(given)


def test_a_command_that_does_not_say_how_long_is_short() -> None:
    assert read_command('{"by": " 李伟 "}'.encode()) == outputs.Command("李伟", USUAL_MINUTES)


async def test_the_journal_by_time_and_output(client: aiohttp.ClientSession) -> None:
    now_ms = CLOCK.wall_ms()
    day = await body(client, "/api/journal")
    assert [e["step"] for e in day["entries"]] == ["dry_run", "confirmed", "written", "intent", "asked", "refused"]
    assert day["complete"] is True
    week = await body(client, f"/api/journal?from={now_ms - 7 * 24 * H}&to={now_ms}&output=cannon-gate")
    assert len(week["entries"]) == 7
    for bad, status in [("from=5&to=5", 400), ("from=0", 400), ("from=x", 400), ("output=nothing", 404)]:
        assert "error" in await body(client, f"/api/journal?{bad}", status)


def test_a_long_journal_is_cut_and_says_so(desk: DemoOutputs) -> None:
    entries = desk.entries * (MAX_ENTRIES // len(desk.entries) + 1)
    told = outputs.journal(JournalQuery(0, 1, None), entries)
    assert (len(told["entries"]), told["complete"]) == (MAX_ENTRIES, False)
    assert outputs.journal(JournalQuery(0, 1, None), entries[:MAX_ENTRIES])["complete"] is True


async def test_a_site_without_outputs() -> None:
    page = PageServer(with_alarms(CLOCK, password=None)[0].state, "127.0.0.1", 0)
    await page.start()
    try:
        async with aiohttp.ClientSession(page.url) as client:
            assert await body(client, "/api/outputs") == {"switchable": False, "outputs": []}
            assert (await body(client, "/api/site"))["outputs"] is None
            assert "outputs in the site file" in (await body(client, "/api/journal?output=a", 404))["error"]
    finally:
        await page.stop()


async def test_a_change_is_told_at_the_next_tick(client: aiohttp.ClientSession, desk: DemoOutputs) -> None:
    async with client.get("/events") as stream:
        told: list[dict[str, int]] = []
        async for line in stream.content:
            if line.startswith(b"data: {"):
                told.append(json.loads(line[6:])["outputs"])
                if len(told) == 2:
                    break
                desk.put("cannon-gate", state="fault", reason="stuck_on")
    assert told == [{"revision": 1, "on": 1, "faults": 0}, {"revision": 2, "on": 1, "faults": 1}]


async def test_metrics_of_outputs_and_alarms(client: aiohttp.ClientSession) -> None:
    async with client.get("/metrics") as answer:
        text = await answer.text()
    lines = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}
    assert lines['sitegate_output_on{output="cannon-gate"}'] == 1
    assert 'sitegate_output_on{output="lamp"}' not in lines, "unknown is not off"
    assert lines['sitegate_output_state{output="lamp",state="unknown"}'] == 1
    assert lines['sitegate_output_state{output="lamp",state="on"}'] == 0
    assert lines['sitegate_output_starts_last_hour{output="cannon-gate"}'] == 2
    assert lines['sitegate_output_on_seconds_today{output="cannon-gate"}'] == 1520
    assert lines['sitegate_alarms_open{severity="warning"}'] == 1
    assert lines['sitegate_alarms_active{severity="warning"}'] == 0
    assert lines['sitegate_alarms_active{severity="alarm"}'] == 1


def test_the_page_has_words_for_every_reason_in_both_languages() -> None:
    text = load_files()["i18n_control.js"].body.decode()
    words = re.findall(r'"control\.reason\.(\w+)": \["([^"]+)",\s+"([^"]+)"\]', text)
    assert {code: en for code, en, _ in words} == dict(REASONS)
    assert all(re.search(r"[\u4e00-\u9fff]", zh) for _, _, zh in words)


def test_every_text_of_the_page_is_in_both_languages_and_stands_once() -> None:
    files, keys = load_files(), []
    for name in ("i18n.js", "i18n_control.js"):
        text = files[name].body.decode()
        begun = re.findall(r'^  "([\w. \']+)": \[', text, re.MULTILINE)
        pairs = re.findall(r'^  "([\w. \']+)": \["((?:[^"\\]|\\.)*)",\s+"((?:[^"\\]|\\.)*)"\],$', text, re.MULTILINE)
        assert [key for key, _, _ in pairs] == begun, f"{name}: a text in one language"
        for key, en, zh in pairs:
            assert set(re.findall(r"\{\w+\}", en)) == set(re.findall(r"\{\w+\}", zh)), key
        keys += begun
    assert len(keys) == len(set(keys))
