"""Outputs in a real browser: seen, taken over with the password, refused in words; the log and an alarm's timeline."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.web.server import PageServer
from tests.support.alarm_demo import PASSWORD, DemoDesk
from tests.support.browser import Tab, browser_tab
from tests.support.output_demo import DemoOutputs, with_outputs

CLOCK = SystemClock()
READY = "document.querySelectorAll('.output').length === 3 && document.querySelectorAll('.entries li').length > 2"
CANNON = "document.querySelector('[data-output=cannon-gate]')"
TEXT = "document.getElementById('outputs').innerText"


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    async with browser_tab(tmp_path / "profile") as opened:
        yield opened


@pytest.fixture
async def site() -> AsyncIterator[tuple[PageServer, DemoDesk, DemoOutputs]]:
    demo, alarms, outputs = with_outputs(CLOCK, protects="answers")
    server = PageServer(demo.state, "127.0.0.1", 0)
    await server.start()
    yield server, alarms, outputs
    await server.stop()


async def ask(tab: Tab, output: str, want: str) -> None:
    """Press a button of an output, say who, and go on."""
    await tab.evaluate(f"""(() => {{
        document.querySelector('[data-output={output}] [data-want={want}]').click();
        document.querySelector('#hand input').value = '李伟';
        document.querySelector('#hand .main').click();
    }})()""")


async def enter(tab: Tab, password: str) -> None:
    """Type a password where it is asked for."""
    await tab.wait_for("document.getElementById('signin').open")
    await tab.evaluate(f"""(() => {{
        document.querySelector('#signin input').value = {password!r};
        document.querySelector('#signin .main').click();
    }})()""")


async def test_a_cannon_is_switched_off_by_hand_on_a_phone(
    tab: Tab, site: tuple[PageServer, DemoDesk, DemoOutputs]
) -> None:
    server, _, outputs = site
    await tab.look(width=390, height=844, language="zh-CN")
    await tab.open(f"{server.url}?lang=zh")
    await tab.wait_for(READY)
    shown = str(await tab.evaluate(TEXT))
    for part in (
        "大门雾炮",
        "运行中",
        "有报警请求启动。",
        "PM10 15 分钟预警",
        "20 秒后",
        "25 分钟",
        "水量不足。",
        "试运行",
        "停用",
    ):
        assert part in shown
    for wrong in ("null", "undefined", "control.reason"):
        assert wrong not in shown
    assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no sideways scrolling"
    assert not await tab.evaluate("document.querySelector('[data-output=lamp] [data-want]')"), "mode off: hands off"

    await ask(tab, "cannon-gate", "off")
    await enter(tab, PASSWORD)
    await tab.wait_for(f"{CANNON}.innerText.includes('由 李伟 手动控制')")
    assert outputs.known["cannon-gate"].owner == "manual"
    await tab.wait_for(f"!document.getElementById('hand').open && {TEXT}.includes('人工指令：关闭。')")
    await ask(tab, "cannon-gate", "auto")
    await tab.wait_for(f"{CANNON}.innerText.includes('手动控制已交还。')")
    assert not await tab.evaluate("document.getElementById('signin').open"), "the password is asked for once"

    await ask(tab, "sprinkler-road", "on")
    await tab.wait_for("document.querySelector('#hand .error').textContent === '现在不能执行。 水量不足。'")
    await tab.evaluate("document.querySelector('#hand .step').click()")
    outputs.put("cannon-gate", state="fault", is_on=True, reason="stuck_on")
    await tab.wait_for(f"{CANNON}.innerText.includes('已下发关闭指令，回读仍为开启。')")
    assert [e for e in tab.errors if "409" not in e] == []
    assert [r for r in tab.requests if not r.startswith(server.url)] == []


async def test_a_wrong_password_is_asked_again_and_may_be_given_up(
    tab: Tab, site: tuple[PageServer, DemoDesk, DemoOutputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.web.guard.WRONG_PASSWORD_S", 0.0)
    server, alarms, _ = site
    await tab.open(f"{server.url}?lang=en#alarm={alarms.dust}")
    await tab.wait_for("document.querySelector('[data-step=acknowledge]')")
    await tab.evaluate("document.querySelector('#alarm input').value = 'Li Wei'")
    await tab.evaluate("document.querySelector('[data-step=acknowledge]').click()")
    await enter(tab, "wrong")
    await tab.wait_for("document.querySelector('#signin .error').textContent === 'That was not the password.'")
    await tab.evaluate("document.querySelector('#signin .step').click()")
    assert alarms.known[alarms.dust].state == "open"
    await tab.evaluate("document.querySelector('[data-step=acknowledge]').click()")
    await enter(tab, "wrong again")
    await tab.wait_for("document.getElementById('signin').open && !document.querySelector('#signin input').value")
    await enter(tab, PASSWORD)
    await tab.wait_for("document.querySelector('#alarm .story .acknowledged')")
    assert [e for e in tab.errors if "401" not in e] == []
    stored = await tab.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
    assert PASSWORD not in str(stored), "the password is kept in memory only"


async def test_the_log_is_filtered_by_output_and_time(tab: Tab, site: tuple[PageServer, DemoDesk, DemoOutputs]) -> None:
    await tab.look(width=1280, height=900, dark=True)
    await tab.open(f"{site[0].url}?lang=en")
    await tab.wait_for(READY)
    rows = "[...document.querySelectorAll('.entries .what')].map((row) => row.textContent)"
    first = await tab.evaluate(rows)
    assert first == [
        "Dry run: would have switched on. An alarm asks for it.",
        "Switched on, read back. An alarm asks for it.to the alarm",
        "Asked to switch on. An alarm asks for it.to the alarm",
        "Not switched on. It has not rested long enough since its last run.to the alarm",
    ]
    await tab.evaluate("document.querySelector('[data-log=week]').click()")
    await tab.wait_for(f"{rows}.length === 6")
    choose = "document.querySelector('.log select')"
    await tab.evaluate(f"{choose}.value = 'sprinkler-road', {choose}.dispatchEvent(new Event('change'))")
    await tab.wait_for(f"{rows}.length === 1")
    await tab.evaluate(f"{choose}.value = '', {choose}.dispatchEvent(new Event('change'))")
    await tab.wait_for(f"{rows}.length === 6")
    await tab.evaluate("document.querySelector('[data-log=steps]').click()")
    await tab.wait_for(f"{rows}.length === 8 && {rows}.includes('Command on sent. An alarm asks for it.to the alarm')")
    await tab.evaluate("document.querySelector('.entries a').click()")
    await tab.wait_for("document.getElementById('alarm').open && document.querySelector('#alarm .timeline .chart')")
    assert tab.errors == []


async def test_an_alarm_shows_when_what_was_judged_sprayed_and_done(
    tab: Tab, site: tuple[PageServer, DemoDesk, DemoOutputs]
) -> None:
    server, alarms, _ = site
    done: dict[str, object] = {"output": "cannon-gate", "step": "confirmed", "command": "on", "reason": "alarm"}
    at_ms = CLOCK.wall_ms() - 240_000
    alarms.tell("dust_pm10", "dust-1", "acted", at_ms, "alarm", {"by": "sitegate", "note": "", **done}, alarms.dust)
    await tab.look(width=390, height=844)
    await tab.open(f"{server.url}?lang=zh#alarm={alarms.dust}")
    await tab.wait_for("document.querySelectorAll('.timeline .limits line').length === 2")
    assert await tab.evaluate("document.querySelectorAll('.timeline .spans .window').length") == 1
    assert await tab.evaluate("document.querySelectorAll('.timeline .spans .sprayed').length >= 1")
    marks = "[...document.querySelectorAll('.timeline .marks g')].map((g) => g.getAttribute('class')).join(' ')"
    assert await tab.evaluate(marks) == "raised acted"
    assert await tab.evaluate("document.querySelector('.timeline .mean').getAttribute('d').length > 100")
    await tab.wait_for(
        "document.getElementById('alarm').innerText.includes('大门雾炮 · 已开启，回读确认。 有报警请求启动。')"
    )
    told = str(await tab.evaluate("document.getElementById('alarm').innerText"))
    for part in ("网关自动", "判定时段", "喷雾中", "5 分钟，已计入"):
        assert part in told
    assert tab.errors == []


async def test_the_chart_shades_judged_windows_and_sprayed_times(
    tab: Tab, site: tuple[PageServer, DemoDesk, DemoOutputs]
) -> None:
    await tab.open(f"{site[0].url}?lang=en#/dust-1/pm10_ug_m3")
    await tab.wait_for("document.querySelectorAll('#sheet .spans .window').length === 1")
    assert await tab.evaluate("document.querySelectorAll('#sheet .spans .sprayed').length >= 1")
    assert await tab.evaluate("document.querySelector('#sheet .legend').textContent") == "judged windowsprayed"
    await tab.open(f"{site[0].url}?lang=en#/noise-1/noise_la_db")
    await tab.wait_for("document.getElementById('sheet-title')?.textContent === 'Noise level'")
    await tab.wait_for("document.querySelector('#sheet .chart')")
    assert not await tab.evaluate("document.querySelector('#sheet .spans rect')")
    assert tab.errors == []
