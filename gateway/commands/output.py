"""How commands speak: one JSON document or a table, problems on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from gateway.errors import ConfigError

FINE, PROBLEM, MISUSE = 0, 1, 2


def print_json(document: Any) -> None:
    """Print one JSON document on one line."""
    print(json.dumps(document, ensure_ascii=False))  # noqa: T201


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Print a table; None becomes a dash. Text is never interpreted as markup."""
    table = Table(*columns, title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*[Console().render_str("—" if cell is None else str(cell), markup=False) for cell in row])
    # a pipe has no width: give long rows room instead of cutting them
    Console(width=None if sys.stdout.isatty() else 240, soft_wrap=not sys.stdout.isatty()).print(table)


def say(text: str) -> None:
    """Print a sentence at once: who reads a pipe of a long-running command should not wait for its end."""
    print(text, flush=True)  # noqa: T201


def complain(text: object) -> None:
    """Print a sentence on standard error."""
    print(text, file=sys.stderr)  # noqa: T201


def complain_all(error: ConfigError) -> int:
    """Print every configuration problem and how many there are; return the exit status."""
    for problem in error.problems:
        complain(problem)
    count = len(error.problems)
    complain(f"{count} problem{'s' if count != 1 else ''} found; nothing was started")
    return PROBLEM
