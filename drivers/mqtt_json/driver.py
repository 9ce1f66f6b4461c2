"""Devices that publish JSON on an MQTT broker (MQTT 5 and 3.1.1, TLS, QoS 1).

The session is persistent: what devices publish with QoS 1 while the gateway is away is kept by the broker and comes
when it is back, if the device's messages carry their time; others are asked for with QoS 0 and are not kept, because
nobody could tell an old one from a new one. A message is acknowledged only when the consumer says that it is durable,
so that a kill loses nothing on its way from the broker's disk to ours. aiomqtt 2.5 acknowledges on arrival, so the
acknowledgement goes through the paho client inside it; aiomqtt 3.0 offers this itself, but no longer speaks 3.1.1.

Commands go out with QoS 1 and are never retained: nobody who connects later may take an old one for a new one. On MQTT
5 the broker forgets a command that the device did not fetch at once, and says so when nobody listens.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import aiomqtt
from aiomqtt import Message, MqttError
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from drivers.api import Gone, Heard, Rejected, Subscribed, Value
from drivers.errors import LinkDown, NoAnswer, Refused
from drivers.json_fields.fields import Reader, read_message
from drivers.mqtt_json.codec import ID, Limits, Point, by_topic, fault
from drivers.mqtt_json.commands import command, command_fault
from drivers.mqtt_json.reasons import reason

__all__ = [
    "FRAMINGS", "WIRES", "Address", "Broker", "Limits", "MqttListener", "Point",
    "check_address", "check_point", "check_write", "read_example",
]  # fmt: skip

WIRES = frozenset({"mqtt"})
FRAMINGS: frozenset[str] = frozenset()

_QOS = 1
_INBOX = 1000  # messages waiting to be taken
_IN_FLIGHT = 500  # QoS 1 messages sent to us but not acknowledged; the broker holds the rest back (MQTT 5)
_IN_FLIGHT_311 = 20  # so many brokers send by default before they wait (mosquitto's max_inflight_messages)
_SESSION_EXPIRY_S = 86_400
_COMMAND_EXPIRY_S = 5
"""A command that the device did not fetch so soon must not reach it later (MQTT 5)."""
_COMMAND_TIMEOUT_S = 5.0
_NOBODY_LISTENS = 0x10
"""PUBACK of MQTT 5: no matching subscribers."""
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


def check_write(name: str, point: Point, limits: Limits, *, timed: bool, raws: Sequence[float] = (0, 1)) -> str | None:
    """As ``drivers.api.Driver.check_write``."""
    wrong = command_fault(point, timed=timed, raws=raws)
    return None if wrong is None else f"{name}: {wrong}"


def check_address(address: Address, wire: str) -> str | None:
    """As ``drivers.api.Driver.check_address``: there is but one kind of link."""
    return None


def read_example(points: Mapping[str, Point], raw: Any, limits: Limits | None = None) -> dict[str, Value]:
    """Decode ``{"site/crane/{id}/live": {...JSON...}}``: one payload per topic as it stands in the profile."""
    if not isinstance(raw, Mapping):
        raise ValueError('raw must map topics to payloads, as in "site/crane/{id}/live": {windSpeed: 3.2}')
    values: dict[str, Value] = {}
    for topic, here in by_topic(points, ID).items():
        if topic not in raw:
            raise ValueError(f'raw: topic "{topic}" is missing')
        values |= read_message(here, raw[topic], f'"{topic}"')
    return values


class MqttListener:
    """One broker connection and the devices on it; fulfils ``drivers.api.Listener``."""

    def __init__(self, broker: Broker, devices: Mapping[str, tuple[Address, Mapping[str, Point], Limits]]) -> None:
        self._broker = broker
        self._writable = {device: (address, points) for device, (address, points, _) in devices.items()}
        self._connected: aiomqtt.Client | None = None
        self._unconfirmed: dict[int, asyncio.Future[ReasonCode]] = {}
        """Message id of a command -> the broker's word on it."""
        self._readers: dict[str, list[Reader]] = {}
        self._kept: set[str] = set()
        """Topics whose messages say when they were sent."""
        for device, (address, points, limits) in devices.items():
            for topic, fields in by_topic(points, address.id).items():
                reader = Reader(device, topic, fields, limits, broker.max_payload_bytes)
                self._readers.setdefault(topic, []).append(reader)
                if limits.time_path is not None:
                    self._kept.add(topic)
        self._wills: dict[str, dict[str, bytes]] = {}
        """Topic -> device -> the payload that says that it is gone."""
        for device, (address, _, limits) in devices.items():
            if limits.will_topic is not None:
                here = self._wills.setdefault(limits.will_topic.replace(ID, address.id), {})
                here[device] = limits.will_payload.encode()
        self.window = _IN_FLIGHT if broker.version == "5" else _IN_FLIGHT_311
        self._given = 0
        self._owed: deque[tuple[int, int, int]] = deque()
        """What the broker waits for: due when so many things are durable, message id, QoS."""
        self._where = f"MQTT broker {broker.host}:{broker.port}"

    async def reports(self) -> AsyncGenerator[Heard, None]:
        """Connect, subscribe, yield Subscribed, then what comes; raise LinkDown when the connection ends.

        A subscription that the broker refuses is Rejected for its devices; LinkDown when it refuses all of them.
        """
        try:
            async with self._connection() as client:
                self._given = 0
                self._owed.clear()
                for refusal in await self._subscribe(client):
                    self._given += 1
                    yield refusal
                self._connected = client
                self._given += 1
                yield Subscribed()
                async with aclosing(self._messages(client)) as messages:
                    async for heard in messages:
                        for message in heard:
                            yield message
        except (MqttError, OSError, ValueError) as why:  # the last two: certificate files, impossible host names
            raise LinkDown(f"{self._where}: {reason(why)}") from why

    def acknowledge(self, count: int) -> None:
        """As ``drivers.api.Listener.acknowledge``."""
        client = self._connected
        while client is not None and self._owed and self._owed[0][0] <= count:
            _, message_id, qos = self._owed.popleft()
            client._client.ack(message_id, qos)

    async def write(self, device: str, point: str, raw: float, hold_s: float | None = None) -> None:
        """As ``drivers.api.Listener.write``; returns after the broker's PUBACK.

        Raises LinkDown, NoAnswer (nobody listens, or the broker is silent) and Refused. Repeats nothing.
        """
        address, points = self._writable[device]
        topic, payload = command(points[point], address.id, raw, hold_s)
        client = self._connected
        if client is None:
            raise LinkDown(f"{self._where}: not connected")
        sent = client._client.publish(topic, payload, _QOS, retain=False, properties=self._command_properties())
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise LinkDown(f"{self._where}: {sent.rc.name}")
        self._unconfirmed[sent.mid] = asyncio.get_running_loop().create_future()
        try:
            code = await asyncio.wait_for(self._unconfirmed[sent.mid], _COMMAND_TIMEOUT_S)
        except TimeoutError:
            text = f"{self._where}: the command on {topic} was not acknowledged within {_COMMAND_TIMEOUT_S:g} s"
            raise NoAnswer(text) from None
        finally:
            del self._unconfirmed[sent.mid]
        if code.is_failure:
            raise Refused(f"{self._where}: refuses the command on {topic} ({code}): may we write there?", code.value)
        if code.value == _NOBODY_LISTENS:
            raise NoAnswer(f"{self._where}: nobody listens on {topic}: is the device there, is its id right?")

    def _command_properties(self) -> Properties | None:
        if self._broker.version != "5":
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.MessageExpiryInterval = _COMMAND_EXPIRY_S
        return properties

    def _on_published(self, _client: Any, _userdata: Any, mid: int, code: ReasonCode, _properties: Any) -> None:
        waiting = self._unconfirmed.get(mid)
        if waiting is not None and not waiting.done():
            waiting.set_result(code)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiomqtt.Client]:
        client = self._client()
        try:
            async with client:
                yield client
        finally:
            self._connected = None
            for waiting in self._unconfirmed.values():
                if not waiting.done():
                    waiting.set_exception(LinkDown(f"{self._where}: the connection ended before the acknowledgement"))
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
        client._client.on_publish = self._on_published  # aiomqtt's own callback drops the broker's answer
        return client

    def _tls_context(self) -> ssl.SSLContext:
        broker = self._broker
        context = ssl.create_default_context(cafile=broker.ca_file)
        if broker.cert_file is not None:
            context.load_cert_chain(broker.cert_file, broker.key_file)
        return context

    async def _subscribe(self, client: aiomqtt.Client) -> list[Rejected]:
        topics = list(dict.fromkeys([*self._readers, *self._wills]))
        if not topics:
            return []
        kept = self._kept | self._wills.keys()
        codes = await client.subscribe([(topic, _QOS if topic in kept else 0) for topic in topics])
        # paho's second callback interface, which aiomqtt uses, gives ReasonCode for 3.1.1 too.
        refused = [t for t, code in zip(topics, cast("list[ReasonCode]", codes), strict=True) if code.is_failure]
        if len(refused) == len(topics):
            raise LinkDown(
                f"{self._where}: refuses every subscription, the first is {topics[0]}: "
                f"check what this user may read there"
            )
        return [
            Rejected(device, "subscription_refused", f"{topic}: the broker refuses the subscription"[:200])
            for topic in refused
            for device in self._devices_on(topic)
        ]

    def _devices_on(self, topic: str) -> list[str]:
        readers = [reader.device for reader in self._readers.get(topic, ())]
        return list(dict.fromkeys([*readers, *self._wills.get(topic, ())]))

    async def _messages(self, client: aiomqtt.Client) -> AsyncGenerator[list[Heard], None]:
        """Yield what each message says, after noting what the broker is owed for it."""
        inbox = client._queue
        assert isinstance(inbox, _Inbox)
        async for message in client.messages:
            heard = self._heard(message)
            if not heard and message.topic.value not in self._wills:
                # A subscription of an earlier configuration, kept in the persistent session.
                await client.unsubscribe(message.topic.value)
                heard = [Rejected(None, "unknown_topic", f"{message.topic.value!a}: no device of ours"[:200])]
            if inbox.lost:
                lost, inbox.lost = inbox.lost, 0
                while inbox.unacknowledged:
                    client._client.ack(*inbox.unacknowledged.pop())
                heard.append(Rejected(None, "inbox_full", f"{lost} messages came faster than they could be taken"))
            self._given += len(heard)
            if heard or self._owed:
                self._owed.append((self._given, message.mid, message.qos))
            else:  # an "online" on a will's topic: nothing to keep
                client._client.ack(message.mid, message.qos)
            yield heard

    def _heard(self, message: Message) -> list[Heard]:
        topic, payload = message.topic.value, message.payload
        gone = [device for device, text in self._wills.get(topic, {}).items() if text == payload]
        if gone:
            return [Gone(device, "its last will says that it has lost the broker") for device in gone]
        return [reader.read(payload, retained=message.retain) for reader in self._readers.get(topic, ())]


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
