"""Which CJ/T 188 meters are on a line. Only reads.

Every meter answers the address AAAAAAAAAAAAAA of type AA. The standard knows no way to call a part of them, so where
several answer on top of each other only those are found that can be understood.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from drivers.cjt188 import codec
from drivers.cjt188.codec import ADDRESS, ANY_TYPE, CURRENT_DATA, WILDCARD, Frame
from drivers.cjt188.metering import METER_TYPES, fields_of
from drivers.meters.roll_call import roll_call
from drivers.sighting import Sighting
from drivers.transport.line import Line

_CALLS = (
    Frame(ANY_TYPE, WILDCARD, codec.READ_ADDRESS, codec.di_bytes(ADDRESS, "high_first") + b"\x00"),
    codec.read_request(ANY_TYPE, WILDCARD, CURRENT_DATA, 1, "low_first"),
    codec.read_request(ANY_TYPE, WILDCARD, CURRENT_DATA, 2, "high_first"),
)
"""Not every meter tells its address; reading brings it too."""
_SEVERAL = "other CJ/T 188 meters talk at the same time: connect them one by one, or take the numbers printed on them"


async def find(line: Line, timeout_s: float) -> AsyncIterator[Sighting]:
    """Yield the meters that can be understood, each once. Raises LinkDown."""
    found: set[str] = set()
    for call in _CALLS:
        heard = await roll_call(line, codec.encode(call), codec.take_frame, timeout_s)
        for frame in heard.frames:
            if frame.from_meter and frame.address not in found:
                found.add(frame.address)
                yield _sighting(frame, _SEVERAL if heard.garbled else "")
        if found and not heard.garbled:
            return


def _sighting(frame: Frame, note: str) -> Sighting:
    """Tell address and type; hot water and the like share the layout, and so the profile, of cold water."""
    address: dict[str, Any] = {"meter": frame.address}
    names = {code: name for name, code in METER_TYPES.items()}
    kind = names.get(frame.meter_type)
    fields = fields_of(frame.meter_type)
    usual = next(iter(name for name, code in METER_TYPES.items() if fields_of(code) == fields), None)
    if kind == "gas":
        usual = kind  # laid out like water, but with metrics of its own
    if kind is not None and kind != usual:
        address["type"] = kind
    return Sighting("cjt188", address, {"meter_type": usual} if usual else {}, note)
