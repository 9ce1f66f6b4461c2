"""alarms.sqlite: what is stored is whole, survives a kill, and folds to what holds now."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.alerts.alarm import STATES, follow, why_not
from gateway.alerts.state import Event
from gateway.alerts.store import AlarmStore, keep
from gateway.errors import StoreBusy
from gateway.model import Alarm

KEY = ("noise", "gate")
ALARM = "noise@gate@1000"


def event(kind: str, at_ms: int = 1000, alarm: str = ALARM, severity: str = "warning", **details: object) -> Event:
    return Event(alarm, kind, at_ms, *KEY, severity, details)  # type: ignore[arg-type]


def folded(*events: Event) -> Alarm:
    alarm: Alarm | None = None
    for each in events:
        alarm = follow(alarm, each)
    assert alarm is not None
    return alarm


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[AlarmStore]:
    opened = await AlarmStore.open(tmp_path / "alarms.sqlite")
    yield opened
    await opened.close()


async def again(store: AlarmStore) -> AlarmStore:
    await store.close()
    return await AlarmStore.open(store._db.path)


async def test_events_states_and_alarms_come_back_after_a_restart(store: AlarmStore) -> None:
    assert store.kept.alarms == []
    raised = event("raised", value=58.25, title={"zh": "夜间噪声", "en": "Noise"})
    await store.keep([raised], {KEY: '{"level":2}'})
    opened = await again(store)
    try:
        assert opened.kept.states == {KEY: '{"level":2}'}
        (alarm,) = opened.kept.alarms
        assert (alarm.id, alarm.state, alarm.active, alarm.details) == (ALARM, "open", True, raised.details)
        assert await opened.history(ALARM) == (alarm, [raised])
        assert await opened.history("other") is None
    finally:
        await opened.close()


async def test_a_closed_alarm_stays_readable_but_is_not_taken_up_again(store: AlarmStore) -> None:
    life = [
        event("raised"),
        event("acknowledged", 2000, by="a"),
        event("cleared", 3000),
        event("closed", 4000, note="x"),
    ]
    await store.keep(life, {KEY: "{}"})
    await store.keep([], {KEY: None})
    opened = await again(store)
    try:
        assert (opened.kept.states, opened.kept.alarms) == ({}, [])
        found = await opened.history(ALARM)
        assert found is not None
        assert (found[0].state, found[0].closed_ms, found[1]) == ("closed", 4000, life)
    finally:
        await opened.close()


async def test_alarms_are_found_by_the_time_they_were_raised(store: AlarmStore) -> None:
    await store.keep([event("raised", ms, f"noise@gate@{ms}") for ms in (1000, 2000, 3000)], {})
    assert [a.raised_ms for a in await store.find(1000, 3000)] == [2000, 1000]
    assert await store.find(3001, 9000) == []


async def test_a_verdict_of_no_alarm_is_kept_without_making_one(store: AlarmStore) -> None:
    assert await store.keep([event("verdict", alarm="", outcome="passed")], {}) == []
    assert await store.find(0, 9000) == []


async def test_pruning_forgets_what_is_closed_and_old_only(store: AlarmStore) -> None:
    old = "noise@gate@1"
    await store.keep([event("raised", 1, old), event("closed", 2, old), event("verdict", 3, alarm="")], {})
    await store.keep([event("cleared", 2, old), event("raised", 5)], {})
    assert await store.prune(10) == 4
    assert [a.id for a in await store.find(0, 99)] == [ALARM]
    assert await store.history(old) is None
    assert await store.prune(10) == 0


async def test_a_batch_is_stored_whole_or_not_at_all(store: AlarmStore) -> None:
    broken = event("cleared", 2000, value=float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        await store.keep([event("raised"), broken], {KEY: "{}"})
    opened = await again(store)
    assert (opened.kept.states, opened.kept.alarms) == ({}, [])
    await opened.close()


async def test_a_second_gateway_is_refused(store: AlarmStore) -> None:
    with pytest.raises(StoreBusy, match="another process"):
        await AlarmStore.open(store._db.path)


async def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "alarms.sqlite"
    path.write_bytes(b"not a database at all" * 500)
    store = await AlarmStore.open(path)
    await store.keep([event("raised")], {})
    assert len(await store.find(0, 9000)) == 1
    assert (tmp_path / "alarms.sqlite.damaged-1").exists()
    await store.close()


async def test_what_was_stored_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "alarms.sqlite"
    script = f"""
        import asyncio, sys
        from pathlib import Path
        from gateway.alerts.state import Event
        from gateway.alerts.store import AlarmStore
        async def main():
            store = await AlarmStore.open(Path({str(path)!r}))
            for n in range(100_000):
                name = f"noise@gate@{{n}}"
                events = [Event(name, kind, n, "noise", "gate", "alarm", {{"n": n}}) for kind in ("raised", "verdict")]
                await store.keep(events, {{("noise", "gate"): str(n)}})
                print(n, flush=True)
        asyncio.run(main())
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = -1
    while told < 20:
        told = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    told = max([told, *map(int, process.stdout.read().split())])
    process.wait()
    process.stdout.close()
    store = await AlarmStore.open(path)
    kept = int(store.kept.states[KEY])
    assert kept >= told, "what was said to be stored is there"
    assert len(store.kept.alarms) == kept + 1, "state and events are of one moment"
    found = await store.history(f"noise@gate@{kept}")
    assert found is not None
    assert [e.kind for e in found[1]] == ["raised", "verdict"]
    await store.close()


