"""``/events``: one ticker for all clients, so that a hundred phones cost hardly more than one.

Two kinds of message: ``latest`` (a list of changed values, at most one per second) and ``summary`` (the changing part
of ``/api/site`` with links and devices, every 5 s: also the heartbeat). A client first gets all values and a summary.
A client that does not keep up is dropped and comes back by itself: it is never allowed to hold memory here.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from gateway.web import views
from gateway.web.state import PageState

MAX_CLIENTS = 64
TICK_S = 1.0
SUMMARY_TICKS = 5
QUEUE_MESSAGES = 10
WRITE_TIMEOUT_S = 10.0


class EventHub:
    """Clients of the event stream. ``run`` ticks until cancelled; ``close`` ends every stream."""

    def __init__(self, state: PageState) -> None:
        self._state = state
        self._clients: set[asyncio.Queue[bytes | None]] = set()
        self._seen: dict[tuple[str, str], int] = {}
        self._closed = False
        self._revision = views.revision(state)
        self.dropped_clients = 0
        """Clients that did not keep up."""

    @property
    def clients(self) -> int:
        """Streams open now."""
        return len(self._clients)

    async def run(self) -> None:
        """Tell all clients what changed, once a second."""
        tick = 0
        while True:
            await asyncio.sleep(TICK_S)
            tick += 1
            if not self._clients:
                continue
            changed = views.changes(self._state.latest.values(), self._seen)
            if changed:
                self._publish(_message("latest", changed))
            if tick % SUMMARY_TICKS == 0 or self._told_changed():
                self._publish(self._summary())

    def close(self) -> None:
        """End every stream, and every one that is opened later."""
        self._closed = True
        for queue in self._clients:
            _end(queue)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Serve one client until it leaves, falls behind or the page stops."""
        if len(self._clients) >= MAX_CLIENTS or self._closed:
            raise web.HTTPServiceUnavailable(
                text=f"{MAX_CLIENTS} live views are open already. Close one and try again."
            )
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_MESSAGES)
        seen: dict[tuple[str, str], int] = {}
        queue.put_nowait(_message("latest", views.changes(self._state.latest.values(), seen)))
        queue.put_nowait(self._summary())
        if not self._clients:
            self._seen = seen  # nobody was told anything since it was kept
        self._clients.add(queue)
        try:
            await response.prepare(request)
            while (message := await queue.get()) is not None:
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await response.write(message)
        except TimeoutError:
            self.dropped_clients += 1
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # the client left
        finally:
            self._clients.discard(queue)
        return response

    def _publish(self, message: bytes) -> None:
        for queue in self._clients:
            if queue.full():
                self.dropped_clients += 1
                _end(queue)
            else:
                queue.put_nowait(message)

    def _told_changed(self) -> bool:
        """Alarms or outputs have changed since the last tick."""
        before, self._revision = self._revision, views.revision(self._state)
        return before != self._revision

    def _summary(self) -> bytes:
        now_ms = self._state.clock.wall_ms()
        return _message(
            "summary",
            {
                **views.summary(self._state, now_ms),
                "device_list": views.devices(self._state, now_ms),
                "link_list": views.links(self._state),
            },
        )


def _end(queue: asyncio.Queue[bytes | None]) -> None:
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(None)


def _message(event: str, body: Any) -> bytes:
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return f"event: {event}\ndata: {text}\n\n".encode()
