"""How fast the buffer grows: the forecast behind "hours left". Pure."""

from __future__ import annotations

from collections import deque

_SLOT_S = 10.0
_SLOTS = 30
_KNOWN_AFTER_S = 60.0


class WriteRate:
    """Bytes per second over the last five minutes."""

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
