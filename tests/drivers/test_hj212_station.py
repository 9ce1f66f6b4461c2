"""What a station says becomes readings; what it is answered is the platform's part of HJ 212-2017."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.api import Rejected, Report
from drivers.hj212.codec import Packet, compose, opened, parse
from drivers.hj212.points import Address, Limits, Point
from drivers.hj212.station import Heard, Station
from drivers.hj212.stream import Cutter

ZONE = ZoneInfo("Asia/Shanghai")
AT_MS = int(datetime(2026, 11, 22, 10, 0, 0, tzinfo=ZONE).timestamp() * 1000)
NOW_MS = AT_MS + 3_000
POINTS = {
    "pm10": Point("a34002"),
    "tsp": Point("a34001"),
    "la": Point("LA", also=("LA-td", "NOIS")),
    "leq": Point("Leq", item="Data", cn="2051"),
}
STAMP = "DataTime=20261122100000"


def station(address: Address | None = None, **limits: Any) -> Station:
    return Station("gate", address or Address("A"), POINTS, Limits(**limits), ZONE)


def packet(area: str, cn: str = "2011", **header: str) -> Packet:
    fields = {"QN": "20261122100000123", "ST": "39", "CN": cn, "PW": "123456", "MN": "A", "Flag": "5", **header}
    return parse("".join(f"{k}={v};" for k, v in fields.items() if v != "-").encode() + f"CP=&&{area}&&".encode())


def take(to: Station, said: Packet) -> Heard:
    return to.take(said, NOW_MS, "20261122100003000")


def answers(heard: Heard) -> list[Packet]:
    cutter = Cutter(opened, strict=True)
    return [parse(piece.data) for answer in heard.answers for piece in cutter.feed(answer)]


def reports(heard: Heard) -> list[Report]:
    return [m for m in heard.messages if isinstance(m, Report)]


def causes(heard: Heard) -> list[str]:
    return [m.cause for m in heard.messages if isinstance(m, Rejected)]


# --- readings --------------------------------------------------------------------------------------------------------


def test_an_upload_becomes_one_report_at_the_stations_own_time() -> None:
    heard = take(station(), packet(f"{STAMP};a34002-Rtd=52.0,a34002-Flag=N;LA-Rtd=61.5;x-Rtd=9"))
    assert heard.messages == [Report("gate", ("pm10", "la"), (52.0, 61.5), AT_MS, retained=False)]


@pytest.mark.parametrize("mark", ["D", "B", "T", "C", "M", "F"])
def test_a_value_with_a_mark_is_no_value_and_the_mark_goes_on(mark: str) -> None:
    (report,) = reports(take(station(), packet(f"{STAMP};a34002-Rtd=999,a34002-Flag={mark};a34001-Rtd=80")))
    assert (report.values, report.marks) == ((None, 80.0), f"{mark}N")


def test_what_was_entered_by_hand_is_a_value() -> None:
    (report,) = reports(take(station(), packet(f"{STAMP};a34002-Rtd=52,a34002-Flag=S")))
    assert (report.values, report.marks) == ((52.0,), None)


@pytest.mark.parametrize("mark", ["Td", "X", "n"])
def test_a_mark_that_nobody_knows_is_a_fault_and_is_told(mark: str) -> None:
    heard = take(station(), packet(f"{STAMP};a34002-Rtd=52,a34002-Flag={mark}"))
    (report,) = reports(heard)
    assert (report.values, report.marks) == ((None,), "D")
    assert causes(heard) == ["unknown_mark"]


@pytest.mark.parametrize("text", ["", "--", "nan", "0x10", "inf", "1e999", "9" * 400, "1_0", "١"])
def test_what_is_no_number_is_no_value(text: str) -> None:
    (report,) = reports(take(station(), packet(f"{STAMP};a34002-Rtd={text}")))
    assert (report.values, report.marks) == ((None,), "D")


def test_endless_digits_cost_no_more_than_their_length() -> None:
    heard = packet(f"{STAMP};a34002-Rtd=" + "1" * 9000 + "x")
    begun_s = time.process_time()
    (report,) = reports(take(station(), heard))
    assert report.values == (None,)
    assert time.process_time() - begun_s < 0.3, "seconds, where the pattern tries every way to cut the digits"


def test_misspelt_keys_that_the_profile_names_are_understood() -> None:
    (report,) = reports(take(station(), packet(f"{STAMP};LA-td=50.1,LA-Flag=N")))
    assert (report.points, report.values) == (("la",), (50.1,))
    (report,) = reports(take(station(), packet(f"{STAMP};NOIS=45.2")))
    assert (report.points, report.values) == (("la",), (45.2,))


@pytest.mark.parametrize(("text", "ms"), [("20261122100000", AT_MS), ("20261122100000999", AT_MS)])
def test_data_time_is_the_sites_local_time(text: str, ms: int) -> None:
    (report,) = reports(take(station(), packet(f"DataTime={text};a34002-Rtd=1")))
    assert report.sent_at_ms == ms


@pytest.mark.parametrize("text", ["20261322100000", "yesterday", "2026"])
def test_a_reading_without_a_usable_time_counts_from_its_arrival(text: str) -> None:
    heard = take(station(), packet(f"DataTime={text};a34002-Rtd=1"))
    assert reports(heard)[0].sent_at_ms is None
    assert causes(heard) == ["bad_time"]


def test_minute_data_keep_their_own_time_and_are_read_only_where_the_profile_asks() -> None:
    (report,) = reports(take(station(), packet("DataTime=20261122095000;Leq-Data=50.0;LA-Rtd=1", "2051")))
    assert (report.points, report.values, report.sent_at_ms) == (("leq",), (50.0,), AT_MS - 600_000)
    heard = take(station(), packet("DataTime=20261122090000;Leq-Data=50.0", "2061"))
    assert heard.messages == [Rejected("gate", "archive_unused", "")]
    assert answers(heard)[0].header["CN"] == "9014"


@pytest.mark.parametrize(("cn", "flag"), [("2051", {}), ("2011", {"RF": "1"})])
def test_late_data_of_an_impossible_time_never_become_readings_of_now(cn: str, flag: dict[str, str]) -> None:
    for when in ("20200101000000", "20271122100000"):
        heard = take(station(), packet(f"DataTime={when};Leq-Data=50.0;a34002-Rtd=1", cn, **flag))
        assert (reports(heard), causes(heard)) == ([], ["implausible_time"])
        assert len(answers(heard)) == 1, "acked all the same: it would come for ever"


def test_an_upload_of_other_factors_says_so() -> None:
    heard = take(station(), packet(f"{STAMP};w01001-Rtd=7"))
    assert causes(heard) == ["missing_field"]


# --- duplicates and parts --------------------------------------------------------------------------------------------


def test_a_resent_packet_is_acked_again_and_taken_once() -> None:
    """Fault 95: the same packet again, the answer lost."""
    to = station()
    said = packet(f"{STAMP};a34002-Rtd=52.0")
    assert len(reports(take(to, said))) == 1
    again = take(to, said)
    assert again.messages == [Rejected("gate", "repeated", "")]
    assert answers(again)[0].header["QN"] == said.header["QN"]
    other_qn = take(to, packet(f"{STAMP};a34002-Rtd=52.0", QN="20261122100009999"))
    assert causes(other_qn) == ["repeated"], "same station, command, time and content"
    assert len(reports(take(to, packet(f"{STAMP};a34002-Rtd=53.0")))) == 1, "one QN for two contents happens"


def test_without_data_time_the_qn_tells_a_resend_from_a_reading() -> None:
    to = station()
    assert len(reports(take(to, packet("a34002-Rtd=52.0", QN="1")))) == 1
    assert causes(take(to, packet("a34002-Rtd=52.0", QN="1"))) == ["repeated"]
    assert len(reports(take(to, packet("a34002-Rtd=52.0", QN="2")))) == 1
    for _ in range(2):
        assert len(reports(take(to, packet("a34002-Rtd=52.0", QN="-")))) == 1


def test_parts_are_taken_and_acked_one_by_one() -> None:
    to = station()
    one = take(to, packet(f"{STAMP};a34002-Rtd=52.0", Flag="7", PNUM="2", PNO="1"))
    two = take(to, packet(f"{STAMP};a34001-Rtd=80", Flag="7", PNUM="2", PNO="2", QN="20261122100000124"))
    assert [r.points for r in reports(one) + reports(two)] == [("pm10",), ("tsp",)]
    assert {r.sent_at_ms for r in reports(one) + reports(two)} == {AT_MS}
    assert [answers(h)[0].header["QN"][-3:] for h in (one, two)] == ["123", "124"]


def test_a_part_that_never_came_is_told_when_the_next_upload_begins() -> None:
    to = station()
    take(to, packet(f"{STAMP};a34002-Rtd=52.0", Flag="7", PNUM="3", PNO="2"))
    heard = take(to, packet("DataTime=20261122100100;a34002-Rtd=53.0", Flag="7", PNUM="3", PNO="1"))
    assert heard.messages[0] == Rejected(
        "gate", "missing_part", "of the upload of DataTime='20261122100000', part 1, 3 never came"
    )
    assert len(reports(heard)) == 1


def test_ever_new_sets_of_points_do_not_make_ever_new_kinds_of_report() -> None:
    points = {f"p{i}": Point(f"f{i}") for i in range(12)}
    to = Station("gate", Address("A"), points, Limits(), ZONE)
    shapes = set()
    for bits in range(1, 500):
        area = ";".join(f"f{i}-Rtd={bits}" for i in range(12) if bits >> i & 1)
        said = reports(take(to, packet(f"{STAMP};{area}")))
        assert sum(len(r.points) for r in said) == bits.bit_count(), "no value is lost"
        shapes |= {r.points for r in said}
    assert len(shapes) <= 32 + 12


# --- answers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("edition", "flag"), [("2005", "0"), ("2017", "4"), ("2025", "8")])
def test_a_data_ack_has_the_same_qn_and_mn_and_no_ack_bit(edition: Any, flag: str) -> None:
    heard = take(station(Address("A", edition=edition)), packet(f"{STAMP};a34002-Rtd=1"))
    assert heard.answers == [
        compose({"QN": "20261122100000123", "ST": "91", "CN": "9014", "PW": "123456", "MN": "A", "Flag": flag})
    ]


def test_our_ack_is_the_one_in_the_standards_own_words() -> None:
    """hj212-good-15 of the vectors: a published ack, byte for byte."""
    to = Station("gate", Address("010000A8900016F000169DC0"), POINTS, Limits(), ZONE)
    said = packet(f"{STAMP};a34002-Rtd=1", QN="20160801085000001", MN="010000A8900016F000169DC0")
    assert take(to, said).answers == [
        b"##0087QN=20160801085000001;ST=91;CN=9014;PW=123456;MN=010000A8900016F000169DC0;Flag=4;CP=&&&&C241\r\n"
    ]


@pytest.mark.parametrize(
    ("ack", "flag", "count"),
    [
        ("asked", "5", 1),
        ("asked", "4", 0),
        ("asked", "-", 0),
        ("always", "4", 1),
        ("always", "-", 1),
        ("never", "5", 0),
    ],
)
def test_an_ack_goes_out_when_the_station_and_its_profile_want_one(ack: str, flag: str, count: int) -> None:
    assert len(take(station(ack=ack), packet(f"{STAMP};a34002-Rtd=1", Flag=flag)).answers) == count


@pytest.mark.parametrize("cn", ["9015", "1001"])
def test_a_notice_is_acked_and_brings_no_reading(cn: str) -> None:
    heard = take(station(), packet("", cn, QN="-", Flag="9"))
    assert heard.messages == []
    assert [a.header for a in answers(heard)] == [{"ST": "91", "CN": "9013", "PW": "123456", "MN": "A", "Flag": "4"}]


def test_a_station_that_asks_for_the_time_gets_it() -> None:
    heard = take(station(), packet("PolId=a34002", "1013", Flag="4"))
    ack, request = answers(heard)
    assert ack.header["CN"] == "9013"
    assert request.header == {
        "QN": "20261122100003000", "ST": "39", "CN": "1012", "PW": "123456", "MN": "A", "Flag": "5",
    }  # fmt: skip
    assert request.fields == {"PolId": "a34002", "SystemTime": "20261122100003"}


def test_a_refused_request_is_told_and_results_are_never_answered() -> None:
    to = station()
    assert take(to, packet("QnRtn=1", "9011")) == Heard([], [])
    heard = take(to, packet("QnRtn=3", "9011"))
    assert (causes(heard), heard.answers) == (["request_refused"], [])
    assert take(to, packet("", "9014")) == Heard([], [])


def test_an_answer_never_grows_beyond_a_packet() -> None:
    heard = take(station(), packet(f"{STAMP};a34002-Rtd=1", QN="1" * 9000, PW="2" * 900))
    assert len(answers(heard)) == 1
    assert len(heard.answers[0]) < 300


def test_commands_from_the_field_move_nothing() -> None:
    """Fault 96: requests that belong to the platform are counted, and nothing is done."""
    heard = take(station(), packet("NewPW=000000", "1072", Flag="4"))
    assert heard == Heard([Rejected("gate", "other_command", "")], [])


# --- who is believed -------------------------------------------------------------------------------------------------


def test_password_and_source_must_fit_where_they_are_configured() -> None:
    to = station(Address("A", password="654321", source="10.20.0.0/16"))
    assert to.refusal(packet("", PW="654321"), "10.20.3.4") is None
    assert to.refusal(packet("", PW="654321"), "::ffff:10.20.3.4") is None
    wrong = to.refusal(packet("", PW="123456"), "10.20.3.4")
    assert wrong is not None
    assert wrong.cause == "wrong_password"
    assert "654321" not in wrong.detail
    for host in ("10.21.0.1", "unknown", "::1"):
        elsewhere = to.refusal(packet("", PW="654321"), host)
        assert elsewhere is not None
        assert elsewhere.cause == "wrong_source"


def test_a_stations_secrets_are_not_in_its_repr() -> None:
    text = repr(Address("A", edition="2025", password="654321", sm4_key="00" * 16))
    assert "654321" not in text
    assert "0000" not in text


AREA = st.lists(
    st.tuples(
        st.sampled_from(["DataTime", "a34002-Rtd", "a34002-Flag", "LA-Rtd", "Leq-Data", "QnRtn", "PolId"]),
        st.one_of(
            st.text(st.characters(codec="utf-8", exclude_characters=";,=&"), max_size=20), st.integers().map(str)
        ),
    ),
    unique_by=lambda pair: pair[0],
).map(lambda pairs: ";".join(f"{k}={v}" for k, v in pairs))


@given(
    st.sampled_from(["2011", "2051", "1013", "9011", "9015", "3020"]),
    AREA,
    st.dictionaries(st.sampled_from(["QN", "Flag", "PNUM", "PNO", "RF"]), st.text("0123456789x", max_size=90)),
)
def test_whatever_a_station_says_is_a_message_and_an_answer_that_others_understand(
    cn: str, area: str, header: dict[str, str]
) -> None:
    try:
        said = packet(area, cn, **header)
    except ValueError:
        return
    heard = take(station(), said)
    assert len(answers(heard)) == len(heard.answers)
    for message in heard.messages:
        if isinstance(message, Report):
            assert message.marks is None or len(message.marks) == len(message.values)
            assert all(v is None or isinstance(v, float) for v in message.values)
        else:
            assert len(message.detail) <= 200
            assert message.detail.isprintable()
