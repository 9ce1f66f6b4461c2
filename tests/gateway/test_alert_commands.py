"""``sitegate alerts list|ack|act|close`` on a running gateway and on the file of a stopped one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.alerts.state import Event, Member, State
from gateway.alerts.store import FILE_NAME, AlarmStore
from gateway.clock import SystemClock
from gateway.commands.alarms import NotAnswered, Page, answer, list_alarms
from gateway.config.site import PageConfig
from gateway.web import guard
from gateway.web.server import PageServer
from tests.support.alarm_demo import PASSWORD, DemoDesk, with_alarms

SITE = """
site: {{id: small, name: Small, simulated: true}}
links:
  net: {{kind: tcp, host: 127.0.0.1, port: 1502}}
devices:
  main: {{link: net, profile: eastron_sdm630, address: {{unit: 1}}}}
page: {{port: {port}, password: "{password}"}}
"""
ALARM = "dust@gate@1000"
RAISED = Event(ALARM, "raised", 1000, "dust", "gate", "alarm", {"value": 236.4, "limit": 200.0})
CLEARED = Event(ALARM, "cleared", 2000, "dust", "gate", "alarm", {})


def site_file(folder: Path, port: int = 0) -> Path:
    file = folder / "site.yaml"
    file.write_text(SITE.format(port=port, password=PASSWORD))
    return file


async def stopped(folder: Path, *events: Event) -> Path:
    """A site file beside the data of a gateway that does not run."""
    store = await AlarmStore.open(folder / "data" / FILE_NAME)
    state = State("dust", "gate", {"gate": Member()}, 2, ALARM, 1000, "alarm")
    await store.keep(events, {("dust", "gate"): state.to_json()})
    await store.close()
    return site_file(folder)


@pytest.fixture
async def page(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[PageServer, DemoDesk]]:
    monkeypatch.setattr(guard, "WRONG_PASSWORD_S", 0.0)
    demo, desk = with_alarms(SystemClock())
    server = PageServer(demo.state, "127.0.0.1", 0)
    await server.start()
    yield server, desk
    await server.stop()


async def do(step: str, alarm: str, site: Path | None, url: str | None = None, note: str = "", by: str = "Li") -> int:
    """The command blocks: it runs beside the page of this test."""
    return await asyncio.to_thread(answer, site, url, PASSWORD, alarm=alarm, step=step, by=by, note=note)


async def test_alarms_of_a_stopped_gateway_are_answered_in_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = await stopped(tmp_path, RAISED)
    assert await do("acknowledge", ALARM, site) == 0
    assert await do("close", ALARM, site, note="done") == 1
    assert "cause still holds" in capsys.readouterr().err
    await stopped(tmp_path, CLEARED)
    assert await do("close", ALARM, site, note="swept") == 0
    assert await do("act", "dust@gate@7", site, note="x") == 1
    assert "no alarm dust@gate@7" in capsys.readouterr().err
    assert list_alarms(site, None, None, past=False, as_json=True) == 0
    assert json.loads(capsys.readouterr().out) == []


async def test_an_acknowledgement_in_the_file_stops_the_escalation(tmp_path: Path) -> None:
    await do("acknowledge", ALARM, await stopped(tmp_path, RAISED))
    store = await AlarmStore.open(tmp_path / "data" / FILE_NAME)
    assert State.from_json(store.kept.states["dust", "gate"]).acknowledged
    await store.close()


async def test_open_alarms_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = await stopped(tmp_path, RAISED)
    assert list_alarms(site, None, None, past=False, as_json=False) == 0
    out = capsys.readouterr().out
    assert all(part in out for part in ("1970-01-01", "open", "holds", "236.4", "200.0", ALARM))


async def test_a_running_gateway_is_asked_through_its_page(
    page: tuple[PageServer, DemoDesk], capsys: pytest.CaptureFixture[str]
) -> None:
    server, desk = page
    assert await asyncio.to_thread(list_alarms, None, server.url, PASSWORD, past=True, as_json=True) == 0
    assert {a["id"] for a in json.loads(capsys.readouterr().out)} == {desk.dust, desk.night}
    assert await do("acknowledge", desk.dust, None, server.url) == 0
    assert await do("acknowledge", desk.dust, None, server.url) == 1
    assert "acknowledged already" in capsys.readouterr().err
    assert desk.known[desk.dust].state == "acknowledged"
    assert await asyncio.to_thread(list_alarms, None, server.url, "wrong", past=False, as_json=True) == 1
    assert "SITEGATE_PASSWORD" in capsys.readouterr().err


async def test_a_site_file_finds_the_page_of_its_running_gateway(
    tmp_path: Path, page: tuple[PageServer, DemoDesk]
) -> None:
    server, desk = page
    holder = await AlarmStore.open(tmp_path / "data" / FILE_NAME)
    try:
        site = site_file(tmp_path, server.port)
        assert (
            await asyncio.to_thread(answer, site, None, None, alarm=desk.dust, step="act", by="Li", note="swept") == 0
        )
        assert desk.known[desk.dust].state == "acted"
        assert await do("act", desk.dust, site_file(tmp_path, 0), note="x") == 1, "a port nobody knows"
    finally:
        await holder.close()


@pytest.mark.parametrize(
    ("by", "note", "says"), [("", "x", '"by"'), ("Li", "\x1b[31m", '"note"'), ("L" * 61, "x", '"by"')]
)
async def test_what_cannot_be_said_is_wrong_use(
    by: str, note: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await do("act", ALARM, await stopped(tmp_path, RAISED), by=by, note=note) == 2
    assert says in capsys.readouterr().err


async def test_a_place_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await do("acknowledge", ALARM, None) == 2
    assert await do("acknowledge", ALARM, site_file(tmp_path)) == 1
    assert "no alarm rules yet" in capsys.readouterr().err
    assert await do("acknowledge", ALARM, None, "http://127.0.0.1:9") == 1
    assert "does not answer" in capsys.readouterr().err


async def test_a_site_with_a_token_alone_is_answered_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "WRONG_PASSWORD_S", 0.0)
    demo, desk = with_alarms(SystemClock(), password=None)
    token = "a-token-for-programs-1"
    site = demo.state.site.model_copy(update={"page": PageConfig(token=token)})
    server = PageServer(replace(demo.state, site=site), "127.0.0.1", 0)
    await server.start()
    try:
        place = Page(server.url, None, token)
        told = await place.ask(f"/api/alerts/{desk.dust}/acknowledge", {"by": "Li", "note": ""})
        assert told["state"] == "acknowledged"
        with pytest.raises(NotAnswered, match="password"):
            await Page(server.url, None).ask("/api/alerts")
    finally:
        await server.stop()
