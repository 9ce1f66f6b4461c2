"""A CJ/T 188 water, heat or gas meter: it shows what its profile reads, in the variant that the profile names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from drivers.cjt188 import codec
from drivers.cjt188.codec import CURRENT_DATA, Decoder, Frame
from drivers.cjt188.metering import METER_TYPES, FieldName, Limits, Point, encode
from gateway.config.profile import PointRule
from simulators.meter_ear import MeterEar
from simulators.roles import Reader
from simulators.scaling import to_raw

if TYPE_CHECKING:
    from drivers.cjt188.driver import Address

NO_SUCH_DATA = b"\x00\x02"
"""Status of a refusal; what real meters say here is not known."""
_VALVE_OPEN_BATTERY_GOOD = b"\x00\x00"


class Cjt188Meter:
    """One meter. Its valve is open and its battery good; its clock is not set, as in the frames of real ones."""

    def __init__(
        self,
        address: Address,
        points: Mapping[str, Point],
        limits: Limits,
        rules: Mapping[str, PointRule],
        read: Reader,
    ) -> None:
        # A site with one meter may name it by the wildcard; the meter still has a number of its own.
        self.address = "00000000000001" if address.meter == codec.WILDCARD else address.meter
        own_type = limits.meter_type if address.type is None or address.type == "any" else address.type
        self.meter_type = METER_TYPES[own_type]
        self._metrics: dict[FieldName, str] = {point.field: metric for metric, point in points.items()}
        self._limits = limits
        self._rules = rules
        self._read = read

    def hears(self, request: Frame) -> bool:
        """Return whether the request is for this meter; replies of others are not."""
        mine = request.meter_type in (codec.ANY_TYPE, self.meter_type)
        return mine and not request.from_meter and codec.matches(request.address, self.address)

    def answer(self, request: Frame) -> Frame | None:
        """Answer a request; None: it is for another meter."""
        if not self.hears(request):
            return None
        if len(request.data) < 3:
            return self.refuse(request)
        if request.function == codec.READ_ADDRESS:
            return codec.reply_to(request, self.meter_type, self.address)
        wanted = codec.di_bytes(CURRENT_DATA, self._limits.di_order)
        if request.function != codec.READ or request.data[:2] != wanted:
            return self.refuse(request)
        return codec.reply_to(request, self.meter_type, self.address, self._current_data())

    def refuse(self, request: Frame) -> Frame:
        """Say no: this meter has no such data, and its valve stays as it is."""
        return codec.error_reply(request, self.meter_type, self.address, NO_SUCH_DATA)

    def _current_data(self) -> bytes:
        values = self._read()
        shown = {field: to_raw(self._rules[metric], values.get(metric, 0.0)) for field, metric in self._metrics.items()}
        return encode(self._limits.fields, shown, self._limits, _VALVE_OPEN_BATTERY_GOOD)


def cjt188_ear(meters: Sequence[Cjt188Meter]) -> MeterEar[Frame]:
    """Listen for all CJ/T 188 meters of one line."""
    return MeterEar(meters, Decoder(), codec.encode, preamble=2)
