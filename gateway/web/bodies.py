"""The body of a POST: one small JSON object that says who asks for the change. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from gateway.web.history import BadQuery

MAX_BODY_BYTES = 4096
MAX_BY = 60


def read_object(body: bytes, keys: Collection[str], advice: str) -> dict[str, Any]:
    """Return the object. Raises BadQuery with ``advice`` when it is none, or has other keys."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or not set(given) <= set(keys):
        raise BadQuery(advice)
    return given


def read_by(given: object) -> str:
    """Return the name of who asks. Raises BadQuery: what happens is kept under a name."""
    if not isinstance(given, str):
        raise BadQuery('"by" must be a text.')
    by = given.strip()
    if not by or len(by) > MAX_BY or not by.isprintable():
        raise BadQuery(f'"by" must say who you are, on one line of at most {MAX_BY} letters.')
    return by
