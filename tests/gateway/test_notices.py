"""The outbox while the gateway runs: kills, a day without the endpoint, 200 alarms at once (faults 118, 121, 122)."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.alerts.state import Event
from gateway.alerts.store import FILE_NAME as ALARMS
from gateway.alerts.store import AlarmStore
from gateway.notices.policy import HOUR_MS, Settings
from gateway.notices.runtime import NoticeRuntime, Outlet
from gateway.notices.store import FILE_NAME, NoticeStore
from gateway.notices.text import About, Message
from tests.support.clock import ManualClock, settle

ZONE = ZoneInfo("Asia/Shanghai")
NOON_MS = round(datetime(2026, 11, 22, 12, tzinfo=ZONE).timestamp() * 1000)
SETTINGS = Settings("warning", fold_ms=30_000, expire_ms=12 * HOUR_MS, most_per_hour=12)
ABOUT = About({"en": "Lot 2", "zh": "二标段"}, ZONE)


class Endpoint:
    """What a channel sends to: takes messages, or says why not."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.tries = 0
        self.why_not: str | None = None
        self.waits: asyncio.Event | None = None

    async def send(self, message: Message) -> str | None:
        self.tries += 1
        if self.waits is not None:
            await self.waits.wait()
        if self.why_not is None:
            self.messages.append(message)
        return self.why_not


class Box:
    """Alarms and notices of one gateway in one folder, on a clock of its own."""

    def __init__(self, folder: Path, alarms: AlarmStore, clock: ManualClock, endpoint: Endpoint) -> None:
        self.folder = folder
        self.alarms = alarms
        self.clock = clock
        self.endpoint = endpoint
        self.outlets = {"office": Outlet(SETTINGS, "en", endpoint.send)}
        self.runtime: NoticeRuntime

    async def open(self) -> None:
        store = await NoticeStore.open(self.folder / FILE_NAME, list(self.outlets), self.clock.wall_ms())
        self.runtime = await NoticeRuntime.open(self.outlets, ABOUT, self.alarms, store, self.clock, lambda: 1.0)

    async def raise_(self, *names: str, severity: str = "alarm") -> None:
        await self._keep("raised", names, severity)

    async def clear(self, *names: str) -> None:
        await self._keep("cleared", names, "alarm")

    async def _keep(self, kind: Any, names: tuple[str, ...], severity: str) -> None:
        at_ms = self.clock.wall_ms()
        words = {"title": {"en": "PM10"}, "label": {"en": "gate"}} if kind == "raised" else {}
        await self.alarms.keep([Event(n, kind, at_ms, "dust", n, severity, words) for n in names], {})

    async def go(self, seconds: float, step_s: float = 10.0) -> None:
        """Let time pass, and look at it as ``run`` does."""
        for _ in range(max(1, round(seconds / step_s))):
            self.clock.jump_wall(step_s)
            await self.runtime.take()
            for name in self.outlets:
                await self.runtime.serve(name)

    @property
    def told(self) -> list[tuple[str, ...]]:
        return [message.alarms for message in self.endpoint.messages]


@asynccontextmanager
async def box_in(folder: Path, clock: ManualClock, endpoint: Endpoint) -> AsyncIterator[Box]:
    folder.mkdir(exist_ok=True)
    alarms = await AlarmStore.open(folder / ALARMS)
    box = Box(folder, alarms, clock, endpoint)
    await box.open()
    try:
        yield box
    finally:
        await box.runtime.close()
        await alarms.close()


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    async with box_in(tmp_path / "data", ManualClock(NOON_MS), Endpoint()) as opened:
        yield opened


def killed(box: Box, copy: Path) -> Path:
    """What a power cut leaves: the files as they are this moment."""
    shutil.copytree(box.folder, copy)
    return copy


async def test_an_alarm_is_told_once_and_its_end_once(box: Box) -> None:
    await box.raise_("dust@gate@1")
    await box.go(20)
    assert box.told == []
    await box.go(3600)
    assert box.told == [("dust@gate@1",)]
    await box.clear("dust@gate@1")
    await box.go(3600)
    assert box.told == [("dust@gate@1",)] * 2
    assert "OVER" in box.endpoint.messages[1].title
    health = box.runtime.health()["office"]
    assert (health.state, health.sent, health.waiting, health.failed) == ("up", 2, 0, 0)


async def test_what_happened_before_the_first_start_is_not_told(tmp_path: Path) -> None:
    clock, endpoint = ManualClock(NOON_MS), Endpoint()
    async with box_in(tmp_path / "data", clock, endpoint) as box:
        await box.raise_("old@gate@1")
    (tmp_path / "data" / FILE_NAME).unlink()
    async with box_in(tmp_path / "data", clock, endpoint) as box:
        await box.clear("old@gate@1")
        await box.raise_("new@gate@1")
        await box.go(60)
    assert box.told == [("new@gate@1",)]


