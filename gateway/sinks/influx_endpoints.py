"""Where an InfluxDB body is posted to: ``/write`` of 1.x with aiohttp, ``/api/v2/write`` through influxdb-client."""

from __future__ import annotations

import base64
from typing import Any, Protocol

from aiohttp import ClientPayloadError, ClientResponse, ClientSession, ClientTimeout
from yarl import URL

from gateway.config import site

_MAX_ANSWER_BYTES = 65_536


class Endpoint(Protocol):
    """Where a body is posted to; ``where`` is its address for messages, without credentials."""

    where: str

    async def post(self, body: bytes, encoding: str | None) -> ClientResponse:
        """Send one request and return the answer unread; redirects are not followed, they would carry the token."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


class V1Endpoint:
    """``POST /write?db=&rp=&precision=ms``; credentials only in the header."""

    def __init__(self, config: site.InfluxSink) -> None:
        url = URL(config.url)
        base = url.with_user(None)
        self.where = str(base)
        query = {"db": config.database or "", "precision": "ms"}
        if config.retention_policy:
            query["rp"] = config.retention_policy
        self._url = (base / "write").with_query(query)
        self._options = _session_options(config.timeout)
        user, password = config.username or url.user, config.password or url.password or ""
        if user:
            credentials = base64.b64encode(f"{user}:{password}".encode()).decode()
            self._options["headers"]["Authorization"] = f"Basic {credentials}"
        elif config.token:
            self._options["headers"]["Authorization"] = f"Token {config.token}"
        self._session: ClientSession | None = None

    async def post(self, body: bytes, encoding: str | None) -> ClientResponse:
        if self._session is None:
            self._session = ClientSession(**self._options)
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if encoding:
            headers["Content-Encoding"] = encoding
        return await self._session.post(self._url, data=body, headers=headers, allow_redirects=False)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class V2Endpoint:
    """``POST /api/v2/write`` of 2.x, 3 Core and VictoriaMetrics, through influxdb-client."""

    def __init__(self, config: site.InfluxSink) -> None:
        import influxdb_client.client.influxdb_client_async  # half a second: at start, and only if it is used

        self._library: Any = influxdb_client
        base = URL(config.url).with_user(None)
        self.where = str(base)
        self._target = {"org": config.org or "", "bucket": config.bucket or "", "precision": "ms"}
        options = _session_options(config.timeout)
        self._options = {
            "url": str(base),
            "token": config.token,
            "org": config.org,
            "timeout": options.pop("timeout"),
            "allow_redirects": False,
            "client_session_kwargs": options,
        }
        self._client: Any = None

    async def post(self, body: bytes, encoding: str | None) -> ClientResponse:
        if self._client is None:
            self._client = self._library.client.influxdb_client_async.InfluxDBClientAsync(**self._options)
        # One level below WriteApiAsync.write: that reads an error of any size, takes 200 for a success and
        # compresses at level 9.
        service = self._library.WriteService(self._client.api_client)
        extra = {"content_encoding": encoding} if encoding else {}
        response: ClientResponse = await service.post_write_async(
            body=body, _preload_content=False, _return_http_data_only=True, **self._target, **extra
        )
        return response

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None


def _session_options(timeout_s: float) -> dict[str, Any]:
    """What both ways share: one total timeout, half of it for connecting; answers are never unpacked."""
    return {
        "timeout": ClientTimeout(total=timeout_s, connect=timeout_s / 2),
        "auto_decompress": False,
        "headers": {"Accept-Encoding": "identity"},
    }


async def read_answer(response: ClientResponse) -> bytes:
    """Read at most 64 KiB of an answer; of a broken one, what came."""
    text = bytearray()
    try:
        while len(text) < _MAX_ANSWER_BYTES:
            chunk = await response.content.read(_MAX_ANSWER_BYTES - len(text))
            if not chunk:
                break
            text += chunk
    except ClientPayloadError:
        pass  # cut short: the status counts all the same
    finally:
        response.close()  # a connection that was read to the end is already back in the pool
    return bytes(text)
