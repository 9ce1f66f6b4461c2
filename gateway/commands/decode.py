"""``sitegate decode``: what a frame says, for people who look at a wire."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from gateway.commands.output import FINE, MISUSE, PROBLEM, complain, say

DECODERS = {
    "dlt645": ("drivers.dlt645.decode", "describe"),
    "modbus-rtu": ("drivers.modbus.decode", "describe_stream"),
}
"""Name on the command line -> module and function that turns bytes into one description per frame or error."""
LONGEST_LINE = 1_000_000
_SEPARATORS = re.compile(r"0[xX]|[,:;-]")
"""What people and tools put between bytes."""


def decode(protocol: str, file: str) -> int:
    """Print one JSON object per frame or error. 1 when anything in the input was no sound frame."""
    if protocol not in DECODERS:
        complain(f"unknown protocol {protocol!r}; this version decodes {', '.join(DECODERS)}")
        return MISUSE
    module, name = DECODERS[protocol]
    describe: Callable[[bytes], list[dict[str, Any]]] = getattr(import_module(module), name)
    status = FINE
    try:
        for line in _lines(file):
            for found in _explain(line, describe):
                say(json.dumps(found, ensure_ascii=False))
                if not found["valid"]:
                    status = PROBLEM
    except BrokenPipeError:
        raise
    except OSError as why:
        complain(f"cannot read {file}: {why.strerror}")
        return MISUSE
    return status


def _lines(file: str) -> Iterator[str]:
    if file == "-":
        yield from sys.stdin
    else:
        with Path(file).open(encoding="utf-8", errors="replace") as lines:
            yield from lines


def _explain(line: str, describe: Callable[[bytes], list[dict[str, Any]]]) -> Iterable[dict[str, Any]]:
    text = line.split("#", 1)[0].strip()
    if not text:
        return []
    try:
        data = bytes.fromhex(_SEPARATORS.sub(" ", text.lstrip("\ufeff")))
    except ValueError:
        return [{"valid": False, "error": "not_hex", "line": text[:80]}]
    if len(data) > LONGEST_LINE:
        return [{"valid": False, "error": "too_long", "line": text[:80]}]
    return describe(data)
