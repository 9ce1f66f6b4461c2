"""Blobs: what goes in comes out, and no flipped byte goes unnoticed."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.buffer.blob import BlobDamaged, column, pack, unpack
from gateway.model import Readings

VALUES = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def records(draw: st.DrawFn) -> Readings:
    marks = draw(st.text("NDBTCMF", min_size=0, max_size=6))
    names = draw(st.lists(st.sampled_from("abcdefgh"), min_size=len(marks), max_size=len(marks), unique=True))
    values = tuple(draw(VALUES) if mark == "N" else None for mark in marks)
    return Readings(draw(st.text(max_size=5)), draw(st.integers(0, 2**53)), tuple(names), values, marks)


@given(st.lists(records(), max_size=8))
def test_round_trip(batch: list[Readings]) -> None:
    assert unpack(pack(batch)) == batch


@given(st.lists(records(), min_size=1, max_size=4), st.data())
def test_any_changed_byte_is_found(batch: list[Readings], data: st.DataObject) -> None:
    blob = bytearray(pack(batch))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BlobDamaged):
        unpack(bytes(blob))


@given(st.binary(max_size=64))
def test_rubbish_is_damage_and_nothing_else(rubbish: bytes) -> None:
    with pytest.raises(BlobDamaged):
        unpack(rubbish)


def test_a_cut_off_blob_is_damage() -> None:
    blob = pack([Readings("m", 1, ("a",), (1.0,), "N")])
    for size in range(len(blob)):
        with pytest.raises(BlobDamaged):
            unpack(blob[:size])


def test_a_blob_of_another_release_says_so() -> None:
    body = b"\x07" + zlib.compress(b"\x90")
    with pytest.raises(BlobDamaged, match="blob version 7"):
        unpack(zlib.crc32(body).to_bytes(4, "big") + body)


def test_equal_shapes_come_back_as_the_same_objects() -> None:
    batch = [Readings("m", t, ("a", "b"), (1.0, float(t)), "NN") for t in range(3)]
    first, second = unpack(pack(batch)), unpack(pack(batch))
    assert len({id(r.metrics) for r in first + second}) == 1
    assert len({id(r.marks) for r in first + second}) == 1


@given(st.lists(records(), max_size=8), st.text(max_size=5), st.sampled_from("abcdefgh"))
def test_column_is_what_the_records_say(batch: list[Readings], device: str, metric: str) -> None:
    expected = [
        (r.time_ms, r.values[r.metrics.index(metric)]) for r in batch if r.device == device and metric in r.metrics
    ]
    assert list(column(pack(batch), device, metric)) == expected
