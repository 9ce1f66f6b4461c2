"""The InfluxDB sink against scripted answers: what each one means, and which records are given up."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import ssl
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.config.site import InfluxSink
from gateway.errors import SinkTimeout, SinkUnavailable
from gateway.model import Readings
from gateway.sinks import Sink
from gateway.sinks.influx_answer import Split, Stored, Unavailable, judge, retry_after_s
from gateway.sinks.line_protocol import Encoder
from gateway.sinks.registry import make_sink
from tests.support.http_stub import Answer, HttpStub, Request, script
from tests.support.machine import need

T = 1_790_000_000_000
POISON = 666.0


def record(number: int, value: float = 50.0) -> Readings:
    return Readings(f"d{number}", T + number, ("frequency_hz",), (value,), "N")


def sink_for(url: str, **options: Any) -> Sink:
    known: dict[str, Any] = {"kind": "influxdb", "url": url, "api": "v1", "database": "site"} | options
    return make_sink("influx", InfluxSink(**known), Encoder("pilot", {}, False))


def v2_for(url: str, **options: Any) -> Sink:
    return sink_for(url, **{"api": "v2", "database": None, "bucket": "b", "org": "o", "token": "t0p"} | options)


async def write(stub: HttpStub, batch: Sequence[Readings], **options: Any) -> dict[int, str]:
    """One write through the v1 endpoint; return what was rejected."""
    sink = sink_for(stub.url, **options)
    try:
        return dict((await sink.write(batch)).rejected)
    finally:
        await sink.close()


def error_1x(status: int, text: str) -> Answer:
    return Answer(status, json.dumps({"error": text}).encode())


def error_2x(status: int, code: str, message: str) -> Answer:
    return Answer(status, json.dumps({"code": code, "message": message}).encode())


PARTIAL_1X = (
    'partial write: field type conflict: input field "v" on measurement "tc" is type float, '
    "already exists as type integer dropped=1"
)
PARTIAL_2X = "failure writing points to database: partial write: points beyond retention policy dropped=1"
ERROR_3 = {
    "error": "partial write of line protocol occurred",
    "data": [{"original_line": "home x", "line_number": 2, "error_message": "No fields were provided"}],
}


# --- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (error_1x(400, "unable to parse 'a,b=c': missing fields"), "unable to parse 'a,b=c': missing fields"),
        (error_1x(400, PARTIAL_1X), PARTIAL_1X),
        (error_2x(400, "invalid", "unable to parse x"), "unable to parse x"),
        (error_2x(422, "unprocessable entity", PARTIAL_2X), PARTIAL_2X),
        (
            Answer(400, json.dumps(ERROR_3).encode()),
            "partial write of line protocol occurred: No fields were provided",
        ),
        (Answer(400, b"", {"X-Influxdb-Error": "bad timestamp"}), "bad timestamp"),
        (error_1x(413, "Request Entity Too Large"), "Request Entity Too Large"),
        (Answer(413, b"<html>nginx</html>"), "the request is too large for the server"),
    ],
)
def test_answers_that_blame_a_line(answer: Answer, reason: str) -> None:
    assert judge(answer.status, answer.headers, answer.body) == Split(reason)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(200, b"<html>Please log in</html>"), "captive portal"),
        (Answer(202), "204"),
        (Answer(400, b"<html>400 Bad Request</html>"), "proxy"),
        (error_1x(400, "database is required"), "name the database"),
        (error_1x(401, "authorization failed"), "authorization failed; check user name and password"),
        (error_2x(403, "forbidden", "insufficient permissions for write"), "right to write"),
        (error_1x(404, 'database not found: "none"'), 'database not found: "none"; create the database'),
        (error_2x(404, "not found", 'bucket "b" not found'), 'bucket "b" not found; create'),
        (error_1x(500, "retention policy not found: none"), "create the retention policy"),
        (Answer(308, b"", {"Location": "https://elsewhere/"}), "redirected to https://elsewhere/, not followed"),
        (Answer(502, b"<html>"), "HTTP 502"),
        (Answer(418), "HTTP 418"),
    ],
)
def test_answers_that_blame_no_line(answer: Answer, says: str) -> None:
    meaning = judge(answer.status, answer.headers, answer.body)
    assert isinstance(meaning, Unavailable)
    assert says in meaning.text
    assert not meaning.may_hide_bad_line


def test_only_204_is_a_success_and_only_an_unexplained_500_is_suspicious() -> None:
    assert judge(204, {}, b"") == Stored()
    proxy = judge(400, {"Content-Type": "application/json"}, b'{"message":"blocked by policy"}')
    assert isinstance(proxy, Unavailable), "a proxy's words convict no line"
    meaning = judge(500, {}, b'{"code":"internal error","message":"oops"}')
    assert meaning == Unavailable("HTTP 500: oops", None, may_hide_bad_line=True)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b"\xff\xfe", b'{"error": 5}', b'{"error": "\\ud800\\n\x1b[31m"}', b"null"]
)
def test_a_strange_body_is_survived(body: bytes) -> None:
    assert isinstance(judge(500, {}, body), Unavailable)


def test_error_texts_are_one_bounded_line() -> None:
    meaning = judge(400, {}, json.dumps({"error": "bad\nline\x1b[31m " + "x" * 5000}).encode())
    assert isinstance(meaning, Split)
    assert meaning.reason.startswith("bad line [31m xxx")
    assert len(meaning.reason) <= 301


NOON = "Sun, 22 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"Retry-After": "17"}, 17),
        ({"Retry-After": "3600"}, 3600),
        ({"Retry-After": "31536000"}, 300),
        ({"Retry-After": "9" * 400}, 300),
        ({"Retry-After": "soon"}, 300),
        ({"Retry-After": "-5"}, 300),
        ({"Retry-After": ""}, 300),
        ({"Retry-After": "Sun, 22 Nov 2026 12:01:30 GMT", "Date": NOON}, 90),
        ({"Retry-After": "Mon, 22 Nov 2027 12:00:00 GMT", "Date": NOON}, 300),
        ({"Retry-After": "Sun, 22 Nov 2026 12:01:30 -0000", "Date": NOON}, 300),
        ({"Retry-After": "Sun, 22 Nov 2026 12:01:30 GMT"}, 300),
    ],
)
def test_retry_after(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers) == wait_s


# --- requests --------------------------------------------------------------------------------------------------------


async def test_v1_request() -> None:
    async with HttpStub(script(Answer())) as stub:
        assert await write(stub, [record(1), record(2)], retention_policy="weeks", username="u", password="p:ü") == {}
    [request] = stub.requests
    assert (request.method, request.path) == ("POST", "/write")
    assert request.query == {"db": "site", "rp": "weeks", "precision": "ms"}
    assert base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode() == "u:p:ü"
    assert request.lines == [
        b"energy,device=d1,site=pilot frequency_hz=50.0 1790000000001",
        b"energy,device=d2,site=pilot frequency_hz=50.0 1790000000002",
    ]


async def test_credentials_in_the_url_are_neither_sent_there_nor_shown() -> None:
    async with HttpStub(script(Answer(401))) as stub:
        sink = sink_for(stub.url.replace("//", "//eve:hush@") + "/influx/")
        with pytest.raises(SinkUnavailable) as caught:
            await sink.write([record(1)])
        await sink.close()
    assert stub.requests[0].path == "/influx/write"
    assert stub.requests[0].headers["authorization"] == "Basic " + base64.b64encode(b"eve:hush").decode()
    assert "hush" not in str(caught.value)
    assert f"127.0.0.1:{stub.port}" in str(caught.value)


@pytest.mark.parametrize("packed", [False, True])
async def test_v2_request(packed: bool) -> None:
    async with HttpStub(script(Answer())) as stub:
        sink = v2_for(stub.url + "/", gzip=packed)
        assert (await sink.write([record(1)])).rejected == {}
        await sink.close()
        await sink.close()
    [request] = stub.requests
    assert (request.method, request.path) == ("POST", "/api/v2/write")
    assert request.query == {"org": "o", "bucket": "b", "precision": "ms"}
    assert request.headers["authorization"] == "Token t0p"
    assert request.headers.get("content-encoding") == ("gzip" if packed else None)
    assert request.lines == [b"energy,device=d1,site=pilot frequency_hz=50.0 1790000000001"]


@pytest.mark.parametrize("make", [sink_for, v2_for])
async def test_one_connection_is_kept(make: Any) -> None:
    answers = script(Answer(), Answer(400, b'{"error": "no"}'), Answer(503, b"x" * 1000), Answer())
    async with HttpStub(answers) as stub:
        sink = make(stub.url)
        for _ in range(4):
            with suppress(SinkUnavailable):
                await sink.write([record(1)])
        await sink.close()
        assert stub.connections == 1
    assert len(stub.requests) >= 4


async def test_v1_gzip() -> None:
    async with HttpStub(script(Answer())) as stub:
        assert await write(stub, [record(n) for n in range(100)], gzip=True) == {}
    [request] = stub.requests
    assert request.headers["content-encoding"] == "gzip"
    assert int(request.headers["content-length"]) < len(request.body) / 4
    assert len(request.lines) == 100


async def test_a_large_batch_travels_in_bodies_below_one_megabyte() -> None:
    async with HttpStub(script(Answer())) as stub:
        await write(stub, [record(n) for n in range(30_000)])
    assert len(stub.requests) == 3
    assert all(len(request.body) <= 900_000 for request in stub.requests)
    assert len({line for request in stub.requests for line in request.lines}) == 30_000


async def test_nothing_good_sends_nothing() -> None:
    async with HttpStub(script(Answer(500))) as stub:
        assert await write(stub, [Readings("d", T, ("frequency_hz",), (None,), "B")]) == {}
    assert stub.requests == []


async def test_minutes_only_where_wanted() -> None:
    minute = Readings("d", T, ("frequency_hz:mean",), (50.0,), "N")
    async with HttpStub(script(Answer())) as stub:
        await write(stub, [record(1), minute], minutes=False)
        await write(stub, [record(1), minute], minutes=True)
    assert [len(request.lines) for request in stub.requests] == [1, 2]


async def test_what_cannot_be_written_at_all_is_rejected_without_asking() -> None:
    async with HttpStub(script(Answer())) as stub:
        rejected = await write(stub, [Readings("d", T, ("old_name",), (1.0,), "N"), record(1)])
    assert rejected == {0: "'old_name' is not in the vocabulary of this release"}
    assert [len(request.lines) for request in stub.requests] == [1]


# --- lines at fault --------------------------------------------------------------------------------------------------


class Picky:
    """A server that keeps good lines and complains about poisoned ones in the given words."""

    def __init__(self, complaint: Answer, keeps_the_rest: bool) -> None:
        self.complaint = complaint
        self.keeps_the_rest = keeps_the_rest
        self.stored: set[bytes] = set()

    def __call__(self, request: Request) -> Answer:
        good = [line for line in request.lines if b"=666.0" not in line]
        if len(good) == len(request.lines) or self.keeps_the_rest:
            self.stored.update(good)
        return Answer() if len(good) == len(request.lines) else self.complaint


@pytest.mark.parametrize("keeps_the_rest", [False, True])
@pytest.mark.parametrize("complaint", [error_1x(400, PARTIAL_1X), error_2x(422, "unprocessable entity", PARTIAL_2X)])
@pytest.mark.parametrize("poisoned", [{0}, {63}, {5, 6, 7, 40}, set(range(64))])
async def test_refused_lines_are_isolated(complaint: Answer, keeps_the_rest: bool, poisoned: set[int]) -> None:
    server = Picky(complaint, keeps_the_rest)
    batch = [record(n, POISON if n in poisoned else 50.0) for n in range(64)]
    async with HttpStub(server) as stub:
        rejected = await write(stub, batch)
    assert set(rejected) == poisoned
    assert set(rejected.values()) <= {PARTIAL_1X, PARTIAL_2X}
    assert len(server.stored) == 64 - len(poisoned)
    assert len(stub.requests) < 4 * 64


async def test_the_other_lines_of_a_refused_record_are_stored() -> None:
    server = Picky(error_1x(400, "no"), keeps_the_rest=False)
    mixed = Readings("d", T, ("frequency_hz", "pm10_ug_m3", "noise_la_db"), (POISON, 80.0, 61.0), "NNN")
    async with HttpStub(server) as stub:
        assert await write(stub, [mixed]) == {0: "no"}
    assert {line.split(b",")[0] for line in server.stored} == {b"air", b"noise"}


async def test_413_is_split_until_it_fits_and_a_giant_is_rejected() -> None:
    giant = Readings("giant" * 100, T, ("frequency_hz",), (50.0,), "N")
    kept: set[bytes] = set()

    def small_only(request: Request) -> Answer:
        if len(request.body) > 400:
            return error_1x(413, "Request Entity Too Large")
        kept.update(request.lines)
        return Answer()

    async with HttpStub(small_only) as stub:
        rejected = await write(stub, [*(record(n) for n in range(40)), giant])
    assert rejected == {40: "Request Entity Too Large"}
    assert len(kept) == 40


async def test_a_500_that_hides_a_bad_line_is_found_on_the_third_try() -> None:
    server = Picky(error_2x(500, "internal error", "unexpected"), keeps_the_rest=False)
    batch = [record(n, POISON if n in (3, 4) else 50.0) for n in range(32)]
    async with HttpStub(server) as stub:
        sink = sink_for(stub.url)
        for _ in range(2):
            with pytest.raises(SinkUnavailable, match="HTTP 500: unexpected"):
                await sink.write(batch)
        assert len(stub.requests) == 2
        written = await sink.write(batch)
        await sink.close()
    assert written.rejected == {3: "HTTP 500: unexpected", 4: "HTTP 500: unexpected"}
    assert len(server.stored) == 30


async def test_a_bad_line_alone_is_found_out_when_others_join_it() -> None:
    server = Picky(error_2x(500, "internal error", "unexpected"), keeps_the_rest=False)
    batch = [record(0, POISON)]
    async with HttpStub(server) as stub:
        sink = sink_for(stub.url)
        for number in range(1, 3):
            with pytest.raises(SinkUnavailable):
                await sink.write(batch)
            batch.append(record(number))
        assert (await sink.write(batch)).rejected == {0: "HTTP 500: unexpected"}
        await sink.close()


async def test_an_ill_server_convicts_nobody() -> None:
    batch = [record(n) for n in range(500)]
    async with HttpStub(script(Answer(500))) as stub:
        sink = sink_for(stub.url)
        for _ in range(7):
            with pytest.raises(SinkUnavailable):
                await sink.write(batch)
        await sink.close()
    assert len(stub.requests) == 7 + 2 * 64  # two bounded searches, after the third and the sixth


async def test_a_server_that_falls_ill_during_the_search_convicts_nobody() -> None:
    """The first parts are stored, then every request meets a 500: no line is to blame for that."""
    asked = 0

    def falling_ill(request: Request) -> Answer:
        nonlocal asked
        asked += 1
        return Answer() if asked == 4 else Answer(500)

    batch = [record(n) for n in range(16)]
    async with HttpStub(falling_ill) as stub:
        sink = sink_for(stub.url)
        for _ in range(3):
            with pytest.raises(SinkUnavailable):
                await sink.write(batch)
        await sink.close()
    assert stub.requests[-1].lines == stub.requests[3].lines[:1]  # the question that cleared them: a known good line


async def test_an_outage_during_the_search_rejects_nothing_yet() -> None:
    async with HttpStub(script(error_1x(400, "no"), error_1x(400, "no"), Answer(503))) as stub:
        with pytest.raises(SinkUnavailable, match="503"):
            await write(stub, [record(1, POISON), record(2)])


# --- the sink is away ------------------------------------------------------------------------------------------------


async def test_the_pause_asked_for_reaches_the_pump() -> None:
    async with HttpStub(script(Answer(429, b"", {"Retry-After": "12"}))) as stub:
        with pytest.raises(SinkUnavailable, match="pause") as caught:
            await write(stub, [record(1)])
    assert caught.value.retry_after_s == 12


@pytest.mark.parametrize("make", [sink_for, v2_for])
async def test_a_redirect_is_not_followed(make: Any) -> None:
    thief = HttpStub(script(Answer()))
    stub = HttpStub(lambda _: Answer(307, b"", {"Location": thief.url + "/write"}))
    async with thief, stub:
        sink = make(stub.url)
        with pytest.raises(SinkUnavailable, match="not followed"):
            await sink.write([record(1)])
        await sink.close()
    assert thief.requests == []


@pytest.mark.parametrize("make", [sink_for, v2_for])
async def test_refused_connection(make: Any) -> None:
    with socket.socket() as taken:  # bound but not listening
        taken.bind(("127.0.0.1", 0))
        sink = make(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(SinkUnavailable, match="cannot connect"):
            await sink.write([record(1)])
        await sink.close()


@pytest.mark.parametrize("make", [sink_for, v2_for])
@pytest.mark.parametrize("answer", [Answer(stall=True), Answer(400, b"{", length=100, stall=True)])
async def test_a_silent_server_is_a_timeout(make: Any, answer: Answer) -> None:
    async with HttpStub(script(answer)) as stub:
        sink = make(stub.url, timeout="200ms")
        with pytest.raises(SinkTimeout, match=r"no answer within 0\.2 s"):
            await sink.write([record(1)])
        await sink.close()


async def test_a_lost_answer_is_a_lost_connection() -> None:
    async with HttpStub(script(Answer(drop=True), Answer())) as stub:
        sink = sink_for(stub.url)
        with pytest.raises(SinkUnavailable, match="connection lost"):
            await sink.write([record(1)])
        assert (await sink.write([record(1)])).rejected == {}
        await sink.close()
    assert stub.requests[0].body == stub.requests[1].body


@pytest.mark.parametrize("make", [sink_for, v2_for])
async def test_of_a_huge_error_only_the_beginning_is_read(make: Any) -> None:
    async with HttpStub(script(Answer(500, b"x" * 200_000, length=100_000_000, stall=True))) as stub:
        sink = make(stub.url, timeout="20s")
        with pytest.raises(SinkUnavailable, match="HTTP 500"):
            await sink.write([record(1)])
        await sink.close()


@pytest.mark.parametrize("body", [b"not gzip at all", gzip.compress(b'{"error": "no"}' + b" " * 10_000_000)])
async def test_a_packed_error_is_never_unpacked(body: bytes) -> None:
    async with HttpStub(script(Answer(400, body, {"Content-Encoding": "gzip"}))) as stub:
        with pytest.raises(SinkUnavailable, match="HTTP 400 without an InfluxDB error"):
            await write(stub, [record(1)])
    assert stub.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("make", [sink_for, v2_for])
async def test_a_certificate_of_a_stranger_gets_nothing(make: Any, tmp_path: Path) -> None:
    cert, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    command = [need("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    names = ["-subj", "/CN=stranger", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cert, key)
    async with HttpStub(script(Answer()), tls) as stub:
        sink = make(stub.url)
        with pytest.raises(SinkUnavailable, match=r"certificate is not trusted.*; check url and clock"):
            await sink.write([record(1)])
        await sink.close()
    assert stub.requests == []


async def test_an_unknown_name_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    sink = sink_for("http://influx.invalid:8086")
    with pytest.raises(SinkUnavailable, match=r"influx\.invalid cannot be resolved; check url and DNS"):
        await sink.write([record(1)])
    await sink.close()
