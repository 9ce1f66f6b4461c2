"""Takes the pictures in docs/images: ``python -m tests.support.page_pictures docs/images http://127.0.0.1:8080``.

The address is that of a demo that has run for a few minutes; the others are of a made-up site with a past. With
``--loop`` instead those of a ``demo --scenario dust`` that has just been started.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from gateway.clock import SystemClock
from gateway.web.server import PageServer
from tests.support.browser import Tab, browser_tab
from tests.support.page_demo import make_demo

#: file, width, height, dark, address, what must be there
DEMO = [
    ("page-desktop-en.png", 1280, 1300, False, "?lang=en", ".tile .line"),
]
#: the same, of a made-up site with a past
MADE_UP = [
    ("page-phone-zh.png", 390, 844, False, "?lang=zh", ".tile .line"),
    ("page-links-zh.png", 1280, 680, False, "?lang=zh#links", ".members"),
    ("page-chart-zh.png", 390, 844, True, "?lang=zh#/noise-1/noise_la_db", "#sheet .files a"),
    ("page-device-en.png", 390, 844, True, "?lang=en#/dust-1", "#device .chart"),
]


async def take(folder: Path, demo_url: str) -> None:
    """Write every picture; a second or two each."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with browser_tab(Path(profile)) as tab:
            for name, width, height, dark, address, needed in DEMO:
                await tab.look(width=width, height=height, dark=dark)
                await _picture(tab, demo_url.rstrip("/") + "/" + address, needed, folder / name)
            made_up = make_demo(SystemClock())
            server = PageServer(made_up.state, "127.0.0.1", 0)
            await server.start()
            for name, width, height, dark, address, needed in MADE_UP:
                await tab.look(width=width, height=height, dark=dark)
                await _picture(tab, server.url + address, needed, folder / name)
            made_up.trouble(SystemClock().wall_ms())
            await tab.look(width=1280, height=860, dark=True)
            await _picture(tab, server.url + "?lang=en", ".findings .fault", folder / "page-trouble-en.png")
            await server.stop()


async def take_loop(folder: Path, dust_url: str) -> None:
    """Write what happens in ``sitegate demo --scenario dust``: the cannon at work, and the alarm when it is over."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with browser_tab(Path(profile)) as tab:
            await tab.look(width=390, height=844)
            await tab.open(dust_url.rstrip("/") + "/?lang=zh")
            await tab.wait_for(
                "document.querySelector('.output.on') && document.querySelector('.entries')", timeout_s=120
            )
            await tab.evaluate("document.documentElement.style.scrollBehavior = 'auto'")
            await tab.evaluate("document.getElementById('outputs').scrollIntoView()")
            await tab.picture(folder / "page-spray-zh.png")
            await tab.look(width=1280, height=860)
            await tab.evaluate("document.getElementById('language').click()")
            await tab.evaluate("document.querySelector('[data-alarm^=pm10_spray]').click()")
            await tab.wait_for("document.querySelector('#alarm .story .cleared')", timeout_s=180)
            await tab.wait_for("document.querySelector('.timeline .marks .cleared')")
            await tab.picture(folder / "page-alarm-en.png")


async def _picture(tab: Tab, url: str, needed: str, file: Path) -> None:
    await tab.open("about:blank")  # an address that differs in its fragment only would not load again
    await tab.open(url)
    await tab.wait_for(f"document.querySelector('.live.on') && document.querySelector('{needed}')")
    await tab.evaluate("""(() => {
        document.documentElement.style.scrollBehavior = 'auto';
        const links = location.hash === '#links' && document.getElementById('links');
        if (!links) return;
        for (const frames of links.querySelectorAll('details')) frames.open = true;
        links.scrollIntoView();
    })()""")
    await tab.evaluate("new Promise((done) => setTimeout(done, 1500))")  # the lines come one by one
    await tab.picture(file)


if __name__ == "__main__":
    asyncio.run((take_loop if "--loop" in sys.argv else take)(Path(sys.argv[1]), sys.argv[2]))
