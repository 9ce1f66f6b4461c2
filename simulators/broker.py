"""An embedded MQTT broker (amqtt): 3.1.1, no encryption, no passwords, nothing kept. Enough for a demo on one machine.

It runs on a thread with an event loop of its own, because amqtt leaves the tasks of connected clients behind when it
shuts down: here they end with their loop, and the gateway's loop never sees them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

from simulators.errors import SimulatorError

SHUTDOWN_S = 0.7


@asynccontextmanager
async def embedded_broker(host: str, port: int) -> AsyncIterator[None]:
    """Serve MQTT while inside. Raises SimulatorError when the address cannot be had."""
    # amqtt tells every connection and every state of its machines at INFO and WARNING.
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    settings = {
        "listeners": {"default": {"type": "tcp", "bind": bind}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    ready: Future[Callable[[], Any]] = Future()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(settings, ready)), name=f"broker {bind}", daemon=True)
    thread.start()
    try:
        stop = await asyncio.wrap_future(ready)
    except OSError as why:
        raise SimulatorError(
            f"cannot start an MQTT broker on {bind} ({why}): choose another port in the site file"
        ) from None
    try:
        yield
    finally:
        stop()
        await asyncio.to_thread(thread.join)


async def _serve(settings: dict[str, Any], ready: Future[Callable[[], Any]]) -> None:
    """Run until told to stop; ``ready`` gets what tells it, from any thread, or the reason why it does not start."""
    from amqtt.broker import Broker
    from amqtt.errors import BrokerError

    class HangingUpBroker(Broker):  # type: ignore[misc]  # amqtt ships no types
        """amqtt forgets to close connections that are just being made, or just ending, when it shuts down."""

        async def stream_connected(
            self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
        ) -> None:
            try:
                await super().stream_connected(reader, writer, listener_name)
            except asyncio.CancelledError:
                pass  # the loop ends; Python 3.11 would log a cancelled connection as an error
            finally:
                writer.close()

    loop, told = asyncio.get_running_loop(), asyncio.Event()
    broker = HangingUpBroker(settings)
    try:
        await broker.start()
    except (BrokerError, OSError) as why:
        ready.set_exception(OSError(str(why)))
        return
    ready.set_result(lambda: loop.call_soon_threadsafe(told.set))
    await told.wait()
    # From Python 3.12 on, shutting down waits for clients that stay connected: not longer than this.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(broker.shutdown(), SHUTDOWN_S)
