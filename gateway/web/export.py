"""``/api/history.csv``: the minutes of one device as a table that spreadsheets open with a double click.

One metric comes with its statistics, several come one column each. A step without data is a row with empty cells, so a
gap stays visible; rows begin with the first data. Times are those of the site.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.ledger.bucket import Bucket
from gateway.vocabulary import METRICS, Kind, Metric
from gateway.web import history
from gateway.web.history import BadQuery
from gateway.web.state import MinuteHistory, PageState

BOM = "\ufeff"
"""By this Excel knows UTF-8; without it Chinese headers turn into noise."""
STEPS_S = (60, 300, 900, 3600)
MAX_VALUES = 1_000_000
"""Rows times metrics of one download: 400 days of one metric in minutes, a month of twenty."""
CHUNK_VALUES = 4_000
"""Rows times metrics that are held in memory and written at a time."""
DEFAULT_SPAN_MS = 86_400_000

_WORDS = {
    "time": ("Time", "时间"),
    "mean": ("mean", "平均"),
    "last": ("last", "末值"),
    "low": ("lowest", "最低"),
    "high": ("highest", "最高"),
    "growth": ("growth", "增量"),
    "share": ("data present (%)", "数据有效率（%）"),
}


@dataclass(frozen=True, slots=True)
class Export:
    """A checked question."""

    device: str
    metrics: tuple[str, ...]
    from_ms: int
    to_ms: int
    step_s: int
    chinese: bool
    zone: str

    @property
    def file_name(self) -> str:
        """What a browser saves it as; the names in it are plain ASCII."""
        what = f"-{self.metrics[0]}" if len(self.metrics) == 1 else ""
        first = datetime.fromtimestamp(self.from_ms / 1000, ZoneInfo(self.zone))
        return f"{self.device}{what}-{first:%Y%m%d}-{self.step_s}s.csv"


def parse(state: PageState, query: Mapping[str, str], now_ms: int) -> Export:
    """Check the parameters. Raises BadQuery or NotKnown with one sentence."""
    if not query.get("device"):
        raise BadQuery("Say which device: /api/history.csv?device=NAME, with metric=NAME for one metric only.")
    device = history.known_device(state, query["device"])
    metrics = tuple(state.devices[device].every_s)
    if "metric" in query:
        metrics = (history.known_metric(state, device, query["metric"]),)
    from_ms, to_ms = history.span(query, now_ms, DEFAULT_SPAN_MS)
    step_s = history.whole(query, "step", STEPS_S[0])
    if step_s not in STEPS_S:
        raise BadQuery(f"'step' must be one of {', '.join(map(str, STEPS_S))} seconds.")
    to_ms = min(to_ms, now_ms // (step_s * 1000) * step_s * 1000)  # the step that is still open is not yet true
    if (to_ms - from_ms) // (step_s * 1000) * len(metrics) > MAX_VALUES:
        raise BadQuery(f"That is more than {MAX_VALUES} values; ask for a larger step, a shorter time or one metric.")
    language = query.get("lang", "en")
    if language not in ("en", "zh"):
        raise BadQuery("'lang' must be en or zh.")
    return Export(device, metrics, from_ms, to_ms, step_s, language == "zh", state.site.site.timezone)


async def table(ledger: MinuteHistory, export: Export) -> AsyncIterator[str]:
    """The file in pieces of about CHUNK_VALUES values; the next is only made when it is asked for."""
    yield BOM + ",".join(_header(export)) + "\r\n"
    step_ms = export.step_s * 1000
    chunk_ms = max(1, CHUNK_VALUES // len(export.metrics)) * step_ms
    begun = False
    for from_ms in range(export.from_ms // step_ms * step_ms, export.to_ms, chunk_ms):
        to_ms = min(from_ms + chunk_ms, export.to_ms)
        columns = [
            {b.start_ms: b for b in await ledger.history(export.device, metric, from_ms, to_ms, export.step_s)}
            for metric in export.metrics
        ]
        lines = []
        for start_ms in range(from_ms, to_ms, step_ms):
            buckets = [column.get(start_ms) for column in columns]
            begun = begun or any(buckets)
            if begun:
                lines.append(_row(export, start_ms, buckets))
        if lines:
            yield "".join(lines)


def _header(export: Export) -> list[str]:
    def word(name: str) -> str:
        return _WORDS[name][export.chinese]

    def titled(metric: Metric, what: str) -> str:
        name = metric.zh if export.chinese else metric.en
        return _cell(f"{name} {what}" + (f" ({metric.unit})" if metric.unit else ""))

    time = _cell(f"{word('time')} ({export.zone})")
    if len(export.metrics) > 1:
        return [time, *(titled(METRICS[m], word(_value_name(METRICS[m]))) for m in export.metrics)]
    metric = METRICS[export.metrics[0]]
    return [
        time,
        titled(metric, word(_value_name(metric))),
        *(titled(metric, word(name)) for name in ("low", "high", "growth") if name in _statistics(metric)),
        _cell(word("share")),
    ]


def _value_name(metric: Metric) -> str:
    return "last" if metric.kind in (Kind.COUNTER, Kind.STATE) else "mean"


def _statistics(metric: Metric) -> Sequence[str]:
    """What can be said of a metric beside its value: 359 degrees is not more than 1 degree."""
    if metric.kind is Kind.COUNTER:
        return ("growth",)
    return () if metric.kind is Kind.DIRECTION else ("low", "high")


def _row(export: Export, start_ms: int, buckets: Sequence[Bucket | None]) -> str:
    time = f"{datetime.fromtimestamp(start_ms / 1000, ZoneInfo(export.zone)):%Y-%m-%d %H:%M:%S}"
    cells = [_number(METRICS[m], b.mean if b else None) for m, b in zip(export.metrics, buckets, strict=True)]
    if len(export.metrics) == 1:
        metric, bucket = METRICS[export.metrics[0]], buckets[0] or Bucket(start_ms, None, None, None, 0, 0.0)
        values = {"low": bucket.low, "high": bucket.high, "growth": bucket.delta}
        cells += [_number(metric, value) for name, value in values.items() if name in _statistics(metric)]
        cells.append(f"{100 * bucket.valid_share:.0f}")
    return ",".join([time, *cells]) + "\r\n"


def _number(metric: Metric, value: float | None) -> str:
    """One digit more than people are shown: a mean is finer than its readings."""
    return "" if value is None else f"{value:.{0 if metric.kind is Kind.STATE else metric.decimals + 1}f}"


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text
