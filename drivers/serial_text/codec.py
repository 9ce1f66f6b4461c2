"""Lines that instruments print, read by the profile's pattern. Pure; the same mapping serves gateway and simulator.

    pattern: 'PM10=(?P<pm10>[0-9.]+),N=(?P<noise>[0-9.]+)\\*(?P<check>[0-9A-F]{2})'

Each point names its group. A line counts only when the pattern matches the whole of it, and a line with a hole in it
(silence, overflow) is never read: half a number looks like a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import Literal

from drivers.api import Rejected, Report, Value

LONGEST = 1024
"""Bytes of a line; more is noise, or an instrument at another speed."""
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Point:
    """Where a value is found in the instrument's lines."""

    group: str
    """Name of the group in the pattern. A line in which the group takes no part says nothing of this point."""
    map: dict[str, float] | None = None
    """For words: what each word means, as a number. Without it the text must be a number."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How the instrument prints. ``pattern`` is needed; only its default keeps the other mistakes readable."""

    pattern: str = ""
    """Regular expression for a whole line without its end; a named group for each point. Groups with a meaning of their
    own: ``id`` (which instrument on the line), ``body`` and ``check`` (see check)."""
    end: str = "\n"
    """What ends a line; a CR before it is dropped."""
    request: str | None = None
    """What the instrument wants to be asked with, ``{id}`` for its id: "#{id}\\r". None: it prints by itself."""
    check: Literal["none", "xor", "sum"] = "none"
    """Check of group ``body``, as two hexadecimal digits in group ``check``: all bytes by XOR, or their sum mod 256."""
    no_value: tuple[str, ...] = ()
    """Texts that stand for "no value", such as "---"; an empty text always does."""
    encoding: Literal["ascii", "utf-8", "gbk"] = "ascii"

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.pattern).groupindex
        except re.error as why:
            raise ValueError(f"pattern is no regular expression: {why}") from None
        if not self.end:
            raise ValueError("end: without an end of line nobody knows where a line stops")
        if self.check != "none" and not {"body", "check"} <= groups.keys():
            raise ValueError(f"check {self.check} needs the groups body and check in the pattern")


@dataclass(frozen=True, slots=True)
class Address:
    """Which instrument on the line. ``{}`` for one that has its line alone."""

    id: str | None = None
    """What the pattern's group ``id`` finds in its lines, and stands for ``{id}`` in the request."""


def fault(point: Point, limits: Limits) -> str | None:
    """Return what is wrong with a point beyond its types, or None."""
    if not limits.pattern:
        return "limits.pattern is missing: write a regular expression with a named group for each point"
    groups = re.compile(limits.pattern).groupindex
    if point.group in ("id", "check", "body"):
        return f'group "{point.group}" has a meaning of its own: name the value\'s group otherwise'
    if point.group not in groups:
        return f'limits.pattern has no group "{point.group}": write (?P<{point.group}>…) where the value stands'
    return None


def request_of(address: Address, limits: Limits) -> bytes:
    """Return what asks this instrument."""
    return (limits.request or "").replace("{id}", address.id or "").encode(limits.encoding)


def check_text(kind: str, body: bytes) -> str:
    """Return the check that belongs to ``body``: two upper-case hexadecimal digits."""
    return f"{reduce(xor, body, 0) if kind == 'xor' else sum(body) & 0xFF:02X}"


