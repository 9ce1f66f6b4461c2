"""A port of ours to which equipment posts JSON: ``POST /push``, the device's token, one message.

    curl -H "Authorization: Bearer $TOKEN" -d '{"windSpeed": 3.2}' http://gateway:8090/push

202 is said only when the reading is durable, so a device that keeps a message until it sees 202 loses nothing. Whoever
cannot send the header may write ``?token=`` behind the path; tokens in addresses end in the logs of proxies.

202 taken · 401 unknown token · 404, 405, 415 not this way · 408 body too slow · 413 too large · 422 not understood
(cause and reason in the answer) · 429 too often (Retry-After) · 503 not durable in time: send it again
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from drivers.api import Heard, Rejected, Subscribed
from drivers.errors import LinkDown
from drivers.http_push.codec import Address, Allowance, Limits, Point
from drivers.json_fields.fields import Reader

BODY_S = 10.0
IDLE_S = 60.0
"""A connection without a whole request for so long is closed, whoever is behind it."""
DURABLE_S = 10.0
"""So long a device is kept waiting for our disk."""
MOST_CONNECTIONS = 100
_INBOX = 200
_STRANGERS_PER_MIN = 60.0
_SHUTDOWN_S = 0.1

_Waiting = asyncio.Future[None]

_log = logging.getLogger(__name__)
_log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))
"""Of aiohttp's server, without a traceback for each stranger who does not speak HTTP: he has got his 400."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where we listen, and how much we take."""

    host: str
    port: int
    path: str = "/push"
    max_payload_bytes: int = 65_536
    max_per_min: float = 120.0
    """Of one device."""
    cert_file: Path | None = None
    """With ``key_file``: https."""
    key_file: Path | None = None


@dataclass(frozen=True, slots=True)
class _Device:
    reader: Reader
    allowance: Allowance


