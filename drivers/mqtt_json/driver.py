"""Devices that publish JSON on an MQTT broker (MQTT 5 and 3.1.1, TLS, QoS 1).

The session is persistent: what devices publish with QoS 1 while the gateway is away is kept by the broker and comes
when it is back. A message is acknowledged only after the consumer has taken it and asked for the next one. aiomqtt
2.5 acknowledges on arrival, so the acknowledgement goes through the paho client inside it (marked below); aiomqtt
3.0 offers this itself, but no longer speaks 3.1.1.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import aiomqtt
from aiomqtt import Message, MqttError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from drivers.api import Rejected, Report, Subscribed, Value
from drivers.errors import LinkDown
from drivers.mqtt_json.codec import Limits, Point, Reader, by_topic, fault
from drivers.mqtt_json.reasons import reason

__all__ = [
    "FRAMINGS", "WIRES", "Address", "Broker", "Limits", "MqttListener", "Point",
    "check_address", "check_point", "read_example",
]  # fmt: skip

WIRES = frozenset({"mqtt"})
FRAMINGS: frozenset[str] = frozenset()

_QOS = 1
_INBOX = 1000  # messages waiting to be taken
_IN_FLIGHT = 500  # QoS 1 messages sent to us but not acknowledged; the broker holds the rest back (MQTT 5)
_SESSION_EXPIRY_S = 86_400
_LARGEST_PACKET = 16 * 2**20  # the broker withholds what is larger (MQTT 5), so it cannot take our memory


@dataclass(frozen=True, slots=True)
class Address:
    """Which device on the broker."""

    id: str
    """What stands for ``{id}`` in the profile's topics; may contain ``/``."""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id or re.search(r"[+#\0{}]", self.id):
            raise ValueError(f"id {self.id!r} must be text without + # {{ }}: it becomes part of a topic")


@dataclass(frozen=True, slots=True)
class Broker:
    """Where and how to connect."""

    host: str
    port: int
    client_id: str
    """Stable and unique on the broker: the session is kept under this name."""
    version: Literal["3.1.1", "5"] = "5"
    username: str | None = None
    password: str | None = None
    tls: bool = False
    """Encrypt; without ``ca_file`` the system's certificates are trusted."""
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    keepalive_s: float = 30.0
    connect_timeout_s: float = 10.0
    max_payload_bytes: int = 65_536


def check_point(name: str, point: Point, limits: Limits) -> str | None:
    """Return what is wrong with this point beyond its types, or None."""
    wrong = fault(point)
    return None if wrong is None else f"{name}: {wrong}"


def check_address(address: Address, wire: str) -> str | None:
    """As ``drivers.api.Driver.check_address``: there is but one kind of link."""
    return None


def read_example(points: Mapping[str, Point], raw: Any) -> dict[str, Value]:
    """Decode ``{"site/crane/{id}/live": {...JSON...}}``: one payload per topic as it stands in the profile."""
    if not isinstance(raw, Mapping):
        raise ValueError('raw must map topics to payloads, as in "site/crane/{id}/live": {windSpeed: 3.2}')
    values: dict[str, Value] = {}
    for topic, fields in by_topic(points, "{id}").items():
        if topic not in raw:
            raise ValueError(f'raw: topic "{topic}" is missing')
        try:
            payload = json.dumps(raw[topic], allow_nan=False).encode()
        except (TypeError, ValueError) as why:
            raise ValueError(f'raw: the payload of "{topic}" cannot be JSON: {why}') from None
        report = Reader("example", topic, fields, Limits()).read(payload)
        if isinstance(report, Rejected):
            raise ValueError(f"raw: {report.detail}")
        values.update(zip(report.points, report.values, strict=True))
    return values


