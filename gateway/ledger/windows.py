"""From minutes to the figures that rules compare with limits. Pure.

A fixed window is tied to the clock and closes once; only then can there be a verdict. A sliding window ends with the
newest minute and moves with it. Windows of levels never cross the hours at which day and night meet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import date

from gateway.ledger.day import BLOCK_MINUTES, Calendar, Span
from gateway.ledger.frames import KEPT_BLOCKS, FixedFrame, Judged, SlidingFrame, length_ms
from gateway.ledger.minute import MINUTE_MS, Minute
from gateway.ledger.statistic import Statistic, Wanted, WindowResult, WindowSpec, impossible
from gateway.ledger.sums import Part, part_of

__all__ = [
    "Judged", "SeriesWindows", "Statistic", "Wanted", "WindowResult", "WindowSpec", "difference", "exceedances",
    "impossible", "percent_of", "ratio", "spread",
]  # fmt: skip

GRACE_MS = 10_000
"""The ledger closes a minute two seconds after its end; a busy disk may need some more."""
_LEAST_RING_MS = 120 * MINUTE_MS
_SET_BACK_MS = 2 * MINUTE_MS


class SeriesWindows:
    """All windows of one series. The cost of a minute depends on the windows, not on the history before them."""

    def __init__(self, metric: str, wanted: Sequence[Wanted], calendar: Calendar) -> None:
        """Raises ValueError, with the sentence of ``impossible``, on what cannot be."""
        groups: dict[tuple[WindowSpec, float], list[Wanted]] = {}
        for each in dict.fromkeys(wanted):
            why = impossible(metric, each.window, each.statistic)
            if why is not None:
                raise ValueError(why)
            groups.setdefault((each.window, each.minute_share), []).append(each)
        self._metric = metric
        self._calendar = calendar
        self._groups = list(groups.values())
        self._stale: dict[tuple[WindowSpec, Span], None] = {}
        self._ring_length_ms = max([_LEAST_RING_MS, *(_ring_ms(window) for window, _ in groups)])
        self._forget()

    def _forget(self) -> None:
        of = (self._metric, self._calendar)
        self._fixed = [FixedFrame(of[0], g, of[1]) for g in self._groups if not g[0].window.sliding]
        self._sliding = [SlidingFrame(of[0], g, of[1]) for g in self._groups if g[0].window.sliding]
        self._ring: dict[int, Part] = {}
        self._ring_ms = 0
        """Minutes that begin earlier are forgotten."""
        self._end_ms = 0
        """End of the newest minute."""
        self._period = Span(0, 0)
        self._night = False

    # --- in and out --------------------------------------------------------------------------------------------

    def since_ms(self, now_ms: int) -> int:
        """Return from when on minutes are needed after a start: open windows and those closed last."""
        frames: list[FixedFrame | SlidingFrame] = [*self._fixed, *self._sliding]
        return min((frame.since_ms(now_ms) for frame in frames), default=now_ms)

    def load(self, minutes: Iterable[Minute], now_ms: int, left_out: Collection[int] = ()) -> list[Judged]:
        """Take the minutes of the ledger since ``since_ms``, oldest first; return all windows that closed since then.

        Among them are those that were judged before the start: whoever judges remembers up to where.
        ``left_out``: starts of minutes that are expected, but not good.
        """
        for frame in self._fixed:
            frame.begin(frame.since_ms(now_ms))
        result: list[Judged] = []
        for minute in minutes:
            if minute.start_ms < now_ms:
                self._put(minute, minute.start_ms in left_out)
                for frame in self._fixed:
                    result += frame.close(minute.start_ms)
        self._stale.clear()
        for frame in self._fixed:
            result += frame.close(now_ms - GRACE_MS)
        return result

    def add(self, minute: Minute, *, left_out: bool = False, now_ms: int | None = None) -> list[Judged]:
        """Take a closed or corrected minute; return the windows it changes: open, just closed, closed and corrected.

        ``left_out``: expected, but not good (noise in wind or rain). ``now_ms``: a minute after it is not believed.
        """
        if now_ms is not None:
            self._follow_clock(now_ms)
            if minute.start_ms >= now_ms:
                return []
        for frame in self._fixed:
            frame.begin(minute.start_ms)
        newest_ms = self._end_ms
        if not self._put(minute, left_out):
            return []
        result: list[Judged] = []
        for frame in self._fixed:
            result += frame.corrections(minute.start_ms)
            result += frame.close(self._end_ms)
            span = frame.span_of(minute.start_ms)
            if self._end_ms > newest_ms or (span is not None and span.end_ms > self._end_ms):
                result += frame.now(self._end_ms)
        for sliding in self._sliding:
            if minute.start_ms >= self._end_ms - length_ms(sliding.window.length):
                result += sliding.now(self._ring)
        return result

    def advance(self, now_ms: int) -> list[Judged]:
        """Close what ended 10 s ago or earlier, move on where no minute came. Call each second, after the minutes."""
        self._follow_clock(now_ms)
        until_ms = now_ms - GRACE_MS
        until_ms -= until_ms % MINUTE_MS
        if until_ms <= self._end_ms:
            return []
        self._move(until_ms)
        result: list[Judged] = []
        for frame in self._fixed:
            frame.begin(until_ms - MINUTE_MS)
            result += frame.close(until_ms)
            result += frame.now(until_ms)
        for sliding in self._sliding:
            result += sliding.now(self._ring)
        return result

    # --- late data older than what is in memory ----------------------------------------------------------------

    def stale(self) -> list[tuple[WindowSpec, Span]]:
        """Return once each the windows changed by data older than what is in memory: only the ledger can judge them."""
        result = list(self._stale)
        self._stale.clear()
        return result

    def judge_again(
        self, window: WindowSpec, span: Span, minutes: Iterable[Minute], left_out: Collection[int] = ()
    ) -> list[Judged]:
        """Return a window of ``stale`` from the ledger's minutes of its span; a closed one as corrected.

        What came while the ledger was read stands; minutes that memory should have and has not are added on the way.
        """
        result: list[Judged] = []
        parts: dict[int, Part] = {}
        for minute in minutes:
            ms, left = minute.start_ms, minute.start_ms in left_out
            if ms < self._ring_ms:
                parts[ms] = self._part(minute, left)
            elif ms < self._end_ms and ms not in self._ring:
                result += self.add(minute, left_out=left)
        parts |= {ms: part for ms, part in self._ring.items() if ms >= self._ring_ms}
        inside = [parts[ms] for ms in sorted(parts) if span.start_ms <= ms < span.end_ms]
        for frame in self._fixed:
            if frame.window == window:
                result += frame.rebuild(span, inside, self._end_ms)
        self._stale.pop((window, span), None)
        return result

    # --- inside ------------------------------------------------------------------------------------------------

    def _put(self, minute: Minute, left_out: bool) -> bool:
        """Return False when the minute is older than what is in memory."""
        start_ms = minute.start_ms
        if start_ms < self._ring_ms:
            self._stale |= dict.fromkeys((f.window, span) for f in self._fixed if (span := f.span_of(start_ms)))
            return False
        if start_ms >= self._end_ms:
            self._move(start_ms + MINUTE_MS)
        part, old = self._part(minute, left_out), self._ring.get(start_ms)
        self._ring[start_ms] = part
        for frame in self._fixed:
            span = frame.put(part, old, self._ring, self._ring_ms)
            if span is not None:
                self._stale[frame.window, span] = None
        for sliding in self._sliding:
            sliding.put(part, old)
        return True

    def _part(self, minute: Minute, left_out: bool) -> Part:
        if not self._period.start_ms <= minute.start_ms < self._period.end_ms:
            self._period = self._calendar.period(minute.start_ms)
            self._night = self._calendar.is_night(minute.start_ms)
        return part_of(minute, self._night, left_out)

    def _move(self, end_ms: int) -> None:
        for sliding in self._sliding:
            sliding.move(end_ms, self._ring)
        self._end_ms = end_ms
        self._ring_ms = end_ms - self._ring_length_ms
        while self._ring:
            oldest_ms = next(iter(self._ring))  # late minutes lie out of order and stay a little longer
            if oldest_ms >= self._ring_ms:
                break
            del self._ring[oldest_ms]

    def _follow_clock(self, now_ms: int) -> None:
        """Begin anew when the clock was set back: what lies ahead of it was measured at another time."""
        if now_ms + _SET_BACK_MS > self._end_ms:
            return
        self._forget()
        for frame in self._fixed:
            frame.begin(now_ms)
            span = frame.span_of(now_ms)
            if span is not None:
                self._stale[frame.window, span] = None


def _ring_ms(window: WindowSpec) -> int:
    if window.sliding:
        return length_ms(window.length)
    return (KEPT_BLOCKS + 1) * length_ms(window.length) if window.length in BLOCK_MINUTES else 0


# --- results against each other and against limits -------------------------------------------------------------


def difference(site: WindowResult, reference: WindowResult, cap: float | None = None) -> WindowResult:
    """Return site minus reference over the same window; at most ``cap`` is subtracted."""
    value = None
    if site.value is not None and reference.value is not None:
        value = site.value - (reference.value if cap is None else min(reference.value, cap))
    return _combined([site, reference], value)


def ratio(site: WindowResult, reference: WindowResult) -> WindowResult:
    """Return site by reference over the same window; no value where the reference is not above zero."""
    value = None
    if site.value is not None and reference.value is not None and reference.value > 0:
        value = site.value / reference.value
    return _combined([site, reference], value)


def spread(results: Sequence[WindowResult]) -> WindowResult:
    """Return highest minus lowest over the points of a site that have enough data, at least two; same window."""
    enough = [result for result in results if result.value is not None]
    values = [result.value for result in enough if result.value is not None]
    return _combined(enough if len(values) > 1 else results, max(values) - min(values) if len(values) > 1 else None)


def _combined(results: Sequence[WindowResult], value: float | None) -> WindowResult:
    """The parts must be of one window; the weakest part is the measure of the data."""
    if len({(result.start_ms, result.end_ms) for result in results}) != 1:
        raise ValueError("results of different windows cannot be compared")
    weakest = min(results, key=lambda result: result.valid_share)
    return replace(
        weakest,
        value=value,
        enough=value is not None,
        closed=all(result.closed for result in results),
        corrected=any(result.corrected for result in results),
    )


def percent_of(value: float, rated: float) -> float | None:
    """Return a load, moment or current in percent of what is rated; None without a positive rating."""
    return 100.0 * value / rated if rated > 0 else None


def exceedances(results: Iterable[WindowResult], limit: float, calendar: Calendar) -> dict[date, int]:
    """Return how many closed windows lie above a limit, by local date; of a window told twice the later telling.

    Compare with the allowance: a date is over it when its count is greater. Dates without an exceedance count 0.
    """
    latest = {result.start_ms: result for result in results if result.closed}
    counts: dict[date, int] = {}
    for start_ms in sorted(latest):
        value = latest[start_ms].value
        day = calendar.date_of(start_ms)
        counts[day] = counts.get(day, 0) + (value is not None and value > limit)
    return counts
