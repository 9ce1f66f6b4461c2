"""DL/T 645 frames and items: golden frames we did not write, any slicing, any noise, round trips."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.dlt645 import codec
from drivers.dlt645.codec import Decoder, Frame, encode
from drivers.dlt645.decode import describe
from drivers.dlt645.items import Field, FieldValue, find_item
from drivers.meters.frames import MAX_BUFFER

VECTORS: list[dict[str, Any]] = [
    vector
    for vector in json.loads((Path(__file__).parent.parent / "data/frames/meter-vectors.json").read_text())
    if vector["protocol"].startswith("dlt645")
]
STREAMS = [v for v in VECTORS if v["decoded"].get("stream")]
SINGLE = [v for v in VECTORS if not v["decoded"].get("stream")]
SOUND = [v for v in SINGLE if v["valid"]]
GOOD = bytes.fromhex("68 61 01 00 00 00 00 68 91 08 33 33 34 33 59 33 33 33 8A 16")


def meaning(vector: dict[str, Any]) -> str:
    return str(vector["meaning"])


def test_the_vectors_are_all_there() -> None:
    assert (len(SINGLE), len(STREAMS), len(SOUND)) == (52, 3, 43)


@pytest.mark.parametrize("vector", SINGLE, ids=meaning)
def test_vector(vector: dict[str, Any]) -> None:
    assert describe(bytes.fromhex(vector["hex"])) == [{"valid": vector["valid"], **vector["decoded"]}]


@pytest.mark.parametrize("vector", STREAMS, ids=meaning)
def test_stream_vector(vector: dict[str, Any]) -> None:
    expected = vector["decoded"]
    found = describe(bytes.fromhex(vector["hex"]))
    alone = [describe(bytes.fromhex(frame))[0] for frame in expected["frames"]]
    assert [{**entry, "preamble": 0, "skipped_bytes": 0} for entry in found] == [
        {**entry, "skipped_bytes": 0} for entry in alone
    ]
    assert sum(entry.get("skipped_bytes", 0) for entry in found) == expected["skipped_bytes"]


@pytest.mark.parametrize("vector", STREAMS, ids=meaning)
def test_the_decoder_finds_the_frames_of_a_stream(vector: dict[str, Any]) -> None:
    decoder = Decoder()
    decoder.feed(bytes.fromhex(vector["hex"]))
    frames = []
    while frame := decoder.next_frame():
        frames.append(encode(frame, preamble=0))
    assert frames == [bytes.fromhex(text) for text in vector["decoded"]["frames"]]
    assert decoder.skipped == vector["decoded"]["skipped_bytes"]


@pytest.mark.parametrize("vector", SOUND, ids=meaning)
def test_a_golden_frame_is_encoded_again_byte_by_byte(vector: dict[str, Any]) -> None:
    wire = bytes.fromhex(vector["hex"])
    decoder = Decoder()
    for n in range(len(wire)):  # one byte at a time: nothing before the last one
        assert decoder.next_frame() is None
        decoder.feed(wire[n : n + 1])
    frame = decoder.next_frame()
    assert frame is not None
    assert encode(frame, vector["decoded"]["preamble"]) == wire


@pytest.mark.parametrize("vector", [v for v in SOUND if "values" in v["decoded"]], ids=meaning)
def test_golden_values_are_encoded_again(vector: dict[str, Any]) -> None:
    decoded = vector["decoded"]
    item = find_item(decoded["di"])
    assert item is not None
    assert item.encode([entry["value"] for entry in decoded["values"]]) == bytes.fromhex(decoded["data"])


@pytest.mark.parametrize(
    ("error", "cut"),
    [("length", GOOD[:14]), ("end_byte", GOOD[:-1] + b"\x00"), ("checksum", GOOD[:-2] + b"\x00\x16")],
)
def test_a_broken_frame_before_a_good_one_is_reported_and_stepped_over(error: str, cut: bytes) -> None:
    broken, good = describe(cut + b"\xfe" + GOOD)
    assert (broken["valid"], broken["error"]) == (False, error)
    assert "need_more" not in broken
    assert (good["valid"], good["preamble"], good["skipped_bytes"]) == (True, 1, len(cut) + 1)


def test_what_follows_the_last_frame_is_reported() -> None:
    assert describe(GOOD + GOOD[:12])[1] == {
        "valid": False,
        "error": "length",
        "need_more": True,
        "skipped_bytes": 12,
    }
    assert describe(GOOD + b"\x00" * 20)[1] == {"valid": False, "error": "no_start", "skipped_bytes": 20}
    assert describe(b"") == []


@pytest.mark.parametrize(
    ("hex_frame", "expected"),
    [
        (Frame("000000000001", 0x03, b"\x10\x90"), {"frame": "reread_request", "di": "9010"}),
        (Frame("000000000001", 0x03, b"\x01\x02\x03\x04"), {"frame": "security_request", "data": "01 02 03 04"}),
        (Frame("000000000001", 0xC1, b"\x02"), {"frame": "read_error", "error": True, "error_byte": "02"}),
        (Frame("000000000001", 0x94, b""), {"frame": "write_reply", "error": False}),
        (Frame("000000000001", 0x16, b"\x00\x10\x99\x99"), {"frame": "freeze_request", "data": "00 10 99 99"}),
        (Frame("000000000001", 0x1F, b""), {"frame": "unknown_request"}),
        (Frame("999999999999", 0x08, b"\x15\x30\x09\x31\x02\x26"), {"frame": "broadcast_time", "time": None}),
    ],
)
def test_rare_frames(hex_frame: Frame, expected: dict[str, Any]) -> None:
    [entry] = describe(encode(hex_frame))
    assert entry["valid"]
    assert {key: entry[key] for key in expected} == expected
    assert "error_bits" not in entry  # the bits of 1997 are not known well enough to be named


def test_unknown_data_stay_raw() -> None:
    [entry] = describe(encode(codec.read_reply("000000000001", "028022FF", b"\x01\xab")))
    assert entry["data"] == "01 AB"
    assert "values" not in entry


def test_data_that_do_not_fit_their_item_are_no_values() -> None:
    [entry] = describe(encode(codec.read_reply("000000000001", "0201FF00", b"\x01\x23\x98")))
    assert entry == {"valid": False, "error": "length", "frame_ok": True}


FRAMES = st.builds(
    Frame,
    st.binary(min_size=6, max_size=6).map(lambda b: b.hex().upper()),
    st.integers(0, 255),
    st.binary(max_size=255),
)


@given(FRAMES, st.data())
def test_any_slicing_gives_the_same_frame(frame: Frame, data: st.DataObject) -> None:
    wire = encode(frame, preamble=2)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    decoder, frames = Decoder(), []
    for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        decoder.feed(wire[a:b])
        while found := decoder.next_frame():
            frames.append(found)
    assert (frames, decoder.skipped) == ([frame], 2)


@given(st.binary(max_size=60), FRAMES)
def test_noise_never_raises_and_after_silence_the_next_frame_is_found(noise: bytes, frame: Frame) -> None:
    decoder = Decoder()
    decoder.feed(noise)
    while decoder.next_frame():
        pass
    decoder.clear()
    assert decoder.skipped <= len(noise)
    decoder.feed(encode(frame, preamble=0))
    assert decoder.next_frame() == frame


@given(st.binary(max_size=300))
def test_describe_never_raises(noise: bytes) -> None:
    described = describe(noise)
    assert bool(described) == bool(noise)
    json.dumps(described)


@given(FRAMES)
def test_describe_never_raises_on_sound_frames(frame: Frame) -> None:
    [entry] = describe(encode(frame))
    assert entry.get("frame_ok", entry["valid"])
    json.dumps(entry)


def test_the_buffer_is_bounded() -> None:
    decoder = Decoder()
    endless = GOOD[:9] + b"\xff"  # claims 255 bytes
    for _ in range(1000):
        decoder.feed(endless)
    decoder.clear()
    assert decoder.skipped == 10_000
    decoder.feed(b"\x68" * (MAX_BUFFER + 100))
    assert decoder.skipped == 10_100


@pytest.mark.parametrize(
    ("pattern", "address", "match"),
    [
        ("000000123456", "000000123456", True),
        ("000000123456", "000000123457", False),
        ("AAAAAAAAAAAA", "3A2107000481", True),
        ("AAAAAA123456", "000099123456", True),
        ("AAAAAA123456", "000099123457", False),
    ],
)
def test_wildcards(pattern: str, address: str, match: bool) -> None:
    assert codec.matches(pattern, address) is match


@pytest.mark.parametrize(
    ("di", "names", "unit"),
    [
        ("00000000", ["active_energy_combined_total"], "kWh"),
        ("00020300", ["active_energy_reverse_tariff3"], "kWh"),
        ("00050001", ["reactive_energy_quadrant1_total_settlement1"], "kvarh"),
        ("0202FF00", ["current_l1", "current_l2", "current_l3"], "A"),
        ("0206FF00", ["power_factor_total", "power_factor_l1", "power_factor_l2", "power_factor_l3"], ""),
        ("02800002", ["frequency"], "Hz"),
        ("020A0203", ["voltage_l2_harmonic_3"], "%"),
        ("B61F", ["voltage_l1", "voltage_l2", "voltage_l3"], "V"),
        ("9014", ["active_energy_forward_tariff4"], "kWh"),
    ],
)
def test_items(di: str, names: list[str], unit: str) -> None:
    item = find_item(di)
    assert item is not None
    assert [field.name for field in item.fields] == names
    assert {field.unit for field in item.fields} == {unit}


@pytest.mark.parametrize(
    "di", ["000B0000", "00014000", "0001000D", "02010000", "0201FF01", "02010400", "05000000", "B614"]
)
def test_unknown_items(di: str) -> None:
    assert find_item(di) is None


def test_a_block_knows_its_single_items() -> None:
    for di, index, expected in [
        ("0201FF00", 2, ("02010300", 0)),
        ("0203FF00", 0, ("02030000", 0)),
        ("0001FF00", 4, ("00010400", 0)),
        ("0101FF00", 3, ("01010100", 1)),
        ("B62F", 1, ("B622", 0)),
    ]:
        block = find_item(di)
        assert block is not None
        single, at = expected
        assert block.single(index) == expected
        part = find_item(single)
        assert part is not None
        assert part.fields[at] == block.fields[index]


@given(st.integers(1, 4), st.integers(0, 4), st.booleans(), st.data())
def test_numbers_round_trip(size: int, decimals: int, signed: bool, data: st.DataObject) -> None:
    field = Field("x", "V", size, decimals, signed)
    top = 10 ** (2 * size) * (8 if signed else 10) // 10 - 1
    number = data.draw(st.integers(-top if signed else 0, top))
    value = number / 10**decimals if decimals else number
    assert field.decode(field.encode(value)) == value


@given(st.binary(min_size=3, max_size=3))
def test_a_nibble_above_nine_is_no_number(data: bytes) -> None:
    field = Field("current", "A", 3, 3, signed=True)
    magnitude = data[:2] + bytes((data[2] & 0x7F,))
    value = field.decode(data)
    if magnitude.hex().isdecimal():
        assert isinstance(value, float)
        assert abs(value) == int(magnitude[::-1].hex()) / 1000
        assert (value < 0) == (data[2] >= 0x80 and value != 0)
    else:
        assert value is None


@pytest.mark.parametrize("value", [1000.0, -0.1, 999.96])
def test_what_does_not_fit_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="does not fit into 2 BCD bytes"):
        Field("voltage", "V", 2, 1).encode(value)


def test_no_value_is_sent_as_ff() -> None:
    field = Field("voltage", "V", 2, 1)
    assert field.encode(None) == b"\xff\xff"
    assert field.decode(b"\xff\xff") is None


@given(st.dates(date(2000, 1, 1), date(2068, 12, 31)), st.integers(0, 6))
def test_dates_round_trip(day: date, weekday: int) -> None:
    item = find_item("04000101")
    assert item is not None
    assert item.decode(item.encode((day.isoformat(), weekday))) == (day.isoformat(), weekday)


def test_an_impossible_date_is_no_value() -> None:
    item = find_item("01010000")
    assert item is not None
    assert item.decode(b"\x78\x56\x04" + b"\x00" * 5) == (4.5678, None)


def test_texts_and_bits_round_trip() -> None:
    cases: list[tuple[str, FieldValue]] = [
        ("04000403", "ASSET-0042"),
        ("04000501", 0x8001),
        ("04000402", "002241020208"),
    ]
    for di, value in cases:
        item = find_item(di)
        assert item is not None
        assert item.decode(item.encode((value,))) == (value,)
