"""Sends one message, or only looks at addresses, in a process of its own: run as a script, never imported.

Apprise loads some 150 services (26 MiB) and calls libraries that may hang in a name server. Here it costs the gateway
nothing, and it can be ended. In on standard input: ``{"urls": […]}`` or ``{"urls": [one], "title": …, "body": …}``; the
keys in the addresses are on no command line. Out on the last line: ``{"understood": […], "why_not": text or null}``.
"""

from __future__ import annotations

import json
import logging
import re
import signal
import sys
import warnings
from typing import Any
from urllib.parse import unquote

LONGEST_S = 60
"""The gateway ends us much earlier; this is for the case that it was killed itself."""
_SHORTEST_SECRET = 5


class _Kept(logging.Handler):
    """Apprise says why only in its log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def main() -> None:
    """Do what standard input asks."""
    signal.alarm(LONGEST_S)
    asked: dict[str, Any] = json.load(sys.stdin)
    warnings.simplefilter("ignore")
    import apprise

    kept = _Kept()
    logging.getLogger("apprise").addHandler(kept)
    logging.getLogger("apprise").propagate = False  # what it says may hold the address
    asset = apprise.AppriseAsset(app_id="Sitegate", async_mode=False)
    services = [apprise.Apprise.instantiate(url, asset=asset) for url in asked["urls"]]
    why_not = None
    if "body" in asked and services[0] is not None:
        sender = apprise.Apprise(asset=asset)
        sender.add(services[0])
        kept.texts.clear()
        if not sender.notify(title=asked["title"], body=asked["body"], body_format=apprise.NotifyFormat.TEXT):
            why_not = _masked(" ".join(kept.texts) or "the service did not take it", asked["urls"][0])
    elif "body" in asked:
        why_not = "the address is not understood"
    print(json.dumps({"understood": [service is not None for service in services], "why_not": why_not}))  # noqa: T201


def _masked(text: str, url: str) -> str:
    """Take out whatever may be a key: every longer piece of the address."""
    for piece in sorted(re.split(r"[/:@?&=#,]+", url)[1:], key=len, reverse=True):
        if len(piece) >= _SHORTEST_SECRET:
            text = text.replace(piece, "…").replace(unquote(piece), "…")
    return text


if __name__ == "__main__":
    main()
