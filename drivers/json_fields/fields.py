"""JSON messages to numbers and back, by the profile's mapping. Pure; the same mapping serves gateway and simulator.

A message is taken whole or not at all: too large, not UTF-8, not strict JSON (NaN, duplicate keys, byte order mark,
nesting without end) or a wanted field that is no number make it ``Rejected``, with a cause from a closed set:
too_large, not_utf8, not_json, not_a_number, bad_time, missing_field. One wanted field that is absent or null is a
point without a value; all of them absent is ``missing_field``: the wrong kind of message for this place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Protocol

from drivers.api import Rejected, Report, Value
from drivers.json_fields.stamps import Stamps

MAX_BITS = 53  # more do not fit a float exactly

FieldType = Literal["number", "bool", "bits_msb_first", "bits_lsb_first", "text"]

_LARGEST = 1.7976931348623157e308
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_BITS = re.compile(rf"[01]{{1,{MAX_BITS}}}")
_MISSING = object()


class Field(Protocol):
    """The part of a driver's Point that says where a value stands in a message, and how it is written."""

    @property
    def path(self) -> str | None:
        """Keys joined by dots, list positions as numbers. None: the message is the value."""
        ...

    @property
    def type(self) -> FieldType: ...

    @property
    def bit(self) -> int | None:
        """Only this bit (0 is the lowest) of a bit text or of a whole number."""
        ...

    @property
    def map(self) -> Mapping[str, float] | None:
        """For ``text``: what each text means, as a number."""
        ...


@dataclass(frozen=True, slots=True)
class Stamped:
    """Where the device's own time stamp stands in each of its messages."""

    time_path: str | None = None
    """None: messages carry no time, the arrival counts."""
    time_format: str = "unix_ms"
    """unix_s, unix_ms, iso8601, or ``local:`` and a strptime pattern, as in ``local:%Y-%m-%d %H:%M:%S``."""
    time_zone: str = "Asia/Shanghai"
    """Zone of stamps that name none."""

    def __post_init__(self) -> None:
        Stamps(self.time_format, self.time_zone)


def fault(field: Field) -> str | None:
    """Return what is wrong with a field beyond its types, or None."""
    if field.path is not None and not all(field.path.split(".")):
        return f'path "{field.path}" has an empty step'
    if (field.type == "text") != (field.map is not None):
        return "type text and map belong together: map says which number each text means"
    if field.bit is not None and (field.type in ("bool", "text") or not 0 <= field.bit < MAX_BITS):
        return f"bit {field.bit}: 0 to {MAX_BITS - 1}, for types number, bits_msb_first and bits_lsb_first"
    return None


class Reader:
    """Reads one kind of message of one device. Made once."""

    def __init__(
        self, device: str, where: str, points: Mapping[str, Field], limits: Stamped, max_payload_bytes: int = 65_536
    ) -> None:
        """``where``: its topic or path, for people."""
        self.device = device
        self._where = where
        self._names = tuple(points)
        self._fields = [(_steps(point.path), _converter(point)) for point in points.values()]
        self._time_steps = None if limits.time_path is None else _steps(limits.time_path)
        self._stamps = Stamps(limits.time_format, limits.time_zone)
        self._max_bytes = max_payload_bytes

    def read(self, payload: bytes, *, retained: bool = False) -> Report | Rejected:
        """Return the numbers of one message. Raises nothing, whatever the payload."""
        try:
            document = _parse(payload, self._max_bytes)
            found = [(_find(document, steps), convert) for steps, convert in self._fields]
            if all(raw is _MISSING for raw, _ in found):
                raise _Unusable("missing_field", f"none of {', '.join(self._names)} is in the message")
            values = tuple([None if raw is None or raw is _MISSING else convert(raw) for raw, convert in found])
            sent_at_ms = None if self._time_steps is None else self._sent_at_ms(_find(document, self._time_steps))
        except _Unusable as why:
            return Rejected(self.device, why.cause, _clean(f"{self._where}: {why}"))
        return Report(self.device, self._names, values, sent_at_ms, retained)

    def _sent_at_ms(self, raw: Any) -> int | None:
        if raw is None or raw is _MISSING:
            return None
        try:
            return self._stamps.read(raw)
        except ValueError as why:
            raise _Unusable("bad_time", f"time stamp {_shown(raw)}: {why}") from None


def compose(points: Mapping[str, Field], values: Mapping[str, Value], limits: Stamped, sent_at_ms: int) -> bytes:
    """Inverse of ``Reader``, for simulators: one message with all these points."""
    document: Any = None
    for path in dict.fromkeys(point.path for point in points.values()):
        here = {name: point for name, point in points.items() if point.path == path}
        document = _put(document, _steps(path), _field_json(here, values))
    if limits.time_path is not None:
        stamp = Stamps(limits.time_format, limits.time_zone).write(sent_at_ms)
        document = _put(document, _steps(limits.time_path), stamp)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def read_message(points: Mapping[str, Field], document: Any, where: str) -> dict[str, Value]:
    """Decode one message of a profile's example. Raises ValueError with a sentence that begins with ``raw:``."""
    try:
        payload = json.dumps(document, allow_nan=False).encode()
    except (TypeError, ValueError) as why:
        raise ValueError(f"raw: the payload of {where} cannot be JSON: {why}") from None
    report = Reader("example", where.strip('"'), points, Stamped()).read(payload)
    if isinstance(report, Rejected):
        raise ValueError(f"raw: {report.detail}")
    return dict(zip(report.points, report.values, strict=True))


