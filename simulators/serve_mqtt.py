"""The broker's side of an MQTT link: an embedded broker where none listens, and everything the devices publish."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiomqtt
import structlog

from gateway.clock import Clock
from gateway.config.site import MqttLink
from simulators.broker import embedded_broker
from simulators.errors import Silent, SimulatorError
from simulators.mqtt_node import MqttEar, MqttNode

RETRY_S = 1.0
log = structlog.get_logger(__name__)


@asynccontextmanager
async def serve_mqtt(
    link: MqttLink, nodes: Sequence[MqttNode], ears: Sequence[MqttEar], clock: Clock
) -> AsyncIterator[None]:
    """Publish what the nodes say and hear what they are told while inside, by the broker at the link's address."""
    async with AsyncExitStack() as stack:
        if not await _someone_listens(link.host, link.port):
            if link.tls is not None or link.version != "3.1.1":
                raise SimulatorError(
                    f"no broker listens on {link.host}:{link.port}, and the built-in one speaks plain MQTT 3.1.1 "
                    'only: start a broker there, or give the link version: "3.1.1" and no tls'
                )
            await stack.enter_async_context(embedded_broker(link.host, link.port))
        if nodes:
            await stack.enter_async_context(_publishing(link, nodes, ears, clock))
        yield


async def _someone_listens(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 2.0)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


@asynccontextmanager
async def _publishing(
    link: MqttLink, nodes: Sequence[MqttNode], ears: Sequence[MqttEar], clock: Clock
) -> AsyncIterator[None]:
    connecting = asyncio.Lock()
    task = asyncio.create_task(
        _talk_for_ever(link, nodes, ears, clock, connecting), name=f"publishers {link.host}:{link.port}"
    )
    try:
        yield
    finally:
        async with connecting:  # aiomqtt, cancelled while it connects, leaves a socket and a task behind
            task.cancel()
        while not (await asyncio.wait([task], timeout=1.0))[0]:
            task.cancel()  # aiomqtt may turn a cancel into an MqttError of its own while it disconnects
        if not task.cancelled():
            task.result()  # it never ends by itself: show what ended it


async def _talk_for_ever(
    link: MqttLink, nodes: Sequence[MqttNode], ears: Sequence[MqttEar], clock: Clock, connecting: asyncio.Lock
) -> None:
    up = True
    while True:
        try:
            async with AsyncExitStack() as stack:
                async with connecting:
                    client = await stack.enter_async_context(_client(link))
                up = True
                async with asyncio.TaskGroup() as both:
                    both.create_task(_listen(client, ears))
                    both.create_task(_publish(client, nodes, clock))
        except* aiomqtt.MqttError as several:
            if up:
                why = str(several.exceptions[0])
                log.warning("the simulated devices lost their broker", host=link.host, port=link.port, error=why)
            up = False
        await clock.sleep(RETRY_S)


def _client(link: MqttLink) -> aiomqtt.Client:
    tls = link.tls
    return aiomqtt.Client(
        link.host,
        link.port,
        username=link.username,
        password=link.password,
        protocol=aiomqtt.ProtocolVersion.V5 if link.version == "5" else aiomqtt.ProtocolVersion.V311,
        tls_params=None
        if tls is None
        else aiomqtt.TLSParameters(
            ca_certs=_text(tls.ca_file), certfile=_text(tls.cert_file), keyfile=_text(tls.key_file)
        ),
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


async def _publish(client: aiomqtt.Client, nodes: Sequence[MqttNode], clock: Clock) -> None:
    """Publish each node at its own pace, QoS 1; what is late is sent once, not caught up."""
    began_s = clock.monotonic_s()
    due = [(began_s, index) for index in range(len(nodes))]
    task = asyncio.current_task()
    while task is None or not task.cancelling():  # aiomqtt loses a cancel that comes together with an answer
        when_s, index = due[0]
        await clock.sleep(when_s - clock.monotonic_s())
        node = nodes[index]
        with contextlib.suppress(Silent):
            await client.publish(*node.message(clock.wall_ms()), qos=1)
        heapq.heapreplace(due, (max(when_s, clock.monotonic_s() - node.every_s) + node.every_s, index))


async def _listen(client: aiomqtt.Client, ears: Sequence[MqttEar]) -> None:
    for topic in {ear.topic for ear in ears}:
        await client.subscribe(topic, qos=1)
    async for message in client.messages:
        for ear in ears:
            if ear.topic == message.topic.value:
                ear.hear(bytes(message.payload), retained=message.retain)
