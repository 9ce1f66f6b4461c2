"""One wire and its turns: silence before each request, no belief in late answers, what every protocol on it shares.

Modbus RTU and DL/T 645 carry no transaction number, so an answer that comes too late looks like the answer to the
next question. The line therefore distrusts every exchange until it has ended well: after a time-out, a cancel or a
bad frame it listens until the wire is quiet and throws away what came, before it asks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Literal, TypeVar

from drivers.errors import BadFrame, LinkDown, NoAnswer, Refused
from drivers.transport import ByteStream

T = TypeVar("T")

LONGEST_FRAME = 260
"""No frame of the protocols here is longer; at 300 baud that many characters take nine seconds."""
_PATIENCE = 8
"""A wire that never falls quiet is reported after this many times the quiet time that was asked for."""
_KEPT = 4096
"""Bytes of one exchange that are kept for ``last_frames`` and error texts."""
_HINT = " (no answer was ever understood here: compare speed and parity; no two devices may have one address)"
_DOUBT_TIMES = 3
"""For so many time-outs after a request without an answer the next answer is doubted."""
_MARGIN = 1.25
"""An answer that is doubted counts when nothing more came within this share of the delay that would explain it."""


class Line:
    """A byte stream on which one request at a time waits for its answer.

    Modbus RTU and DL/T 645 devices share a Line when they share an RS-485 pair.
    ``char_s`` is the time of one character, ``silence_s`` the quiet asked for before a request; ``echo`` says that
    the adapter repeats what we send; ``drain_s`` is how long the wire must be quiet after a failure (default: the
    time-out of the failed exchange, at most 0.25 s).
    """

    def __init__(
        self,
        stream: ByteStream,
        *,
        kind: Literal["serial", "tcp"],
        framing: Literal["rtu", "modbus_tcp"],
        char_s: float = 0.0,
        silence_s: float = 0.0,
        echo: bool = False,
        drain_s: float | None = None,
    ) -> None:
        self.kind = kind
        self.framing = framing
        self.char_s = char_s
        self.silence_s = silence_s
        self.is_open = False
        self.bytes_sent = 0
        self.bytes_received = 0
        self.bytes_discarded = 0
        """Answers that came too late, and what was said while nobody had asked."""
        self.busy_s = 0.0
        """Time in which the wire was in use, silences included."""
        self.last_frames: tuple[bytes, bytes] = (b"", b"")
        """Raw bytes of the last exchange: sent, received."""
        self.last_reply_s = 0.0
        """From the end of the last request to the last byte of its answer."""
        self._stream = stream
        self._echo = echo
        self._drain_s = drain_s
        self._turn = asyncio.Lock()
        self._input = bytearray()
        self._last_byte_s = 0.0
        self._distrust_s = 0.0  # quiet time owed before the next request; 0: the last exchange ended well
        self._sent_s = 0.0
        self._understood = False  # an answer came on this wire
        self._unanswered_s: dict[bytes, float] = {}  # like -> when the last request without an answer was sent

    async def open(self) -> None:
        """Connect; a second call reconnects. Raises LinkDown."""
        async with self._turn:
            self.is_open = False
            self._input.clear()
            await self._stream.open()
            self.is_open = True

    async def close(self) -> None:
        """Close the stream; an exchange that is under way ends with LinkDown."""
        self.is_open = False
        await self._stream.close()

    async def exchange(
        self,
        request: bytes,
        take: Callable[[bytearray], T | None],
        timeout_s: float,
        *,
        matched: bool = False,
        like: bytes | None = None,
    ) -> T:
        """Send ``request`` and show what arrives to ``take`` until it returns an answer.

        ``take`` gets everything not yet consumed, may delete from it, and returns the answer, None for "need
        more", or raises Refused or BadFrame. ``matched``: answers carry a transaction number that ``take`` checks,
        so late ones are harmless. ``timeout_s`` runs until the answer's first byte; one that has begun on a slow
        wire may take the time of the longest frame. ``like``: nothing in an answer tells it from those to other
        requests with the same ``like``, so soon after a time-out the next one is taken only when no second one
        follows; ``settle`` says that there is no such doubt.

        Raises NoAnswer (silence), BadFrame (bytes, but no answer), Refused, LinkDown.
        """
        async with self._turn:
            if not self.is_open:
                raise LinkDown("the line is not open")
            began_s = monotonic()
            good = False
            try:
                answer = await self._ask(request, take, timeout_s, matched)
                if like in self._unanswered_s:
                    await self._expect_no_other(like, timeout_s)
                good = self._understood = True
                return answer
            except Refused:
                good = True
                raise
            except NoAnswer:
                good = matched
                if like is not None:
                    self._unanswered_s[like] = self._sent_s
                raise
            except LinkDown:
                self.is_open = False
                good = matched  # what was said on the old connection cannot come on the next one
                raise
            except asyncio.CancelledError:
                good = matched
                if like is not None:
                    self._unanswered_s[like] = self._sent_s
                raise
            finally:
                now_s = monotonic()
                self.busy_s += now_s - began_s
                if not good:
                    self._last_byte_s = now_s  # the late answer is expected from now on
                    self.distrust(timeout_s)

    def settle(self, start: bytes) -> None:
        """No answer is under way any more to requests whose ``like`` begins so."""
        for like in [each for each in self._unanswered_s if each.startswith(start)]:
            del self._unanswered_s[like]

    def distrust(self, timeout_s: float) -> None:
        """Have the wire be quiet for a while before the next request, as after a failure with this time-out."""
        self._distrust_s = min(timeout_s, 0.25) if self._drain_s is None else self._drain_s

    async def _ask(self, request: bytes, take: Callable[[bytearray], T | None], timeout_s: float, matched: bool) -> T:
        await self._fall_quiet(matched)
        stream, waiting = self._stream, self._input
        stream.write(request)
        self.bytes_sent += len(request)
        self._sent_s = self._last_byte_s = monotonic() + len(request) * self.char_s
        deadline_s = self._sent_s + timeout_s
        echo = request if self._echo else b""
        received = b""
        count = 0
        self.last_frames = (request, b"")
        while True:
            data = await stream.read(max(0.0, deadline_s - monotonic()))
            if not data:
                break
            self._last_byte_s = monotonic()
            if not count and self.char_s:
                deadline_s = max(deadline_s, self._last_byte_s + LONGEST_FRAME * self.char_s)
            count += len(data)
            self.bytes_received += len(data)
            if len(received) < _KEPT:
                received += data
            self.last_frames = (request, received)
            waiting += data
            if echo:
                # By content, not by count: an adapter that does not echo, or echoes late, costs nothing.
                if len(waiting) < len(echo) and echo.startswith(waiting):
                    continue
                if waiting.startswith(echo):
                    del waiting[: len(echo)]
                    count -= len(echo)
                echo = b""
            answer = take(waiting)
            if answer is not None:
                self.last_reply_s = self._last_byte_s - self._sent_s
                return answer
            if self._last_byte_s >= deadline_s:  # a wire that never stops talking must not hold us
                break
        silent = not waiting if matched else count == 0 or bool(echo)
        if silent:
            raise NoAnswer(f"no answer within {timeout_s:g} s")
        hint = "" if self._understood else _HINT
        raise BadFrame(f"{count} bytes came within {timeout_s:g} s but no answer{hint}: {received[:16].hex(' ')}")

    async def _expect_no_other(self, like: bytes, timeout_s: float) -> None:
        """What came may be the late answer to an earlier request: then the one to this request comes as late."""
        late_s = monotonic() - self._unanswered_s[like]
        if late_s <= _DOUBT_TIMES * timeout_s:
            until_s = self._sent_s + _MARGIN * late_s
            while (rest_s := until_s - monotonic()) > 0:
                if data := bytes(self._input) or await self._stream.read(rest_s):
                    self._unanswered_s[like] = self._sent_s
                    raise BadFrame(
                        f"answers come later than the time-out of {timeout_s:g} s, so it is not sure what they answer: "
                        f"give the link a longer one ({data[:16].hex(' ')})"
                    )
        del self._unanswered_s[like]

    async def _fall_quiet(self, matched: bool) -> None:
        """Wait for the silence that is due, and throw away what nobody has asked for."""
        stale = self._stream.pending()
        if matched and not self._distrust_s:
            self._input += stale  # may be the end of a frame whose beginning is here already
            return
        if stale:
            self._last_byte_s = monotonic()
            self._discard(stale)
        quiet_s = max(self.silence_s, self._distrust_s)
        give_up_s = monotonic() + max(1.0, _PATIENCE * quiet_s)
        while (rest_s := self._last_byte_s + quiet_s - monotonic()) > 0:
            data = await self._stream.read(rest_s)
            if data:
                self._last_byte_s = monotonic()
                self._discard(data)
                if self._last_byte_s > give_up_s:
                    raise BadFrame(
                        f"the wire does not fall quiet for {quiet_s:g} s: another master or a device that keeps "
                        f"sending is on it ({data[:16].hex(' ')})"
                    )
        self._distrust_s = 0.0
        self._input.clear()

    def _discard(self, data: bytes) -> None:
        self.bytes_received += len(data)
        self.bytes_discarded += len(data)
