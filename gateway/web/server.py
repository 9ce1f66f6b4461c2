"""The local page and the HTTP API on aiohttp: routes only; what they say is in ``views``, who may ask in ``guard``."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web

from gateway.errors import AddressUnavailable
from gateway.web import alarms, bodies, export, history, metrics, outputs, views
from gateway.web.events import EventHub
from gateway.web.files import PageFile, load_files
from gateway.web.guard import Guard, add_headers, make_logger
from gateway.web.state import PageState

KEEPALIVE_S = 30.0
SHUTDOWN_S = 0.5
BODY_S = 10.0
"""A body that has not arrived by then is not waited for."""
NO_ALARM = "There is no such alarm. /api/alerts?state=all lists those of the last seven days."
COMPRESS_FROM_BYTES = 2_048
MAX_DOWNLOADS = 2
"""At a time: the disk has readings to take."""
DOWNLOAD_S = 30.0
"""A client that takes no piece of a download for so long is gone."""
ZLIB_THREAD_FROM_BYTES = 128 * 1024

_REASONS = {
    errno.EADDRINUSE: "another program uses this port; stop it or set page.port in the site file to another one",
    errno.EACCES: "ports below 1024 need a privilege; set page.port to 8080 or so",
    errno.EADDRNOTAVAIL: "this machine has no such address; set page.host to 127.0.0.1 or 0.0.0.0",
}


class PageServer:
    """Serves one site. After ``start`` the attributes ``port`` and ``url`` say where."""

    def __init__(self, state: PageState, host: str, port: int) -> None:
        self._state = state
        self._host = host
        self.port = port
        """0 asks the system for a free port; the real one stands here after ``start``."""
        self._hub = EventHub(state)
        self._registry = metrics.make_registry(state, self._hub)
        self._files = load_files()
        self._guard = Guard(state.site.page, host, state.clock)
        self._downloads = 0
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._ticker: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where a browser on this machine finds the page."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(self._host, self._host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host and not host.startswith('[') else host}:{self.port}/"

    async def start(self) -> None:
        """Listen. Raises AddressUnavailable with a sentence that says what to do."""
        app = web.Application(middlewares=[self._guard.middleware()], client_max_size=bodies.MAX_BODY_BYTES)
        app.on_response_prepare.append(add_headers)
        app.add_routes(self._routes())
        self._runner = web.AppRunner(
            app,
            logger=make_logger(),
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=1.0,
            shutdown_timeout=SHUTDOWN_S,
        )
        await self._runner.setup()
        assert self._runner.server is not None
        connect = self._guard.protocol_factory(self._runner.server)
        try:
            self._listener = await asyncio.get_running_loop().create_server(connect, self._host, self.port)
        except OSError as error:
            await self._runner.cleanup()
            why = _REASONS.get(error.errno or 0, error.strerror or str(error))
            raise AddressUnavailable(f"The page cannot listen on {self._host}:{self.port}: {why}.") from error
        self.port = self._listener.sockets[0].getsockname()[1]
        self._ticker = asyncio.create_task(self._hub.run(), name="page events")

    async def stop(self) -> None:
        """Close the port and every stream, within a second. May be called twice, and before ``start``."""
        if self._ticker is not None:
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
            self._ticker = None
        self._hub.close()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _routes(self) -> list[web.RouteDef]:
        state = self._state
        bodies: dict[str, Callable[[web.Request, int], Any]] = {
            "/api/site": lambda _request, now_ms: views.site(state, now_ms),
            "/api/devices": lambda _request, now_ms: views.devices(state, now_ms),
            "/api/latest": self._latest,
            "/api/links": lambda _request, _now_ms: views.links(state),
            "/api/limits": lambda _request, _now_ms: alarms.limits(state.alarms.limits() if state.alarms else []),
            "/api/verdicts": lambda _request, _now_ms: alarms.verdicts(state.alarms.verdicts() if state.alarms else []),
            "/api/outputs": lambda _request, _now_ms: outputs.listing(state),
            "/api/vocabulary": lambda _request, _now_ms: views.vocabulary(),
        }
        return [
            web.get("/", self._index),
            web.get("/static/{name}", self._static),
            web.get("/healthz", self._healthz),
            web.get("/metrics", self._metrics),
            web.get("/api/history", self._history),
            web.get("/api/history.csv", self._download),
            web.get("/api/alerts", self._alarms),
            web.get("/api/alerts/{alarm}", self._alarm),
            web.post("/api/alerts/{alarm}/{step}", self._answer),
            web.get("/api/journal", self._journal),
            web.get("/api/notices", self._notices),
            web.post("/api/outputs/{output}/{want}", self._switch),
            web.get("/events", self._events),
            *(web.get(path, self._json(body)) for path, body in bodies.items()),
        ]

    def _json(self, body: Callable[[web.Request, int], Any]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            return _json_response(body(request, self._state.clock.wall_ms()))

        return handle

    def _latest(self, request: web.Request, now_ms: int) -> Any:
        device = request.query.get("device")
        return views.latest(self._state, now_ms, None if device is None else history.known_device(self._state, device))

    async def _history(self, request: web.Request) -> web.StreamResponse:
        now_ms = self._state.clock.wall_ms()
        query = history.parse(self._state, request.query, now_ms)
        if query.step_s:
            buckets = await self._state.ledger.history(
                query.device, query.metric, query.from_ms, query.to_ms, query.step_s
            )
            points = history.bucket_points(buckets, query, now_ms)
            summary = history.bucket_summary(buckets, query, now_ms)
        else:
            readings = await self._state.buffer.recent(query.device, query.metric, query.from_ms, query.to_ms)
            points = history.single_points(readings)
            every_s = self._state.devices[query.device].every_s[query.metric]
            summary = history.reading_summary(readings, query, now_ms, every_s)
        return _json_response(history.answer(query, points, summary))

    async def _download(self, request: web.Request) -> web.StreamResponse:
        wanted = export.parse(self._state, request.query, self._state.clock.wall_ms())
        headers = {
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": f'attachment; filename="{wanted.file_name}"',
        }
        if request.method == "HEAD":
            return web.Response(headers=headers)
        if self._downloads >= MAX_DOWNLOADS:
            raise web.HTTPServiceUnavailable(
                text=f"{MAX_DOWNLOADS} downloads are under way already. Try again when one is done."
            )
        response = web.StreamResponse(headers=headers)
        response.enable_compression()
        self._downloads += 1
        try:
            await response.prepare(request)
            async for piece in export.table(self._state.ledger, wanted):
                async with asyncio.timeout(DOWNLOAD_S):
                    await response.write(piece.encode())
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()  # half a file must not look like a whole one
        except ConnectionError:
            pass  # the client left
        finally:
            self._downloads -= 1
        return response

    async def _alarms(self, request: web.Request) -> web.StreamResponse:
        span = alarms.span(request.query, self._state.clock.wall_ms())
        known = self._state.alarms
        found = [] if known is None else known.alarms() if span is None else await known.find(*span)
        return _json_response(alarms.listing(self._state, found))

    async def _alarm(self, request: web.Request) -> web.StreamResponse:
        found = await alarms.desk(self._state).history(request.match_info["alarm"])
        if found is None:
            raise history.NotKnown(NO_ALARM)
        return _json_response(alarms.with_history(*found))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        answer = alarms.read_answer(await _body(request))
        name, step = request.match_info["alarm"], request.match_info["step"]
        changed = await alarms.desk(self._state).answer(name, step, answer.by, answer.note)
        if changed is None:
            raise history.NotKnown(NO_ALARM)
        return _json_response(alarms.alarm(changed))

    async def _journal(self, request: web.Request) -> web.StreamResponse:
        query = outputs.parse_journal(self._state, request.query, self._state.clock.wall_ms())
        found = await outputs.desk(self._state).journal(query.from_ms, query.to_ms, query.output)
        return _json_response(outputs.journal(query, found))

    async def _switch(self, request: web.Request) -> web.StreamResponse:
        command = outputs.read_command(await _body(request))
        name, want = request.match_info["output"], request.match_info["want"]
        changed = await outputs.desk(self._state).command(name, want, command.by, command.minutes)
        if changed is None:
            raise history.NotKnown("There is no such output. /api/outputs lists them.")
        return _json_response(outputs.status(changed))

    async def _notices(self, _request: web.Request) -> web.StreamResponse:
        notices = self._state.notices
        entries = [] if notices is None else await notices.outbox()
        return _json_response({"notices": [asdict(entry) for entry in entries]})

    async def _healthz(self, _request: web.Request) -> web.StreamResponse:
        body = views.health(self._state, self._state.clock.wall_ms())
        return _json_response(body, status=503 if body["reasons"] else 200)

    async def _metrics(self, _request: web.Request) -> web.StreamResponse:
        return _respond(metrics.exposition(self._registry), {"Content-Type": metrics.CONTENT_TYPE})

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(content_type="text/event-stream")
        return await self._hub.stream(request)

    async def _index(self, request: web.Request) -> web.StreamResponse:
        return _file_response(request, self._files["index.html"])

    async def _static(self, request: web.Request) -> web.StreamResponse:
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        return _file_response(request, file)


async def _body(request: web.Request) -> bytes:
    """The whole body. Raises HTTPRequestTimeout, which also ends the connection, when it does not arrive."""
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="The body of the request did not arrive.") from None


def _file_response(request: web.Request, file: PageFile) -> web.Response:
    headers = {"ETag": f'"{file.etag}"', "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if any(tag.value == file.etag for tag in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = file.content_type
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=file.gzipped, headers=headers)
    return web.Response(body=file.body, headers=headers)


def _json_response(body: Any, status: int = 200) -> web.Response:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _respond(text.encode(), {"Content-Type": "application/json; charset=utf-8"}, status)


def _respond(body: bytes, headers: dict[str, str], status: int = 200) -> web.Response:
    response = web.Response(body=body, headers=headers, status=status, zlib_executor_size=ZLIB_THREAD_FROM_BYTES)
    if len(body) > COMPRESS_FROM_BYTES:
        response.enable_compression()
    return response
