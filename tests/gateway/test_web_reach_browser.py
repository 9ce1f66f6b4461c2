"""Who can use the page: people without a mouse, with a screen reader, in the sun; and how soon it is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import SystemClock
from gateway.web.server import PageServer
from tests.support.browser import Tab, browser_tab
from tests.support.page_demo import Demo, make_demo

CLOCK = SystemClock()
READY = "document.querySelectorAll('.tile .number').length > 20 && document.querySelector('.members')"
FIRST_PAINT_MS = 1000

NAMELESS = """[...document.querySelectorAll(
        'button, a, summary, input, select, [role=img], dialog[open], main section')]
    .filter((node) => node.offsetParent !== null || node.matches('dialog, svg'))
    .filter((node) => !node.closest('[hidden], dialog:not([open])'))
    .filter((node) => {
        const label = node.getAttribute('aria-label') ?? '';
        const by = document.getElementById(node.getAttribute('aria-labelledby') ?? '')?.textContent ?? '';
        const own = node.matches('section, dialog') ? '' : node.textContent;
        const heading = node.matches('section') ? node.querySelector('h2, h3')?.textContent ?? '' : '';
        return !(label + by + own + heading).trim();
    }).map((node) => node.outerHTML.slice(0, 120))"""

FAINT = """(() => {
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const shine = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (node) => {
        for (let at = node; at; at = at.parentElement) {
            if (getComputedStyle(at).backgroundImage !== 'none') return null;
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const faint = [];
    for (const node of document.querySelectorAll('body *')) {
        const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
        if (!own || node.closest('svg, noscript, script, [hidden], .skip') || !node.getClientRects().length) continue;
        const style = getComputedStyle(node), back = behind(node);
        if (!back) continue;
        const [one, two] = [shine(parse(style.color)), shine(back)];
        const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
        const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        if (ratio < (large ? 3 : 4.5))
            faint.push(`${ratio.toFixed(2)} ${node.className} ${node.textContent.slice(0, 40)}`);
    }
    return faint;
})()"""


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


async def press(tab: Tab, key: str, code: int) -> None:
    """One key, as a keyboard sends it."""
    text = {"text": "\r"} if key == "Enter" else {}
    await tab.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **text)
    await tab.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)


async def focused(tab: Tab) -> Any:
    """What has the focus: tag, id, address, and whether its outline can be seen."""
    return await tab.evaluate("""(() => {
        const node = document.activeElement, style = getComputedStyle(node);
        return {tag: node.tagName, id: node.id, href: node.getAttribute('href'),
                outlined: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2};
    })()""")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_every_text_stands_out_and_everything_has_a_name(
    tab: Tab, server: PageServer, demo: Demo, dark: bool
) -> None:
    demo.trouble(CLOCK.wall_ms())
    await tab.look(width=390, height=844, dark=dark)
    for address, there in (
        ("?lang=zh", "document.querySelector('.findings .fault')"),
        ("?lang=en#/noise-1", "document.querySelectorAll('#device .chart').length === 2"),
        ("?lang=en#/crane-1/load_t", "document.querySelector('#sheet .chart')"),
    ):
        await tab.open("about:blank")
        await tab.open(server.url + address)
        await tab.wait_for(f"{READY} && {there}")
        assert await tab.evaluate(FAINT) == []
        assert await tab.evaluate(NAMELESS) == []
        assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no sideways scrolling"
    assert await tab.evaluate("document.querySelectorAll('main, header.top, nav, footer').length") == 4
    assert await tab.evaluate("document.querySelectorAll('h1').length") == 1
    assert tab.errors == []


async def test_a_device_is_opened_read_and_left_by_keys_alone(tab: Tab, server: PageServer) -> None:
    await tab.look(width=1280, height=900)
    await tab.open(f"{server.url}?lang=en")
    await tab.wait_for(READY)
    await press(tab, "Tab", 9)
    assert (await focused(tab))["href"] == "#values", "the first stop skips to the values"
    for _ in range(12):
        await press(tab, "Tab", 9)
        at = await focused(tab)
        assert at["outlined"], f"focus is invisible on {at}"
        if (at["href"] or "").startswith("#/"):
            break
    name = at["href"].removeprefix("#/")
    await press(tab, "Enter", 13)
    await tab.wait_for(
        "document.getElementById('device').open && document.querySelectorAll('#device .chart').length > 1"
    )
    assert await tab.evaluate("document.getElementById('device').contains(document.activeElement)")
    assert await tab.evaluate("location.hash") == f"#/{name}"
    await press(tab, "Escape", 27)
    await tab.wait_for("!document.getElementById('device').open")
    assert await tab.evaluate("location.hash") == ""
    assert (await focused(tab))["href"] == f"#/{name}", "the focus is back where it was"
    assert tab.errors == []


async def test_focus_and_unfolded_frames_survive_the_refresh(tab: Tab, server: PageServer) -> None:
    await tab.open(f"{server.url}?lang=en")
    await tab.wait_for(f"{READY} && document.querySelector('.live.on')")
    await tab.evaluate("document.querySelector('#links summary').focus()")
    await press(tab, "Enter", 13)
    await tab.evaluate("window.old = document.querySelector('#links summary')")
    await tab.wait_for("!window.old.isConnected")  # a summary comes every five seconds
    assert (await focused(tab))["tag"] == "SUMMARY"
    assert await tab.evaluate("document.querySelector('#links details').open")
    assert "01 03 00 00 00 02 c4 0b" in await tab.evaluate("document.querySelector('.frames').innerText")


async def test_a_link_shows_who_is_on_it_and_why_it_is_lost(tab: Tab, server: PageServer, demo: Demo) -> None:
    demo.trouble(CLOCK.wall_ms())
    await tab.open(f"{server.url}?lang=zh")
    await tab.wait_for(READY)
    text = str(await tab.evaluate("document.getElementById('links').innerText"))
    assert "10.0.4.20:502 拒绝连接：该端口没有服务，或已被其他客户端占用" in text
    assert "塔吊电表" in text
    assert "unit 4" in text
    assert "站号 2: 1 秒内无应答" in text


async def test_the_sheet_of_a_value_offers_its_minutes_as_a_file(tab: Tab, server: PageServer) -> None:
    await tab.open(f"{server.url}?lang=zh#/noise-1/noise_la_db")
    await tab.wait_for("document.querySelector('#sheet .files a')")
    start = await tab.evaluate(
        "fetch(document.querySelector('#sheet .files a').href).then((r) => r.arrayBuffer())"
        ".then((b) => [[...new Uint8Array(b.slice(0, 3))], new TextDecoder().decode(b).split('\\r\\n')[0]])"
    )
    assert start == [[0xEF, 0xBB, 0xBF], "时间 (Asia/Shanghai),噪声 A 声级 平均 (dB(A)),噪声 A 声级 最低 (dB(A)),"
                     "噪声 A 声级 最高 (dB(A)),数据有效率（%）"]  # fmt: skip


async def test_a_week_is_asked_for_in_half_hours(tab: Tab, server: PageServer) -> None:
    await tab.look(width=390, height=844)
    await tab.open(f"{server.url}?lang=en#/dust-1")
    await tab.wait_for("document.querySelectorAll('#device .chart').length === 8")
    await tab.evaluate("document.querySelector('#device [data-range=\"7d\"]').click()")
    await tab.wait_for("document.querySelectorAll('#device .chart').length === 8")
    asked = [each for each in tab.requests if "/api/history" in each and "step=1800" in each]
    assert len({each.split("metric=")[1].split("&")[0] for each in asked}) == 8
    labels = await tab.evaluate("[...document.querySelectorAll('#device .axis text')].map((node) => node.textContent)")
    assert [each for each in labels if each.endswith(("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sept",
                                                      "Oct", "Nov", "Dec"))]  # fmt: skip
    assert tab.errors == []


async def test_the_first_paint_of_a_cold_start_comes_within_a_second(
    tab: Tab, server: PageServer, capsys: pytest.CaptureFixture[str]
) -> None:
    await tab.look(width=390, height=844)
    await tab.open(f"{server.url}?lang=zh")
    await tab.wait_for(READY)
    paint, values, kib = await tab.evaluate("""(() => [
        performance.getEntriesByName('first-contentful-paint')[0].startTime,
        Math.max(...performance.getEntriesByType('resource').filter((r) => r.name.includes('/api/'))
            .map((r) => r.responseEnd)),
        performance.getEntriesByType('resource').filter((r) => r.name.includes('/static/'))
            .reduce((sum, r) => sum + r.encodedBodySize, 0) / 1024,
    ])()""")
    with capsys.disabled():
        print(
            f"\npage, cold start: first paint after {paint:.0f} ms, values after {values:.0f} ms, {kib:.0f} KiB fetched"
        )
    assert paint < FIRST_PAINT_MS
