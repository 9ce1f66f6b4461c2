"""The MQTT listener on a real mosquitto, and on a scripted peer for what mosquitto does not do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import aiomqtt
import pytest

from drivers.api import Gone, Rejected, Report, Subscribed, Value
from drivers.errors import LinkDown
from drivers.mqtt_json.driver import Address, Broker, Limits, MqttListener, Point, check_point, read_example
from tests.support.mosquitto import Certificates, Mosquitto, make_certificates

CRANE = {
    "load_t": Point("site/crane/{id}/live", "liftingCapacity"),
    "wind_speed_m_s": Point("site/crane/{id}/live", "windSpeed"),
}
LIVE = b'{"liftingCapacity": 2.5, "windSpeed": "3.2", "deviceTime": 1790000000}'
GOOD = Report("crane-1", ("load_t", "wind_speed_m_s"), (2.5, 3.2), 1_790_000_000_000, False)
LIMITS = Limits(time_path="deviceTime", time_format="unix_s")


def listener(broker: Broker, *ids: str) -> MqttListener:
    return MqttListener(broker, {f"crane-{id}": (Address(id), CRANE, LIMITS) for id in ids or ("1",)})  # noqa: A001


def local(port: int, version: str = "5") -> Broker:
    return Broker("127.0.0.1", port, "gateway", version=version, connect_timeout_s=5.0)  # type: ignore[arg-type]


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path) as broker:
        yield broker


async def publish(port: int, *messages: tuple[str, bytes], retain: bool = False, qos: int = 1) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        for topic, payload in messages:
            await client.publish(topic, payload, qos=qos, retain=retain)


async def collect(source: MqttListener, count: int, then: Callable[[], Awaitable[None]] | None = None) -> list[object]:
    """The first ``count`` messages after Subscribed; ``then`` is done as soon as the subscription stands."""
    got: list[object] = []
    given = 0
    async with aclosing(source.reports()) as reports:
        async for message in reports:
            source.acknowledge(given)  # all but this one
            given += 1
            if isinstance(message, Subscribed):
                if then is not None:
                    await then()
            else:
                got.append(message)
            if len(got) == count:
                break
    return got


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_reports_of_two_devices(mosquitto: Mosquitto, version: str) -> None:
    both = [("site/crane/1/live", LIVE), ("site/crane/2/live", b'{"liftingCapacity": 1}')]
    got = await collect(listener(local(mosquitto.port, version), "1", "2"), 2, lambda: publish(mosquitto.port, *both))
    assert got == [GOOD, Report("crane-2", GOOD.points, (1, None), None, False)]


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_retained_message_is_marked(mosquitto: Mosquitto, version: str) -> None:
    await publish(mosquitto.port, ("site/crane/1/live", LIVE), retain=True)
    assert await collect(listener(local(mosquitto.port, version)), 1) == [replace(GOOD, retained=True)]


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_qos_1_messages_wait_at_the_broker(mosquitto: Mosquitto, version: str) -> None:
    source = listener(local(mosquitto.port, version))
    await collect(source, 1, lambda: publish(mosquitto.port, ("site/crane/1/live", LIVE)))
    sent = [("site/crane/1/live", b'{"liftingCapacity": %d}' % n) for n in range(50)]
    await publish(mosquitto.port, *sent)
    got = await collect(source, 51)
    assert got[0] == GOOD  # taken, but the consumer ended before it asked for the next one: not acknowledged
    assert [m.values[0] for m in got[1:] if isinstance(m, Report)] == list(range(50))


async def test_ten_megabytes_are_rejected_and_the_next_message_is_read(mosquitto: Mosquitto) -> None:
    async def send() -> None:
        await publish(mosquitto.port, ("site/crane/1/live", b"1" * 10_000_000), ("site/crane/1/live", LIVE))

    got = await collect(listener(local(mosquitto.port)), 2, send)
    assert isinstance(got[0], Rejected)
    assert (got[0].device, got[0].cause) == ("crane-1", "too_large")
    assert got[1] == GOOD


async def test_broker_restart_is_link_down_and_then_works_again(mosquitto: Mosquitto) -> None:
    source = listener(local(mosquitto.port))
    with pytest.raises(LinkDown, match=rf"MQTT broker 127.0.0.1:{mosquitto.port}: the connection was lost"):
        await collect(source, 1, mosquitto.stop)
    with pytest.raises(LinkDown, match="connection refused: is the broker running"):
        await collect(source, 1)
    await mosquitto.start()
    assert await collect(source, 1, lambda: publish(mosquitto.port, ("site/crane/1/live", LIVE))) == [GOOD]


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_credentials(tmp_path: Path, version: str) -> None:
    async with Mosquitto(tmp_path, users={"site": "right"}) as broker:
        good = replace(local(broker.port, version), username="site", password="right")
        for wrong in (replace(good, password="wrong"), local(broker.port, version)):
            with pytest.raises(LinkDown, match="refuses the credentials: check username and password") as caught:
                await collect(listener(wrong), 1)
            assert "wrong" not in str(caught.value)
        async with aclosing(listener(good).reports()) as reports:
            assert await anext(reports) == Subscribed()


# paho leaves the socket of a failed handshake to the garbage collector, which closes it at once and says so.
PAHO_LEAVES_A_SOCKET = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@PAHO_LEAVES_A_SOCKET
@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_tls(tmp_path: Path, certificates: Certificates, version: str) -> None:
    async with Mosquitto(tmp_path, certificates=certificates) as broker:
        encrypted = replace(local(broker.port, version), tls=True)
        with pytest.raises(LinkDown, match="certificate is not trusted: check ca_file"):
            await collect(listener(encrypted), 1)
        with pytest.raises(LinkDown, match="No such file"):
            await collect(listener(replace(encrypted, ca_file=tmp_path / "nowhere.crt")), 1)
        trusted = replace(encrypted, ca_file=certificates.ca_file)
        async with aclosing(listener(trusted).reports()) as reports:
            assert await anext(reports) == Subscribed()


@PAHO_LEAVES_A_SOCKET
async def test_tls_to_a_plain_port(mosquitto: Mosquitto) -> None:
    with pytest.raises(LinkDown, match=f":{mosquitto.port}: "):
        await collect(listener(replace(local(mosquitto.port), tls=True)), 1)


async def test_a_subscription_of_an_earlier_configuration_is_given_up(mosquitto: Mosquitto) -> None:
    before = listener(local(mosquitto.port), "old")
    async with aclosing(before.reports()) as reports:
        assert await anext(reports) == Subscribed()

    async def send() -> None:
        await publish(mosquitto.port, ("site/crane/old/live", LIVE), ("site/crane/1/live", LIVE))

    got = await collect(listener(local(mosquitto.port)), 2, send)
    assert isinstance(got[0], Rejected)
    assert (got[0].cause, got[1]) == ("unknown_topic", GOOD)
    again = await collect(listener(local(mosquitto.port)), 2, send)
    assert again == [GOOD, GOOD]  # the first is the one that was not acknowledged


async def test_a_flood_costs_the_oldest_and_is_counted(mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drivers.mqtt_json.driver._INBOX", 10)

    async def send() -> None:
        flood = [("site/crane/1/live", b'{"liftingCapacity": %d}' % n) for n in range(200)]
        # one connection: a broker keeps the order of one publisher only
        await publish(mosquitto.port, *flood, ("site/crane/2/live", LIVE), qos=0)

    source = listener(local(mosquitto.port), "1", "2")
    values: list[Value] = []
    lost = 0
    async with aclosing(source.reports()) as reports:
        async for message in reports:
            match message:
                case Subscribed():
                    await send()
                case Report(device="crane-2"):
                    break
                case Report():
                    values.append(message.values[0])
                case Rejected(cause="inbox_full", detail=detail):
                    lost += int(detail.split()[0])
    assert lost > 0
    assert values == sorted(values, key=float)  # type: ignore[arg-type]
    assert len(values) + lost >= 200
    assert values[-1] == 199


@dataclass
class Peer:
    """A broker's end of the wire that answers each packet with the next of ``replies``, then stays silent."""

    replies: tuple[bytes, ...]
    port: int = 0
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    handlers: list[asyncio.Task[None]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handlers.append(cast("asyncio.Task[None]", asyncio.current_task()))
        left = list(self.replies)
        while await reader.read(65_536):
            self.heard.set()
            if left:
                writer.write(left.pop(0))
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def scripted_peer(*replies: bytes) -> AsyncIterator[Peer]:
    peer = Peer(replies)
    async with await asyncio.start_server(peer.serve, "127.0.0.1", 0) as server:
        peer.port = server.sockets[0].getsockname()[1]
        yield peer
    await asyncio.gather(*peer.handlers)  # returns only when our side has closed its connection


CONNACK, SUBACK = b"\x20\x02\x00\x00", b"\x90%c\x00\x01"


async def test_refused_subscriptions_are_reported() -> None:
    async with (
        scripted_peer(CONNACK, SUBACK % 4 + b"\x80\x01") as peer,
        aclosing(listener(local(peer.port, "3.1.1"), "1", "2").reports()) as reports,
    ):
        refused = await anext(reports)
        assert isinstance(refused, Rejected)
        assert (refused.device, refused.cause) == ("crane-1", "subscription_refused")
        assert await anext(reports) == Subscribed()


async def test_a_second_client_with_our_id_is_named() -> None:
    connack, suback = b"\x20\x03\x00\x00\x00", b"\x90\x04\x00\x01\x00\x01"
    taken_over = b"\xe0\x02\x8e\x00"
    async with scripted_peer(connack, suback + taken_over) as peer:
        with pytest.raises(LinkDown, match="another client connected with our client_id"):
            await collect(listener(local(peer.port)), 1)


async def test_all_subscriptions_refused_is_link_down() -> None:
    async with scripted_peer(CONNACK, SUBACK % 3 + b"\x80") as peer:
        with pytest.raises(LinkDown, match="refuses every subscription, the first is site/crane/1/live"):
            await collect(listener(local(peer.port, "3.1.1")), 1)


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_peer_that_never_answers(version: str) -> None:
    async with scripted_peer() as peer:
        with pytest.raises(LinkDown, match="no answer to our request"):
            await collect(listener(replace(local(peer.port, version), connect_timeout_s=0.1)), 1)


async def test_ending_while_connecting_leaves_nothing() -> None:
    async with scripted_peer() as peer:
        task = asyncio.create_task(collect(listener(local(peer.port)), 1))
        await peer.heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("id", ["", "a+b", "#", "{id}"])
def test_an_id_must_fit_into_a_topic(id: str) -> None:  # noqa: A002
    with pytest.raises(ValueError, match="becomes part of a topic"):
        Address(id)


@pytest.mark.parametrize(
    ("point", "problem"),
    [
        (Point("site/live"), r"needs \{id\}"),
        (Point("site/+/{id}"), "one exact topic"),
        (Point("{site}/{id}"), "one exact topic"),
        (Point("{id}", "a..b"), "empty step"),
        (Point("{id}", type="text"), "belong together"),
        (Point("{id}", map={"on": 1}), "belong together"),
        (Point("{id}", type="bool", bit=1), "bit 1"),
        (Point("{id}", bit=53), "bit 53"),
    ],
)
def test_points_that_cannot_be(point: Point, problem: str) -> None:
    found = check_point("load_t", point, Limits())
    assert found is not None
    assert found.startswith("load_t: ")
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(found)


def test_a_good_point_has_no_problem() -> None:
    assert [check_point(name, point, Limits()) for name, point in CRANE.items()] == [None, None]


def test_example() -> None:
    raw = {"site/crane/{id}/live": {"liftingCapacity": 2.5, "windSpeed": 3.2}}
    assert read_example(CRANE, raw) == {"load_t": 2.5, "wind_speed_m_s": 3.2}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ([], "must map topics"),
        ({}, "is missing"),
        ({"site/crane/{id}/live": {"liftingCapacity": "x"}}, "is not a number"),
        ({"site/crane/{id}/live": {"liftingCapacity": float("nan")}}, "cannot be JSON"),
        ({"site/crane/{id}/live": {1, 2}}, "cannot be JSON"),
    ],
)
def test_broken_examples(raw: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_example(CRANE, raw)


# --- what needs more than one connection ----------------------------------------------------------------------


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_what_is_not_durable_comes_again(mosquitto: Mosquitto, version: str) -> None:
    source = listener(local(mosquitto.port, version))
    sent = [("site/crane/1/live", b'{"liftingCapacity": %d}' % n) for n in range(5)]
    async with aclosing(source.reports()) as reports:
        assert await anext(reports) == Subscribed()
        await publish(mosquitto.port, *sent)
        first = [await anext(reports) for _ in range(5)]
        source.acknowledge(3)  # Subscribed and two messages; the others are taken, but on no disk
    assert len(first) == 5
    again = await collect(listener(local(mosquitto.port, version)), 3)
    assert [m.values[0] for m in again if isinstance(m, Report)] == [2, 3, 4]


async def test_a_last_will_tells_that_the_device_is_gone(mosquitto: Mosquitto) -> None:
    """Fault 68, with the broker's own will."""
    limits = replace(LIMITS, will_topic="site/crane/{id}/status")
    source = MqttListener(local(mosquitto.port), {"crane-1": (Address("1"), CRANE, limits)})

    async def die() -> None:
        will = aiomqtt.Will("site/crane/1/status", b"offline", qos=1, retain=True)
        device = aiomqtt.Client("127.0.0.1", mosquitto.port, will=will)
        await device.__aenter__()
        await device.publish("site/crane/1/status", b"online", qos=1, retain=True)
        await device.publish("site/crane/1/live", LIVE, qos=1)
        device._client._sock_close()
        device._disconnected.set_result(None)
        await device.__aexit__(None, None, None)

    got = await collect(source, 2, die)
    assert got[0] == GOOD
    assert isinstance(got[1], Gone)
    assert got[1].device == "crane-1"
    [still] = await collect(source, 1)
    assert isinstance(still, Gone), "retained: who connects later is told as well"


async def test_thousands_of_foreign_ids_do_not_reach_us(mosquitto: Mosquitto) -> None:
    """Fault 64: only the topics of our devices are asked for, so nobody can invent a series."""
    source = listener(local(mosquitto.port))
    strangers = [(f"site/crane/stranger-{n}/live", LIVE) for n in range(2000)]
    mine = ("site/crane/1/live", LIVE)
    assert await collect(source, 1, lambda: publish(mosquitto.port, *strangers, mine, qos=0)) == [GOOD]


async def test_a_broker_that_loses_its_store_costs_nothing_that_was_ours(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Fault 60: no session and no retained message is left, and all is asked for anew."""
    source = listener(local(mosquitto.port))
    await collect(source, 1, lambda: publish(mosquitto.port, ("site/crane/1/live", LIVE)))
    await mosquitto.stop()
    for store in tmp_path.glob("*.db"):
        store.unlink()
    await mosquitto.start()
    assert await collect(source, 1, lambda: publish(mosquitto.port, ("site/crane/1/live", LIVE))) == [GOOD]


async def test_a_link_that_passes_nothing_any_more_is_noticed(mosquitto: Mosquitto) -> None:
    """Fault 67: a connection that is open, and dead."""
    dead = asyncio.Event()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            if not dead.is_set():
                writer.write(data)

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", mosquitto.port)
        try:
            await asyncio.wait(
                [asyncio.create_task(pump(reader, far_writer)), asyncio.create_task(pump(far_reader, writer))]
            )
        finally:
            for each in (writer, far_writer):
                each.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    broker = replace(local(server.sockets[0].getsockname()[1]), keepalive_s=1.0)

    async def die() -> None:
        dead.set()

    async with asyncio.timeout(10):
        with pytest.raises(LinkDown, match="does the network still lead"):
            await collect(listener(broker), 1, die)
    server.close()
    await mosquitto.stop()  # ends the far half of the dead connection
    await asyncio.sleep(0.05)