class Reader:
    """Reads the lines of one instrument. Made once."""

    def __init__(self, device: str, address: Address, points: Mapping[str, Point], limits: Limits) -> None:
        self.device = device
        self._id = address.id
        self._points = points
        self._limits = limits
        self._pattern = re.compile(limits.pattern)
        self._no_value = {"", *limits.no_value}

    def read(self, line: bytes) -> Report | Rejected | None:
        """Return what a line says; None when it is not one of this instrument's. Raises nothing, whatever came."""
        try:
            text = line.decode(self._limits.encoding)
        except UnicodeDecodeError:
            return None
        found = self._pattern.fullmatch(text)
        if found is None:
            return None
        groups = found.groupdict()
        if self._id is not None and groups.get("id") != self._id:
            return None
        if self._limits.check != "none":
            body = (groups["body"] or "").encode(self._limits.encoding)
            if (groups["check"] or "").upper() != check_text(self._limits.check, body):
                return Rejected(self.device, "bad_check", _clean(f"the check of this line is wrong: {text}"))
        told = {name: text for name, point in self._points.items() if (text := groups[point.group]) is not None}
        try:
            values = tuple([self._value(self._points[name], text.strip()) for name, text in told.items()])
        except ValueError as why:
            return Rejected(self.device, "not_a_number", _clean(str(why)))
        return Report(self.device, tuple(told), values, None, False) if told else None

    def _value(self, point: Point, text: str) -> Value:
        if text in self._no_value:
            return None
        if point.map is not None:
            if text not in point.map:
                raise ValueError(f"{text!r} is none of {', '.join(point.map)}")
            return point.map[text]
        if not _NUMBER.fullmatch(text) or abs(number := float(text)) == float("inf"):
            raise ValueError(f"{text!r} is not a number")
        return number


class LineCutter:
    """Cuts what comes from the wire into lines without their ends; never gives a line with a hole in it."""

    def __init__(self, end: bytes) -> None:
        self._end = end
        self._buffer = bytearray()
        self._inside = True  # perhaps in the middle of a line: wait for its end, or for silence
        self._untouched = True
        self.broken = 0
        """Lines thrown away so far."""

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; return the lines that they complete."""
        if not data:
            return []
        self._untouched = False
        self._buffer += data
        *lines, rest = bytes(self._buffer).split(self._end)
        if self._inside and lines:
            del lines[0]
            self._inside = False
        self._buffer[:] = rest
        if self._inside:
            self._buffer[:] = rest[-len(self._end) + 1 :] if len(self._end) > 1 else b""
        elif len(rest) > LONGEST:
            self._give_up()
        whole = [line for line in lines if len(line) <= LONGEST]
        self.broken += len(lines) - len(whole)
        return [kept for line in whole if (kept := line.removesuffix(b"\r"))]

    def silence(self) -> None:
        """The line fell silent: what has begun will not be finished, and what comes next begins a line."""
        if self._buffer and not self._inside:
            self._give_up()
        elif self._untouched:
            self._inside = False

    def clear(self) -> None:
        """Forget everything; what comes next begins a line."""
        self._buffer.clear()
        self._inside = False

    def _give_up(self) -> None:
        self._buffer.clear()
        self._inside = True
        self.broken += 1


def printed(
    example: str, values: Mapping[str, float], points: Mapping[str, Point], limits: Limits, own_id: str | None
) -> str:
    """For simulators: the example's line with other values, the id of this instrument and its check made anew."""
    found = re.fullmatch(limits.pattern, example)
    assert found is not None, "the profile's example has been tested"
    texts = {p.group: _shown(p, found[p.group], values[n]) for n, p in points.items() if found[p.group] is not None}
    if own_id is not None and "id" in found.groupdict():
        texts["id"] = own_id
    line = _replaced(example, {name: (*found.span(name), text) for name, text in texts.items()})
    again = re.fullmatch(limits.pattern, line)
    if again is None or limits.check == "none":
        return line
    check = check_text(limits.check, again["body"].encode(limits.encoding))
    return _replaced(line, {"check": (*again.span("check"), check)})


def _replaced(line: str, parts: Mapping[str, tuple[int, int, str]]) -> str:
    for start, stop, text in sorted(parts.values(), reverse=True):
        line = line[:start] + text + line[stop:]
    return line


def _shown(point: Point, example: str, value: float) -> str:
    """Return a value as the instrument prints it: with the decimals and the leading zeros of its example."""
    if point.map is not None:
        return next((text for text, number in point.map.items() if number == value), example)
    text = f"{value:.{len(example.partition('.')[2])}f}"
    return text.zfill(len(example)) if example.lstrip("+-").startswith("0") else text


def _clean(text: str) -> str:
    return "".join([c if c.isprintable() else "?" for c in text[:200]])
