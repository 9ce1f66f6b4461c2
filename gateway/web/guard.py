"""What stands in front of every route: method, Host header, password, error bodies, headers, first-request deadline."""

from __future__ import annotations

import asyncio
import base64
import hmac
import ipaddress
import json
import logging
import math
import re
from collections.abc import Callable, Mapping

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware

from gateway.clock import Clock
from gateway.config.site import PageConfig
from gateway.errors import NotNow
from gateway.web.history import BadQuery, NotKnown
from gateway.web.lockout import LOCKED_S, Lockout

WRITES = re.compile(r"/api/alerts/[^/]+/(acknowledge|act|close)|/api/outputs/[^/]+/(on|off|auto)")
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


def lets_in(authorization: str, page: PageConfig) -> bool:
    """Whether an Authorization header carries the password (Basic, the user name does not matter) or the token."""
    scheme, _, carried = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return _same(carried.strip().encode("utf-8", "surrogateescape"), page.token)
    try:
        given = base64.b64decode(carried.strip(), validate=True)
    except ValueError:
        return False
    return scheme.lower() == "basic" and _same(given.partition(b":")[2], page.password)


def _same(given: bytes, wanted: str | None) -> bool:
    return wanted is not None and hmac.compare_digest(given, wanted.encode())


def from_our_page(headers: Mapping[str, str]) -> bool:
    """Whether a request that changes something was meant: no form or script of another page can send it.

    The header cannot be set across origins without asking first, and OPTIONS is not answered.
    """
    origin = headers.get("Origin")
    same = origin is None or origin.partition("://")[2].lower() == headers.get("Host", "").lower()
    return headers.get(OURS) == "1" and same and headers.get("Sec-Fetch-Site", "same-origin") == "same-origin"


class Guard:
    """The middleware of one page, and the deadline for connections that never finish their first request."""

    def __init__(self, page: PageConfig, bound_to: str, clock: Clock) -> None:
        """``bound_to`` is the address that the server listens on."""
        self._page = page
        self._bound_to = bound_to
        self._clock = clock
        self._lockout = Lockout()
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
            if writes and not self._page.locked:
                return problem(403, "Nothing can be changed here before page.password is set in the site file.")
            refused = await self._ask_for_password(request) if self._is_locked(request, writes=writes) else None
            if refused is not None:
                return refused
            if writes and not from_our_page(request.headers):
                return problem(403, f"This must come from the gateway's own page, or carry the header {OURS}: 1.")
            return await _answer(request, handler)

        return guard

    def _is_locked(self, request: web.Request, *, writes: bool) -> bool:
        return self._page.locked and (writes or (self._page.protects == "everything" and request.path != "/healthz"))

    async def _ask_for_password(self, request: web.Request) -> web.Response | None:
        """Return None for who may come in. Guessing is slow, seen, and soon over for this address."""
        address, authorization = request.remote or "", request.headers.get("Authorization", "")
        if authorization:
            wait_s = self._lockout.remaining_s(address, self._clock.monotonic_s())
            if wait_s > 0:
                response = problem(429, f"Too many wrong passwords from this address. Wait {_minutes(wait_s)} min.")
                response.headers["Retry-After"] = str(math.ceil(wait_s))
                return response
            if lets_in(authorization, self._page):
                self._lockout.right(address)
                return None
            if self._lockout.wrong(address, self._clock.monotonic_s()):
                log.warning("too many wrong passwords for the page: address locked out", address=address, s=LOCKED_S)
            else:
                log.warning("wrong password for the page", address=address)
            await asyncio.sleep(WRONG_PASSWORD_S)
        response = problem(401, "This needs the password of the page (page.password); any user name will do.")
        # browsers ask by themselves for Basic only: on a page that is open to look at, the page itself asks
        scheme = "Basic" if self._page.protects == "everything" else "Bearer"
        response.headers["WWW-Authenticate"] = f'{scheme} realm="Sitegate", charset="UTF-8"'
        return response


def _minutes(seconds: float) -> int:
    return math.ceil(seconds / 60)


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
