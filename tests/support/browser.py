"""Headless chromium through its DevTools socket: what the page really shows, logs and fetches."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--mute-audio",
    "--disable-features=Translate,OptimizationHints,MediaRouter",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
]


def chromium() -> str:
    """Path of the browser. Missing: skips the test, and fails it in CI."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is not None:
        return path
    text = "chromium is missing: install the Debian package chromium to test the page in a browser"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


class Tab:
    """One tab. ``errors`` collects console errors and exceptions, ``requests`` every address it asked for."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.errors: list[str] = []
        self.requests: list[str] = []

    async def listen(self) -> None:
        """Take messages until the socket closes."""
        async for message in self._socket:
            body = json.loads(message.data)
            if "id" in body:
                self._answers.pop(body["id"]).set_result(body)
            else:
                self._note(body["method"], body["params"])

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:1000])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(json.dumps(params["args"])[:1000])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one DevTools command and return its result."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        body = await answer
        assert "error" not in body, f"{method}: {body}"
        result: dict[str, Any] = body["result"]
        return result

    async def look(self, *, width: int, height: int, dark: bool = False, language: str = "en-GB") -> None:
        """Become a screen of that size, scheme and browser language."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        agent = (await self.call("Browser.getVersion"))["userAgent"]
        await self.call("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=language)

    async def open(self, url: str) -> None:
        """Go there; the caller waits for what it expects to see."""
        await self.call("Page.navigate", url=url)

    async def evaluate(self, script: str) -> Any:
        """Value of a JavaScript expression; promises are awaited."""
        result = await self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def wait_for(self, condition: str, timeout_s: float = 10.0) -> Any:
        """Return the first true value of a JavaScript expression, asked for at each animation frame."""
        script = f"""new Promise((resolve, reject) => {{
            const end = performance.now() + {timeout_s * 1000};
            const ask = () => {{
                let value = null;
                try {{ value = {condition}; }} catch {{ /* not there yet */ }}
                if (value) resolve(value);
                else if (performance.now() > end) reject(new Error("never true: " + {json.dumps(condition)}));
                else setTimeout(ask, 30);
            }};
            ask();
        }})"""
        async with asyncio.timeout(timeout_s + 5):
            while True:
                try:
                    return await self.evaluate(script)
                except AssertionError as error:
                    if "context was destroyed" not in str(error) and "Cannot find context" not in str(error):
                        raise

    async def picture(self, path: Path, *, whole: bool = False) -> None:
        """Save a PNG of the screen, or of the whole page."""
        data = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(data["data"]))


@contextlib.asynccontextmanager
async def browser_tab(profile: Path) -> AsyncIterator[Tab]:
    """A fresh browser with an empty profile below ``profile``, and its one tab."""
    process = await asyncio.create_subprocess_exec(
        chromium(), *FLAGS, f"--user-data-dir={profile}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    tasks: list[asyncio.Task[Any]] = []
    try:
        async with aiohttp.ClientSession() as session:
            port = await _debugging_port(process.stderr)
            tasks.append(asyncio.create_task(_drain(process.stderr)))
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                page = next(t for t in await answer.json() if t["type"] == "page")
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                tab = Tab(socket)
                tasks.append(asyncio.create_task(tab.listen()))
                for domain in ("Page", "Runtime", "Log", "Network"):
                    await tab.call(f"{domain}.enable")
                yield tab
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _debugging_port(stderr: asyncio.StreamReader) -> int:
    async with asyncio.timeout(20):
        while line := await stderr.readline():
            if b"DevTools listening on ws://" in line:
                return int(line.rsplit(b":", 1)[1].split(b"/")[0])
    raise AssertionError("chromium ended before it listened")


async def _drain(stderr: asyncio.StreamReader) -> None:
    while await stderr.read(65_536):
        pass