def test_an_alarm_shows_its_worst_not_the_value_it_went_with() -> None:
    raised = event("raised", value=58.0, limit=55.0, window_start_ms=1)
    escalated = event("escalated", 2000, severity="alarm", reason="limit", value=63.0)
    ignored = event("escalated", 3000, severity="alarm", reason="unacknowledged")
    cleared = event("cleared", 4000, severity="alarm", value=40.0, peak=64.0, lasted_ms=3000)
    alarm = folded(raised, escalated, ignored, cleared)
    assert (alarm.severity, alarm.active, alarm.cleared_ms, alarm.changed_ms) == ("alarm", False, 4000, 4000)
    assert {k: alarm.details[k] for k in ("value", "peak", "limit")} == {"value": 63.0, "peak": 64.0, "limit": 55.0}
    corrected = folded(raised, event("corrected", 9000, window_start_ms=1, value=54.0, outcome="passed"))
    assert (corrected.details["value"], corrected.details["corrected"]) == (54.0, True)


@pytest.mark.parametrize(
    ("events", "step", "note", "why"),
    [
        ("raised", "acknowledge", "", None),
        ("raised", "act", "", "Say in the note"),
        ("raised", "act", "swept", None),
        ("raised", "close", "done", "still holds"),
        ("raised cleared", "close", "", "Say in the note"),
        ("raised cleared", "close", "done", None),
        ("raised acknowledged", "acknowledge", "", "acknowledged already"),
        ("raised acted", "acknowledge", "", "acted already"),
        ("raised cleared closed", "act", "more", "closed already"),
        ("no_data", "close", "x", "still holds"),
        ("no_data data_back", "close", "cable", None),
    ],
)
def test_what_people_may_do_when(events: str, step: str, note: str, why: str | None) -> None:
    refusal = why_not(folded(*map(event, events.split())), step, note)
    assert refusal is None if why is None else why in str(refusal)


KINDS = ["raised", "escalated", "cleared", "verdict", "acknowledged", "acted", "closed", "no_data", "data_back",
         "corrected", "suppressed"]  # fmt: skip


@given(st.lists(st.sampled_from(KINDS), max_size=12))
def test_the_state_only_moves_forward_and_the_file_says_what_memory_says(kinds: list[str]) -> None:
    from gateway.alerts.store import SCHEMA, find_one

    with sqlite3.connect(":memory:", isolation_level=None) as conn:
        conn.executescript(SCHEMA.script)
        alarm, reached = None, 0
        for number, kind in enumerate(kinds):
            each = event(kind, 1000 + number, value=float(number))
            keep(conn, [each], {})
            alarm = follow(alarm, each)
            assert find_one(conn, ALARM) == alarm
            if alarm is not None:
                assert STATES.index(alarm.state) >= reached
                reached = STATES.index(alarm.state)
    conn.close()
    assert (alarm is None) == (not {"raised", "no_data"} & set(kinds))


async def test_many_alarms_at_once_are_stored_in_one_go(store: AlarmStore) -> None:
    events = [event("raised", n, f"noise@gate@{n}") for n in range(500)]
    async with asyncio.timeout(5):
        assert len(await store.keep(events, {})) == 500
