"""What the buffer does by monotonic time: how old blobs are, how fast the file grows, when to try a bad disk again."""

from __future__ import annotations

from collections import deque

import structlog

from gateway.backoff import delay_s

log = structlog.get_logger()

_MARKS = 32
"""Per keep time: how exact the age of a blob is."""
_SLOT_S, _SLOTS = 10.0, 30
_KNOWN_AFTER_S = 60.0
_RETRY_FIRST_S, _RETRY_CAP_S = 1.0, 30.0


class Ages:
    """Remembers which blob numbers were given by when: a wall clock that jumps deletes nothing.

    What an earlier process committed counts as new at the start.
    """

    def __init__(self, keep_s: float, now_s: float, next_seq: int) -> None:
        self._keep_s = keep_s
        self._marks = deque([(now_s, next_seq)])
        self._last_s, self._last_seq = now_s, next_seq
        self.old_below = 0
        """Blobs below this number are older than the keep time."""

    def advance(self, now_s: float, next_seq: int) -> bool:
        """Note the number that the next blob will get; return True when more blobs have become old."""
        if next_seq > self._last_seq and now_s - self._last_s >= self._keep_s / _MARKS:
            self._marks.append((now_s, next_seq))
            self._last_s, self._last_seq = now_s, next_seq
        before = self.old_below
        while self._marks and self._marks[0][0] <= now_s - self._keep_s:
            self.old_below = self._marks.popleft()[1]
        return self.old_below > before


class WriteRate:
    """Bytes per second over the last five minutes: the forecast behind "hours left"."""

    def __init__(self, start_s: float) -> None:
        self._start_s = start_s
        self._slots: deque[tuple[float, int]] = deque(maxlen=_SLOTS)

    def add(self, now_s: float, size: int) -> None:
        """Count bytes written at this monotonic time."""
        slot_s = now_s - now_s % _SLOT_S
        if self._slots and self._slots[-1][0] == slot_s:
            self._slots[-1] = (slot_s, self._slots[-1][1] + size)
        else:
            self._slots.append((slot_s, size))

    def bytes_per_s(self, now_s: float) -> float | None:
        """Return the rate; None in the first minute."""
        window_s = min(now_s - self._start_s, _SLOT_S * _SLOTS)
        if window_s < _KNOWN_AFTER_S:
            return None
        return sum(size for slot_s, size in self._slots if slot_s > now_s - window_s - _SLOT_S) / window_s


class DiskState:
    """Does the disk take anything? Good until ``failed``, then says when to try again; one log line each way."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.failing: str | None = None
        """The last error; None while all is well."""
        self._since_s = self._next_s = 0.0
        self._failures = 0

    def may_try(self, now_s: float) -> bool:
        """True unless a failure was a moment ago."""
        return self.failing is None or now_s >= self._next_s

    def failed(self, error: Exception, now_s: float) -> None:
        """Note an error; the wait grows up to half a minute."""
        if self.failing is None:
            log.error("buffer cannot write, readings wait in memory", file=self._path, error=str(error))
            self._since_s, self._failures = now_s, 0
        self.failing = f"{self._path}: {error}"
        self._failures += 1
        self._next_s = now_s + delay_s(self._failures, first_s=_RETRY_FIRST_S, cap_s=_RETRY_CAP_S, chance=1.0)

    def worked(self, now_s: float) -> None:
        """Note a success."""
        if self.failing is not None:
            log.info("buffer writes again", file=self._path, after_s=round(now_s - self._since_s, 1))
            self.failing = None