async def test_a_kill_between_event_and_message_neither_loses_nor_doubles_it(box: Box, tmp_path: Path) -> None:
    """Fault 118: at every step of the way a new process goes on from the files."""
    places = [killed(box, tmp_path / "before")]
    await box.raise_("dust@gate@1")
    places.append(killed(box, tmp_path / "event stored"))
    await box.runtime.take()
    places.append(killed(box, tmp_path / "line stored"))
    await box.go(40)
    assert box.told == [("dust@gate@1",)]
    places.append(killed(box, tmp_path / "message sent"))
    for place, expected in zip(places, [0, 1, 1, 0], strict=True):
        endpoint = Endpoint()
        async with box_in(place, ManualClock(box.clock.wall_ms()), endpoint) as again:
            await again.go(600)
            assert again.told == [("dust@gate@1",)] * expected, place.name
            await again.clear("dust@gate@1")
            await again.go(600)
            assert len(again.told) == expected + (place.name != "before"), f"{place.name}: its end"


async def test_a_kill_while_the_endpoint_takes_it_sends_that_one_message_again(box: Box, tmp_path: Path) -> None:
    await box.raise_("dust@gate@1")
    await box.go(20)
    box.endpoint.waits = asyncio.Event()
    box.clock.jump_wall(20)
    under_way = asyncio.create_task(box.runtime.serve("office"))
    await settle()
    assert box.endpoint.tries == 1
    copy = killed(box, tmp_path / "copy")
    box.endpoint.waits.set()
    await under_way
    async with box_in(copy, ManualClock(box.clock.wall_ms()), Endpoint()) as again:
        await again.go(600)
        assert again.told == [("dust@gate@1",)]


async def test_the_endpoint_is_down_for_a_day(box: Box, tmp_path: Path) -> None:
    """Fault 121: few tries, one summary afterwards, what is long over is only counted; a restart changes nothing."""
    box.endpoint.why_not = "no route to host"
    await box.raise_("holds@gate@1")
    for hour in range(24):
        await box.raise_(f"comes@{hour}@1")
        await box.go(1800, 60)
        await box.clear(f"comes@{hour}@1")
        await box.go(1800, 60)
    assert 40 < box.endpoint.tries < 60, "about every half hour"
    health = box.runtime.health()["office"]
    assert (health.state, health.last_error, health.sent) == ("down", "no route to host", 0)
    assert health.expired == 12
    async with box_in(killed(box, tmp_path / "copy"), ManualClock(box.clock.wall_ms()), Endpoint()) as again:
        assert again.runtime.health()["office"].state == "down"
        await again.go(3600, 60)
        (message,) = again.endpoint.messages
        assert set(message.alarms) >= {"holds@gate@1", "comes@23@1"}
        assert 12 <= len(message.alarms) <= 13
        assert "older notices could not be sent in time" in message.body
        await again.raise_("next@gate@1")
        await again.go(600)
        assert again.told[1:] == [("next@gate@1",)]
        assert "older notices" not in again.endpoint.messages[1].body, "said once"
        assert again.runtime.health()["office"].state == "up"


async def test_two_hundred_alarms_at_once_are_one_message(box: Box) -> None:
    """Fault 122."""
    await box.raise_(*[f"dust@gate-{i}@1" for i in range(200)])
    await box.go(60)
    (message,) = box.endpoint.messages
    assert len(message.alarms) == 200
    assert len(message.body.encode()) < 2048
    await box.clear(*[f"dust@gate-{i}@1" for i in range(200)])
    await box.go(600)
    assert len(box.told) == 2


async def test_alarms_that_flap_for_an_hour_make_few_messages(box: Box) -> None:
    for minute in range(60):
        await box.raise_(f"dust@gate@{minute}")
        await box.go(30)
        await box.clear(f"dust@gate@{minute}")
        await box.go(30)
    assert len(box.told) <= 9
    await box.go(7200, 60)
    assert {alarm for message in box.told for alarm in message} == {f"dust@gate@{minute}" for minute in range(60)}


async def test_tries_become_rarer_and_the_wait_survives_a_restart(box: Box, tmp_path: Path) -> None:
    box.endpoint.why_not = "500"
    await box.raise_("dust@gate@1")
    await box.go(40)
    assert box.endpoint.tries == 1
    await box.go(20)
    assert box.endpoint.tries == 1
    copy = killed(box, tmp_path / "copy")
    await box.go(10)
    assert box.endpoint.tries == 2, "after half a minute"
    async with box_in(copy, ManualClock(box.clock.wall_ms() - 10_000), Endpoint()) as again:
        await again.runtime.serve("office")
        assert again.endpoint.tries == 0
        again.clock.jump_wall(-10 * 86_400)
        await again.runtime.serve("office")
        assert again.endpoint.tries == 1, "a clock that was set back holds nothing up"


