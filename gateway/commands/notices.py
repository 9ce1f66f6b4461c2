"""``sitegate notices test|list``: try the channels of a site, and look into its outbox."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.alerts.presets import load_rules
from gateway.commands.alarms import NotAnswered, Page, page_of
from gateway.commands.output import FINE, MISUSE, PROBLEM, complain, complain_all, print_json, print_table, say
from gateway.config.loader import LoadedSite, load_site
from gateway.config.report import unknown
from gateway.config.site import SiteConfig
from gateway.errors import ConfigError, StoreBusy
from gateway.notices import store
from gateway.notices.outlets import about_of, check_channels, outlets_of
from gateway.notices.text import test_message
from gateway.storage import open_closed

NONE = "no channel is configured: write some under notices.channels in the site file (docs/notices.md)"


def test(file: Path, channel: str | None, *, as_json: bool) -> int:
    """Send a test message on one channel, or on all."""
    try:
        site = load_site(file)
        policies = {rule.name: rule.policy for rule in load_rules(site).rules}
        asyncio.run(check_channels(site, policies))
    except ConfigError as error:
        return complain_all(error)
    channels = site.config.notices.channels
    if not channels:
        complain(f"{file}: {NONE}")
        return PROBLEM
    if channel is not None and channel not in channels:
        complain(unknown("channel", channel, channels))
        return MISUSE
    results = asyncio.run(_send_tests(site, list(channels) if channel is None else [channel]))
    if as_json:
        print_json([{"channel": name, "sent": why is None, "reason": why} for name, why in results])
    else:
        for name, why in results:
            say(f"{name}: the service took the test message" if why is None else f"{name}: not sent: {why}")
    return FINE if all(why is None for _, why in results) else PROBLEM


def list_notices(file: Path, url: str | None, password: str | None, *, as_json: bool) -> int:
    """Print the outbox of a gateway that runs (by its page) or has stopped (in its file)."""
    try:
        config = load_site(file).config
        found = _outbox(config, url, password)
    except ConfigError as error:
        return complain_all(error)
    except FileNotFoundError:
        complain(f"{file}: nobody was to be told of anything yet, or data_dir is another one")
        return PROBLEM
    except (NotAnswered, sqlite3.Error) as why:
        complain(why)
        return PROBLEM
    if isinstance(found, int):
        return found
    if as_json:
        print_json(found)
    elif found:
        print_table(["channel", "state", "at", "alarms", "what"], [_row(entry) for entry in found])
    else:
        say("nothing waits, and nothing was sent in the last 30 days")
    return FINE


async def _send_tests(site: LoadedSite, names: Sequence[str]) -> list[tuple[str, str | None]]:
    about, outlets = about_of(site.config), outlets_of(site.config, {})
    messages = [test_message(about, outlets[name].language, name) for name in names]
    reasons = await asyncio.gather(*[outlets[n].send(m) for n, m in zip(names, messages, strict=True)])
    return list(zip(names, reasons, strict=True))


def _outbox(config: SiteConfig, url: str | None, password: str | None) -> list[dict[str, Any]] | int:
    """Return what the outbox holds, or an exit status after a complaint."""
    if url is not None:
        return _ask(Page(url, password))
    try:
        with closing(open_closed(config.data_dir / store.FILE_NAME)) as conn:
            return [asdict(entry) for entry in store.outbox(conn)]
    except StoreBusy:
        page = page_of(config, password)
        return page if isinstance(page, int) else _ask(page)


def _ask(page: Page) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = asyncio.run(page.ask("/api/notices"))["notices"]
    return entries


def _row(entry: dict[str, Any]) -> list[Any]:
    at = datetime.fromtimestamp(entry["at_ms"] / 1000, UTC).astimezone()
    when = at.strftime("%Y-%m-%d %H:%M:%S")
    return [entry["channel"], entry["state"], when, len(entry["alarms"]), entry["title"]]
