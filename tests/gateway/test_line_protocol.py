"""The encoder, read back by a small parser that shares nothing with it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Readings
from gateway.sinks.line_protocol import Encoder
from gateway.vocabulary import METRICS

T = 1_790_000_000_123
Line = tuple[str, dict[str, str], dict[str, float], int]


def parse(line: str) -> Line:
    """Read one line by the rules of the format: a backslash protects the next character, nothing else does."""
    parts: list[list[str]] = [[""]]
    escaped = False
    for char in line:
        if escaped:
            parts[-1][-1] += char
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == " ":
            parts.append([""])
        elif char == ",":
            parts[-1].append("")
        elif char == "=":
            parts[-1][-1] += "\0"  # a bare equals sign: the only one that separates
        else:
            parts[-1][-1] += char
    head, fields, stamp = parts
    tags = dict(_pair(tag) for tag in head[1:])
    return head[0], tags, {k: float(v) for k, v in map(_pair, fields)}, int(stamp[0])


def _pair(text: str) -> tuple[str, str]:
    key, value = text.split("\0")
    return key, value


def encode(readings: Readings, site: str = "pilot", zone: str = "gate", simulated: bool = False) -> str:
    return Encoder(site, {readings.device: zone}, simulated).encode(readings).decode()


def test_one_line_per_domain() -> None:
    readings = Readings("main", T, ("voltage_l1_v", "pm10_ug_m3", "frequency_hz"), (230.0, 81.25, 50.01), "NNN")
    assert encode(readings).split("\n") == [
        f"energy,device=main,site=pilot,zone=gate voltage_l1_v=230.0,frequency_hz=50.01 {T}",
        f"air,device=main,site=pilot,zone=gate pm10_ug_m3=81.25 {T}",
    ]


def test_simulated_is_a_tag_and_tags_are_sorted() -> None:
    readings = Readings("main", T, ("pm10_ug_m3",), (1.0,), "N")
    assert encode(readings, simulated=True).startswith("air,device=main,simulated=true,site=pilot,zone=gate ")


def test_minute_statistics_have_their_own_measurement() -> None:
    metrics = ("noise_la_db:mean", "pm10_ug_m3:max", "energy_import_kwh:delta")
    assert encode(Readings("s", T, metrics, (61.5, 90.0, 0.25), "NNN")).split("\n") == [
        f"noise_1m,device=s,site=pilot,zone=gate noise_la_db_mean=61.5 {T}",
        f"air_1m,device=s,site=pilot,zone=gate pm10_ug_m3_max=90.0 {T}",
        f"energy_1m,device=s,site=pilot,zone=gate energy_import_kwh_delta=0.25 {T}",
    ]


def test_only_good_values_are_written() -> None:
    metrics = ("voltage_l1_v", "pm10_ug_m3", "frequency_hz")
    assert encode(Readings("m", T, metrics, (None, None, 50.0), "BTN")).endswith(f" frequency_hz=50.0 {T}")
    assert encode(Readings("m", T, metrics, (None, None, None), "BBB")) == ""


def test_shapes_do_not_get_mixed_up() -> None:
    encoder = Encoder("pilot", {"a": "gate", "b": "roof"}, False)
    metrics = ("voltage_l1_v", "frequency_hz")
    first = encoder.encode(Readings("a", T, metrics, (230.0, 50.0), "NN"))
    partly = encoder.encode(Readings("a", T, metrics, (None, 49.9), "TN"))
    other = encoder.encode(Readings("b", T, metrics, (231.0, 50.1), "NN"))
    assert parse(partly.decode())[2] == {"frequency_hz": 49.9}
    assert parse(other.decode())[1]["zone"] == "roof"
    assert encoder.encode(Readings("a", T, metrics, (230.0, 50.0), "NN")) == first


def test_the_memory_of_shapes_is_bounded() -> None:
    encoder = Encoder("pilot", {}, False)
    for number in range(5000):
        line = encoder.encode(Readings(f"d{number}", T, ("frequency_hz",), (50.0,), "N"))
        assert line == f"energy,device=d{number},site=pilot frequency_hz=50.0 {T}".encode()
    assert len(encoder._prepared) <= 4096


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_left_out(bad: float) -> None:
    metrics = ("voltage_l1_v", "frequency_hz")
    assert parse(encode(Readings("m", T, metrics, (bad, 50.0), "NN")))[2] == {"frequency_hz": 50.0}
    assert encode(Readings("m", T, metrics, (bad, bad), "NN")) == ""


def test_huge_numbers_whose_sum_overflows_are_written() -> None:
    text = encode(Readings("m", T, ("voltage_l1_v", "frequency_hz"), (1.7e308, 1.7e308), "NN"))
    assert parse(text)[2] == {"voltage_l1_v": 1.7e308, "frequency_hz": 1.7e308}


@pytest.mark.parametrize("metric", ["volts", "voltage_l1_v:", "voltage_l1_v:a b", "voltage_l1_v:me=1,x", "x:mean"])
def test_an_unknown_metric_is_named(metric: str) -> None:
    with pytest.raises(ValueError, match="not in the vocabulary"):
        encode(Readings("m", T, (metric,), (1.0,), "N"))


@pytest.mark.parametrize("name", ["", "a\nair x=1", "back\\", "a\\,b", "a\rb", "tab\there", "nul\0"])
def test_a_name_that_cannot_be_a_tag_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"device .* cannot be an InfluxDB tag"):
        encode(Readings(name, T, ("pm10_ug_m3",), (1.0,), "N"))


def test_percent_signs_and_spaces_in_names_are_text() -> None:
    text = encode(Readings("100%d, x=%s", T, ("pm10_ug_m3",), (1.0,), "N"), zone="50%")
    assert text == f"air,device=100%d\\,\\ x\\=%s,site=pilot,zone=50% pm10_ug_m3=1.0 {T}"


NAMES = st.text(min_size=1, max_size=20) | st.text(alphabet=", =%\"'\\\nairx1", min_size=1, max_size=20)
SHAPES = st.lists(st.sampled_from(sorted(METRICS)), min_size=1, max_size=12, unique=True)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(NAMES, NAMES, NAMES, SHAPES, st.data(), st.integers(0, 2**53), st.booleans())
def test_every_value_comes_back_or_the_name_is_refused(
    device: str, zone: str, site: str, metrics: list[str], data: st.DataObject, time_ms: int, simulated: bool
) -> None:
    values = tuple(data.draw(NUMBERS | st.none()) for _ in metrics)
    marks = "".join("B" if v is None else "N" for v in values)
    readings = Readings(device, time_ms, tuple(metrics), values, marks)
    try:
        text = encode(readings, site, zone, simulated)
    except ValueError:
        names = device + zone + site
        assert not names.isprintable() or "\\" in names
        return
    fields: dict[str, float] = {}
    for line in text.split("\n") if text else []:
        measurement, tags, some, stamp = parse(line)
        mark = {"simulated": "true"} if simulated else {}
        assert tags == {"device": device, "site": site, "zone": zone} | mark
        assert stamp == time_ms
        assert {METRICS[name].domain for name in some} == {measurement}
        fields |= some
    assert fields == {m: v for m, v in zip(metrics, values, strict=True) if v is not None}
