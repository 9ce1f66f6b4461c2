"""InfluxDB 1.x, 2.x and 3 Core: one sink, two ways to address the same tables.

``v1`` posts to /write with aiohttp (1.x has nothing else), ``v2`` to /api/v2/write through influxdb-client. Both send
one bytes body per request, which is 14 times cheaper than point objects. The sink does not retry: it raises
``SinkUnavailable`` and the pump comes back. It repeats only what it must to find a line at fault.
"""

from __future__ import annotations

import asyncio
import gzip
from collections import deque
from collections.abc import Sequence

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientConnectorError,
    ClientError,
    ConnectionTimeoutError,
)

from gateway.config import site
from gateway.errors import SinkTimeout, SinkUnavailable
from gateway.model import Readings
from gateway.sinks import Sink, Written
from gateway.sinks.influx_answer import Split, Stored, Unavailable, judge
from gateway.sinks.influx_endpoints import Endpoint, V1Endpoint, V2Endpoint, read_answer
from gateway.sinks.line_protocol import Encoder

_MAX_BODY_BYTES = 900_000
"""Below 1 MB, the usual limit of a reverse proxy."""
_BREATH_BYTES = 64_000
"""Encoding stops for breath after so much, to keep the event loop free: about 2 ms."""
_UNEXPLAINED = 3
"""The third unexplained 500 in a row at the same place starts the search for a line that causes it."""
_SEARCH_REQUESTS = 64
"""Requests that this search may spend before anything is stored: then it is the server that is ill."""
_Line = tuple[int, bytes]
"""Index of the record in the batch, and one of its lines."""


class LineProtocolSink:
    """Writes records to one endpoint and finds out which of them the server will never take."""

    def __init__(self, name: str, endpoint: Endpoint, config: site.InfluxSink, encoder: Encoder) -> None:
        self.name = name
        self._endpoint = endpoint
        self._encoder = encoder
        self._minutes = config.minutes
        self._gzip = config.gzip
        self._timeout_s = config.timeout
        self._unexplained = (b"", 0)  # first line of a body, and how often in a row it met a 500

    async def write(self, batch: Sequence[Readings]) -> Written:
        """Write all of it; records with a line that the server refuses for good come back as rejected."""
        rejected: dict[int, str] = {}
        body: list[tuple[int, bytes]] = []
        size = breath = 0
        for index, readings in enumerate(batch):
            if not self._minutes and readings.is_minute:
                continue
            try:
                lines = self._encoder.encode(readings)
            except ValueError as why:
                rejected[index] = str(why)
                continue
            if not lines:
                continue
            if size + len(lines) > _MAX_BODY_BYTES and body:
                rejected |= await self._deliver(body)
                body, size = [], 0
            body.append((index, lines))
            size += len(lines) + 1
            breath += len(lines)
            if breath > _BREATH_BYTES:
                breath = 0
                await asyncio.sleep(0)
        if body:
            rejected |= await self._deliver(body)
        return Written(rejected)

    async def close(self) -> None:
        await self._endpoint.close()

    async def _deliver(self, records: list[tuple[int, bytes]]) -> dict[int, str]:
        """Write one body; return the rejected records."""
        body = b"\n".join([lines for _, lines in records])
        answer = await self._send(body)
        if isinstance(answer, Stored):
            return {}
        if isinstance(answer, Unavailable) and not self._is_unexplained_again(body, answer):
            raise self._unavailable(answer)
        single = [(index, line) for index, lines in records for line in lines.split(b"\n")]
        return await self._search(single, unexplained=isinstance(answer, Unavailable))

    def _is_unexplained_again(self, body: bytes, answer: Unavailable) -> bool:
        """True when a body with this first line met an unexplained 500 for the third time in a row."""
        if not answer.may_hide_bad_line:
            return False
        place = body.partition(b"\n")[0]  # the batch may have grown since
        times = self._unexplained[1] + 1 if self._unexplained[0] == place else 1
        self._unexplained = (place, times % _UNEXPLAINED)
        return times == _UNEXPLAINED

    async def _search(self, lines: list[_Line], unexplained: bool) -> dict[int, str]:
        """Halve until the lines at fault stand alone; everything else is stored on the way."""
        rejected: dict[int, str] = {}
        suspects: list[_Line] = []
        good: bytes | None = None
        requests = 0
        parts = deque(_halves(lines))
        while parts:
            part = parts.popleft()
            body = b"\n".join([line for _, line in part])
            answer = await self._send(body)
            requests += 1
            if isinstance(answer, Stored):
                good = good or part[0][1]
                continue
            if isinstance(answer, Unavailable):
                unexplained = unexplained or self._is_unexplained_again(body, answer)
                ill = good is None and requests >= _SEARCH_REQUESTS
                if not answer.may_hide_bad_line or not unexplained or ill:
                    raise self._unavailable(answer)
            if len(part) > 1:
                parts.extend(_halves(part))
            elif isinstance(answer, Split):
                rejected[part[0][0]] = answer.reason
            else:
                suspects.append(part[0])
        return rejected | await self._convict(suspects, good)

    async def _convict(self, suspects: list[_Line], good: bytes | None) -> dict[int, str]:
        """A 500 costs a line its place only if the server stores a good line right after: else the server is ill."""
        rejected: dict[int, str] = {}
        for index, line in suspects:
            answer = await self._send(line)
            if isinstance(answer, Split):
                rejected[index] = answer.reason
            elif isinstance(answer, Unavailable):
                if good is None or not answer.may_hide_bad_line or await self._send(good) != Stored():
                    raise self._unavailable(answer)
                rejected[index] = answer.text
        return rejected

    async def _send(self, body: bytes) -> Stored | Split | Unavailable:
        """Post one body and judge the answer. Raises SinkUnavailable when there is none."""
        where = self._endpoint.where
        try:
            if self._gzip:
                body = await asyncio.to_thread(gzip.compress, body, 1, mtime=0)
            response = await self._endpoint.post(body, "gzip" if self._gzip else None)
            return judge(response.status, response.headers, await read_answer(response))
        except ConnectionTimeoutError:
            raise SinkUnavailable(f"{where}: no connection in time; is the network up?") from None
        except TimeoutError:
            raise SinkTimeout(f"{where}: no answer within {self._timeout_s:g} s") from None
        except ClientConnectorDNSError as why:
            raise SinkUnavailable(f"{where}: the name {why.host} cannot be resolved; check url and DNS") from None
        except ClientConnectorCertificateError as why:
            text = f"its certificate is not trusted: {why.certificate_error}"
            raise SinkUnavailable(f"{where}: {text}; check url and clock") from None
        except ClientConnectorError as why:
            raise SinkUnavailable(f"{where}: cannot connect: {why.os_error.strerror or why}") from None
        except (ClientError, OSError) as why:
            raise SinkUnavailable(f"{where}: connection lost ({type(why).__name__})") from None

    def _unavailable(self, answer: Unavailable) -> SinkUnavailable:
        return SinkUnavailable(f"{self._endpoint.where}: {answer.text}", answer.retry_after_s)


def make(name: str, config: site.InfluxSink, encoder: Encoder) -> Sink:
    """Return the sink of one entry under ``sinks:``. Connects at the first write."""
    endpoint = V1Endpoint(config) if config.api == "v1" else V2Endpoint(config)
    return LineProtocolSink(name, endpoint, config, encoder)


def _halves(lines: list[_Line]) -> list[list[_Line]]:
    middle = (len(lines) + 1) // 2
    return [part for part in (lines[:middle], lines[middle:]) if part]
