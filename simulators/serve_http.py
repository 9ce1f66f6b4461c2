"""Equipment that posts JSON to the gateway's port, each at its own pace; it keeps a message until it sees 202."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import aiohttp
import structlog

from drivers.http_push.codec import Address, Limits, Point
from drivers.json_fields.fields import compose
from gateway.clock import Clock
from gateway.config.loader import LoadedDevice
from gateway.config.profile import PointRule
from gateway.config.site import HttpLink
from simulators.errors import Silent
from simulators.roles import Reader
from simulators.scaling import shown_raw

RETRY_S = 1.0
_ANSWER_S = 15.0

log = structlog.get_logger(__name__)


class HttpNode:
    """What one device posts."""

    def __init__(
        self,
        address: Address,
        points: Mapping[str, Point],
        limits: Limits,
        rules: Mapping[str, PointRule],
        read: Reader,
    ) -> None:
        self.token = address.token
        self.every_s = min(rules[name].every_s for name in points)
        self._points = points
        self._limits = limits
        self._rules = rules
        self._read = read

    def message(self, sent_at_ms: int) -> bytes:
        """Return the message of this moment."""
        values = self._read()
        raw = {name: shown_raw(self._rules[name], values.get(name, 0.0)) for name in self._points}
        return compose(self._points, raw, self._limits, sent_at_ms)


def http_nodes(devices: Sequence[LoadedDevice], readers: Mapping[str, Reader]) -> list[HttpNode]:
    """Return the devices of one port."""
    return [HttpNode(d.address, d.points, d.profile.limits, d.rules, readers[d.name]) for d in devices]


@asynccontextmanager
async def serve_http(link: HttpLink, nodes: Sequence[HttpNode], clock: Clock) -> AsyncIterator[None]:
    """Let the devices post while inside; they try again for ever while nobody listens."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(link.host, link.host)
    url = f"{'https' if link.tls else 'http'}://{host}:{link.port}{link.path}"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S)) as session:
        tasks = [asyncio.create_task(_post_for_ever(session, url, node, clock)) for node in nodes]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended  # a device never ends by itself: show what ended it


async def _post_for_ever(session: aiohttp.ClientSession, url: str, node: HttpNode, clock: Clock) -> None:
    up = True
    due_s = clock.monotonic_s()
    while True:
        try:
            message = node.message(clock.wall_ms())
            while (problem := await _post(session, url, node.token, message)) is not None:
                if up:
                    log.warning("the simulated device cannot post", url=url, error=problem)
                up = False
                await clock.sleep(RETRY_S)
            up = True
        except Silent:  # it has lost its power
            pass
        due_s = max(due_s + node.every_s, clock.monotonic_s())
        await clock.sleep(due_s - clock.monotonic_s())


async def _post(session: aiohttp.ClientSession, url: str, token: str, message: bytes) -> str | None:
    """Return None when the gateway has it, else why not."""
    try:
        # simulated equipment trusts any certificate of the gateway that it plays for
        async with session.post(url, data=message, headers={"Authorization": f"Bearer {token}"}, ssl=False) as answer:
            return None if answer.status == 202 else f"{answer.status} {await answer.text()}"
    except (aiohttp.ClientError, TimeoutError) as why:
        return str(why) or type(why).__name__
