"""Takes the pictures in docs/images from the made-up site: ``python -m tests.support.page_pictures docs/images``."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from gateway.clock import SystemClock
from gateway.web.server import PageServer
from tests.support.browser import browser_tab
from tests.support.page_demo import make_demo

#: file, width, height, dark, trouble, address
PICTURES = [
    ("page-phone-zh.png", 390, 844, False, False, "?lang=zh"),
    ("page-desktop-en.png", 1280, 860, False, False, "?lang=en"),
    ("page-trouble-en.png", 1280, 860, True, True, "?lang=en"),
    ("page-chart-zh.png", 390, 844, True, False, "?lang=zh#/noise-1/noise_la_db"),
]
DRAWN = "[...document.querySelectorAll('.tile .line')].slice(0, 2).every((line) => line.getAttribute('d'))"


async def take(folder: Path) -> None:
    """Write every picture; a second or two each."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        async with browser_tab(Path(profile)) as tab:
            for name, width, height, dark, trouble, address in PICTURES:
                demo = make_demo(SystemClock())
                if trouble:
                    demo.trouble(SystemClock().wall_ms())
                server = PageServer(demo.state, "127.0.0.1", 0)
                await server.start()
                await tab.look(width=width, height=height, dark=dark)
                await tab.open(server.url + address)
                chart = "document.querySelector('.chart')" if "#" in address else "true"
                lines = "document.querySelector('.findings .fault')" if trouble else DRAWN
                await tab.wait_for(f"document.querySelector('.live.on') && {lines} && {chart}")
                await tab.evaluate("new Promise((done) => setTimeout(done, 800))")
                await tab.picture(folder / name)
                await server.stop()


if __name__ == "__main__":
    asyncio.run(take(Path(sys.argv[1])))
