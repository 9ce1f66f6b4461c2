"""What long-running commands share: the event loop, how they are told to stop, where the log goes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

T = TypeVar("T")


async def told_to_stop(seconds: float | None, hang_up: Callable[[], object] | None = None) -> None:
    """Return when told (Ctrl-C, SIGTERM, a closed terminal) or after ``seconds``; a second signal ends it at once.

    ``hang_up``: what SIGHUP does instead, for a service that has no terminal to lose.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, hang_up if hang_up and number == signal.SIGHUP else stop.set)
    try:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)


def leave_within(seconds: float, status: int) -> None:
    """End the process by then, whatever threads still wait for a name server or broker; call when all is stored."""
    timer = threading.Timer(seconds, os._exit, (status,))
    timer.daemon = True
    timer.start()


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where there is one: it halves the CPU per request."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def set_up_logging() -> None:
    """Lines for people on a terminal, JSON lines for a service; on standard error, so that output stays clean."""
    person = sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer() if person else structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=not person),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
