"""What stands in front of every route: method, Host header, error bodies, security headers, first-request deadline."""

from __future__ import annotations

import asyncio
import base64
import hmac
import ipaddress
import json
import logging
import re
from collections.abc import Callable, Mapping

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from gateway.errors import NotNow
from gateway.web.history import BadQuery, NotKnown

WRITES = re.compile(r"/api/alerts/[^/]+/(acknowledge|act|close)")
"""All that can be changed from outside."""
OURS = "X-Sitegate"
"""Header that every change must carry."""
FIRST_REQUEST_S = 10.0
"""A connection that has not sent its first whole request by then is closed."""
WRONG_PASSWORD_S = 1.0
"""A wrong password is answered after this time."""

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; object-src 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
log = structlog.get_logger()

_WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to
_LOCAL_ENDINGS = (".local", ".lan", ".internal", ".home.arpa")


def host_name(header: str) -> str:
    """The name in a Host header, without port and brackets, in lower case; "" when it makes no sense."""
    name, _, rest = header.strip().lower().partition("]") if header.startswith("[") else header.lower().partition(":")
    if rest and not rest.lstrip(":").isdigit():
        return ""
    return name.lstrip("[").rstrip(".")


def host_allowed(header: str, bound_to: str) -> bool:
    """Whether this Host header may be answered: stops pages on the internet from reading us by DNS rebinding.

    Loopback and the configured host always. When bound to every address also any IP address and names that no
    public name server can give out (``box``, ``box.local``).
    """
    name = host_name(header)
    if name in ("localhost", bound_to.lower()):
        return name != ""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        local = "." not in name or name.endswith(_LOCAL_ENDINGS)
        return bound_to in _WILDCARDS and local and name != ""
    return address.is_loopback or bound_to in _WILDCARDS


def problem(status: int, text: str) -> web.Response:
    """An error for people and programs: one sentence in JSON."""
    return web.Response(
        status=status,
        body=json.dumps({"error": text}, ensure_ascii=False).encode(),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def password_given(authorization: str, password: str) -> bool:
    """Whether a Basic Authorization header carries the password; the user name does not matter."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        given = base64.b64decode(encoded.strip(), validate=True)
    except ValueError:
        return False
    return scheme.lower() == "basic" and hmac.compare_digest(given.partition(b":")[2], password.encode())


def from_our_page(headers: Mapping[str, str]) -> bool:
    """Whether a request that changes something was meant: no form or script of another page can send it.

    The header cannot be set across origins without asking first, and OPTIONS is not answered.
    """
    origin = headers.get("Origin")
    same = origin is None or origin.partition("://")[2].lower() == headers.get("Host", "").lower()
    return headers.get(OURS) == "1" and same and headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"


class Guard:
    """The middleware of one page, and the deadline for connections that never finish their first request."""

    def __init__(self, bound_to: str, password: str | None = None) -> None:
        self._bound_to = bound_to
        self._password = password
        self._mute: set[asyncio.Protocol] = set()
        """Connections that have not sent a whole request yet."""

    def protocol_factory(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """Make connections that are closed when no whole request comes in time (half-open, byte by byte)."""

        def connect() -> asyncio.Protocol:
            connection = server()
            self._mute.add(connection)
            asyncio.get_running_loop().call_later(FIRST_REQUEST_S, self._close_if_mute, connection)
            return connection

        return connect

    def _close_if_mute(self, connection: web.RequestHandler) -> None:
        if connection in self._mute:
            self._mute.discard(connection)
            connection.force_close()

    def middleware(self) -> Middleware:
        """What aiohttp calls for every request."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._mute.discard(request.protocol)
            if not host_allowed(request.headers.get("Host", ""), self._bound_to):
                return problem(421, "This gateway does not go by that name. Open it by its address or by page.host.")
            writes = request.method == "POST" and WRITES.fullmatch(request.path) is not None
            if request.method not in ("GET", "HEAD") and not writes:
                response = problem(405, "The page is read-only: use GET or HEAD.")
                response.headers["Allow"] = "GET, HEAD"
                return response
            if writes and self._password is None:
                return problem(403, "Set page.password in the site file first: alarms are only answered with it.")
            if self._password is not None and request.path != "/healthz":
                authorization = request.headers.get("Authorization", "")
                if not password_given(authorization, self._password):
                    return await _ask_for_password(request, wrong=bool(authorization))
            if writes and not from_our_page(request.headers):
                return problem(403, f"This must come from the gateway's own page, or carry the header {OURS}: 1.")
            return await _answer(request, handler)

        return guard


async def _ask_for_password(request: web.Request, *, wrong: bool) -> web.Response:
    if wrong:  # guessing is slow, and seen
        log.warning("wrong password for the page", address=request.remote)
        await asyncio.sleep(WRONG_PASSWORD_S)
    response = problem(401, "This page needs its password (page.password in the site file); any user name will do.")
    response.headers["WWW-Authenticate"] = 'Basic realm="Sitegate", charset="UTF-8"'
    return response


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BadQuery as error:
        return problem(400, str(error))
    except NotKnown as error:
        return problem(404, str(error))
    except NotNow as error:
        return problem(409, str(error))
    except web.HTTPNotFound:
        return problem(404, "There is nothing at this address. The page is at /, the data below /api/.")
    except web.HTTPException as error:
        return problem(error.status, error.text or error.reason)


def make_logger() -> logging.Logger:
    """The server's log without what strangers send: a malformed request is answered with 400 and not worth a line."""
    logger = logging.getLogger("sitegate.page")
    if _not_malformed not in logger.filters:
        logger.addFilter(_not_malformed)
    return logger


def _not_malformed(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Signal: every answer carries the security headers, errors too."""
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
