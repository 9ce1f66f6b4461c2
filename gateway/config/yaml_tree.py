"""YAML text -> a tree that remembers where every key and value stands. Safe by construction, never by filter.

Plain values follow the core rules of YAML 1.2: only ``true`` and ``false`` are bools, ``no`` and ``1:30`` stay text,
``0x10`` is 16. What people trip over is reported instead of guessed: numbers with leading zeros, duplicate keys, tags,
anchors. The tree is built from parser events, so no tag ever constructs an object and no alias ever multiplies one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 1 << 20
MAX_DEPTH = 24
_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_U64 = 2**64
# libyaml's parser is ten times faster; it is absent from some builds of PyYAML.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Scalar = str | int | float | bool | None
Path = tuple[str | int, ...]
"""One path element is a key or an index."""


@dataclass(slots=True)
class Node:
    """A value and its place; lines and columns count from 1."""

    line: int
    column: int
    value: Scalar | list[Node] | dict[str, Node] = None
    source: str = ""
    """A scalar as it was written."""
    in_braces: bool = False
    """A mapping written as ``{…}``, where a comma starts a new key."""
    keys: dict[str, Node] = field(default_factory=dict)
    """A mapping's keys as nodes of their own."""

    def data(self, *, number_keys: bool = False) -> Any:
        """Return plain lists, dicts and scalars. ``number_keys``: keys such as 0x0010 become whole numbers."""
        if isinstance(self.value, list):
            return [item.data(number_keys=number_keys) for item in self.value]
        if isinstance(self.value, dict):
            items = ((k, v.data(number_keys=number_keys)) for k, v in self.value.items())
            if number_keys:
                return {self.keys[k].value if type(self.keys[k].value) is int else k: v for k, v in items}
            return dict(items)
        return self.value


Complain = Callable[[Path, Node, str], None]
"""Called with path, node and text for each mistake that does not stop the reading."""


class NotReadableError(Exception):
    """The text is not YAML, or not YAML of ours: nothing after this place was read."""

    def __init__(self, line: int, column: int, text: str) -> None:
        super().__init__(text)
        self.line, self.column = line, column


def parse(text: str, complain: Complain) -> Node:
    """Return the tree of one document. Raises NotReadableError."""
    events = _events(text)
    first = next(events, None)
    if first is None:
        raise NotReadableError(1, 1, "the file is empty")
    root = _Builder(events, complain).node(first, (), 0)
    extra = next(events, None)
    if extra is not None:
        raise NotReadableError(*_place(extra.start_mark), "a second document starts here; write one file per document")
    return root


def _place(mark: Any) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1


def _events(text: str) -> Iterator[Any]:
    frame = (yaml.StreamStartEvent, yaml.StreamEndEvent, yaml.DocumentStartEvent, yaml.DocumentEndEvent)
    try:
        yield from (e for e in yaml.parse(text, Loader=_LOADER) if not isinstance(e, frame))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = _place(mark) if mark else (1, 1)
        reason = error.problem or error.context or "not understood"
        raise NotReadableError(line, column, f"not valid YAML: {reason}{_hint(text, line)}") from None
    except yaml.YAMLError as error:
        at = getattr(error, "position", 0) or 0
        line = text.count("\n", 0, at) + 1
        reason = getattr(error, "reason", None) or "a character that YAML does not allow"
        raise NotReadableError(line, at - text.rfind("\n", 0, at), f"not valid YAML: {reason}") from None


def _hint(text: str, line: int) -> str:
    """The two mistakes that YAML's own words do not explain."""
    written = text.split("\n")[line - 1 : line]
    if any("\t" in w for w in written):
        return "; indent with spaces, not with tabs"
    return '; inside { } put ${NAME} in quotes: "${NAME}"' if any("${" in w for w in written) else ""


class _Builder:
    def __init__(self, events: Iterator[Any], complain: Complain) -> None:
        self._events = events
        self._complain = complain

    def node(self, event: Any, path: Path, depth: int) -> Node:
        node = Node(*_place(event.start_mark))
        if depth > MAX_DEPTH:
            raise NotReadableError(node.line, node.column, f"nested deeper than {MAX_DEPTH} levels")
        if event.anchor is not None:  # also every alias
            self._complain(path, node, "anchors and aliases (& and *) are not supported; write the value out")
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(node, event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._tag(node, event, path)
            node.value = self._items(path, depth)
        elif isinstance(event, yaml.MappingStartEvent):
            self._tag(node, event, path)
            node.in_braces = bool(event.flow_style)
            node.value = self._pairs(node, path, depth)
        return node

    def _tag(self, node: Node, event: Any, path: Path) -> None:
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._complain(path, node, f"the tag {tag} is not supported; remove it")

    def _items(self, path: Path, depth: int) -> list[Node]:
        items: list[Node] = []
        for event in self._events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self.node(event, (*path, len(items)), depth + 1))
        return items

    def _pairs(self, mapping: Node, path: Path, depth: int) -> dict[str, Node]:
        pairs: dict[str, Node] = {}
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self.node(event, path, depth + 1)
            name = key.source
            value = self.node(next(self._events), (*path, name), depth + 1)
            if not isinstance(event, yaml.ScalarEvent):
                self._complain(path, key, "a key must be a single word or number")
            elif name in pairs:
                first = mapping.keys[name].line
                self._complain((*path, name), key, f"this key stands twice (first in line {first}); keep one")
            else:
                mapping.keys[name] = key
                pairs[name] = value
        return pairs

    def _scalar(self, node: Node, event: Any, path: Path) -> None:
        node.source = node.value = event.value
        if event.tag is not None:
            if event.tag not in ("!", "tag:yaml.org,2002:str"):
                self._tag(node, event, path)
        elif event.implicit[0]:
            node.value = self._plain(event.value, node, path)
        if not node.source.isascii() and any("\ud800" <= c <= "\udfff" for c in node.source):
            self._complain(path, node, "this text holds half a character (a lone surrogate); write it anew")
            node.source = node.value = ""

    def _plain(self, text: str, node: Node, path: Path) -> Scalar:
        """A value without quotes: YAML 1.2 core schema."""
        if text in _WORDS:
            return None
        if text in _BOOLS:
            return _BOOLS[text]
        if _INT.fullmatch(text):
            digits = text.lstrip("+-")
            number = int(text, 0) if digits[1:2] in ("x", "o") else int(text[:24])
            if len(digits) > 1 and digits.isdigit() and digits[0] == "0":
                self._complain(path, node, f"{text} is read as the number {number}: put it in quotes "
                               f'("{text}") if it is a number on a label, else drop the leading zeros')  # fmt: skip
                return text
            if abs(number) >= _U64:
                self._complain(path, node, "this number is too large; put it in quotes if it is text")
                return text
            return number
        if _FLOAT.fullmatch(text):
            decimal = float(text.replace(".inf", "inf").replace(".nan", "nan")) if len(text) < 64 else math.inf
            if not math.isfinite(decimal):
                self._complain(path, node, f"{text[:40]} is not a finite number")
                return 0.0
            return decimal
        return text
