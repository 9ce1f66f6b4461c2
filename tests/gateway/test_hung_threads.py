"""Calls that never come back: the store, the loop and the wires do not wait for them (faults 22, 36 and 146)."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.alerts.store import AlarmStore
from gateway.buffer import file
from gateway.errors import SinkTimeout, SinkUnavailable
from tests.gateway.test_buffer_contract import drain, open_sqlite, record
from tests.gateway.test_influxdb import record as reading
from tests.gateway.test_influxdb import sink_for


@pytest.fixture
async def gate() -> AsyncIterator[threading.Event]:
    """Closed; opened at the end, so that no thread stays."""
    event = threading.Event()
    yield event
    event.set()
    await asyncio.get_running_loop().shutdown_default_executor()


async def test_stores_work_while_every_thread_of_the_shared_pool_hangs(tmp_path: Path, gate: threading.Event) -> None:
    """Faults 36 and 146: look-ups of names run in that pool, and one may hang for minutes."""
    loop = asyncio.get_running_loop()
    hung = [loop.run_in_executor(None, gate.wait) for _ in range(64)]
    async with asyncio.timeout(10):
        buffer = await open_sqlite(tmp_path / "buffer.db")
        for number in range(100):
            buffer.put(record(number))
        await buffer.flush()
        assert await drain(buffer) == list(range(100))
        alarms = await AlarmStore.open(tmp_path / "alarms.db")
        assert await alarms.find(0, 2**53) == []
        await alarms.close()
        await buffer.close()
    assert not any(future.done() for future in hung)
    gate.set()
    await asyncio.gather(*hung)


async def test_a_sink_whose_name_is_looked_up_for_ever_is_a_timeout(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 36."""

    def hang(*_: Any, **__: Any) -> Any:
        gate.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    sink = sink_for("http://influx.invalid:8086", timeout="200ms")
    began_s = time.monotonic()
    with pytest.raises((SinkTimeout, SinkUnavailable)):
        await sink.write([reading(1)])
    assert time.monotonic() - began_s < 2
    await sink.close()
    gate.set()


async def test_a_disk_that_stalls_delays_nobody(
    tmp_path: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 22: the SD card is busy with itself for seconds; readings wait in memory, and the loop turns."""
    buffer = await open_sqlite(tmp_path / "buffer.db")
    commit: Callable[..., Any] = file.commit
    stalled = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stall(*work: Any) -> Any:
        loop.call_soon_threadsafe(stalled.set)
        gate.wait()
        return commit(*work)

    monkeypatch.setattr("gateway.buffer.file.commit", stall)
    buffer.put(record(0))
    flushed = asyncio.ensure_future(buffer.flush())
    await stalled.wait()
    longest_s = 0.0
    for number in range(1, 200):
        began_s = time.monotonic()
        buffer.put(record(number))
        await asyncio.sleep(0)
        longest_s = max(longest_s, time.monotonic() - began_s)
    assert longest_s < 0.1
    assert not flushed.done()
    gate.set()
    await flushed
    await buffer.flush()
    assert sorted(await drain(buffer)) == list(range(200))
    await buffer.close()
