"""What every test gets: a guard against tasks left running."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest


@pytest.fixture(autouse=True)
async def no_task_left_behind() -> AsyncIterator[None]:
    """Fail a test that leaves a task running: on a gateway it would run for months."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    left = {t for t in asyncio.all_tasks() - before - {asyncio.current_task()} if not t.done()}
    for task in left:
        task.cancel()
    assert not left, f"tasks left running: {[t.get_coro() for t in left]}"
