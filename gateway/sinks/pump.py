"""Moves records from the buffer to one sink: lease, write, settle, for ever.

The pump owns all patience: how long to wait, how much to send at once, what to say in the log. A lease is settled only
when every record of it was taken or refused; until then it stays in the buffer, whatever happens here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import structlog

from gateway.backoff import delay_s
from gateway.buffer import Buffer
from gateway.clock import Clock
from gateway.errors import SinkTimeout, SinkUnavailable
from gateway.model import Readings, SinkHealth
from gateway.sinks import Sink, Written

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
_GROW_AFTER = 4
_SLOWEST_GROW_AFTER = 1024
_MAX_REASONS = 100

log = structlog.get_logger()


class BatchSize:
    """How many values go into one write: a quarter after a time-out, four times more after some successes.

    On a path that passes small requests and swallows large ones, each attempt to grow costs a time-out: every failed
    attempt doubles the successes asked for before the next one.
    """

    def __init__(self, max_values: int) -> None:
        self.values = max_values
        self._max_values = max_values
        self._patience = _GROW_AFTER
        self._successes = 0
        self._grown = False

    def timed_out(self, tried_values: int) -> None:
        """Note a write that got no answer in time."""
        self.values = max(1, min(self.values, tried_values) // 4)
        self._successes = 0
        if self._grown:
            self._patience = min(self._patience * 2, _SLOWEST_GROW_AFTER)
            self._grown = False

    def succeeded(self) -> None:
        """Note an answer in time."""
        self._successes += 1
        if self._grown and self._successes >= _GROW_AFTER:  # the larger size has proved itself
            self._patience, self._grown = _GROW_AFTER, False
        if self._successes >= self._patience and self.values < self._max_values:
            self.values = min(self.values * 4, self._max_values)
            self._successes = 0
            self._grown = True


class Pump:
    """One per sink. ``chance`` gives numbers in [0, 1) for the jitter."""

    def __init__(
        self,
        sink: Sink,
        buffer: Buffer,
        clock: Clock,
        max_values: int,
        *,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._sink = sink
        self._buffer = buffer
        self._clock = clock
        self._chance = chance
        self._size = BatchSize(max_values)
        self._failures = 0
        self._down_since_s = 0.0
        self._reasons: set[str] = set()
        self.health = SinkHealth(sink.name, since_ms=clock.wall_ms())

    async def run(self) -> None:
        """Pump until cancelled. An unsettled lease is lent again at the next start."""
        while True:
            lease = await self._buffer.lease(self._sink.name, self._size.values)
            rejected = await self._deliver(lease.records)
            if rejected is not None:
                await self._buffer.settle(lease, rejected)

    async def _deliver(self, records: Sequence[Readings]) -> dict[int, str] | None:
        """Write all records slice by slice; return the rejected ones.

        None: not even the first slice went out. The next lease begins at the same place, with what came since: in
        company a record that alone looks like an ill server can be found out.
        """
        rejected: dict[int, str] = {}
        start = 0
        while start < len(records):
            stop = _slice_end(records, start, self._size.values)
            batch = records[start:stop]
            try:
                written = await self._sink.write(batch)
            except SinkUnavailable as why:
                if isinstance(why, SinkTimeout):
                    self._size.timed_out(sum(len(readings.metrics) for readings in batch))
                await self._wait(why)
                if start == 0:
                    return None
                continue
            self._note_success(batch, written)
            rejected.update((start + index, reason) for index, reason in written.rejected.items())
            start = stop
        return rejected

    async def _wait(self, why: SinkUnavailable) -> None:
        health = self.health
        self._failures += 1
        health.retries += 1
        health.last_error = str(why)
        if why.retry_after_s is None:
            wait_s = delay_s(self._failures, first_s=_FIRST_WAIT_S, cap_s=_LONGEST_WAIT_S, chance=self._chance())
        else:  # never earlier than asked, and not all boxes in the same moment
            wait_s = why.retry_after_s * (1 + 0.1 * self._chance())
        if health.state != "down":
            health.state, health.since_ms = "down", self._clock.wall_ms()
            self._down_since_s = self._clock.monotonic_s()
            log.warning("sink lost", sink=health.name, error=health.last_error, next_try_s=round(wait_s, 1))
        await self._clock.sleep(wait_s)

    def _note_success(self, batch: Sequence[Readings], written: Written) -> None:
        health = self.health
        self._size.succeeded()
        self._failures = 0
        if health.state != "up":
            if health.state == "down":
                down_s = self._clock.monotonic_s() - self._down_since_s
                log.info("sink back", sink=health.name, down_s=round(down_s, 1), backlog=self._backlog())
            health.state, health.since_ms = "up", self._clock.wall_ms()
        health.rejected += len(written.rejected)
        for index, readings in enumerate(batch):
            if index not in written.rejected:
                health.sent_records += 1
                health.sent_values += readings.good_count
        for reason in set(written.rejected.values()) - self._reasons:
            self._log_rejection(reason)

    def _log_rejection(self, reason: str) -> None:
        """Once per distinct reason, and not without end: some servers quote the line."""
        if len(self._reasons) < _MAX_REASONS:
            self._reasons.add(reason)
            log.warning("sink refused records, see the quarantine", sink=self.health.name, reason=reason)

    def _backlog(self) -> int:
        """Records still waiting for this sink."""
        return sum(s.pending_records for s in self._buffer.stats().sinks if s.name == self.health.name)


def _slice_end(records: Sequence[Readings], start: int, max_values: int) -> int:
    """Where the slice from ``start`` ends: at most ``max_values`` values, at least one record."""
    stop, values = start + 1, len(records[start].metrics)
    while stop < len(records):
        values += len(records[stop].metrics)
        if values > max_values:
            break
        stop += 1
    return stop
