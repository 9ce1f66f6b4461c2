"""``sitegate outputs list|log|on|off|auto``: outputs of a gateway that runs, by its page."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway.commands.alarms import NotAnswered, Page, page_of
from gateway.commands.output import FINE, MISUSE, PROBLEM, complain, complain_all, print_json, print_table, say
from gateway.config.loader import load_site
from gateway.control.reasons import REASONS
from gateway.errors import ConfigError

_COLUMNS = ["output", "mode", "state", "why", "refused by", "in the hands of", "today", "alarms"]
_LOG_COLUMNS = ["at", "output", "step", "command", "why", "by", "alarm"]


def list_outputs(site: Path | None, url: str | None, password: str | None, *, as_json: bool) -> int:
    """Print every output as it stands now."""
    found = _ask(site, url, password, "/api/outputs")
    if isinstance(found, int):
        return found
    outputs = found["outputs"]
    if as_json:
        print_json(outputs)
    elif outputs:
        print_table(_COLUMNS, [_row(output) for output in outputs])
    else:
        say("this site has no outputs")
    return FINE


def log_of(site: Path | None, url: str | None, password: str | None, output: str | None, *, as_json: bool) -> int:
    """Print the journal of the last day, the newest first."""
    found = _ask(site, url, password, "/api/journal" + (f"?output={quote(output)}" if output else ""))
    if isinstance(found, int):
        return found
    entries = found["entries"]
    if as_json:
        print_json(entries)
    elif entries:
        print_table(_LOG_COLUMNS, [_line(entry) for entry in entries])
    else:
        say("nothing was switched, asked for or refused in the last day")
    return FINE


def command(
    site: Path | None, url: str | None, password: str | None, *, output: str, want: str, by: str, minutes: float
) -> int:
    """Switch one output by hand for a time, or give it back."""
    path = f"/api/outputs/{quote(output)}/{want}"
    found = _ask(site, url, password, path, {"by": by, "minutes": minutes})
    if isinstance(found, int):
        return found
    say(f"{output}: {found['state']}; {_words(found['reason'])}")
    return FINE


def _ask(site: Path | None, url: str | None, password: str | None, path: str, body: object = None) -> Any:
    """Return the page's answer, or an exit status after a complaint."""
    place: Page | int
    if url is not None:
        place = Page(url, password)
    elif site is None:
        complain("name a SITE.yaml, or the page of a gateway with --url")
        return MISUSE
    else:
        try:
            place = page_of(load_site(site).config, password)
        except ConfigError as error:
            return complain_all(error)
    if isinstance(place, int):
        return place
    try:
        return asyncio.run(place.ask(path, body))
    except NotAnswered as why:
        complain(why)
        return PROBLEM


def _words(code: str) -> str:
    return REASONS.get(code, code)


def _row(output: dict[str, Any]) -> list[Any]:
    blocked = ", ".join(output["blocked_by"]) or None
    hands = output["by"] or output["owner"]
    today = f"{output['on_s_today'] / 60:.0f} min"
    asks = ", ".join(output["alarms"]) or None
    return [output["name"], output["mode"], output["state"], _words(output["reason"]), blocked, hands, today, asks]


def _line(entry: dict[str, Any]) -> list[Any]:
    at = datetime.fromtimestamp(entry["at_ms"] / 1000, UTC).astimezone()
    fields = (entry[key] or None for key in ("output", "step", "command", "reason", "by", "alarm"))
    return [at.strftime("%Y-%m-%d %H:%M:%S"), *fields]
