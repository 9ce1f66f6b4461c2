"""Dashboards without a Grafana: their panels and queries, with variables and macros expanded as Grafana would."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dashboards
from tests.support.servers import Influx1

FOLDER = Path(dashboards.__file__).parent


HALF_A_SCREEN = 900
"""Points of a panel that says nothing else, on a wide screen."""
_ROUNDED = ((1.5, "1m"), (3.5, "2m"), (7.5, "5m"), (12.5, "10m"), (17.5, "15m"), (25, "20m"), (45, "30m"), (90, "1h"),
            (150, "2h"), (270, "3h"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query of one panel or annotation."""

    board: str
    panel: str
    query: str
    time_from: str | None
    steps: int = HALF_A_SCREEN
    """Points that Grafana asks for at most."""

    def interval(self, span_ms: int) -> str:
        """Return $__interval for a time range, rounded as Grafana rounds, never below our minute."""
        found_min = span_ms / 60_000 / self.steps
        return next(name for below, name in _ROUNDED if found_min < below)


def load() -> dict[str, dict[str, Any]]:
    """``en/overview`` -> the dashboard."""
    files = sorted(FOLDER.glob("*/*.json"))
    return {f"{file.parent.name}/{file.stem}": json.loads(file.read_text()) for file in files}


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, those in closed rows too."""
    for panel in board["panels"]:
        if panel["type"] != "row":
            yield panel
        yield from panel.get("panels") or ()


def panel_queries(name: str, board: dict[str, Any]) -> Iterator[PanelQuery]:
    """Every query of every panel."""
    for panel in panels(board):
        for target in panel["targets"]:
            steps = panel.get("maxDataPoints") or HALF_A_SCREEN
            yield PanelQuery(name, panel["title"], target["query"], panel.get("timeFrom"), steps)


def annotation_queries(name: str, board: dict[str, Any]) -> Iterator[PanelQuery]:
    """The queries that mark moments."""
    for mark in board["annotations"]["list"]:
        yield PanelQuery(name, mark["name"], mark["target"]["query"], None)


def variables(board: dict[str, Any], server: Influx1, database: str) -> dict[str, str]:
    """What the variables of a dashboard stand for in a regex, each with all its values (Grafana's "All")."""
    chosen: dict[str, str] = {}
    for variable in board["templating"]["list"]:
        if variable["type"] == "textbox":
            chosen[variable["name"]] = variable["query"]
        elif variable["type"] == "query":
            found = server.query(database, _put(variable["query"], chosen))
            values = sorted({re.escape(value) for series in found for _, value in series["values"]})
            chosen[variable["name"]] = f"({'|'.join(values)})" if len(values) != 1 else values[0]
    return chosen


def expand(query: PanelQuery, chosen: dict[str, str], from_ms: int, to_ms: int) -> str:
    """Return the query as a server gets it."""
    text = query.query.replace("$timeFilter", f"time >= {from_ms}ms AND time <= {to_ms}ms")
    return _put(text.replace("$__interval", query.interval(to_ms - from_ms)), chosen)


def _put(text: str, chosen: dict[str, str]) -> str:
    for name, value in chosen.items():
        text = text.replace(f"${name}", value.replace("/", r"\/"))
    assert "$" not in text.replace("$/", ""), f"not expanded: {text}"
    return text
