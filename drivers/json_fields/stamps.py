"""The time stamps that devices put into their messages, read and written. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS = 2**53
_LOCAL = "local:"


class Stamps:
    """One way to write a time: unix_s, unix_ms, iso8601, or ``local:`` and a strptime pattern.

    ``time_zone`` holds for stamps that name none. Raises ValueError when either is not known.
    """

    def __init__(self, time_format: str, time_zone: str) -> None:
        if time_format not in ("unix_s", "unix_ms", "iso8601") and not time_format.startswith(_LOCAL + "%"):
            raise ValueError(
                f'time_format "{time_format}" is not unix_s, unix_ms, iso8601 or like "local:%Y-%m-%d %H:%M:%S"'
            )
        try:
            self._zone = ZoneInfo(time_zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f'time_zone "{time_zone}" is not known') from None
        self._format = time_format
        self._pattern = time_format.removeprefix(_LOCAL)

    def read(self, raw: Any) -> int:
        """Return Unix milliseconds. Raises ValueError when ``raw`` is no such stamp."""
        try:
            time_ms = self._read(raw)
        except (TypeError, OverflowError) as why:
            raise ValueError(f"not a time of the form {self._format}") from why
        if not 0 <= time_ms < _LAST_MS:
            raise ValueError("before 1970 or absurdly late")
        return time_ms

    def _read(self, raw: Any) -> int:
        if self._format.startswith("unix"):
            if isinstance(raw, bool):
                raise TypeError
            return round(float(raw) * (1000 if self._format == "unix_s" else 1))
        iso = self._format == "iso8601"
        moment = datetime.fromisoformat(raw) if iso else datetime.strptime(raw, self._pattern)  # noqa: DTZ007
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self._zone)
        return (moment - _EPOCH) // timedelta(milliseconds=1)

    def write(self, time_ms: int) -> Any:
        """Inverse of ``read``: what goes into the JSON."""
        if self._format.startswith("unix"):
            return time_ms / 1000 if self._format == "unix_s" else time_ms
        moment = (_EPOCH + timedelta(milliseconds=time_ms)).astimezone(self._zone)
        if self._format == "iso8601":
            return moment.isoformat(timespec="milliseconds")
        return moment.strftime(self._pattern)
