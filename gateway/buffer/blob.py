"""Records of one group commit as bytes. Pure.

Layout: CRC-32 of the rest (4 bytes, big endian) · version (1 byte) · zlib level 1 of
msgpack ``[[[device, [metric, …]], …], [[shape, time_ms, [value, …], marks | nil], …]]``; nil: all marks are good.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgpack

from gateway.model import Readings

VERSION = 1
_HEAD = 5
_MAX_SHAPES = 4096

Shape = tuple[str, tuple[str, ...]]

_shapes: dict[Shape, tuple[Shape, str]] = {}
"""Equal shapes become the same objects, with their all-good marks: consumers keep prepared work per shape."""


class BlobDamaged(Exception):
    """These bytes are not what was written: skip the blob and count it."""


def pack(records: Sequence[Readings]) -> bytes:
    """Return the blob that ``unpack`` turns back into equal records."""
    numbers: dict[Shape, int] = {}
    rows = []
    for r in records:
        shape = (r.device, r.metrics)
        number = numbers.get(shape)
        if number is None:
            number = numbers[shape] = len(numbers)
        rows.append((number, r.time_ms, r.values, None if r.all_good else r.marks))
    body = bytes((VERSION,)) + zlib.compress(msgpack.packb((tuple(numbers), rows)), 1)
    return zlib.crc32(body).to_bytes(4, "big") + body


def is_storable(record: Readings) -> bool:
    """False for a record that ``pack`` or a 64-bit column cannot take: it must not stop the others."""
    try:
        pack([record])
    except (TypeError, ValueError, OverflowError):
        return False
    return abs(record.time_ms) < 2**62


def unpack(blob: bytes) -> list[Readings]:
    """Return the records in the order they were packed. Raises BlobDamaged, and nothing else."""
    shapes, rows = _open(blob)
    try:
        known = [_interned(device, metrics) for device, metrics in shapes]
        return [
            Readings(shape[0], time_ms, shape[1], values, good if marks is None else marks)
            for (shape, good), time_ms, values, marks in ((known[n], t, v, m) for n, t, v, m in rows)
        ]
    except (ValueError, TypeError, IndexError) as error:
        raise BlobDamaged(f"not a list of records: {error}") from error


def column(blob: bytes, device: str, metric: str) -> Iterator[tuple[int, float | None]]:
    """Yield (time_ms, value) of one series in the order packed, without building records. Raises BlobDamaged."""
    shapes, rows = _open(blob)
    try:
        places = {
            n: metrics.index(metric) for n, (d, metrics) in enumerate(shapes) if d == device and metric in metrics
        }
        if places:
            yield from ((time_ms, values[places[n]]) for n, time_ms, values, _ in rows if n in places)
    except (ValueError, TypeError, IndexError, AttributeError) as error:
        raise BlobDamaged(f"not a list of records: {error}") from error


def _open(blob: bytes) -> tuple[Any, Any]:
    if not isinstance(blob, bytes) or len(blob) < _HEAD:
        raise BlobDamaged("shorter than its own head")
    if zlib.crc32(memoryview(blob)[4:]) != int.from_bytes(blob[:4], "big"):
        raise BlobDamaged("check sum differs")
    if blob[4] != VERSION:
        raise BlobDamaged(f"written by another release (blob version {blob[4]}, not {VERSION})")
    try:
        shapes, rows = msgpack.unpackb(zlib.decompress(memoryview(blob)[_HEAD:]), use_list=False)
    except (zlib.error, ValueError, TypeError, msgpack.UnpackException) as error:
        raise BlobDamaged(f"cannot be decoded: {error}") from error
    return shapes, rows


def _interned(device: str, metrics: tuple[str, ...]) -> tuple[Shape, str]:
    shape = (device, metrics)
    known = _shapes.get(shape)
    if known is None:
        if len(_shapes) >= _MAX_SHAPES:
            _shapes.clear()
        known = _shapes[shape] = (shape, "N" * len(metrics))
    return known
