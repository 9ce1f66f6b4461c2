"""``sitegate decode``: what a frame says, for people who look at a wire."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from drivers.modbus.orders import readings
from gateway.commands.output import FINE, MISUSE, PROBLEM, complain, say

DECODERS = {
    "cjt188": ("drivers.cjt188.decode", "describe"),
    "dlt645": ("drivers.dlt645.decode", "describe"),
    "modbus-rtu": ("drivers.modbus.decode", "describe_stream"),
}
"""Name on the command line -> module and function that turns bytes into one description per frame or error."""
REGISTERS = "modbus-rtu"
"""The protocol whose registers carry numbers in any order."""
TEXT = "hj212"
"""The protocol whose frames are text themselves: they come as they are, hexadecimal lines only where one begins so."""
_TEXT_IN_HEX = re.compile(rb"\s*23\s?23[0-9A-Fa-f\s]*")
LONGEST_LINE = 1_000_000
_LONGEST_CHUNK = 65_536
_SEPARATORS = re.compile(r"0[xX]|[,:;-]")
"""What people and tools put between bytes."""


def decode(protocol: str, file: str, key: str | None = None, *, orders: bool = False) -> int:
    """Print one JSON object per frame or error. 1 when anything in the input was no sound frame.

    ``key``: 32 hexadecimal digits, for enciphered data areas of HJ 212. ``orders``: add to the registers of a Modbus
    reply what each pair of them means in every order of words and bytes.
    """
    if protocol not in (*DECODERS, TEXT):
        complain(f"unknown protocol {protocol!r}; this version decodes {', '.join([*DECODERS, TEXT])}")
        return MISUSE
    if key is not None and (protocol != TEXT or not re.fullmatch("[0-9A-Fa-f]{32}", key)):
        complain(f"--key is for {TEXT}, and has 32 hexadecimal digits")
        return MISUSE
    if orders and protocol != REGISTERS:
        complain(f"--orders is for {REGISTERS}: numbers of the other protocols have one order only")
        return MISUSE
    status = FINE
    try:
        for found in _text_frames(file, key) if protocol == TEXT else _frames(protocol, file):
            if orders and "registers" in found:
                found["orders"] = readings(found["registers"])
            say(json.dumps(found, ensure_ascii=False))
            if not found["valid"]:
                status = PROBLEM
    except BrokenPipeError:
        raise
    except OSError as why:
        complain(f"cannot read {file}: {why.strerror}")
        return MISUSE
    return status


def _frames(protocol: str, file: str) -> Iterator[dict[str, Any]]:
    module, name = DECODERS[protocol]
    describe: Callable[[bytes], list[dict[str, Any]]] = getattr(import_module(module), name)
    for line in _lines(file):
        yield from _explain(line, describe)


def _text_frames(file: str, key: str | None) -> Iterator[dict[str, Any]]:
    from drivers.hj212.decode import describe

    with contextlib.nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as stream:
        chunks = map(_wire_bytes, iter(lambda: stream.readline(_LONGEST_CHUNK), b""))
        yield from describe(chunks, bytes.fromhex(key) if key else None)


def _wire_bytes(line: bytes) -> bytes:
    """What went over the wire, from a line as tools write it down."""
    if _TEXT_IN_HEX.fullmatch(line):
        digits = b"".join(line.split())
        return bytes.fromhex(digits[: len(digits) // 2 * 2].decode())
    try:
        return line.decode("utf-8").encode("latin-1")  # a raw cipher that some tool took for Latin-1
    except UnicodeError:
        return line


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
