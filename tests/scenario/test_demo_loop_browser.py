"""The demo as people see it: dust rises, an alarm, the cannon answers, somebody takes note, it clears, it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.browser import Tab, browser_tab
from tests.support.machine import free_port
from tests.support.sitegate import Running, get_json

SPEED = "5"
"""Simulated seconds per second: the first lorry is loaded a second after the start."""
PASSWORD = "sitegate"
CANNON = "document.querySelector('[data-output=cannon-gate]')"
STORY = "[...document.querySelectorAll('#alarm .story li')].map((li) => li.className).join(' ')"
OPEN = "[...document.querySelectorAll('.alarm')].find((each) => each.dataset.alarm.startsWith('pm10_spray@'))"


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    async with browser_tab(tmp_path / "profile") as opened:
        yield opened


async def answer(tab: Tab, step: str, note: str) -> None:
    """Press one of the buttons of the alarm that is open, under a name and with a note."""
    await tab.evaluate(f"""(() => {{
        document.querySelector('#alarm input').value = '李伟';
        document.querySelector('#alarm textarea').value = {note!r};
        document.querySelector('#alarm [data-step={step}]').click();
    }})()""")


@pytest.mark.timeout(90)
async def test_dust_is_seen_sprayed_acknowledged_cleared_and_closed(tab: Tab, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    started = ("demo", "--scenario", "dust", "--speed", SPEED, "--port", str(port))
    with Running(*started, log=tmp_path / "demo.log") as demo:
        async with asyncio.timeout(20):
            while get_json(f"{url}/api/site") is None:
                await asyncio.sleep(0.05)
        await tab.look(width=390, height=844, language="zh-CN")
        await tab.open(f"{url}/?lang=zh")
        await tab.wait_for(OPEN, timeout_s=30)
        assert PASSWORD in demo.log.read_text()
        await tab.wait_for(f"{CANNON}.classList.contains('on')", timeout_s=15)
        assert "有报警请求启动。" in str(await tab.evaluate(f"{CANNON}.innerText"))
        await tab.evaluate(f"{OPEN}.click()")
        await tab.wait_for(f"{STORY}.startsWith('raised acted ours')")

        await answer(tab, "acknowledge", "")
        await tab.wait_for("document.getElementById('signin').open")
        await tab.evaluate(f"document.querySelector('#signin input').value = {PASSWORD!r}")
        await tab.evaluate("document.querySelector('#signin .main').click()")
        await tab.wait_for(f"{STORY}.includes('acknowledged')")
        await tab.wait_for("document.querySelectorAll('#alarm .timeline .marks g').length >= 2")

        await tab.wait_for(f"{STORY}.includes('cleared')", timeout_s=40)
        await tab.wait_for("!document.querySelector('#alarm [data-step=close]').disabled")
        await answer(tab, "close", "道路已冲洗")
        await tab.wait_for(f"{STORY}.endsWith('closed')")
        assert "道路已冲洗" in str(await tab.evaluate("document.getElementById('alarm').innerText"))
        await tab.evaluate("document.querySelector('#alarm .close').click()")
        await tab.wait_for(f"!{OPEN}")
        await tab.wait_for(f"{CANNON}.classList.contains('off')", timeout_s=15)
        log = "document.getElementById('log').innerText"
        await tab.wait_for(f"{log}.includes('已开启，回读确认。') && {log}.includes('已关闭，回读确认。')")

        assert tab.errors == []
        assert [r for r in tab.requests if not r.startswith(url)] == []
    assert "Traceback" not in demo.log.read_text()