class PushListener:
    """The devices of one port; fulfils ``drivers.api.Listener``."""

    window = 64

    def __init__(self, door: Door, devices: Mapping[str, tuple[Address, Mapping[str, Point], Limits]]) -> None:
        self._door = door
        self._devices = {
            _digest(address.token): _Device(
                Reader(name, door.path, points, limits, door.max_payload_bytes), Allowance(door.max_per_min)
            )
            for name, (address, points, limits) in devices.items()
        }
        self._strangers = Allowance(_STRANGERS_PER_MIN)
        self._inbox: asyncio.Queue[tuple[Heard, _Waiting | None]] = asyncio.Queue(_INBOX)
        self._owed: deque[tuple[int, _Waiting]] = deque()
        self._lost = 0
        self._heard_s: dict[Any, float] = {}
        """Connection -> when it was made, or its last request came."""
        self._conversations: set[asyncio.Task[Any]] = set()

    async def reports(self) -> AsyncGenerator[Heard, None]:
        """As ``drivers.api.Listener.reports``."""
        self._owed.clear()
        server = web.Server(self._serve, access_log=None, logger=_log, auto_decompress=False, lingering_time=0.5)
        port = await self._open(server)
        watch = asyncio.create_task(self._close_idle(server))
        try:
            yield Subscribed()
            given = 1
            while True:
                message, waiting = await self._inbox.get()
                given += 1
                if waiting is not None:
                    self._owed.append((given, waiting))
                yield message
                if self._lost:
                    lost, self._lost = self._lost, 0
                    given += 1
                    yield Rejected(None, "inbox_full", f"{lost} refusals could not be told one by one")
        finally:
            watch.cancel()
            port.close()
            while self._owed:
                self._owed.popleft()[1].cancel()
            while not self._inbox.empty():
                if (waiting := self._inbox.get_nowait()[1]) is not None:
                    waiting.cancel()
            await server.shutdown(_SHUTDOWN_S)
            await asyncio.wait([watch, *self._conversations])  # aiohttp cancels those, but does not wait for their end

    def acknowledge(self, count: int) -> None:
        """As ``drivers.api.Listener.acknowledge``."""
        while self._owed and self._owed[0][0] <= count:
            _, waiting = self._owed.popleft()
            if not waiting.done():
                waiting.set_result(None)

    async def write(self, device: str, point: str, raw: float, hold_s: float | None = None) -> None:
        """As ``drivers.api.Listener.write``: always ValueError."""
        raise ValueError(f"{point}: equipment that posts is only ever read")

    # --- the port ----------------------------------------------------------------------------------------------------

    async def _open(self, server: web.Server) -> asyncio.Server:
        door = self._door
        where = f"cannot listen on {door.host}:{door.port}"
        context = None
        try:
            if door.cert_file is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(door.cert_file, door.key_file)
        except OSError as why:  # ssl.SSLError is one
            raise LinkDown(f"{where}: {door.cert_file} and its key_file cannot be used ({why})") from None
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_server(
                lambda: server() if len(server.connections) < MOST_CONNECTIONS else _NoRoom(),
                door.host,
                door.port,
                ssl=context,
            )
        except OSError as why:
            text = f"{where}: {why.strerror or why}"
            raise LinkDown(f"{text}: take an address of this machine, and a port that no other program has") from None

    async def _close_idle(self, server: web.Server) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._heard_s = {each: self._heard_s.get(each, loop.time()) for each in server.connections}
            for connection, heard_s in self._heard_s.items():
                if loop.time() - heard_s > IDLE_S and connection.transport is not None:
                    connection.transport.abort()
            await asyncio.sleep(IDLE_S / 4)

    # --- one message -------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        now_s = asyncio.get_running_loop().time()
        self._heard_s[request.protocol] = now_s
        self._conversations.add(request.task)
        request.task.add_done_callback(self._conversations.discard)
        if request.path != self._door.path:
            return _answer(404, f"post to {self._door.path}")
        if request.method != "POST":
            return _answer(405, "post it", {"Allow": "POST"})
        device = self._devices.get(_digest(_token(request)))
        if device is None:
            self._tell(Rejected(None, "unknown_token", f"a message from {request.remote} shows no token of ours"))
            wait_s = self._strangers.take(now_s)
            return _too_often(wait_s) if wait_s else _answer(401, "unknown token", {"WWW-Authenticate": "Bearer"})
        if wait_s := device.allowance.take(now_s):
            self._tell(Rejected(device.reader.device, "too_often", f"more than {self._door.max_per_min:g} in a minute"))
            return _too_often(wait_s)
        if request.headers.get("Content-Encoding", "identity") != "identity":
            return _answer(415, "compressed messages are not taken")
        try:
            async with asyncio.timeout(BODY_S):
                payload = await _body(request, self._door.max_payload_bytes)
        except (OSError, web.RequestPayloadError) as why:
            slow = isinstance(why, TimeoutError)
            text = f"the message took longer than {BODY_S:g} s" if slow else "the message broke off"
            self._tell(Rejected(device.reader.device, "half", text))
            return _answer(408 if slow else 400, text)
        heard = device.reader.read(payload)
        if isinstance(heard, Rejected):
            self._tell(heard)
            return _answer(413 if heard.cause == "too_large" else 422, heard.detail, cause=heard.cause)
        return await self._take(heard)

    async def _take(self, heard: Heard) -> web.Response:
        """Hand it over and wait until it is durable."""
        waiting: _Waiting = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(DURABLE_S):
                await self._inbox.put((heard, waiting))
                await waiting
        except TimeoutError:
            return _answer(503, "not stored in time: send it again", {"Retry-After": "5"})
        return _answer(202, None)

    def _tell(self, message: Rejected) -> None:
        try:
            self._inbox.put_nowait((message, None))
        except asyncio.QueueFull:
            self._lost += 1


class _NoRoom(asyncio.Protocol):
    """Closes what comes beyond the number of connections that we keep."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def _body(request: web.BaseRequest, most: int) -> bytes:
    """Return the body, or its beginning when it is too large: longer than ``most``, for the reader to refuse."""
    if (request.content_length or 0) > most:
        return b" " * (most + 1)
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > most:
            break
    return bytes(body)


def _token(request: web.BaseRequest) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.query.get("token", "")


def _digest(token: str) -> bytes:
    """What tokens are looked up by: how long that takes tells nothing of the token."""
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def _too_often(wait_s: float) -> web.Response:
    return _answer(429, "too often", {"Retry-After": str(math.ceil(wait_s))})


def _answer(
    status: int, error: str | None, headers: Mapping[str, str] | None = None, cause: str | None = None
) -> web.Response:
    """Return the answer; after a refusal the connection is closed, for its body may still be on the way."""
    words: dict[str, str] = {"status": "taken"} if error is None else {"error": error}
    if cause is not None:
        words["cause"] = cause
    response = web.json_response(words, status=status, headers=headers)
    if status not in (202, 422, 429, 503):
        response.force_close()
    return response
