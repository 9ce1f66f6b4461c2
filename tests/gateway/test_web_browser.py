"""The page in a real browser: both languages, no error in the console, nothing from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.web.server import PageServer
from tests.support.browser import Tab, browser_tab
from tests.support.page_demo import Demo, make_demo

CLOCK = SystemClock()
READY = "document.querySelectorAll('.tile .number').length > 20 && document.querySelector('.live.on')"


@pytest.fixture
def demo() -> Demo:
    return make_demo(CLOCK)


@pytest.fixture
async def server(demo: Demo) -> AsyncIterator[PageServer]:
    page = PageServer(demo.state, "127.0.0.1", 0)
    await page.start()
    yield page
    await page.stop()


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    async with browser_tab(tmp_path / "profile") as opened:
        yield opened


async def text(tab: Tab) -> str:
    return str(await tab.evaluate("document.body.innerText"))


async def test_both_languages_without_error_or_outside_request(tab: Tab, server: PageServer) -> None:
    await tab.look(width=390, height=844, language="zh-CN")
    await tab.open(server.url)
    await tab.wait_for(READY)
    chinese = await text(tab)
    for part in ("长沙滨江试点工地", "所有设备数据正常", "噪声 A 声级", "模拟工地", "北门扬尘站", "本地缓冲"):
        assert part in chinese
    assert await tab.evaluate("document.documentElement.lang") == "zh-CN"
    assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no sideways scrolling"

    await tab.evaluate("document.getElementById('language').click()")
    english = await text(tab)
    for part in ("Changsha Binjiang pilot site", "All devices are answering", "Noise level", "Simulated site"):
        assert part in english
    await tab.open(server.url)  # the choice is remembered
    await tab.wait_for(READY)
    assert await tab.evaluate("document.documentElement.lang") == "en"
    await tab.open(f"{server.url}?lang=zh")
    await tab.wait_for(f"document.documentElement.lang === 'zh-CN' && {READY}")

    assert tab.errors == []
    assert tab.requests
    assert [r for r in tab.requests if not r.startswith(server.url)] == []


async def test_a_value_shows_its_number_and_follows_live(tab: Tab, server: PageServer, demo: Demo) -> None:
    await tab.look(width=1280, height=900)
    await tab.open(f"{server.url}?lang=en")
    await tab.wait_for(READY)
    tile = "document.querySelector('[aria-labelledby=domain-noise] .tile')"
    number = await tab.evaluate(f"{tile}.querySelector('.number').textContent")
    assert 40 < float(number) < 80
    demo.fail("noise-1", "T", CLOCK.wall_ms())
    await tab.wait_for(f"{tile}.innerText.includes('T · out of range')")
    assert await tab.evaluate(f"{tile}.querySelector('.number').textContent") == "–"
    assert tab.errors == []


async def test_the_chart_opens_with_ranges_words_and_keys(tab: Tab, server: PageServer) -> None:
    await tab.look(width=390, height=844)
    await tab.open(f"{server.url}?lang=en#/noise-1/noise_la_db")
    await tab.wait_for("document.querySelector('.chart .mean').getAttribute('d').length > 100")
    assert await tab.evaluate("document.querySelectorAll('.gaps rect').length") == 1
    label = str(await tab.evaluate("document.querySelector('.chart').getAttribute('aria-label')"))
    assert "Mean (Leq)" in label
    assert "Data present" in label
    for name in ("15m", "6h", "24h", "1h"):
        await tab.evaluate(f"document.querySelector('[data-range=\"{name}\"]').click()")
        await tab.wait_for(f"document.querySelector('[data-range=\"{name}\"]').ariaPressed === 'true'")
    await tab.wait_for("document.querySelector('.readout').textContent.startsWith('One point = 1 min')")
    key = "document.querySelector('.chart').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}))"
    await tab.wait_for(f"{key}, /^\\d\\d:\\d\\d · .* dB/.test(document.querySelector('.readout').textContent)")
    await tab.evaluate("document.querySelector('.close').click()")
    assert await tab.evaluate("document.getElementById('sheet').open") is False
    assert await tab.evaluate("location.hash") == ""
    assert tab.errors == []


async def test_trouble_is_said_first_and_in_words(tab: Tab, server: PageServer, demo: Demo) -> None:
    demo.trouble(CLOCK.wall_ms())
    await tab.open(f"{server.url}?lang=zh")
    await tab.wait_for(READY)
    status = str(await tab.evaluate("document.getElementById('status').innerText"))
    assert status.startswith("有数据缺失")
    assert "链路 zones（10.0.4.20:502）已断开" in status
    assert "北门噪声无应答" in status
    assert await tab.evaluate("document.querySelector('.light').classList.contains('fault')")
    assert tab.errors == []


async def test_names_with_markup_stay_text(tab: Tab, demo: Demo) -> None:
    evil = "<img src=x onerror=alert(1)><b>bold</b>"
    devices = {n: replace(v, label_en=evil, label_zh=evil, title_en=evil) for n, v in demo.state.devices.items()}
    demo.links["zones"].last_error = evil
    demo.links["zones"].state = "down"
    page = PageServer(replace(demo.state, devices=devices), "127.0.0.1", 0)
    await page.start()
    try:
        await tab.open(f"{page.url}?lang=en")
        await tab.wait_for(READY)
        assert evil in await text(tab)
        assert await tab.evaluate("document.querySelectorAll('main img, main b').length") == 0
        assert tab.errors == []
    finally:
        await page.stop()


async def test_a_lost_connection_is_visible_and_comes_back(tab: Tab, demo: Demo) -> None:
    page = PageServer(demo.state, "127.0.0.1", 0)
    await page.start()
    await tab.open(f"{page.url}?lang=en")
    await tab.wait_for(READY)
    await page.stop()
    await tab.wait_for("!document.getElementById('lost').hidden")
    assert "Connection to the gateway lost" in await text(tab)
    again = PageServer(demo.state, "127.0.0.1", page.port)
    await again.start()
    try:
        await tab.wait_for(f"document.getElementById('lost').hidden && {READY}")
    finally:
        await again.stop()
