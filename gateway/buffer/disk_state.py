"""Does the disk take anything? When to try again, and one log line on loss and one on recovery."""

from __future__ import annotations

import structlog

log = structlog.get_logger()

_FIRST_S, _CAP_S = 1.0, 30.0


class DiskState:
    """Good until ``failed``; then says when the next try is due."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.failing: str | None = None
        """The last error; None while all is well."""
        self._since_s = self._next_s = 0.0
        self._wait_s = _FIRST_S

    def may_try(self, now_s: float) -> bool:
        """True unless a failure was a moment ago."""
        return self.failing is None or now_s >= self._next_s

    def failed(self, error: Exception, now_s: float) -> None:
        """Note an error; the wait grows up to half a minute."""
        if self.failing is None:
            log.error("buffer cannot write, readings wait in memory", file=self._path, error=str(error))
            self._since_s, self._wait_s = now_s, _FIRST_S
        self.failing = f"{self._path}: {error}"
        self._next_s = now_s + self._wait_s
        self._wait_s = min(_CAP_S, 2 * self._wait_s)

    def worked(self, now_s: float) -> None:
        """Note a success."""
        if self.failing is not None:
            log.info("buffer writes again", file=self._path, after_s=round(now_s - self._since_s, 1))
            self.failing = None