async def test_a_slow_channel_holds_up_nobody_else(tmp_path: Path) -> None:
    slow, quick, clock = Endpoint(), Endpoint(), ManualClock(NOON_MS)
    slow.waits = asyncio.Event()
    async with box_in(tmp_path / "data", clock, quick) as box:
        await box.runtime.close()
        box.outlets = {"slow": Outlet(SETTINGS, "zh", slow.send), **box.outlets}
        await box.open()
        running = asyncio.create_task(box.runtime.run())
        await settle()
        await box.raise_("dust@gate@1")
        for _ in range(40):
            await clock.advance(1)
            await asyncio.sleep(0.002)  # the store's thread
        assert slow.tries == 1
        assert box.told == [("dust@gate@1",)]
        await box.clear("dust@gate@1")
        slow.waits.set()
        for _ in range(40):
            await clock.advance(1)
            await asyncio.sleep(0.002)
        assert len(slow.messages) == 2, "its end came while the beginning was under way"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_channels_choose_by_severity_and_rule(tmp_path: Path) -> None:
    clock, everything, worst = ManualClock(NOON_MS), Endpoint(), Endpoint()
    async with box_in(tmp_path / "data", clock, everything) as box:
        await box.runtime.close()
        box.outlets["chief"] = Outlet(replace(SETTINGS, severity="critical"), "zh", worst.send)
        box.outlets["noise"] = Outlet(replace(SETTINGS, rules=frozenset({"noise"})), "zh", Endpoint().send)
        await box.open()
        await box.raise_("a@gate@1", severity="warning")
        await box.raise_("b@gate@1", severity="critical")
        await box.go(60)
        assert [m.alarms for m in worst.messages] == [("b@gate@1",)]
        assert {alarm for alarms in box.told for alarm in alarms} == {"a@gate@1", "b@gate@1"}
        assert box.runtime.health()["noise"].state == "waiting"


async def test_the_alarms_file_begins_anew(box: Box, tmp_path: Path) -> None:
    """Its numbers start again: what comes is told, what was told is not told again."""
    for name in ("a@gate@1", "b@gate@1", "c@gate@1"):
        await box.raise_(name)
    await box.go(60)
    await box.alarms.close()
    (box.folder / ALARMS).unlink()
    box.alarms = box.runtime._events = await AlarmStore.open(box.folder / ALARMS)
    await box.raise_("d@gate@1")
    await box.go(120)
    assert box.told[1:] == [("d@gate@1",)]
    await box.raise_("e@gate@1")
    await box.go(120)
    assert box.told[2:] == [("e@gate@1",)]


async def test_people_are_told_while_the_disk_takes_nothing_and_not_again_and_again(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    real = box.runtime._store.keep
    monkeypatch.setattr(box.runtime._store, "keep", full)
    await box.raise_("dust@gate@1")
    await box.go(600)
    assert box.told == [("dust@gate@1",)]
    monkeypatch.setattr(box.runtime._store, "keep", real)
    await box.go(10)
    assert [entry.state for entry in await box.runtime.outbox()] == ["sent"]


async def test_what_waits_and_what_was_sent_can_be_read(box: Box) -> None:
    await box.raise_("a@gate@1")
    await box.go(60)
    await box.raise_("b@gate@1")
    await box.runtime.take()
    waiting, sent = await box.runtime.outbox()
    assert (waiting.state, waiting.alarms, waiting.title) == ("waiting", ("b@gate@1",), "gate: PM10")
    assert (sent.state, sent.alarms, sent.channel) == ("sent", ("a@gate@1",), "office")
    assert sent.body == box.endpoint.messages[0].body


async def test_channels_that_are_gone_are_forgotten_and_new_ones_begin_now(tmp_path: Path) -> None:
    clock, endpoint = ManualClock(NOON_MS), Endpoint()
    async with box_in(tmp_path / "data", clock, endpoint) as box:
        endpoint.why_not = "no such robot"
        await box.raise_("a@gate@1")
        await box.go(60)
        await box.runtime.close()
        endpoint.why_not = None
        await box.raise_("b@gate@1")
        box.outlets = {"yard": box.outlets["office"]}
        await box.open()
        await box.raise_("c@gate@1")
        await box.go(60)
        assert box.told == [("c@gate@1",)]
        assert await box.runtime.outbox() != []


async def test_a_damaged_file_does_not_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FILE_NAME).write_bytes(b"no database" * 1000)
    async with box_in(tmp_path / "data", ManualClock(NOON_MS), Endpoint()) as box:
        await box.raise_("a@gate@1")
        await box.go(60)
        assert box.told == [("a@gate@1",)]
