"""HJ 212 packets against vectors that we did not write: published frames of stations and of both standards."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.hj212.codec import LONGEST_SEGMENT, Malformed, compose, in_parts, mn_of, opened, parse
from drivers.hj212.crc import crc_text, fits, hj212_crc
from drivers.hj212.decode import describe
from drivers.hj212.sm4 import decrypt, encrypt
from drivers.hj212.stream import Cutter, Piece
from tests.support.sitegate import ROOT, sitegate

VECTORS = json.loads((Path(__file__).parent.parent / "data/frames/hj212-vectors.json").read_text(encoding="utf-8"))
BY_ID = {v["id"]: v for v in VECTORS}
KEY = b"0" * 16


def raw_of(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["frame_hex"]) if "frame_hex" in vector else vector["frame"].encode()


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[a:b] for a, b in zip([0, *ends], [*ends, len(data)], strict=True)]


def sound(pieces: list[Piece]) -> list[bytes]:
    return [piece.data for piece in pieces if piece.fault is None]


# --- vectors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["id"])
@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "byte by byte"])
def test_a_vector_is_read_as_published(vector: dict[str, Any], bytewise: bool) -> None:
    raw = raw_of(vector)
    found = list(describe([raw[i : i + 1] for i in range(len(raw))] if bytewise else [raw]))
    if vector.get("kind") == "stream":
        assert sum(entry["valid"] for entry in found) == vector["expect_frames"]
    elif vector["valid"]:
        assert found == [{"valid": True, **vector["parsed"]}]
    else:
        assert found
        assert not any(entry["valid"] for entry in found)
        assert all(entry["error"] for entry in found)


@pytest.mark.parametrize("vector", [v for v in VECTORS if v.get("kind") == "stream"], ids=lambda v: v["id"])
def test_the_gateway_is_more_tolerant_at_the_tail(vector: dict[str, Any]) -> None:
    pieces = Cutter(opened).feed(raw_of(vector))
    assert len(sound(pieces)) == vector.get("expect_frames_tolerant", vector["expect_frames"])


def test_a_wrong_kind_of_check_sum_is_named() -> None:
    (entry,) = describe([raw_of(BY_ID["hj212-bad-02"])])
    assert (entry["error"], entry["crc_expected"], entry["crc_kind"]) == ("bad_crc", "0440", "modbus_swapped")
    (entry,) = describe([raw_of(BY_ID["hj212-bad-01"])])
    assert (entry["crc_expected"], entry["crc_kind"]) == ("3740", "hj212_swapped")
    assert entry["header"]["MN"] == "JH0201712SD8763", "what it says is shown all the same"


def test_a_station_with_another_check_sum_is_understood_when_its_profile_says_so() -> None:
    def take(vector_id: str, kind: Any, *, short: bool = False) -> int:
        return len(sound(Cutter(lambda s, c: opened(s, c, kind, short=short)).feed(raw_of(BY_ID[vector_id]))))

    assert take("hj212-bad-01", "hj212_swapped") == 1
    assert take("hj212-bad-02", "modbus_swapped") == 1
    assert take("hj212-bad-03", "modbus_swapped") == 1, "1623 bytes: too long, but sound"
    assert take("hj212-bad-17", "hj212") == 0
    assert take("hj212-bad-17", "hj212", short=True) == 1


# --- check sum -------------------------------------------------------------------------------------------------------


def slowly(data: bytes) -> int:
    """Annex A, word for word."""
    register = 0xFFFF
    for byte in data:
        register = (register >> 8) ^ byte
        for _ in range(8):
            low, register = register & 1, register >> 1
            if low:
                register ^= 0xA001
    return register


@given(st.binary(max_size=300))
@example(b"")
@example(b"\x00")
@example(b"123456789")
def test_the_folded_check_sum_is_that_of_annex_a(data: bytes) -> None:
    assert hj212_crc(data) == slowly(data)


def test_published_check_sums() -> None:
    assert [crc_text(d) for d in (b"", b"\x00", b"123456789")] == ["FFFF", "4040", "2F80"]
    assert [crc_text(d, "modbus") for d in (b"\x00", b"123456789")] == ["40BF", "4B37"]
    assert crc_text(b"123456789", "modbus_swapped") == "374B"
    assert fits(b"123456789", b"2f80")
    assert not fits(b"123456789", b" 2f8")
    assert not fits(b"123456789", b"+F80")


# --- packets ---------------------------------------------------------------------------------------------------------

TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters=";,=&#-/", exclude_categories=["Cc", "Zs", "Cs"]), min_size=1
)
HEADERS = st.builds(lambda mn, qn: {"QN": qn, "ST": "39", "CN": "2011", "MN": mn, "Flag": "5"}, TEXT, TEXT)
AREAS = st.dictionaries(TEXT, TEXT, max_size=6).map(lambda d: ";".join(f"{k}={v}" for k, v in d.items()))


@given(st.lists(st.tuples(HEADERS, AREAS, st.booleans()), min_size=1, max_size=4), st.lists(st.integers(0), max_size=8))
def test_any_chunking_gives_the_same_packets(packets: list[tuple[dict[str, str], str, bool]], cuts: list[int]) -> None:
    wire = b"AT+OK##12\r\n" + b"".join(compose(h, a, key=KEY if secret else None) for h, a, secret in packets)
    cutter = Cutter(lambda segment, crc: opened(segment, crc, key=KEY))
    pieces = [piece for chunk in in_pieces(wire, cuts) for piece in cutter.feed(chunk)]
    read = [parse(data) for data in sound(pieces)]
    assert [(p.header, p.area) for p in read] == [(h, a) for h, a, _ in packets]
    assert [p.fault for p in pieces if p.fault] == ["noise"]


@given(
    st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([raw_of(v) for v in VECTORS])), max_size=6), st.data()
)
def test_no_bytes_make_the_decoder_fail_hang_or_grow(parts: list[bytes], data: st.DataObject) -> None:
    stream = bytearray(b"".join(parts))
    for _ in range(data.draw(st.integers(0, 4)) if stream else 0):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    chunks = in_pieces(bytes(stream), data.draw(st.lists(st.integers(0), max_size=5)))
    entries = list(describe(chunks))
    json.dumps(entries)
    cutter = Cutter(lambda segment, crc: opened(segment, crc, key=KEY))
    for chunk in chunks:
        for piece in cutter.feed(chunk):
            if piece.fault is None:
                with contextlib.suppress(Malformed):
                    parse(piece.data)
    for _ in range(len(stream)):
        cutter.give_up()
    assert not cutter.pending


def test_false_headers_without_end_cost_little_and_keep_little() -> None:
    cutter = Cutter(opened)
    flood = b"##9994&&1C80" * 1000
    for _ in range(20):
        cutter.feed(flood)
        assert len(cutter._buffer) < 10_100
    assert cutter.skipped_bytes > 100_000


def test_a_packet_that_never_ends_hides_the_ones_behind_it_only_until_we_give_up() -> None:
    good = raw_of(BY_ID["hj212-good-01"])
    cutter = Cutter(opened)
    assert cutter.feed(b"##9999QN=1;" + good) == []
    pieces = cutter.give_up()
    assert [p.fault for p in pieces] == ["half", None]
    assert not cutter.pending


def test_a_cipher_with_every_delimiter_in_it_is_cut_by_length() -> None:
    area = decrypt(b"##0087&&\r\n##0101" * 4, KEY)  # the bytes on the wire will be these delimiters
    head = b"QN=1;ST=39;CN=2011;PW=1;MN=A;Flag=9;CP=&&"
    segment = head + encrypt(area, KEY) + b"&&"
    packet = b"##%04d%s%s\r\n" % (len(segment), segment, crc_text(head + area + b"&&").encode())
    cutter = Cutter(lambda s, c: head + area + b"&&" if s == segment else opened(s, c))
    assert sound(cutter.feed(packet + raw_of(BY_ID["hj212-good-01"])))[0] == head + area + b"&&"


@given(st.binary(max_size=100), st.binary(min_size=16, max_size=16))
def test_whole_blocks_are_enciphered_and_the_rest_stays_clear(area: bytes, key: bytes) -> None:
    cipher = encrypt(area, key)
    assert decrypt(cipher, key) == area
    assert len(cipher) == len(area)
    rest = len(area) % 16
    assert cipher[len(area) - rest :] == area[len(area) - rest :]


def test_the_wrong_key_opens_nothing() -> None:
    raw = raw_of(BY_ID["hj212-good-33"])
    assert not sound(Cutter(lambda s, c: opened(s, c, key=b"1" * 16)).feed(raw))
    assert not sound(Cutter(opened).feed(raw))


def test_text_of_2005_and_of_2017() -> None:
    head = b"ST=22;CN=3020;MN=A;CP=&&"
    for charset in ("utf-8", "gb18030"):
        packet = parse(head + "i12001-Info=//清洗;管路,完//;PolId=a34002&&".encode(charset))
        assert packet.factors == {"i12001": {"Info": "//清洗;管路,完//"}}
        assert packet.fields == {"PolId": "a34002"}
    with pytest.raises(Malformed, match="no text"):
        parse(head + b"A-Rtd=\xff\xff&&")
    with pytest.raises(Malformed, match="no text"):
        parse(head + b"A-Rtd=\x07&&")


@pytest.mark.parametrize(
    ("segment", "words"),
    [
        ("QN=1;MN=A;CP=&&&&", "CN='' is not a command code"),
        ("CN=2011;CP=&&&&", "there is no MN"),
        ("CN=2011;MN=A;CP=&&a&&", "not of the form key=value"),
        ("CN=2011;MN=A;CP=&&a-Rtd=1;a-Rtd=2&&", "stands twice, with different values"),
        ("CN=2011;MN=A;CP=&&a=1&&;CP=&&b=2&&", "between CP=&& and &&"),
        ("CN=٢٠١١;MN=A;CP=&&&&", "not a command code"),
    ],
)
def test_fields_are_checked_because_the_check_sum_is_half_blind(segment: str, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        parse(segment.encode())


def test_an_equal_repetition_in_one_packet_does_no_harm() -> None:
    assert parse(b"CN=2011;MN=A;CP=&&a-Rtd=1;a-Rtd=1&&").factors == {"a": {"Rtd": "1"}}


def test_mn_is_known_before_the_area_is_opened() -> None:
    raw = raw_of(BY_ID["hj212-good-33"])
    assert mn_of(raw[6:-6]) == "010000A8900016F000169DC0"
    assert mn_of(b"CP=&&x;MN=B;&&") == "", "a header key, not one of the data area"


@given(st.lists(st.text("abc", min_size=1, max_size=40), min_size=1, max_size=60), st.integers(60, 200))
def test_parts_hold_every_item_once_and_keep_to_the_limit(items: list[str], room: int) -> None:
    first = "DataTime=20260101000000"
    parts = in_parts([first, *items], room)
    assert all(part.split(";")[0] == first for part in parts)
    assert [item for part in parts for item in part.split(";")[1:]] == items
    assert all(len(part) <= room for part in parts) or room < len(first) + 41
    assert len(compose({"CN": "2011", "MN": "A"}, parts[0])) < LONGEST_SEGMENT


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_reads_packets_as_they_are_and_as_hexadecimal_lines(tmp_path: Path) -> None:
    good = [v for v in VECTORS if v["valid"]]
    file = tmp_path / "stream.bin"
    file.write_bytes(b"".join(map(raw_of, good)))
    done = sitegate("decode", "hj212", str(file))
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"valid": True, **v["parsed"]} for v in good]
    lines = "\n".join(raw_of(v).hex(" ") for v in good)
    assert sitegate("decode", "hj212", stdin=lines).stdout == done.stdout


def test_the_command_takes_the_stations_own_key() -> None:
    key = bytes(range(16))
    packet = compose({"CN": "2011", "MN": "A"}, "DataTime=20260101000000;a34002-Rtd=1", key=key)
    done = sitegate("decode", "hj212", "--key", key.hex(), stdin=packet.hex())
    assert json.loads(done.stdout)["cp"]["factors"] == {"a34002": {"Rtd": "1"}}
    assert sitegate("decode", "hj212", stdin=packet.hex()).returncode == 1
    for wrong in (["dlt645", "--key", key.hex()], ["hj212", "--key", "12"]):
        done = sitegate("decode", *wrong, stdin="")
        assert (done.returncode, "32 hexadecimal digits" in done.stderr) == (2, True)


def test_a_site_without_enciphering_stations_never_loads_the_cipher() -> None:
    code = "import sys, drivers.hj212.driver, drivers.hj212.listener; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
