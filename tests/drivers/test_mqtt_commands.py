"""Commands over MQTT: the profile's template filled in, and on a real mosquitto what becomes of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiomqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.api import Report, Subscribed
from drivers.errors import LinkDown, NoAnswer, Refused
from drivers.mqtt_json.commands import command
from drivers.mqtt_json.driver import Address, Broker, Limits, MqttListener, Point, check_write
from tests.support.mosquitto import Mosquitto

STATE, SET = "site/cannon/{id}/state", "site/cannon/{id}/set"
SPRAYING = Point(STATE, "spraying", "bool", command_topic=SET, command_payload='{"spray": {value}, "hold_s": {hold_s}}')
MODE = Point(STATE, "mode", "text", map={"off": 0, "ein": 1}, command_topic=SET, command_payload='{"mode": {value}}')
LEVEL = Point(STATE, "level", command_topic=SET)


# --- pure ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("point", "raw", "hold_s", "payload"),
    [
        (SPRAYING, 1, 30.0, b'{"spray": true, "hold_s": 30}'),
        (SPRAYING, 1, 2.5, b'{"spray": true, "hold_s": 2.5}'),
        (SPRAYING, 0, None, b'{"spray": false, "hold_s": 0}'),
        (SPRAYING, 0, 30.0, b'{"spray": false, "hold_s": 0}'),
        (MODE, 1, None, b'{"mode": "ein"}'),
        (LEVEL, 3.0, None, b"3"),
        (LEVEL, 0.5, None, b"0.5"),
    ],
)
def test_a_template_is_filled_in(point: Point, raw: float, hold_s: float | None, payload: bytes) -> None:
    assert command(point, "fc/01", raw, hold_s) == ("site/cannon/fc/01/set", payload)


@given(st.floats(0.002, 1e6))
def test_a_command_never_holds_longer_than_was_said(hold_s: float) -> None:
    told = json.loads(command(SPRAYING, "1", 1, hold_s)[1])["hold_s"]
    assert hold_s - 0.0011 <= told <= hold_s + 1e-6


@pytest.mark.parametrize(
    ("point", "timed", "raws", "words"),
    [
        (Point(STATE, "spraying", "bool"), False, (0, 1), "needs command_topic"),
        (replace(LEVEL, command_topic="site/cannon/set"), False, (0, 1), 'command_topic "site/cannon/set" needs {id}'),
        (replace(LEVEL, command_topic="site/{id}/#"), False, (0, 1), "must be one exact topic"),
        (replace(LEVEL, command_topic=STATE), False, (0, 1), "we would take our own command"),
        (replace(LEVEL, command_payload="ON"), False, (0, 1), "needs {value}"),
        (replace(LEVEL, command_payload='{"a": {value}'), False, (0, 1), "is not JSON when it is filled in"),
        (LEVEL, True, (0, 1), "a pulse needs {hold_s}"),
        (SPRAYING, False, (0, 1), "say dead_man: pulse"),
        (SPRAYING, True, (0, 2), "2 is neither"),
        (MODE, False, (0, 2), "2 is not exactly one text of map"),
        (Point(STATE, "w", bit=3, command_topic=SET), False, (0, 1), "without touching its neighbours"),
        (Point(STATE, "w", "bits_msb_first", command_topic=SET), False, (0, 1), "without touching its neighbours"),
    ],
)
def test_what_cannot_be_commanded_is_explained(point: Point, timed: bool, raws: tuple[float, ...], words: str) -> None:
    found = check_write("spraying", point, Limits(), timed=timed, raws=raws)
    assert found is not None
    assert found.startswith("spraying: ")
    assert words in found


def test_what_can_be_commanded_is_accepted() -> None:
    assert check_write("spraying", SPRAYING, Limits(), timed=True) is None
    assert check_write("mode", MODE, Limits(), timed=False) is None
    assert check_write("level", LEVEL, Limits(), timed=False, raws=(0, 17.5)) is None


@pytest.mark.parametrize(("point", "hold_s"), [(SPRAYING, None), (LEVEL, 5.0)])
def test_a_time_to_hold_and_its_place_belong_together(point: Point, hold_s: float | None) -> None:
    """Told "on" without a time, to a device that wants one, would be on for ever or not at all."""
    with pytest.raises(ValueError, match="belong together"):
        command(point, "1", 1, hold_s)


# --- on a real broker ------------------------------------------------------------------------------------------------


def cannon(port: int, version: str = "5", username: str | None = None) -> MqttListener:
    broker = Broker(
        "127.0.0.1", port, "gateway", version=version, username=username, password="x" if username else None
    )  # type: ignore[arg-type]
    return MqttListener(broker, {"cannon-1": (Address("1"), {"spraying": SPRAYING}, Limits())})


@asynccontextmanager
async def connected(listener: MqttListener) -> AsyncIterator[asyncio.Task[str]]:
    """``reports`` is being run; the task ends with why the connection ended."""
    up = asyncio.Event()

    async def run() -> str:
        try:
            async with aclosing(listener.reports()) as reports:
                async for message in reports:
                    if isinstance(message, Subscribed):
                        up.set()
        except LinkDown as why:
            return str(why)
        return ""

    task = asyncio.create_task(run())
    try:
        await up.wait()
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def board(port: int) -> AsyncIterator[aiomqtt.Client]:
    """The cannon's own controller, on the broker with a session that is kept."""
    async with aiomqtt.Client(
        "127.0.0.1", port, identifier="board", protocol=aiomqtt.ProtocolVersion.V311, clean_session=False
    ) as client:
        await client.subscribe("site/cannon/1/set", qos=1)
        yield client