class MqttListener:
    """One broker connection and the devices on it; fulfils ``drivers.api.Listener``."""

    def __init__(self, broker: Broker, devices: Mapping[str, tuple[Address, Mapping[str, Point], Limits]]) -> None:
        self._broker = broker
        self._readers: dict[str, list[Reader]] = {}
        for device, (address, points, limits) in devices.items():
            for topic, fields in by_topic(points, address.id).items():
                reader = Reader(device, topic, fields, limits, broker.max_payload_bytes)
                self._readers.setdefault(topic, []).append(reader)
        self._where = f"MQTT broker {broker.host}:{broker.port}"

    async def reports(self) -> AsyncGenerator[Report | Rejected | Subscribed, None]:
        """Connect, subscribe, yield Subscribed, then what comes; raise LinkDown when the connection ends.

        A subscription that the broker refuses is Rejected for its devices; LinkDown when it refuses all of them.
        """
        try:
            async with self._connection() as client:
                for refusal in await self._subscribe(client):
                    yield refusal
                yield Subscribed()
                async with aclosing(self._messages(client)) as messages:
                    async for message in messages:
                        yield message
        except (MqttError, OSError, ValueError) as why:  # the last two: certificate files, impossible host names
            raise LinkDown(f"{self._where}: {reason(why)}") from why

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiomqtt.Client]:
        client = self._client()
        try:
            async with client:
                yield client
        finally:
            await _let_go(client)

    def _client(self) -> aiomqtt.Client:
        broker = self._broker
        persistent: dict[str, Any] = {"clean_session": False}
        version = aiomqtt.ProtocolVersion.V311
        if broker.version == "5":
            version = aiomqtt.ProtocolVersion.V5
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = _SESSION_EXPIRY_S
            properties.MaximumPacketSize = _LARGEST_PACKET
            properties.ReceiveMaximum = _IN_FLIGHT
            persistent = {"clean_start": False, "properties": properties}
        client = aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.username,
            password=broker.password,
            identifier=broker.client_id,
            protocol=version,
            timeout=broker.connect_timeout_s,
            keepalive=max(1, round(broker.keepalive_s)),
            tls_context=self._tls_context() if broker.tls else None,
            queue_type=_Inbox,
            max_queued_incoming_messages=_INBOX,
            **persistent,
        )
        client._client.manual_ack_set(True)
        return client

    def _tls_context(self) -> ssl.SSLContext:
        broker = self._broker
        context = ssl.create_default_context(cafile=broker.ca_file)
        if broker.cert_file is not None:
            context.load_cert_chain(broker.cert_file, broker.key_file)
        return context

    async def _subscribe(self, client: aiomqtt.Client) -> list[Rejected]:
        topics = list(self._readers)
        if not topics:
            return []
        codes = await client.subscribe([(topic, _QOS) for topic in topics])
        # paho's second callback interface, which aiomqtt uses, gives ReasonCode for 3.1.1 too.
        refused = [t for t, code in zip(topics, cast("list[ReasonCode]", codes), strict=True) if code.is_failure]
        if len(refused) == len(topics):
            raise LinkDown(
                f"{self._where}: refuses every subscription, the first is {topics[0]}: "
                f"check what this user may read there"
            )
        return [
            Rejected(reader.device, "subscription_refused", f"{topic}: the broker refuses the subscription"[:200])
            for topic in refused
            for reader in self._readers[topic]
        ]

    async def _messages(self, client: aiomqtt.Client) -> AsyncGenerator[Report | Rejected, None]:
        inbox = client._queue
        assert isinstance(inbox, _Inbox)
        async for message in client.messages:
            readers = self._readers.get(message.topic.value)
            if readers is None:
                # A subscription of an earlier configuration, kept in the persistent session.
                await client.unsubscribe(message.topic.value)
                yield Rejected(None, "unknown_topic", f"{message.topic.value!a}: no device of ours"[:200])
            else:
                for reader in readers:
                    yield reader.read(message.payload, retained=message.retain)
            client._client.ack(message.mid, message.qos)
            if inbox.lost:
                lost, inbox.lost = inbox.lost, 0
                while inbox.unacknowledged:
                    client._client.ack(*inbox.unacknowledged.pop())
                yield Rejected(None, "inbox_full", f"{lost} messages came faster than they could be taken")


class _Inbox(asyncio.Queue[Message]):
    """Bounded: when it is full the oldest message goes, and is counted."""

    def __init__(self, maxsize: int) -> None:
        super().__init__(maxsize)
        self.lost = 0
        self.unacknowledged: list[tuple[int, int]] = []
        """Message id and QoS of the lost ones that the broker still waits for."""

    def put_nowait(self, item: Message) -> None:
        if self.full():
            oldest = self.get_nowait()
            self.lost += 1
            if oldest.qos:
                self.unacknowledged.append((oldest.mid, oldest.qos))
        super().put_nowait(item)


async def _let_go(client: aiomqtt.Client) -> None:
    """Close what aiomqtt leaves open when connecting is cut short: socket, reader and its own task."""
    paho = client._client
    paho.on_socket_open = paho.on_socket_register_write = None  # its thread may still be connecting
    paho.on_disconnect = None
    paho._sock_close()
    if client._misc_task is not None:
        client._misc_task.cancel()
        await asyncio.gather(client._misc_task, return_exceptions=True)
