"""``sitegate alerts list|ack|act|close``: alarms of a gateway that runs (by its page) or has stopped (in its file)."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from base64 import b64encode
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from gateway.alerts import engine, store
from gateway.alerts.alarm import STEPS, follow, why_not
from gateway.alerts.state import Event, State
from gateway.clock import SystemClock
from gateway.commands.output import FINE, MISUSE, PROBLEM, complain, complain_all, print_json, print_table, say
from gateway.config.loader import load_site
from gateway.config.site import SiteConfig
from gateway.errors import ConfigError, NotNow, StoreBusy
from gateway.model import Alarm
from gateway.storage import open_closed
from gateway.web.alarms import LIST_MS, Answer, read_answer
from gateway.web.guard import OURS
from gateway.web.history import BadQuery

TIMEOUT_S = 15.0
_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}  # noqa: S104  # compared with, not bound to
_COLUMNS = ["since", "state", "still", "severity", "rule", "where", "value", "limit", "id"]


class NotAnswered(Exception):
    """The gateway or its file did not do what was asked; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Page:
    """A gateway that runs."""

    url: str
    password: str | None
    token: str | None = None
    """Used where there is no password."""

    async def ask(self, path: str, body: object = None) -> Any:
        """GET, or POST a body. Raises NotAnswered with the page's own sentence."""
        headers = {OURS: "1"}
        if self.password is not None:
            headers["Authorization"] = "Basic " + b64encode(f"sitegate:{self.password}".encode()).decode()
        elif self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        method, address = "GET" if body is None else "POST", self.url.rstrip("/") + path
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
                session.request(method, address, data=None if body is None else json.dumps(body)) as answer,
            ):
                found = await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError) as why:
            raise NotAnswered(f"{self.url} does not answer as a gateway does: {why or 'no answer in time'}") from None
        if answer.status == 401:
            raise NotAnswered(f"{self.url} needs its password: --password or SITEGATE_PASSWORD")
        if answer.status != 200:
            raise NotAnswered(found["error"])
        return found


def list_alarms(site: Path | None, url: str | None, password: str | None, *, past: bool, as_json: bool) -> int:
    """Print what is open, or all of the last seven days."""
    place = _place(site, url, password)
    if isinstance(place, int):
        return place
    try:
        if isinstance(place, Page):
            found = asyncio.run(place.ask(f"/api/alerts?state={'all' if past else 'open'}"))["alerts"]
        else:
            with closing(place) as conn:
                found = [asdict(alarm) for alarm in _stored(conn, past=past)]
    except (NotAnswered, sqlite3.Error) as why:
        complain(why)
        return PROBLEM
    if as_json:
        print_json(found)
    elif found:
        print_table(_COLUMNS, [_row(alarm) for alarm in found])
    else:
        say("no alarm in the last seven days" if past else "no alarm is open")
    return FINE


def answer(
    site: Path | None, url: str | None, password: str | None, *, alarm: str, step: str, by: str, note: str
) -> int:
    """Acknowledge, act on or close one alarm."""
    try:
        said = read_answer(json.dumps({"by": by, "note": note}).encode())
    except BadQuery as why:
        complain(why)
        return MISUSE
    place = _place(site, url, password)
    if isinstance(place, int):
        return place
    try:
        if isinstance(place, Page):
            path = f"/api/alerts/{quote(alarm, safe='@')}/{step}"
            state = asyncio.run(place.ask(path, asdict(said)))["state"]
        else:
            with closing(place) as conn:
                state = _answer_in_file(conn, alarm, step, said).state
    except (NotAnswered, NotNow, sqlite3.Error) as why:
        complain(why)
        return PROBLEM
    say(f"{alarm} is {state}")
    return FINE


def _place(site: Path | None, url: str | None, password: str | None) -> Page | sqlite3.Connection | int:
    """Return the page of a gateway that runs, the file of one that does not, or an exit status."""
    if url is not None:
        return Page(url, password)
    if site is None:
        complain("name a SITE.yaml, or the page of a gateway with --url")
        return MISUSE
    try:
        config = load_site(site).config
        return open_closed(Path(config.data_dir) / store.FILE_NAME)
    except ConfigError as error:
        return complain_all(error)
    except FileNotFoundError:
        complain(f"{site}: this gateway has had no alarm rules yet, or data_dir is another one")
        return PROBLEM
    except StoreBusy:
        return page_of(config, password)
    except sqlite3.Error as why:
        complain(why)
        return PROBLEM


def page_of(config: SiteConfig, password: str | None) -> Page | int:
    """Return the page of the gateway that runs a site file, or the exit status after a complaint."""
    page = config.page
    if not page.port:
        complain("this gateway runs on a port that the system chose: give its page with --url")
        return PROBLEM
    host = _ANY_HOST.get(page.host, page.host)
    return Page(f"http://{host}:{page.port}", password or page.password, page.token)


def _stored(conn: sqlite3.Connection, *, past: bool) -> Sequence[Alarm]:
    if not past:
        return store.load(conn).alarms
    now_ms = SystemClock().wall_ms()
    return store.find(conn, now_ms - LIST_MS, now_ms + 1)


def _answer_in_file(conn: sqlite3.Connection, name: str, step: str, said: Answer) -> Alarm:
    """What the running gateway does, on the file of a stopped one. Raises NotAnswered or NotNow."""
    alarm = store.find_one(conn, name)
    if alarm is None:
        raise NotAnswered(f"there is no alarm {name}; list them with: sitegate alerts list SITE.yaml --all")
    if refusal := why_not(alarm, step, said.note):
        raise NotNow(refusal)
    now_ms = SystemClock().wall_ms()
    event = Event(name, STEPS[step][0], now_ms, alarm.rule, alarm.subject, alarm.severity, asdict(said))
    key = (alarm.rule, alarm.subject)
    state = store.load(conn).states.get(key)
    states = {} if state is None else {key: engine.acknowledge(State.from_json(state), name).to_json()}
    store.keep(conn, [event], states)
    after = follow(alarm, event)
    assert after is not None
    return after


def _row(alarm: dict[str, Any]) -> list[Any]:
    details = alarm["details"]
    since = datetime.fromtimestamp(alarm["raised_ms"] / 1000, UTC).astimezone()
    value = details.get("value")
    return [
        since.strftime("%Y-%m-%d %H:%M"), alarm["state"], "holds" if alarm["active"] else "gone", alarm["severity"],
        alarm["rule"], details.get("device", alarm["subject"]), None if value is None else f"{value:.4g}",
        details.get("limit"), alarm["id"],
    ]  # fmt: skip
