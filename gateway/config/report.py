"""Collects every problem of one file, each at its line and column, in words that say what to do."""

from __future__ import annotations

import json
import types
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from gateway.config import yaml_tree
from gateway.config.model import PATTERNS, Model
from gateway.config.yaml_tree import Node, Path
from gateway.errors import ConfigError, Problem

M = TypeVar("M", bound=Model)

_SECRET_KEYS = frozenset({"password", "token", "sm4_key"})

_TEXTS = {
    "missing": "this key is missing",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_too_long": "is too long; at most {max_length} characters",
    "finite_number": "must be a finite number",
}
_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping (key: value)",
    "model_type": "a mapping (key: value)",
    "model_attributes_type": "a mapping (key: value)",
    "tuple_type": "a list",
    "list_type": "a list",
    "path_type": "text",
    "string_type": "text",
    "none_required": "nothing",
}


def is_secret(path: Path) -> bool:
    """True where a value is never shown: under these keys, and the address of a notice channel, which holds its key."""
    return bool(path) and (path[-1] in _SECRET_KEYS or (path[0], path[-1]) == ("notices", "url"))


class Report:
    """One file under examination. ``add`` as often as needed, then ``finish``."""

    def __init__(self, file: FilePath) -> None:
        self._file = str(file)
        self._root = Node(1, 1)
        self._problems: dict[tuple[int, int, str], Problem] = {}
        self.hidden: dict[str, str] = {}
        """Secret -> what the file says instead: no message ever shows a secret."""

    def read(self) -> Node:
        """Return the tree of the file. Raises ConfigError when it cannot be read or is not YAML."""
        try:
            with FilePath(self._file).open("rb") as stream:
                raw = stream.read(yaml_tree.MAX_BYTES + 1)
        except OSError as error:
            raise self._fatal(1, 1, f"cannot be read: {error.strerror}") from None
        return self.parse(raw)

    def parse(self, raw: bytes) -> Node:
        """Like ``read``, from bytes that somebody else read."""
        if len(raw) > yaml_tree.MAX_BYTES:
            raise self._fatal(1, 1, "the file is larger than 1 MiB; a site or profile needs a few KiB")
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise self._fatal(line, 1, "not UTF-8 (GBK?); save the file as UTF-8") from None
        try:
            self._root = yaml_tree.parse(text, self._complain)
        except yaml_tree.NotReadableError as problem:
            raise self._fatal(problem.line, problem.column, str(problem)) from None
        return self._root

    def add(self, path: Path, text: str, *, at_key: bool = False) -> None:
        """Note a problem at a path of the tree; the second one at the same place and path is dropped."""
        self._complain(path, self._find(path, at_key=at_key), text)

    def add_foreign(self, problems: Iterable[Problem]) -> None:
        """Take over what was found in another file."""
        for p in problems:
            self._problems.setdefault((p.line, p.column, f"{p.file}:{p.path}"), p)

    def problems(self) -> list[Problem]:
        """Return everything noted so far, sorted."""
        return sorted(self._problems.values())

    def finish(self) -> None:
        """Raise ConfigError with everything noted, if there is anything."""
        if self._problems:
            raise ConfigError(self.problems())

    def check(self, model: type[M], data: Any, path: Path = ()) -> M | None:
        """Return the validated model, or None after noting every problem."""
        try:
            # JSON mode: lists may become tuples and texts paths, and still nothing is converted silently.
            return model.model_validate_json(json.dumps(data))
        except ValidationError as errors:
            for error in errors.errors(include_url=False, include_input=False):
                self._explain(model, error, path, data)
            return None

    def _explain(self, model: type[Model], error: Any, base: Path, data: Any) -> None:
        path, kind, loc = (*base, *_real_path(data, error["loc"])), error["type"], error["loc"]
        context = error.get("ctx", {})
        if kind == "extra_forbidden":
            self.add(path, self._unknown_key(path, _fields_at(model, loc[:-1])), at_key=True)
        elif loc and loc[-1] == "[key]":
            self.add(path, PATTERNS.get(context.get("pattern", ""), error["msg"]), at_key=True)
        elif kind == "string_pattern_mismatch":
            shown = "" if is_secret(path) else f"{self._shown(path)}: "
            self.add(path, shown + PATTERNS.get(context["pattern"], error["msg"]))
        elif kind in ("union_tag_not_found", "missing"):
            key = loc[-1] if kind == "missing" else context["discriminator"].strip("'")
            parent = path[:-1] if kind == "missing" and path[-1:] == (key,) else path
            strangers = self._find(parent).keys.keys() - _fields_at(model, loc[:-1])
            if not get_close_matches(key, strangers, n=1):  # else the misspelt key says it already
                self.add((*parent, key), _TEXTS["missing"], at_key=True)
        elif kind == "union_tag_invalid":
            tags = [t.strip("' ") for t in context["expected_tags"].split(",")]
            self.add((*path, "kind"), unknown("kind", context["tag"], tags))
        elif kind == "literal_error":
            choices = _fields_at(model, loc)
            self.add(path, unknown("value", self._shown(path), choices))
        elif kind == "value_error":
            self.add(path, str(context["error"]))
        elif kind in _WANTED:
            self.add(path, self._wrong_type(path, kind))
        else:
            numbers = {k: int(v) if isinstance(v, float) and v.is_integer() else v for k, v in context.items()}
            self.add(path, _TEXTS[kind].format(**numbers) if kind in _TEXTS else error["msg"])

    def _wrong_type(self, path: Path, kind: str) -> str:
        node = self._find(path)
        wanted = f"must be {_WANTED[kind]}"
        if is_secret(path):
            return f"{wanted}; put it in quotes"
        if isinstance(node.value, dict):
            return f"{wanted}, not a mapping"
        if isinstance(node.value, list):
            return f"{wanted}, not a list"
        if node.value is None:
            return f"{wanted}; nothing is written here"
        hint = ""
        if kind == "string_type" and not isinstance(node.value, str):
            hint = f'; put it in quotes: "{node.source}"'
        elif kind in ("int_type", "float_type") and isinstance(node.value, str):
            hint = "; remove the quotes" if _is_number(node.value) else ""
        return f"{wanted}, not {self._shown(path)}{hint}"

    def _unknown_key(self, path: Path, known: Sequence[str]) -> str:
        parent, node = self._find(path[:-1]), self._find(path)
        if parent.in_braces and node.value is None and node.source == "":
            return "unknown key; inside { } a comma starts a new key: put the text that holds the comma in quotes"
        return unknown("key", str(path[-1]), known)

    def _shown(self, path: Path) -> str:
        node = self._find(path)
        if is_secret(path):
            return "what is written here"
        return f"{node.source[:60]!r}" if isinstance(node.value, str) else node.source[:60] or "nothing"

    def _find(self, path: Path, *, at_key: bool = False) -> Node:
        """The node at a path, its key node if ``at_key``, or the nearest thing above it that exists."""
        node, key = self._root, self._root
        for element in path:
            if isinstance(node.value, dict) and str(element) in node.value:
                name = str(element)
                node, key = node.value[name], node.keys[name]
            elif isinstance(node.value, list) and isinstance(element, int) and element < len(node.value):
                node = key = node.value[element]
            else:
                return key
        return key if at_key else node

    def _complain(self, path: Path, node: Node, text: str) -> None:
        for secret, written in self.hidden.items():
            text = text.replace(secret, written)
        where = _dotted(path)
        problem = Problem(self._file, node.line, node.column, where, text)
        self._problems.setdefault((node.line, node.column, where), problem)

    def _fatal(self, line: int, column: int, text: str) -> ConfigError:
        fatal = Problem(self._file, line, column, "file", text)
        return ConfigError(sorted([*self._problems.values(), fatal]))


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return "unknown link 'metrs'; did you mean 'meters'?", or the choices when none is near."""
    choices = sorted({str(k) for k in known})
    bare = name.strip("'\"")
    near = get_close_matches(bare, choices, n=1, cutoff=0.6)
    if near:
        return f"unknown {what} {bare!r}; did you mean {near[0]!r}?"
    some = ", ".join(choices[:12]) + (", …" if len(choices) > 12 else "")
    return f"unknown {what} {bare!r}; " + (f"known here: {some}" if choices else "none is known here")


def _dotted(path: Path) -> str:
    text = ""
    for element in path:
        text += f"[{element}]" if isinstance(element, int) else f".{element}"
    return "".join(c if c.isprintable() else "?" for c in text.lstrip(".")[:200]) or "file"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _real_path(data: Any, loc: Sequence[str | int]) -> Path:
    """Drop from a pydantic location what is no key of ours: union tags and type names."""
    path: list[str | int] = []
    for i, element in enumerate(loc):
        is_key = isinstance(data, dict) and element in data
        is_index = isinstance(data, list) and isinstance(element, int) and element < len(data)
        if is_key or is_index:
            data = data[element]
        elif i < len(loc) - 1 or element == "[key]" or not isinstance(data, dict):
            continue
        path.append(element)
    return tuple(path)


def _fields_at(annotation: Any, loc: Sequence[str | int]) -> list[str]:
    """Names that a model allows at a location: its keys, or the choices of a Literal."""
    for element in loc:
        annotation = _step(_plain_type(annotation, element), element)
    annotation = _plain_type(annotation, None)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [field.alias or name for name, field in annotation.model_fields.items()]
    return [str(a) for a in get_args(annotation)] if get_origin(annotation) is Literal else []


def _plain_type(annotation: Any, tag: str | int | None) -> Any:
    """Strip Annotated and Optional; of several models the one whose ``kind`` is ``tag``."""
    while True:
        origin, args = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            annotation = args[0]
        elif origin in (Union, types.UnionType):
            rest = [a for a in args if a is not type(None)]
            annotation = next((a for a in rest if tag in _tags(a)), rest[0])
        else:
            return annotation


def _tags(model: Any) -> tuple[Any, ...]:
    fields = getattr(model, "model_fields", {})
    return get_args(fields["kind"].annotation) if "kind" in fields else ()


def _step(annotation: Any, element: str | int) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        known = next((f for n, f in annotation.model_fields.items() if (f.alias or n) == element), None)
        return annotation if known is None else known.annotation  # unknown: it was a union tag
    args = get_args(annotation)
    return args[-1] if get_origin(annotation) is dict else args[0] if args else Any
