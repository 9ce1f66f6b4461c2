"""What an InfluxDB answer means for the batch: one pure function, one table for 1.x, 2.x and 3 Core.

The documented success is 204 and nothing else: a captive portal answers 200 with a page. The rule against loss is that
a line is given up only on the word of InfluxDB itself (its JSON error text), never on that of something in between.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

_MAX_BELIEVED_WAIT_S = 3600.0
_WAIT_INSTEAD_S = 300.0
_MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class Stored:
    """Every line of the request is stored."""


@dataclass(frozen=True, slots=True)
class Split:
    """Some line of the request is at fault, or the request is too large: halve it; a single line is refused."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Nothing is known to be stored: keep everything and come back."""

    text: str
    """What happened and what to do."""
    retry_after_s: float | None = None
    may_hide_bad_line: bool = False
    """A 500 may be a type conflict in disguise (influxdata/influxdb#19779)."""


def judge(status: int, headers: Mapping[str, str], body: bytes) -> Stored | Split | Unavailable:
    """Return the meaning of one answer to a write. ``headers`` by their usual names, best case-insensitive."""
    said = _error_text(headers, body)
    text = f"HTTP {status}" + (f": {said}" if said else "")
    if status == 204:
        return Stored()
    if status in (400, 422):
        if said is None:
            return Unavailable(f"{text} without an InfluxDB error; does another server or a proxy answer at this url?")
        if "database is required" in said:
            return Unavailable(f"{text}; name the database in the site file")
        return Split(said)
    if status == 413:
        return Split(said or "the request is too large for the server")
    if status in (401, 403):
        return Unavailable(f"{text}; check user name and password, or the token and its right to write")
    if status == 404:
        return Unavailable(f"{text}; create the database or bucket, or check url, api and names in the site file")
    if status in (429, 503):
        return Unavailable(f"{text}; the server asks for a pause", retry_after_s(headers))
    if status == 500:
        if said and "retention policy not found" in said:
            return Unavailable(f"{text}; create the retention policy or correct it in the site file")
        return Unavailable(text, may_hide_bad_line=True)
    if 300 <= status < 400:
        where = _one_line(headers.get("Location", "nowhere"))
        return Unavailable(f"{text}: redirected to {where}, not followed; put the final address into the site file")
    if 200 <= status < 300:
        return Unavailable(f"{text} where InfluxDB says 204; a captive portal or another server answers at this url")
    return Unavailable(text)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the pause asked for (seconds or HTTP date), None without one; what cannot be believed counts 300 s."""
    asked = headers.get("Retry-After")
    if asked is None:
        return None
    try:
        wait_s = float(asked) if asked.strip().isdecimal() else _until(asked, headers["Date"])
    except (KeyError, TypeError, ValueError):
        return _WAIT_INSTEAD_S
    return wait_s if 0 <= wait_s <= _MAX_BELIEVED_WAIT_S else _WAIT_INSTEAD_S


def _until(asked: str, now: str) -> float:
    # Against the server's own clock: that of a box without battery may be years off.
    return (parsedate_to_datetime(asked) - parsedate_to_datetime(now)).total_seconds()


def _error_text(headers: Mapping[str, str], body: bytes) -> str | None:
    """InfluxDB's own words: ``error`` (1.x, 3 Core), ``message`` (2.x), or the header; None if it did not speak."""
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict):
        # 2.x always gives a code beside the message; a proxy's {"message": …} is not InfluxDB's word on our lines
        said = answer.get("error") or ("code" in answer and answer.get("message"))
        if isinstance(said, str):
            return _one_line(": ".join([said, *_line_errors(answer.get("data"))]))
    header = headers.get("X-Influxdb-Error")
    return _one_line(header) if header else None


def _line_errors(data: Any) -> list[str]:
    """3 Core lists the lines at fault; the first error message says enough."""
    for entry in data if isinstance(data, list) else [data]:
        if isinstance(entry, dict) and isinstance(entry.get("error_message"), str):
            return [entry["error_message"]]
    return []


def _one_line(text: str) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text[: _MAX_TEXT + 1])
    return clean if len(clean) <= _MAX_TEXT else clean[:_MAX_TEXT] + "…"
