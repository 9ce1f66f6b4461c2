"""All meters of one frame protocol on a line: DL/T 645 and CJ/T 188 differ in decoder, encoder and preamble only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

Frame = TypeVar("Frame")
Taken = TypeVar("Taken", covariant=True)


class Meter(Protocol[Frame]):
    """One meter that may be asked."""

    def hears(self, request: Frame) -> bool: ...
    def answer(self, request: Frame) -> Frame | None: ...
    def refuse(self, request: Frame) -> Frame | None: ...


class Decoder(Protocol[Taken]):
    """As ``drivers.meters.frames.Decoder``."""

    def feed(self, data: bytes) -> None: ...
    def next_frame(self) -> Taken | None: ...
    def clear(self) -> None: ...


class MeterEar(Generic[Frame]):
    """Fulfils ``simulators.bus.Ear``."""

    def __init__(
        self,
        meters: Sequence[Meter[Frame]],
        decoder: Decoder[Frame],
        encode: Callable[[Frame, int], bytes],
        preamble: int,
    ) -> None:
        self._meters = meters
        self._decoder = decoder
        self._encode = encode
        self._preamble = preamble

    def hear(self, data: bytes, refuses: Callable[[], bool]) -> list[bytes]:
        """Take bytes from the wire and return the replies of the meters that were asked."""
        self._decoder.feed(data)
        replies: list[bytes] = []
        while (request := self._decoder.next_frame()) is not None:
            for meter in self._meters:
                if meter.hears(request):
                    reply = meter.refuse(request) if refuses() else meter.answer(request)
                    if reply is not None:
                        replies.append(self._encode(reply, self._preamble))
        return replies

    def forget(self) -> None:
        """The line fell silent."""
        self._decoder.clear()