async def next_command(client: aiomqtt.Client) -> tuple[bytes, int, bool]:
    message = await anext(client.messages)
    assert isinstance(message.payload, bytes)
    return message.payload, message.qos, message.retain


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path) as broker:
        yield broker


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_a_command_arrives_with_qos_1_and_is_not_retained(mosquitto: Mosquitto, version: str) -> None:
    listener = cannon(mosquitto.port, version)
    async with board(mosquitto.port) as device, connected(listener):
        await listener.write("cannon-1", "spraying", 1, 30.0)
        assert await next_command(device) == (b'{"spray": true, "hold_s": 30}', 1, False)
        await listener.write("cannon-1", "spraying", 0)
        assert await next_command(device) == (b'{"spray": false, "hold_s": 0}', 1, False)
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as late:
        await late.subscribe("site/cannon/#")
        await late.publish("site/cannon/end", b"")
        assert (await anext(late.messages)).topic.value == "site/cannon/end", "who comes later gets no old command"


async def test_a_command_that_nobody_hears_is_no_success(mosquitto: Mosquitto) -> None:
    listener = cannon(mosquitto.port)
    async with connected(listener):
        with pytest.raises(NoAnswer, match="nobody listens on site/cannon/1/set"):
            await listener.write("cannon-1", "spraying", 1, 30.0)


async def test_without_a_connection_a_command_fails_at_once_and_is_not_sent_later(mosquitto: Mosquitto) -> None:
    listener = cannon(mosquitto.port)
    async with board(mosquitto.port):
        pass  # its session is kept from here on
    with pytest.raises(LinkDown, match="not connected"):
        await listener.write("cannon-1", "spraying", 1, 30.0)
    async with connected(listener) as connection:
        await mosquitto.stop()
        assert "connection was lost" in await connection
        with pytest.raises(LinkDown):
            await listener.write("cannon-1", "spraying", 1, 30.0)
    await mosquitto.start()
    async with connected(listener), board(mosquitto.port) as device:
        await listener.write("cannon-1", "spraying", 0)
        assert (await next_command(device))[0] == b'{"spray": false, "hold_s": 0}', "the first that arrives"


async def test_a_device_that_was_away_does_not_get_an_old_command(
    mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 142. The board's session is kept, so the broker would keep the command for it as well."""
    monkeypatch.setattr("drivers.mqtt_json.driver._COMMAND_EXPIRY_S", 1)
    listener = cannon(mosquitto.port)
    async with board(mosquitto.port):
        pass
    async with connected(listener):
        await listener.write("cannon-1", "spraying", 1, 30.0)
        await asyncio.sleep(2.1)  # the broker's own clock, in whole seconds
        async with board(mosquitto.port) as device:
            await listener.write("cannon-1", "spraying", 0)
            assert (await next_command(device))[0] == b'{"spray": false, "hold_s": 0}'


async def test_a_broker_that_forbids_the_topic_refuses(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker:
        await broker.stop()
        rules = tmp_path / "acl"
        rules.write_text("topic read site/#\n")
        rules.chmod(0o600)
        with (tmp_path / "mosquitto.conf").open("a") as config:
            config.write(f"acl_file {rules}\n")
        await broker.start()
        listener = cannon(broker.port)
        async with connected(listener):
            with pytest.raises(Refused, match=r"refuses the command on site/cannon/1/set .*may we write there"):
                await listener.write("cannon-1", "spraying", 1, 30.0)


async def test_a_connection_that_ends_leaves_no_caller_waiting() -> None:
    """A peer that takes the command and never acknowledges it, then hangs up."""
    taken = asyncio.Event()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)  # CONNECT
        writer.write(bytes.fromhex("20 03 00 00 00"))
        subscribe = await reader.read(4096)
        writer.write(bytes([0x90, 4]) + subscribe[2:4] + bytes([0, 1]))
        while (await reader.read(4096))[0] >> 4 != 3:
            pass
        taken.set()
        await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(peer, "127.0.0.1", 0)
    listener = cannon(server.sockets[0].getsockname()[1])
    async with connected(listener):
        writing = asyncio.create_task(listener.write("cannon-1", "spraying", 1, 30.0))
        await taken.wait()
        with pytest.raises(LinkDown, match="before the acknowledgement"):
            await writing
    server.close()
    await server.wait_closed()


async def test_what_has_no_time_of_its_own_is_not_kept_for_us(mosquitto: Mosquitto) -> None:
    """Fault 117: after an outage nobody could tell such a message from one of this moment."""
    listener = cannon(mosquitto.port)
    async with connected(listener):
        pass
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as device:
        await device.publish("site/cannon/1/state", b'{"spraying": true}', qos=1)
        async with aclosing(listener.reports()) as reports:
            assert await anext(reports) == Subscribed()
            await device.publish("site/cannon/1/state", b'{"spraying": false}', qos=1)
            assert await anext(reports) == Report("cannon-1", ("spraying",), (0,), None, False)
