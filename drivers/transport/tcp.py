"""Bytes over TCP: Modbus TCP, or a serial server that passes the bytes of its line through."""

from __future__ import annotations

import asyncio
import socket

from drivers.errors import LinkDown
from drivers.transport.inbox import ConnectedStream, Connection

_DEAD_AFTER_S = 15
"""A peer that vanished without a word (power cut, NAT) is noticed after this time even while nothing is sent."""


class TcpStream(ConnectedStream):
    """A ByteStream to ``host:port``."""

    def __init__(self, host: str, port: int, connect_timeout_s: float = 3.0) -> None:
        super().__init__(f"{host}:{port}")
        self.host = host
        self.port = port
        self.connect_timeout_s = connect_timeout_s

    async def open(self) -> None:
        """Connect, dropping an earlier connection. Raises LinkDown."""
        await self.close()
        address = self.address
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                transport, connection = await loop.create_connection(lambda: Connection(address), self.host, self.port)
        except TimeoutError:
            raise LinkDown(
                f"{address} does not answer within {self.connect_timeout_s:g} s: "
                "check its power, the cable, the address and the firewall"
            ) from None
        except socket.gaierror as why:
            raise LinkDown(f"{address}: the name is not known ({why.strerror}): check host and name server") from None
        except ConnectionRefusedError:
            raise LinkDown(
                f"{address} refuses the connection: nothing listens on this port, or another client has it"
            ) from None
        except OSError as why:
            raise LinkDown(f"{address}: {why.strerror or why}") from None
        _notice_death(transport.get_extra_info("socket"))
        await self._use(connection)


def _notice_death(sock: socket.socket) -> None:
    """Send without delay, and let the kernel notice a peer that is gone."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _DEAD_AFTER_S - 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_AFTER_S * 1000)
