"""The files of the page, read and compressed once at the start: a request is a dictionary look-up, never a path."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib.resources import files

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file, ready to be sent."""

    content_type: str
    body: bytes
    gzipped: bytes
    etag: str
    """Hash of the content: browsers ask again each time and get the new file right after an upgrade."""


def load_files() -> dict[str, PageFile]:
    """Every file below ``static/`` by its name."""
    found = {}
    for entry in files("gateway.web").joinpath("static").iterdir():
        content_type = TYPES.get(entry.name[entry.name.rfind(".") :])
        if content_type is not None:
            body = entry.read_bytes()
            etag = hashlib.sha256(body).hexdigest()[:16]
            found[entry.name] = PageFile(content_type, body, gzip.compress(body, 9, mtime=0), etag)
    return found
