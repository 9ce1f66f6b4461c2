"""Alarms in a real browser: seen, opened, answered with a note, gone; in both languages and with a chart's limits."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.web.server import PageServer
from tests.support.alarm_demo import PASSWORD, DemoDesk, with_alarms
from tests.support.browser import Tab, browser_tab

CLOCK = SystemClock()
READY = "document.querySelectorAll('.alarm').length === 2 && document.querySelectorAll('.tile .number').length > 20"
STORY = "[...document.querySelectorAll('#alarm .story li')].map((li) => li.className).join(' ')"


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    async with browser_tab(tmp_path / "profile") as opened:
        basic = base64.b64encode(f"site:{PASSWORD}".encode()).decode()
        await opened.call("Network.setExtraHTTPHeaders", headers={"Authorization": f"Basic {basic}"})
        yield opened


@pytest.fixture
async def page() -> AsyncIterator[tuple[PageServer, DemoDesk]]:
    demo, desk = with_alarms(CLOCK)
    server = PageServer(demo.state, "127.0.0.1", 0)
    await server.start()
    yield server, desk
    await server.stop()


async def press(tab: Tab, step: str, note: str) -> None:
    """Write name and note, and press one of the buttons."""
    await tab.evaluate(f"""(() => {{
        document.querySelector('#alarm input').value = '李伟';
        document.querySelector('#alarm textarea').value = {note!r};
        document.querySelector('[data-step={step}]').click();
    }})()""")


async def test_an_alarm_is_acknowledged_cleared_and_closed_on_a_phone(
    tab: Tab, page: tuple[PageServer, DemoDesk]
) -> None:
    server, desk = page
    await tab.look(width=390, height=844, language="zh-CN")
    await tab.open(f"{server.url}?lang=zh")
    await tab.wait_for(READY)
    listed = str(await tab.evaluate("document.getElementById('alarms').innerText"))
    for part in ("报警", "PM10 15 分钟预警", "北门扬尘站", "限值 200", "未确认", "达标", "超标", "数据不足，不作判定"):
        assert part in listed
    status = str(await tab.evaluate("document.getElementById('status').innerText"))
    assert "1 条报警进行中" in status, "an exceeded limit is what is wrong now, however well the devices answer"
    assert "null" not in listed
    assert "undefined" not in listed
    assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no sideways scrolling"

    await tab.evaluate(f"document.querySelector('[data-alarm=\"{desk.dust}\"]').click()")
    await tab.wait_for(f"{STORY} === 'raised'")
    told = str(await tab.evaluate("document.getElementById('alarm').innerText"))
    for part in ("236.4 µg/m³", "93 %", "2026", "项目自定", "主体结构", "模拟数据"):
        assert part in told
    assert await tab.evaluate("document.querySelector('[data-step=close]').disabled")
    await press(tab, "acknowledge", "")
    await tab.wait_for(f"{STORY} === 'raised acknowledged'")
    await press(tab, "act", "已开雾炮")
    await tab.wait_for(f"{STORY} === 'raised acknowledged acted'")
    desk.tell("dust_pm10", "dust-1", "cleared", CLOCK.wall_ms(), "alarm", {"lasted_ms": 600_000}, desk.dust)
    await tab.wait_for("!document.querySelector('[data-step=close]').disabled")
    await press(tab, "close", "")
    await tab.wait_for("document.querySelector('#alarm .error').textContent.includes('note')")
    await press(tab, "close", "道路已冲洗")
    await tab.wait_for(f"{STORY} === 'raised acknowledged acted cleared closed'")
    assert "道路已冲洗" in str(await tab.evaluate("document.getElementById('alarm').innerText"))
    assert not await tab.evaluate("document.querySelector('#alarm .answer')")
    await tab.evaluate("document.querySelector('#alarm .close').click()")
    await tab.wait_for("document.querySelectorAll('.alarm').length === 1")
    assert [e for e in tab.errors if "409" not in e] == []
    assert [r for r in tab.requests if not r.startswith(server.url)] == []


async def test_what_the_gateway_did_does_not_answer_for_people(tab: Tab, page: tuple[PageServer, DemoDesk]) -> None:
    server, desk = page
    now_ms = CLOCK.wall_ms()
    desk.tell("dust_pm10", "dust-1", "acted", now_ms, "alarm", {"by": "sitegate", "note": "cannon on"}, desk.dust)
    await tab.open(f"{server.url}?lang=zh#alarm={desk.dust}")
    await tab.wait_for("document.querySelector('#alarm .story .acted')")
    assert "自动处置中" in str(await tab.evaluate(f"document.querySelector('[data-alarm=\"{desk.dust}\"]').innerText"))
    await press(tab, "acknowledge", "")
    await tab.wait_for("document.querySelector('#alarm .story .acknowledged')")
    desk.tell("dust_pm10", "dust-1", "cleared", now_ms + 1, "alarm", {"lasted_ms": 600_000}, desk.dust)
    text = {"en": "Cleared by itself after 10.0 min", "zh": "已自行恢复，持续 10.0 min"}
    closed: dict[str, object] = {"by": "sitegate", "note": text["en"], "text": text}
    desk.tell("dust_pm10", "dust-1", "closed", now_ms + 2, "alarm", closed, desk.dust)
    await tab.wait_for("document.querySelector('#alarm .story .closed q')?.textContent === '已自行恢复，持续 10.0 min'")
    assert tab.errors == []


async def test_a_link_opens_an_alarm_and_the_last_days_can_be_seen(tab: Tab, page: tuple[PageServer, DemoDesk]) -> None:
    server, desk = page
    await tab.look(width=1280, height=900)
    await tab.open(f"{server.url}?lang=en#alarm={desk.night}")
    await tab.wait_for(f"{STORY} === 'raised cleared'")
    told = str(await tab.evaluate("document.getElementById('alarm').innerText"))
    assert "GB 12523-2025" in told
    assert "reported, not checked against the text" in told
    await tab.evaluate("document.querySelector('#alarm .close').click()")
    await tab.evaluate("document.querySelector('#alarms .ghost').click()")
    await tab.wait_for("document.querySelector('#alarms .ghost').ariaPressed === 'true'")
    assert tab.errors == []


async def test_the_chart_shows_the_limits_that_hold_now(tab: Tab, page: tuple[PageServer, DemoDesk]) -> None:
    await tab.look(width=390, height=844)
    await tab.open(f"{page[0].url}?lang=en#/dust-1/pm10_ug_m3")
    await tab.wait_for("document.querySelectorAll('.limits line').length === 2")
    texts = "[...document.querySelectorAll('.limits text')].map((t) => t.textContent)"
    assert await tab.evaluate(texts) == ["200 · PM10 alarm", "120 · PM10 warning"]
    await tab.open(f"{page[0].url}?lang=en#/noise-1/noise_la_db")
    await tab.wait_for(f"{texts}.length === 1 && {texts}[0] === '70 · GB 12523 day'")
    assert tab.errors == []


async def test_without_a_password_the_page_says_how_to_get_one(tab: Tab) -> None:
    demo, desk = with_alarms(CLOCK, password=None)
    desk.tell(
        "<b>rule</b>", "<img src=x>", "raised", CLOCK.wall_ms(), "alarm", {"title": {"en": "<b>x</b>", "zh": "x"}}
    )
    server = PageServer(demo.state, "127.0.0.1", 0)
    await server.start()
    try:
        await tab.open(f"{server.url}?lang=en#alarm={desk.dust}")
        await tab.wait_for("document.querySelector('#alarm .story')")
        assert "page.password" in str(await tab.evaluate("document.getElementById('alarm').innerText"))
        assert not await tab.evaluate("document.querySelector('[data-step]')")
        assert await tab.evaluate("document.querySelectorAll('#alarms b, #alarms img').length") == 0
        assert tab.errors == []
    finally:
        await server.stop()
