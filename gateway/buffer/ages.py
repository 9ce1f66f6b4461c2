"""Which blobs are old enough to go, by the order of commits and monotonic time: a clock that jumps deletes nothing."""

from __future__ import annotations

from collections import deque

_MARKS = 32
"""Per keep time: how exact the age is."""


class Ages:
    """Remembers which blob numbers were given by when. What an earlier process committed counts as new at the start."""

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