class _Unusable(Exception):
    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause


def _parse(payload: bytes, max_bytes: int) -> Any:
    if len(payload) > max_bytes:
        raise _Unusable("too_large", f"{len(payload)} bytes, at most {max_bytes} are taken")
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as why:
        raise _Unusable("not_utf8", f"not UTF-8 at byte {why.start}") from None
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except RecursionError:
        raise _Unusable("not_json", "nested too deep") from None
    except ValueError as why:  # also whole numbers of thousands of digits
        raise _Unusable("not_json", f"not JSON: {why}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise _Unusable("not_json", "a key stands twice in one object")
    return document


def _constant(text: str) -> NoReturn:
    raise _Unusable("not_a_number", f"{text} is not a value in JSON")


def _clean(text: str) -> str:
    return "".join([c if c.isprintable() else "?" for c in text[:200]])


def _steps(path: str | None) -> tuple[str, ...]:
    return () if path is None else tuple(path.split("."))


def _find(document: Any, steps: tuple[str, ...]) -> Any:
    for step in steps:
        if isinstance(document, dict):
            document = document.get(step, _MISSING)
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return _MISSING
    return document


def _put(document: Any, steps: tuple[str, ...], value: Any) -> Any:
    """Return ``document`` with ``value`` at ``steps``; decimal steps make lists."""
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if step.isdecimal():
        items = document if isinstance(document, list) else []
        items += [None] * (int(step) + 1 - len(items))
        items[int(step)] = _put(items[int(step)], rest, value)
        return items
    keys = document if isinstance(document, dict) else {}
    keys[step] = _put(keys.get(step), rest, value)
    return keys


def _number(raw: Any) -> float | int:
    if isinstance(raw, str) and _NUMBER.fullmatch(raw):
        raw = float(raw)
    if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not -_LARGEST <= raw <= _LARGEST:
        raise _Unusable("not_a_number", f"{_shown(raw)} is not a number")
    return raw


def _shown(raw: Any) -> str:
    return f"a {type(raw).__name__}" if isinstance(raw, (dict, list)) else ascii(raw)[:40]


def _converter(point: Field) -> Callable[[Any], float | int]:
    """Return what turns the JSON value of this point into a number, or raises _Unusable."""
    if point.type == "number":
        return _number if point.bit is None else _bit_of_number(point.bit)
    if point.type == "bool":
        return _bool
    if point.type == "text":
        return _mapped(point.map or {})
    return _bit_text(reverse=point.type == "bits_lsb_first", bit=point.bit)


def _bool(raw: Any) -> int:
    if raw is True or raw is False or (isinstance(raw, int) and raw in (0, 1)):
        return int(raw)
    raise _Unusable("not_a_number", f"{_shown(raw)} is neither true nor false")


def _mapped(meanings: Mapping[str, float]) -> Callable[[Any], float]:
    def convert(raw: Any) -> float:
        if isinstance(raw, str) and raw in meanings:
            return meanings[raw]
        raise _Unusable("not_a_number", f"{_shown(raw)} is none of {', '.join(meanings)}")

    return convert


def _bit_of_number(bit: int) -> Callable[[Any], int]:
    def convert(raw: Any) -> int:
        word = _number(raw)
        if word < 0 or word != int(word):
            raise _Unusable("not_a_number", f"{_shown(raw)} has no bits: not a whole number")
        return int(word) >> bit & 1

    return convert


def _bit_text(*, reverse: bool, bit: int | None) -> Callable[[Any], int]:
    def convert(raw: Any) -> int:
        if not isinstance(raw, str) or not _BITS.fullmatch(raw):
            raise _Unusable("not_a_number", f"{_shown(raw)} is not a text of 0 and 1")
        word = int(raw[::-1] if reverse else raw, 2)
        if bit is None:
            return word
        if bit >= len(raw):  # 0 would claim that there is no alarm
            raise _Unusable("not_a_number", f"{len(raw)} bits came, there is no bit {bit}")
        return word >> bit & 1

    return convert


def _field_json(points: Mapping[str, Field], values: Mapping[str, Value]) -> Any:
    """The JSON value at one path; several points there are bits of one word."""
    word: int | None = None
    for name, point in points.items():
        value = values.get(name)
        if value is None:
            continue
        if point.type == "text":
            return next((text for text, number in (point.map or {}).items() if number == value), None)
        if point.type == "bool":
            return bool(value)
        if point.type == "number" and point.bit is None:
            return value
        word = (word or 0) | (int(value) if point.bit is None else int(value) << point.bit)
    kind = next(iter(points.values())).type
    if word is None or kind == "number":
        return word
    return f"{word:032b}" if kind == "bits_msb_first" else f"{word:032b}"[::-1]
