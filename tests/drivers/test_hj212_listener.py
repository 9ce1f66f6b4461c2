"""Stations on real sockets and a real tty: who is let in, what is acked when, and what bad peers can do to us."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from drivers.api import Rejected, Report, Subscribed
from drivers.errors import LinkDown
from drivers.hj212 import desk
from drivers.hj212.codec import compose
from drivers.hj212.crc import crc_text
from drivers.hj212.listener import Call, Door, Port, StationListener
from drivers.hj212.points import Address, Limits, Point
from drivers.transport.serial import SerialStream
from drivers.transport.tcp import TcpStream
from gateway.config.profiles import find_profile
from gateway.links.listener import ListenerWorker
from gateway.model import DeviceHealth, LinkHealth, Readings
from gateway.pipeline.fanout import Pipeline
from tests.support.clock import ManualClock, settle
from tests.support.machine import free_port
from tests.support.pty import PtyWire

ZONE = ZoneInfo("Asia/Shanghai")
NOW_MS = int(datetime(2026, 11, 22, 10, 0, 0, tzinfo=ZONE).timestamp() * 1000)
POINTS = {"pm10": Point("a34002")}
STATIONS = {
    "gate": (Address("A"), POINTS, Limits()),
    "yard": (Address("B", password="654321"), POINTS, Limits(crc="modbus_swapped")),
}
Messages = AsyncGenerator[Report | Rejected | Subscribed, None]


def upload(value: float, *, mn: str = "A", kind: Any = "hj212", **header: str) -> bytes:
    fields = {"QN": f"2026112210{value:07.0f}", "ST": "39", "CN": "2011", "PW": "123456", "MN": mn, "Flag": "5"}
    return compose({**fields, **header}, f"DataTime=20261122100000;a34002-Rtd={value}", kind)


@asynccontextmanager
async def listening(door: Door | None = None, idle_s: float = 60.0) -> AsyncIterator[tuple[Messages, int]]:
    port = free_port()
    listener = StationListener(door or Port("127.0.0.1", port), STATIONS, ZONE, lambda: NOW_MS, idle_s)
    messages = listener.reports()
    try:
        assert await anext(messages) == Subscribed()
        yield messages, port
    finally:
        await messages.aclose()


class Peer:
    """A station, or somebody who claims to be one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def says(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hears(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.readuntil(b"\r\n")

    async def is_shown_out(self) -> bool:
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(1000):
                    pass
        return True

    async def hears_nothing(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                return not await self.reader.read(1)
        return True


@asynccontextmanager
async def peer(port: int) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def following(messages: Messages) -> Report | Rejected | Subscribed:
    async with asyncio.timeout(5):
        return await anext(messages)


async def causes_until(messages: Messages, cause: str) -> list[str]:
    """The causes that come, up to the wanted one."""
    found: list[str] = []
    while not found or found[-1] != cause:
        message = await following(messages)
        assert isinstance(message, Rejected), message
        found.append(message.cause)
    return found


# --- taking and acking -----------------------------------------------------------------------------------------------


async def test_an_upload_is_acked_only_after_it_was_taken_in() -> None:
    async with listening() as (messages, port), peer(port) as station:
        await station.says(upload(52))
        report = await following(messages)
        assert report == Report("gate", ("pm10",), (52.0,), NOW_MS, retained=False)
        assert await station.hears_nothing(), "the consumer still holds it"
        await station.says(upload(53))
        await following(messages)
        assert b"QN=20261122100000052;ST=91;CN=9014" in await station.hears()
        assert await station.hears_nothing(), "only the first one is settled"


async def test_several_stations_on_one_port_and_several_behind_one_dtu() -> None:
    async with listening() as (messages, port), peer(port) as dtu:
        both = upload(52) + upload(60, mn="B", kind="modbus_swapped", PW="654321")
        await dtu.says(both[:70])
        await dtu.says(both[70:])
        devices = {(await following(messages)).device for _ in range(2)}  # type: ignore[union-attr]
        assert devices == {"gate", "yard"}


async def test_what_was_not_taken_in_is_not_known_after_a_restart() -> None:
    port = free_port()
    listener = StationListener(Port("127.0.0.1", port), STATIONS, ZONE, lambda: NOW_MS, 60.0)
    for _ in range(2):
        messages = listener.reports()
        await anext(messages)
        async with peer(port) as station:
            await station.says(upload(52))
            assert isinstance(await following(messages), Report), "never acked, so it is taken again"
            await messages.aclose()


async def test_glued_split_damaged_and_foreign_bytes_cost_only_themselves() -> None:
    """Faults 89, 93 and 94."""
    good = upload(52)
    wrong_crc = upload(53)[:-6] + b"EEEE\r\n"
    said = b"CN=3020;MN=A;CP=&&i12001-Info=//" + "清洗".encode("gb18030") + b"//&&"
    gbk = b"##%04d%s%s\r\n" % (len(said), said, crc_text(said).encode())
    async with listening() as (messages, port), peer(port) as station:
        stream = good + b"\x00DTU-HEARTBEAT" + wrong_crc + gbk + upload(54) + b"##9x" + upload(55)
        for i in range(0, len(stream), 7):
            await station.says(stream[i : i + 7])
        found = [await following(messages) for _ in range(7)]
        assert [m.values[0] for m in found if isinstance(m, Report)] == [52.0, 54.0, 55.0]
        assert [m.cause for m in found if isinstance(m, Rejected)] == ["noise", "bad_crc", "other_command", "noise"]


async def test_a_station_that_asks_for_the_time_is_set() -> None:
    async with listening() as (messages, port), peer(port) as station:
        await station.says(compose({"QN": "1", "ST": "39", "CN": "1013", "MN": "A", "Flag": "5"}))
        asking = asyncio.create_task(anext(messages))  # type: ignore[arg-type]
        assert b"CN=9013" in await station.hears()
        assert b"CN=1012;MN=A;Flag=5;CP=&&SystemTime=20261122100000&&" in await station.hears()
        await station.says(upload(52))
        assert isinstance(await asking, Report)


# --- who is believed -------------------------------------------------------------------------------------------------


async def test_strangers_are_counted_and_shown_out() -> None:
    """Fault 96: unknown and forged identities."""
    async with listening() as (messages, port), peer(port) as station:
        await station.says(upload(52))
        await following(messages)
        for data, cause in (
            (upload(1, mn="X"), "unknown_station"),
            (upload(1, mn="B", kind="modbus_swapped"), "wrong_password"),
        ):
            async with peer(port) as stranger:
                await stranger.says(data)
                assert await causes_until(messages, cause) == [cause]
                assert await stranger.is_shown_out()
        await station.says(upload(53))
        assert isinstance(await following(messages), Report), "the others go on"


async def test_a_stranger_behind_a_known_dtu_does_not_cost_the_known_ones_their_line() -> None:
    async with listening() as (messages, port), peer(port) as dtu:
        await dtu.says(upload(52) + upload(1, mn="X") + upload(53))
        found = [await following(messages) for _ in range(3)]
        assert [type(m) for m in found] == [Report, Rejected, Report]


async def test_a_new_connection_of_a_station_replaces_the_old_one() -> None:
    """Fault 91: a DTU that reconnects and leaves its old sockets behind."""
    async with listening() as (messages, port), contextlib.AsyncExitStack() as stack:
        links = [await stack.enter_async_context(peer(port)) for _ in range(5)]
        await links[0].says(upload(1))
        await following(messages)
        for value, (old, new) in enumerate(itertools.pairwise(links), 2):
            await new.says(upload(value))
            assert await causes_until(messages, "replaced") == ["replaced"]
            assert isinstance(await following(messages), Report)
            assert await old.is_shown_out()


# --- what bad peers can do -------------------------------------------------------------------------------------------


async def test_a_flood_of_connections_leaves_room_for_the_stations() -> None:
    """Faults 91 and 97: hundreds of sockets that say nothing."""
    async with listening() as (messages, port), contextlib.AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(peer(port)) for _ in range(200)]
        station = await stack.enter_async_context(peer(port))
        await station.says(upload(52))
        async with asyncio.timeout(5):
            report = await anext(message async for message in messages if isinstance(message, Report))
        assert report.values == (52.0,)
        assert await crowd[0].is_shown_out()
        assert not crowd[-1].reader.at_eof()
        open_now = [t for t in asyncio.all_tasks() if t.get_name().startswith("HJ 212")]
        assert len(open_now) <= 8 + 2 * len(STATIONS) + 1


async def test_who_sends_a_byte_now_and_then_is_given_up_and_shown_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 97: neither half packets nor single bytes keep a connection alive."""
    monkeypatch.setattr(desk, "PACKET_S", 0.05)
    async with listening(idle_s=0.3) as (messages, port), peer(port) as slow:

        async def dribble() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    await slow.says(b"##0100")
                    await asyncio.sleep(0.02)

        dribbling = asyncio.create_task(dribble())
        causes = await causes_until(messages, "idle")
        assert causes[0] == "half"
        assert await slow.is_shown_out()
        dribbling.cancel()
        await asyncio.gather(dribbling, return_exceptions=True)


@pytest.mark.parametrize("junk", [b"x" * 8192, b"##0000AAAA" * 800, b"##9994&&1C80" * 700], ids=["x", "short", "long"])
async def test_an_endless_line_is_cut_off(junk: bytes) -> None:
    """Fault 98: neither memory nor time for who never sends a packet."""
    async with listening() as (messages, port), peer(port) as flooder:

        async def flood() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    await flooder.says(junk)

        flooding = asyncio.create_task(flood())
        while (message := await following(messages)).cause != "noise" or "was closed" not in message.detail:  # type: ignore[union-attr]
            pass
        assert await flooder.is_shown_out()
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


class Torrent:
    """A stream that always has one more upload."""

    def __init__(self) -> None:
        self.sent = 0

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    def write(self, data: bytes) -> None: ...

    async def read(self, timeout_s: float) -> bytes:
        await asyncio.sleep(0)
        self.sent += 1
        return upload(self.sent)


async def test_a_consumer_that_does_not_come_holds_the_station_back() -> None:
    """Back-pressure instead of memory: what is not taken stays in the wire."""
    torrent = Torrent()
    async with listening(Call(torrent)) as (messages, _):
        await settle(1000)
        before = torrent.sent
        assert before < 100
        for _ in range(10):
            assert isinstance(await following(messages), Report)
        await settle(1000)
        assert before < torrent.sent <= before + 10


async def test_who_does_not_fetch_answers_is_not_kept() -> None:
    async with listening() as (messages, port), peer(port) as deaf:
        deaf.writer.transport.set_write_buffer_limits(high=10**9)
        deaf.reader._transport.pause_reading()  # type: ignore[attr-defined]

        async def take() -> None:
            async for _ in messages:
                pass

        taking = asyncio.create_task(take())
        heartbeat = compose({"QN": "1" * 60, "CN": "9015", "PW": "1" * 60, "MN": "A", "Flag": "5"}) * 500
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(10):
                while not deaf.writer.transport.is_closing():
                    await deaf.says(heartbeat)
                    await asyncio.sleep(0)
        assert deaf.writer.transport.is_closing()
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)


# --- doors -----------------------------------------------------------------------------------------------------------


async def test_a_port_that_is_taken_says_what_to_do() -> None:
    async with listening() as (_, port):
        with pytest.raises(LinkDown, match=rf"cannot listen on 127.0.0.1:{port}: .* no other program has"):
            await anext(StationListener(Port("127.0.0.1", port), STATIONS, ZONE, lambda: NOW_MS, 60.0).reports())


async def test_a_station_on_a_serial_line() -> None:
    wire = PtyWire()
    try:
        async with listening(Call(SerialStream(wire.port, 9600, "none", 1))) as (messages, _):
            wire.write(b"\xff\x00" + upload(52))
            found = [await following(messages), await following(messages)]
            assert [type(m) for m in found] == [Rejected, Report]
            asking = asyncio.create_task(anext(messages))  # type: ignore[arg-type]
            async with asyncio.timeout(5):
                assert b"CN=9014" in await wire.read(60)
            wire.unplug()
            with pytest.raises(LinkDown):
                await asyncio.wait_for(asking, 5)
    finally:
        wire.unplug()


async def test_a_station_that_waits_to_be_called() -> None:
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(upload(1, mn="X") + upload(52))
        heard.append(await reader.readuntil(b"\r\n"))
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    door = Call(TcpStream("127.0.0.1", server.sockets[0].getsockname()[1]))
    async with listening(door) as (messages, _):
        stranger = await following(messages)
        assert isinstance(stranger, Rejected)
        assert stranger.cause == "unknown_station", "told, and the line that we opened stays"
        assert isinstance(await following(messages), Report)
        with pytest.raises(LinkDown, match="connection lost"):
            await following(messages)
        assert b"CN=9014" in heard[0]
    server.close()
    await server.wait_closed()


async def test_marks_of_the_station_arrive_as_marks() -> None:
    profile = find_profile("hj212_dust_station")
    clock = ManualClock(NOW_MS)
    taken: list[Readings] = []
    port = free_port()
    listener = StationListener(
        Port("127.0.0.1", port), {"gate": (Address("A"), profile.points, Limits())}, ZONE, clock.wall_ms, 60.0
    )
    health, devices = LinkHealth("hj", "hj212_server", "here"), {"gate": DeviceHealth("gate")}
    pipeline = Pipeline({"gate": profile.rules}, [taken.append])
    worker = ListenerWorker(
        listener, {"gate": 60.0}, pipeline, clock, health, devices, {"gate": tuple(profile.points)}, lambda: 0.5
    )
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(5):
        while health.state != "up":
            await asyncio.sleep(0.005)
        async with peer(port) as station:
            header = {"QN": "1", "ST": "39", "CN": "2011", "PW": "123456", "MN": "A", "Flag": "5"}
            area = "a34002-Rtd=52,a34002-Flag=N;a34001-Rtd=0,a34001-Flag=B;LA-Rtd=60,LA-Flag=C;a01002-Rtd=130"
            await station.says(compose(header, f"DataTime=20261122095955;{area}") * 2)
            await station.hears()
            await station.hears()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    (readings,) = taken
    assert readings.metrics == ("pm10_ug_m3", "tsp_ug_m3", "noise_la_db", "humidity_pct")
    assert (readings.values, readings.marks) == ((52.0, None, None, None), "NBCT")
    assert readings.time_ms == NOW_MS - 5_000
    assert (devices["gate"].state, devices["gate"].last_error) == ("good", None)
    assert health.failures == {"repeated": 1}
    assert health.last_error is None, "a repetition is counted, and nothing that anybody needs to act on"
