"""Which DL/T 645 meters are on a line, of either edition. Only reads.

Every meter answers the address AAAAAAAAAAAA. Where several do so at once, nobody is understood; then they are called
by the last pair of digits (缩位寻址, reported: the pairs in front may be AA), and by one more where that is not enough.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from drivers.dlt645 import codec
from drivers.dlt645.codec import WILDCARD, Frame
from drivers.meters.roll_call import Heard, roll_call
from drivers.sighting import Sighting
from drivers.transport.line import Line

ENERGY, ENERGY_1997 = "00010000", "9010"
"""The item that every electricity meter has: active energy forward."""
_CALLS = (
    codec.address_request(),
    codec.read_request(WILDCARD, ENERGY),
    codec.read_request(WILDCARD, ENERGY_1997),
)
"""Not every meter tells its address; reading brings it too."""
_MAX_DIGITS = 6
"""So many of the last digits are tried; more would take hours."""


async def find(line: Line, timeout_s: float) -> AsyncIterator[Sighting]:
    """Yield the meters that answer, each once. Raises LinkDown."""
    found: set[str] = set()
    for call in _CALLS:
        if found and call.function == codec.READ:
            continue  # the same meters as before: those that tell their address
        heard = await _call(line, call, timeout_s)
        for address in _addresses(heard, found):
            yield Sighting("dlt645", {"meter": address})
        if heard.garbled:
            item = ENERGY_1997 if call.function == codec.READ_1997 else ENERGY
            async for sighting in _call_by_digits(line, item, "", timeout_s, found):
                yield sighting


async def _call_by_digits(
    line: Line, item: str, ending: str, timeout_s: float, found: set[str]
) -> AsyncIterator[Sighting]:
    for pair in range(100):
        digits = f"{pair:02d}{ending}"
        pattern = digits.rjust(len(WILDCARD), WILDCARD[0])
        heard = await _call(line, codec.read_request(pattern, item), timeout_s)
        for address in _addresses(heard, found):
            yield Sighting("dlt645", {"meter": address})
        if heard.garbled and len(digits) < _MAX_DIGITS:
            async for sighting in _call_by_digits(line, item, digits, timeout_s, found):
                yield sighting


async def _call(line: Line, request: Frame, timeout_s: float) -> Heard[Frame]:
    return await roll_call(line, codec.encode(request), codec.take_frame, timeout_s)


def _addresses(heard: Heard[Frame], found: set[str]) -> list[str]:
    """Return those that are new, and note them."""
    new = sorted({frame.address for frame in heard.frames if frame.from_meter} - found)
    found.update(new)
    return new
