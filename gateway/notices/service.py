"""The way out: one message to one address by apprise, in a child process that is ended when it takes too long."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway.notices.text import Message

SEND_S = 30.0
_CHILD = Path(__file__).with_name("apprise_child.py")
_REASON_LETTERS = 200

Send = Callable[[Message], Awaitable[str | None]]
"""Sends a message; returns None when the service took it, else why not."""


def sender(url: str, timeout_s: float = SEND_S) -> Send:
    """Return what sends to an apprise address. What is still under way at its time-out may have arrived."""

    async def send(message: Message) -> str | None:
        try:
            said = await _ask({"urls": [url], "title": message.title, "body": message.body}, timeout_s)
        except TimeoutError:
            return f"no answer within {timeout_s:g} s"
        except OSError as why:
            return f"cannot be sent: {why.strerror or why}"
        except ValueError:
            return "apprise broke down while sending"
        reason = said["why_not"]
        return None if reason is None else " ".join(str(reason).split())[:_REASON_LETTERS]

    return send


async def understood(urls: Sequence[str]) -> list[bool]:
    """Return which addresses apprise understands, without a network. Raises OSError, TimeoutError or ValueError."""
    return [bool(each) for each in (await _ask({"urls": list(urls)}, SEND_S))["understood"]]


async def _ask(question: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """Ask the child. It is ended in any case before this returns."""
    pipe, nowhere = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-P", str(_CHILD), stdin=pipe, stdout=pipe, stderr=nowhere
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, _ = await child.communicate(json.dumps(question).encode())
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    lines = out.decode("utf-8", "replace").splitlines()
    answer: dict[str, Any] = json.loads(lines[-1] if lines else "")
    return answer
