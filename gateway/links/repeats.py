"""Messages that were taken before: delivered twice, or kept by a broker and repeated at each connection. Pure."""

from __future__ import annotations

from drivers.api import Report, Value

_MOST = 1000
"""Reports that are known again while nothing is acknowledged: more than a listener's window."""


class Repeats:
    """Knows the newest report of one device and kind, and all that may come again because nobody acknowledged them."""

    def __init__(self) -> None:
        self._taken: dict[int, tuple[Value, ...]] = {}
        self._before: dict[int, tuple[Value, ...]] = {}
        self._newest_ms = -1

    def is_known(self, report: Report, time_ms: int) -> bool:
        """True when this was taken before; else it is remembered. ``time_ms`` is the device's own stamp."""
        for taken in (self._taken, self._before):
            if taken.get(time_ms) == report.values:
                return True
        if report.retained and time_ms <= self._newest_ms:
            return True
        self._taken[time_ms] = report.values
        self._newest_ms = max(self._newest_ms, time_ms)
        if len(self._taken) > _MOST:
            self.acknowledged()
        return False

    def acknowledged(self) -> None:
        """Forget what was taken before the last acknowledgement but one, except the newest."""
        if not self._taken:
            return
        newest = {**self._before, **self._taken}.get(self._newest_ms)
        self._before, self._taken = self._taken, {}
        if newest is not None:
            self._before.setdefault(self._newest_ms, newest)
