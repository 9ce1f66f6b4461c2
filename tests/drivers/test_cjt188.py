"""CJ/T 188 frames and answers: golden frames we did not write, any slicing, any noise, every variant there and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.cjt188 import codec
from drivers.cjt188.codec import Decoder, Frame, encode
from drivers.cjt188.decode import describe
from drivers.cjt188.metering import METER_TYPES, UNIT_CODES, Field, Limits, decode, fields_of, size_of
from drivers.cjt188.metering import encode as encode_answer
from drivers.meters.frames import MAX_BUFFER
from tests.support.sitegate import sitegate

VECTORS: list[dict[str, Any]] = [
    vector
    for vector in json.loads((Path(__file__).parent.parent / "data/frames/meter-vectors.json").read_text())
    if vector["protocol"] == "cjt188"
]
STREAMS = [v for v in VECTORS if v["decoded"].get("stream")]
SINGLE = [v for v in VECTORS if not v["decoded"].get("stream")]
SOUND = [v for v in SINGLE if v["valid"]]
METER = "78330011223344"
GOOD = bytes.fromhex("68 10 44 33 22 11 00 33 78 01 03 1F 90 00 80 16")
FF = b"\xff"


def meaning(vector: dict[str, Any]) -> str:
    return str(vector["meaning"])


def test_the_vectors_are_all_there() -> None:
    assert (len(SINGLE), len(STREAMS), len(SOUND)) == (15, 1, 12)


@pytest.mark.parametrize("vector", SINGLE, ids=meaning)
def test_vector(vector: dict[str, Any]) -> None:
    assert describe(bytes.fromhex(vector["hex"])) == [{"valid": vector["valid"], **vector["decoded"]}]


def test_the_command_prints_every_vector() -> None:
    done = sitegate("decode", "cjt188", stdin="".join(f"{v['hex']}\n" for v in SINGLE))
    assert done.returncode == 1, "some of them are broken on purpose"
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"valid": v["valid"], **v["decoded"]} for v in SINGLE
    ]


@pytest.mark.parametrize("vector", STREAMS, ids=meaning)
def test_a_stream_gives_its_frames(vector: dict[str, Any]) -> None:
    expected = vector["decoded"]
    decoder = Decoder()
    decoder.feed(bytes.fromhex(vector["hex"]))
    frames = []
    while frame := decoder.next_frame():
        frames.append(encode(frame, preamble=0))
    assert frames == [bytes.fromhex(text) for text in expected["frames"]]
    assert decoder.skipped == expected["skipped_bytes"]
    found = describe(bytes.fromhex(vector["hex"]))
    assert sum(entry["preamble"] for entry in found) == expected["skipped_bytes"]
    alone = [describe(bytes.fromhex(frame))[0] for frame in expected["frames"]]
    assert [{**entry, "preamble": 0} for entry in found] == alone


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


def test_our_requests_are_those_of_the_articles() -> None:
    assert encode(codec.read_request(0x10, METER, "901F", 0), 0) == GOOD
    assert encode(codec.read_request(0x10, "00002020120218", "901F", 0, "high_first")) == bytes.fromhex(
        "FE FE FE FE 68 10 18 02 12 20 20 00 00 01 03 90 1F 00 97 16"
    )


FRAMES = st.builds(
    Frame,
    st.integers(0, 255),
    st.binary(min_size=7, max_size=7).map(lambda b: b.hex().upper()),
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


@given(st.sampled_from([v["hex"] for v in SOUND]), st.data())
def test_a_damaged_golden_frame_is_reported_or_says_what_it_said(text: str, data: st.DataObject) -> None:
    wire = bytearray.fromhex(text)
    start = wire.index(0x68)
    at = data.draw(st.integers(start + 1, len(wire) - 1))
    bit = data.draw(st.integers(0, 7))
    wire[at] ^= 1 << bit
    assert not any(entry["valid"] for entry in describe(bytes(wire))), "one bit never passes the checksum"


def test_the_buffer_is_bounded() -> None:
    decoder = Decoder()
    for _ in range(1000):
        decoder.feed(GOOD[:10] + FF)  # claims 255 bytes
    decoder.clear()
    assert decoder.skipped == 11_000
    decoder.feed(b"\x68" * (MAX_BUFFER + 100))
    assert decoder.skipped == 11_100


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (Frame(0x10, METER, 0xC1, b"\x05\x00\x02"), {"frame": "read_error", "ser": 5, "status": "00 02"}),
        (Frame(0x10, METER, 0xC1, b"\x05"), {"frame": "read_error", "data": "05"}),
        (Frame(0x10, METER, 0x24, b"\x20\x90\x01\x07"), {"frame": "vendor_request", "di": "9020", "data": "07"}),
        (Frame(0x40, METER, 0x81, b"\x1f\x90\x01\x07"), {"meter_kind": "other", "di": "901F", "data": "07"}),
        (Frame(0x22, METER, 0x81, b"\x1f\x91\x01\x07"), {"meter_kind": "heat_and_cooling", "di": "911F"}),
        (Frame(0x10, METER, 0x81, b"\x20\xd1\x01\x07"), {"di_wire": "20D1", "di": "D120", "data": "07"}),
        (Frame(0x77, METER, 0x9F, b"\x12\x34\x01"), {"meter_kind": "unknown", "frame": "unknown_reply", "di": "1234"}),
    ],
)
def test_rare_frames(frame: Frame, expected: dict[str, Any]) -> None:
    [entry] = describe(encode(frame))
    assert entry["valid"]
    assert {key: entry[key] for key in expected} == expected
    assert "values" not in entry


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ("1F 90", "no_di"),
        ("1F 90 00 00 77 66 55 2C", "length"),
        ("1F 90 00 00 77 66 55 7F 00 77 66 55 2C 00 00 00 00 00 00 00 00 00", "unknown_unit"),
        ("1F 90 00 00 77 66 55 05 00 77 66 55 2C 00 00 00 00 00 00 00 00 00", "unknown_unit"),  # kWh of water
        ("1F 90 00 00 7A 66 55 2C 00 77 66 55 2C 00 00 00 00 00 00 00 00 00", "not_bcd"),
    ],
)
def test_sound_frames_with_unusable_content(data: str, error: str) -> None:
    frame = Frame(0x10, METER, 0x81, bytes.fromhex(data))
    assert describe(encode(frame)) == [{"valid": False, "error": error, "frame_ok": True}]


def test_a_unit_before_its_number_is_recognised() -> None:
    data = "1F 90 00 2C 00 77 66 55 2C 00 70 66 55 00 00 00 00 00 00 00 00 00"
    [entry] = describe(encode(Frame(0x10, METER, 0x81, bytes.fromhex(data))))
    assert entry["unit_position"] == "before"
    assert [value["value"] for value in entry["values"]] == [556677.0, 556670.0]


@pytest.mark.parametrize(
    ("unit", "code", "digits", "value"),
    [
        ("kWh", 0x01, "10000000", 100000.00 / 3.6e6),
        ("kWh", 0x05, "12345", 123.45),
        ("kWh", 0x08, "12345", 123450.0),
        ("kWh", 0x0E, "36000", 100.0),
        ("kWh", 0x11, "36", 100.0),
        ("kW", 0x14, "450000", 4.5),
        ("kW", 0x1A, "1", 10.0),
        ("kW", 0x46, "360", 1.0),
        ("m3", 0x29, "123456", 1.23456),
        ("m3", 0x2E, "1", 1.0),
        ("m3/h", 0x32, "125000", 1.25),
    ],
)
def test_unit_codes(unit: str, code: int, digits: str, value: float) -> None:
    data = bytes.fromhex(digits.zfill(8))[::-1] + bytes((code,))
    number, unknown = Field("volume_total", unit).decode(data, Limits())
    assert unknown is None
    assert number == pytest.approx(value, rel=1e-12)


def test_joymeter_counts_otherwise() -> None:
    data = bytes.fromhex("00 01 00 00 2C")
    assert Field("volume_total", "m3").decode(data, Limits()) == (1.0, None)
    assert Field("volume_total", "m3").decode(data, Limits(units="joymeter")) == (0.01, None)
    liter = data[:-1] + b"\x29"
    assert Field("volume_total", "m3").decode(liter, Limits(units="joymeter")) == (None, 0x29), "not in that table"


def test_status_bits_may_be_counted_from_the_other_end() -> None:
    def state(status: int, **limits: Any) -> tuple[int, bool]:
        answer = encode_answer(Limits().fields, {}, Limits(), bytes((status, 0)))
        metering = decode(Limits().fields, answer, Limits(**limits))
        assert metering is not None
        return metering.valve, metering.battery_low

    assert [state(s) for s in (0x00, 0x01, 0x03, 0x04)] == [(0, False), (1, False), (3, False), (0, True)]
    assert [state(s, status_bits="high_first") for s in (0x01, 0x80, 0xC0, 0x20)] == [
        (0, False), (1, False), (3, False), (0, True),
    ]  # fmt: skip


VARIANTS = st.builds(
    Limits,
    meter_type=st.sampled_from(sorted(METER_TYPES)),
    unit_position=st.sampled_from(["after", "before"]),
    units=st.sampled_from(sorted(UNIT_CODES)),
)


@given(VARIANTS, st.data())
def test_answers_round_trip_in_every_variant(limits: Limits, data: st.DataObject) -> None:
    wanted = {
        field.name: data.draw(
            st.none() | st.integers(0, 10 ** (2 * field.size) - 1).map(lambda n, f=field: n / 10**f.decimals)
        )
        for field in limits.fields
    }
    answer = encode_answer(limits.fields, wanted, limits)
    assert len(answer) == size_of(limits.fields)
    metering = decode(limits.fields, answer, limits)
    assert metering is not None
    assert metering.values == wanted
    assert metering.unknown_units == {}
    assert metering.meter_time is None, "a clock of zeros is not set"


@given(VARIANTS, st.data())
def test_no_answer_is_too_strange(limits: Limits, data: st.DataObject) -> None:
    size = size_of(limits.fields)
    answer = data.draw(st.binary(min_size=size, max_size=size))
    metering = decode(limits.fields, answer, limits)
    assert metering is not None
    for field in limits.fields:
        value = metering.value(field.name)
        assert value is None or 0 <= value < 1e16
        assert field.name not in metering.unknown_units or value is None
    assert decode(limits.fields, answer + b"\0", limits) is None


def test_what_does_not_fit_the_display_is_no_value() -> None:
    answer = encode_answer(Limits().fields, {"volume_total": 1e6, "volume_settlement": -0.01}, Limits())
    assert answer[:10] == FF * 4 + b"\x2c" + FF * 4 + b"\x2c"
    assert fields_of(0x22) is None
