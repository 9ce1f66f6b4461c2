"""Data that ships with Sitegate: device profiles, the example and demo sites, schemas for editors."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def path(*parts: str) -> Path:
    """Return where a shipped file or folder is, in a checkout as well as in an installed wheel."""
    return Path(str(files(__name__).joinpath(*parts)))
