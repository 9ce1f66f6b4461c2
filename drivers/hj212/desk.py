"""Where all conversations of one opening of an HJ 212 link come together: who talks, who is believed, who must go.

On our own port nobody is believed before the first sound packet with the MN of one of our devices; strangers are
counted and shown the door, and whoever says nothing makes room when it gets crowded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import tzinfo
from typing import Protocol

from drivers.api import Rejected, Report
from drivers.errors import LinkDown
from drivers.hj212.codec import LONGEST_SEGMENT, Malformed, Packet, mn_of, opened, parse
from drivers.hj212.crc import crc_text
from drivers.hj212.points import Address, Limits, Point
from drivers.hj212.station import Heard, Station, clean, qn_of
from drivers.hj212.stream import Cutter, Piece

Stations = Mapping[str, tuple[Address, Mapping[str, Point], Limits]]
"""Device -> how to know it, and what to read of it."""

PACKET_S = 10.0
"""So long the rest of a packet may take; then its beginning was none."""
MOST_NOISE_BYTES = 65_536
"""So much without a sound packet: this peer speaks something else, or at another speed."""
_INBOX = 64  # packets taken from the wire and not yet by the consumer; then TCP holds the stations back


class Stream(Protocol):
    """The part of ``drivers.transport.ByteStream`` that a conversation needs."""

    def write(self, data: bytes) -> None: ...

    async def read(self, timeout_s: float) -> bytes: ...

    async def close(self) -> None: ...


class _Talk:
    """One connection and what is known of its other end."""

    def __init__(self, stream: Stream, host: str, cutter: Cutter, *, called: bool) -> None:
        self.stream = stream
        self.host = host
        self.cutter = cutter
        self.called = called
        """We have opened it, so its end is the end of the link."""
        self.stations: set[str] = set()
        """MNs of the devices that have proven to be there."""
        self.heard_s = asyncio.get_running_loop().time()
        """When the last sound packet of a device came, or the connection began."""
        self.task: asyncio.Task[None] | None = None

    def hang_up(self) -> None:
        """End it at once."""
        if self.task is not None:
            self.task.cancel()


class Desk:
    """Made anew with each opening, so that nothing counts as known that was not taken in."""

    def __init__(self, stations: Stations, zone: tzinfo, wall_ms: Callable[[], int], idle_s: float) -> None:
        self._stations = {
            address.mn: Station(device, address, points, limits, zone)
            for device, (address, points, limits) in stations.items()
        }
        self._zone = zone
        self._wall_ms = wall_ms
        self._idle_s = idle_s
        self._inbox: asyncio.Queue[tuple[_Talk | None, Heard]] = asyncio.Queue(_INBOX)
        self._taken: tuple[_Talk | None, Heard] = (None, Heard([], []))
        self._talks: list[_Talk] = []  # the oldest first
        self._tasks: set[asyncio.Task[None]] = set()
        self._owner: dict[str, _Talk] = {}
        self._lost = 0
        self._ended: Exception | None = None
        self._closed = False
        self._qn_ms = 0
        # Of those who have not named themselves: room for all stations at once, twice, and for some strangers.
        self._most_unnamed = 32 + 2 * len(self._stations)
        self._most_per_host = 8 + 2 * len(self._stations)

    # --- the consumer's side -----------------------------------------------------------------------------------------

    async def next_messages(self) -> list[Report | Rejected]:
        """Wait for the next packet and return what it says. Raises LinkDown when the connection we opened has ended."""
        if self._inbox.empty() and self._ended is not None:
            raise self._ended
        self._taken = await self._inbox.get()
        messages = self._taken[1].messages
        if self._lost:
            lost, self._lost = self._lost, 0
            messages = [*messages, Rejected(None, "inbox_full", f"{lost} refusals could not be told one by one")]
        return messages

    def answer(self) -> None:
        """Send the answers to what ``next_messages`` returned: it has been taken in."""
        talk, heard = self._taken
        if talk is not None:
            with contextlib.suppress(LinkDown):  # it will send again
                for packet in heard.answers:
                    talk.stream.write(packet)

    # --- the stations' side ------------------------------------------------------------------------------------------

    def welcome(self, stream: Stream, host: str) -> None:
        """Take a new connection; when too many have not named themselves yet, the oldest of them goes."""
        unnamed = [talk for talk in self._talks if not talk.stations]
        same = [talk for talk in unnamed if talk.host == host]
        if len(same) >= self._most_per_host or len(unnamed) >= self._most_unnamed:
            oldest = (same if len(same) >= self._most_per_host else unnamed)[0]
            self._talks.remove(oldest)
            oldest.hang_up()
            self._tell(Rejected(None, "crowded", f"{oldest.host} was closed: too many connections that say nothing"))
        self._begin(_Talk(stream, host, Cutter(self._judge), called=False))

    def call(self, stream: Stream) -> None:
        """Talk on a stream that we have opened."""
        self._begin(_Talk(stream, "the line", Cutter(self._judge), called=True))

    async def close(self) -> None:
        """End all conversations."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, talk: _Talk) -> None:
        task = talk.task = asyncio.create_task(self._converse(talk), name=f"HJ 212 {talk.host}")
        self._talks.append(talk)
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._over(talk, task))
        if self._closed:  # accepted while the port was being closed
            task.cancel()

    def _over(self, talk: _Talk, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if talk in self._talks:
            self._talks.remove(talk)
        for mn in talk.stations:
            if self._owner.get(mn) is talk:
                del self._owner[mn]
        why = None if task.cancelled() else task.exception()
        if isinstance(why, Exception) and (talk.called or not isinstance(why, LinkDown)):
            self._ended = why
            with contextlib.suppress(asyncio.QueueFull):  # then the consumer comes by anyway
                self._inbox.put_nowait((None, Heard([], [])))

    def _tell(self, message: Rejected) -> None:
        try:
            self._inbox.put_nowait((None, Heard([message], [])))
        except asyncio.QueueFull:
            self._lost += 1

    async def _converse(self, talk: _Talk) -> None:
        """Read until the connection ends or we end it; then raise LinkDown with the reason."""
        loop = asyncio.get_running_loop()
        begun_s: float | None = None
        try:
            while True:
                until_s = talk.heard_s + self._idle_s
                if begun_s is not None:
                    until_s = min(until_s, begun_s + PACKET_S)
                data = await talk.stream.read(max(0.0, until_s - loop.time()))
                now_s = loop.time()
                late = begun_s is not None and now_s >= begun_s + PACKET_S
                pieces = talk.cutter.feed(data)
                if late and not pieces:
                    pieces = talk.cutter.give_up()
                for piece in pieces:
                    await self._piece(talk, piece)
                begun_s = None if not talk.cutter.pending else begun_s if begun_s and not pieces else now_s
                if talk.cutter.skipped_bytes > MOST_NOISE_BYTES:
                    raise self._shown_out(talk, "noise", "sends no HJ 212 packets: check protocol and speed")
                if loop.time() >= talk.heard_s + self._idle_s:
                    raise self._shown_out(talk, "idle", f"no packet for {self._idle_s:g} s")
        finally:
            await talk.stream.close()

    def _shown_out(self, talk: _Talk, cause: str, text: str) -> LinkDown:
        self._tell(Rejected(self._device(talk), cause, f"{talk.host} was closed: {text}"))
        return LinkDown(f"{talk.host}: {text}")

    async def _piece(self, talk: _Talk, piece: Piece) -> None:
        if piece.fault is not None:
            await self._put(talk, Rejected(self._device(talk), piece.fault, _fault_text(talk, piece)))
            return
        try:
            packet = parse(piece.data)
        except Malformed as why:
            await self._put(talk, Rejected(self._device(talk), why.cause, clean(f"{talk.host}: {why}")))
            return
        station = self._stations.get(packet.header["MN"])
        refusal = _stranger(talk, packet) if station is None else station.refusal(packet, talk.host)
        if station is None or refusal is not None:
            assert refusal is not None
            await self._put(talk, refusal)
            if not talk.stations and not talk.called:
                raise LinkDown(refusal.detail)
            return
        self._own(station, talk)
        if len(piece.data) > LONGEST_SEGMENT:
            await self._put(talk, Rejected(station.device, "too_long", ""))
        await self._inbox.put((talk, station.take(packet, self._wall_ms(), self._own_qn())))

    def _own(self, station: Station, talk: _Talk) -> None:
        """A station has one connection: the newest. What a DTU left behind goes."""
        mn = station.address.mn
        talk.heard_s = asyncio.get_running_loop().time()
        talk.stations.add(mn)
        before = self._owner.get(mn)
        self._owner[mn] = talk
        if before is not None and before is not talk:
            self._tell(Rejected(station.device, "replaced", ""))
            before.hang_up()

    def _judge(self, segment: bytes, crc: bytes) -> bytes | None:
        station = self._stations.get(mn_of(segment))
        if station is None:
            return opened(segment, crc)
        limits = station.limits
        return opened(segment, crc, limits.crc, short=limits.short_crc, key=station.key)

    def _device(self, talk: _Talk) -> str | None:
        """Whose fault it is, where there is no doubt."""
        return self._stations[next(iter(talk.stations))].device if len(talk.stations) == 1 else None

    async def _put(self, talk: _Talk, message: Rejected) -> None:
        await self._inbox.put((talk, Heard([message], [])))

    def _own_qn(self) -> str:
        """A QN of ours: the time, and never the same twice."""
        self._qn_ms = max(self._wall_ms(), self._qn_ms + 1)
        return qn_of(self._qn_ms, self._zone)


def _stranger(talk: _Talk, packet: Packet) -> Rejected:
    text = f"{talk.host} says it is MN {packet.header['MN'][:40]!a}: no device of this link has it"
    return Rejected(None, "unknown_station", clean(text))


def _fault_text(talk: _Talk, piece: Piece) -> str:
    if piece.fault == "bad_crc":
        text = f"check sum {piece.crc!a} does not fit {len(piece.data)} bytes: for the standard's it is"
        return clean(f"{talk.host}: {text} {crc_text(piece.data)} (crc in the profile's limits names other kinds)")
    what = "of a packet, then nothing" if piece.fault == "half" else "that are no packet"
    return clean(f"{talk.host}: {len(piece.data)} bytes {what}: {piece.data[:24]!a}")
