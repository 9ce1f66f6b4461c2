"""What drivers have learned of their devices, in one small JSON file that may be deleted at any time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger()

FILE_NAME = "learned.json"
_MAX_BYTES = 4_000_000


class Notebook:
    """The file, with one page per device. Whatever is wrong with it costs only what was learned."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pages = _load(path)

    def page(self, device: str, identity: str) -> Page:
        """Return the notes of a device; what was learned of one with another ``identity`` is not its own."""
        return Page(self, device, identity)

    def get(self, device: str, identity: str) -> Any:
        """Return the facts, or None."""
        kept = self._pages.get(device)
        return kept.get("facts") if isinstance(kept, dict) and kept.get("identity") == identity else None

    def put(self, device: str, identity: str, facts: Any) -> None:
        """Keep the facts; the file is replaced in one step, so that a power cut leaves the old one or the new one.

        Not synced: a lost change is learned again. Where the file cannot be written, memory has to do.
        """
        self._pages[device] = {"identity": identity, "facts": facts}
        new = self._path.with_suffix(".new")
        try:
            new.write_text(json.dumps(self._pages, indent=1), encoding="utf-8")
            new.replace(self._path)
        except OSError as why:
            log.warning("what was learned of devices is not kept", file=str(self._path), reason=why.strerror)


class Page:
    """``drivers.api.Notes`` of one device."""

    def __init__(self, book: Notebook, device: str, identity: str) -> None:
        self._book = book
        self._device = device
        self._identity = identity

    def read(self) -> Any:
        """As ``drivers.api.Notes.read``."""
        return self._book.get(self._device, self._identity)

    def write(self, facts: Any, news: Sequence[str]) -> None:
        """As ``drivers.api.Notes.write``."""
        for sentence in news:
            log.warning("learned about a device", device=self._device, learned=sentence)
        self._book.put(self._device, self._identity, facts)


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("it is too large")
        pages = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(pages, dict):
            raise ValueError("it is no JSON object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as why:
        log.warning("what was learned of devices cannot be read; it is learned anew", file=str(path), reason=str(why))
        return {}
    return pages
