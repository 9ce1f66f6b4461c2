"""Bringing dashboards to a Grafana: twice is nothing, people's changes stay, nothing is half pushed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

import configs
from gateway.commands import dashboards
from gateway.commands.output import FINE, MISUSE, PROBLEM
from gateway.grafana.push import Grafana, Refused
from tests.support.grafana_server import TOKEN, GrafanaServer
from tests.support.http_stub import Answer, HttpStub
from tests.support.machine import free_port

DEMO = configs.path("site.demo.yaml")
FILES = {
    f"{language}/{name}.json": json.dumps({"uid": f"sitegate-{name}-{language}", "title": name, "panels": []})
    for language in ("en", "zh")
    for name in ("overview", "water")
}
WATER = "sitegate-water-en"


class Place:
    """A scripted Grafana and its address."""

    def __init__(self, server: GrafanaServer, stub: HttpStub) -> None:
        self.server = server
        self.stub = stub

    async def push(self, files: dict[str, str] = FILES, token: str = TOKEN, *, force: bool = False) -> list[str]:
        """Look, push, and return what was to be done with each dashboard."""

        def work() -> list[str]:
            with Grafana(self.stub.url, token) as grafana:
                changes = grafana.look(files)
                grafana.push(changes, force=force)
                return [change.what for change in changes]

        return await asyncio.to_thread(work)

    async def command(self, *, url: str = "", token: str = TOKEN, dry_run: bool = False, force: bool = False) -> int:
        """Run the command as a person does."""
        return await asyncio.to_thread(dashboards.push, url or self.stub.url, token, DEMO, dry_run=dry_run, force=force)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    server = GrafanaServer()
    async with HttpStub(server.answer) as stub:
        yield Place(server, stub)


async def look(url: str) -> None:
    """Look at a server and go."""

    def work() -> None:
        with Grafana(url, TOKEN) as grafana:
            grafana.look(FILES)

    await asyncio.to_thread(work)


def changed(uid: str) -> dict[str, str]:
    """The files, one of them with another content."""
    return {
        name: json.dumps({**json.loads(text), "panels": [{"id": 1}]}) if json.loads(text)["uid"] == uid else text
        for name, text in FILES.items()
    }


async def test_the_second_time_there_is_nothing_to_do(place: Place) -> None:
    assert await place.push() == ["new"] * 4
    assert place.server.folders == {"sitegate-en": "Sitegate", "sitegate-zh": "Sitegate 中文"}
    assert place.server.dashboards[WATER]["folderUid"] == "sitegate-en"
    written = place.server.writes
    assert await place.push() == ["same"] * 4
    assert place.server.writes == written


async def test_what_is_new_here_replaces_what_we_pushed(place: Place) -> None:
    await place.push()
    place.server.dashboards[WATER]["folderUid"] = "moved"
    place.server.folders["moved"] = "Where people like it"
    assert sorted(await place.push(changed(WATER))) == ["changed", "same", "same", "same"]
    assert place.server.dashboards[WATER]["dashboard"]["panels"] == [{"id": 1}]
    assert place.server.dashboards[WATER]["folderUid"] == "moved"


async def test_what_people_saved_stays_unless_forced(place: Place) -> None:
    await place.push()
    place.server.saved_by("li", WATER, title="Li's water")
    assert sorted(await place.push(changed(WATER))) == ["same", "same", "same", "theirs"]
    assert place.server.dashboards[WATER]["dashboard"]["title"] == "Li's water"
    await place.push(changed(WATER), force=True)
    assert place.server.dashboards[WATER]["dashboard"]["title"] == "water"
    assert await place.push(changed(WATER)) == ["same"] * 4


async def test_what_is_saved_between_look_and_push_is_not_overwritten(place: Place) -> None:
    await place.push()
    with Grafana(place.stub.url, TOKEN) as grafana:
        changes = await asyncio.to_thread(grafana.look, changed(WATER))
        place.server.saved_by("li", WATER, title="Li's water")
        with pytest.raises(Refused, match=r"someone else saved it \(status 412\); 0 of 1"):
            await asyncio.to_thread(grafana.push, changes, force=False)
    assert place.server.dashboards[WATER]["dashboard"]["title"] == "Li's water"


async def test_a_refused_dashboard_says_what_was_pushed_and_the_next_push_goes_on(place: Place) -> None:
    place.server.refuse = WATER
    with pytest.raises(Refused, match=r"did not take en/water.json: quota reached \(status 422\); 1 of 4 were pushed"):
        await place.push()
    place.server.refuse = None
    assert sorted(await place.push()) == ["new", "new", "new", "same"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"version": "9.5.2"}, "Grafana 9.5.2 is too old"),
        ({"version": "?"}, "answers, but not as Grafana"),
        ({"may_make_folders": False}, "may not make the folder 'Sitegate'"),
    ],
)
async def test_one_sentence_and_nothing_pushed(place: Place, change: dict[str, object], sentence: str) -> None:
    for name, value in change.items():
        setattr(place.server, name, value)
    with pytest.raises(Refused, match=sentence):
        await place.push()
    assert place.server.dashboards == {}


async def test_a_token_that_may_not_save_is_noticed_before_anything_is_written(place: Place) -> None:
    await place.push()
    place.server.can_save = False
    written = place.server.writes
    with pytest.raises(Refused, match="may not change the dashboard"):
        await place.push(changed(WATER))
    assert place.server.writes == written


async def test_a_wrong_token(place: Place) -> None:
    with pytest.raises(Refused, match="does not know this token"):
        await place.push(token="no-such-token")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>router</html>", {"Content-Type": "text/html"}),
        Answer(200, b"{}", {"Content-Type": "application/json"}),
        Answer(200, b"no json", {"Content-Type": "application/json"}),
        Answer(404, b"nothing here", {"Content-Type": "text/plain"}),
    ],
)
async def test_another_server_at_that_address(answer: Answer) -> None:
    async with HttpStub(lambda _: answer) as stub:
        with pytest.raises(Refused, match="answers, but not as Grafana"):
            await look(stub.url)


async def test_a_server_in_trouble() -> None:
    async with HttpStub(lambda _: Answer(503, b"{}", {"Content-Type": "application/json"})) as stub:
        with pytest.raises(Refused, match="does not answer as it should"):
            await look(stub.url)


async def test_nobody_at_that_address() -> None:
    with pytest.raises(Refused, match="no Grafana is reached at"):
        await look(f"http://127.0.0.1:{free_port()}")


async def test_the_command(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert await place.command(dry_run=True) == FINE
    assert place.server.writes == 0
    assert "new     en/overview.json" in capsys.readouterr().out
    assert await place.command() == FINE
    assert "16 of 16 dashboards pushed" in capsys.readouterr().out
    assert await place.command() == FINE
    assert "0 of 16 dashboards pushed" in capsys.readouterr().out
    place.server.saved_by("li", WATER, title="Li's water")
    place.server.dashboards["sitegate-fleet-en"]["provisioned"] = True
    assert await place.command() == PROBLEM
    said = capsys.readouterr()
    assert "theirs  en/water.json (saved last by li)" in said.out
    assert "(en/fleet.json, en/water.json); nothing was pushed" in said.err
    assert await place.command(dry_run=True) == FINE
    assert '- "title": "Li\'s water",' in capsys.readouterr().out
    assert await place.command(url="grafana:3000") == MISUSE
    assert "write http://host:3000" in capsys.readouterr().err
