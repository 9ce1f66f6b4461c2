"""A serial line made of a pty: the gateway opens a real tty, behind it sit simulated devices of any protocol.

The site file names the port; there we put a symbolic link to the pty's slave, and take it away at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from simulators.bus import Bus
from simulators.errors import SimulatorError
from simulators.text_instrument import TextInstrument, printing

SILENCE_S = 0.05
"""A request that stops in the middle for this long is forgotten; slower than any protocol, faster than any retry."""


@contextmanager
def serve_serial(
    port: str, bus: Bus, *, char_s: float = 0.0, echo: bool = False, printers: Sequence[TextInstrument] = ()
) -> Iterator[None]:
    """Answer on ``port`` while inside, from a running loop.

    ``char_s`` is the time of one character: a pty has no speed of its own, so replies wait as long as request and
    reply would have taken on the wire. ``echo``: the adapter repeats what it is sent, as some do. ``printers`` speak
    without being asked.
    """
    master, slave = pty.openpty()
    try:
        tty.setraw(slave)
        os.set_blocking(master, False)
        # Our own hold on the slave keeps the line alive while the gateway closes and opens it.
        answering = _answering(master, bus, char_s, echo, printers)
        with _only_one(Path(port)), _link(Path(port), os.ttyname(slave)), answering:
            yield
    finally:
        os.close(master)
        os.close(slave)


@contextmanager
def _answering(master: int, bus: Bus, char_s: float, echo: bool, printers: Sequence[TextInstrument]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    pending: set[asyncio.TimerHandle] = set()
    heard_at = loop.time()
    free_at = heard_at

    def write(data: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # nobody reads: bytes on a real line are lost, too
            os.write(master, data)

    def write_at(when: float, data: bytes) -> None:
        def due() -> None:
            pending.discard(handle)
            write(data)

        handle = loop.call_at(when, due)
        pending.add(handle)

    def on_bytes() -> None:
        nonlocal heard_at, free_at
        try:
            data = os.read(master, 4096)
        except BlockingIOError:
            return
        now = loop.time()
        if now - heard_at > SILENCE_S:
            bus.forget()
        heard_at = now
        if echo:
            write(data)
        free_at = max(now, free_at) + len(data) * char_s
        for chunk in bus.hear(data):
            free_at += chunk.after_s + len(chunk.data) * char_s
            write_at(free_at, chunk.data)

    loop.add_reader(master, on_bytes)
    try:
        with printing(printers, write):
            yield
    finally:
        loop.remove_reader(master)
        for handle in pending:
            handle.cancel()


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold the port against a second simulator, which would take a living line for one left behind."""
    lock = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = lock.open("w")
    except OSError as why:
        raise SimulatorError(f"cannot make the simulated serial port {path}: {why.strerror}") from None
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SimulatorError(
                f"another simulator plays {path}: stop it, or name another path in the site file"
            ) from None
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextmanager
def _link(path: Path, target: str) -> Iterator[None]:
    """Put the symbolic link there; never over a real device or a file."""
    try:
        if path.is_symlink() and (not path.exists() or str(path.readlink()).startswith("/dev/pts/")):
            path.unlink()  # left behind by a simulator that was killed
        path.symlink_to(target)
    except FileExistsError:
        raise SimulatorError(
            f"{path} exists and is no simulated port: a simulated site never takes a real port's place; "
            "name another path under links in the site file"
        ) from None
    except OSError as why:
        raise SimulatorError(f"cannot make the simulated serial port {path}: {why.strerror}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if str(path.readlink()) == target:
                path.unlink()
