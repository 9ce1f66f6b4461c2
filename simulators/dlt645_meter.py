"""A DL/T 645 meter, 2007 or 1997: every item of the table that an electricity meter on this site can fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drivers.dlt645 import codec
from drivers.dlt645.codec import Decoder, Frame
from drivers.dlt645.items import Field, Item, find_item
from gateway.config.profile import PointRule
from simulators.meter_ear import MeterEar
from simulators.roles import Reader
from simulators.scaling import to_raw

NO_SUCH_DATA, OTHER_ERROR = 0x02, 0x01
MAX_DATA = 200
"""Data bytes in one reply; what is longer is sent in parts (B1, then on request 92)."""
_TARIFFS = 4
_K = 1000.0

_FUNCTIONS = {
    False: (codec.READ, codec.READ_FOLLOWING, codec.READ_ADDRESS),
    True: (codec.READ_1997, codec.READ_FOLLOWING_1997),
}
"""What a meter of 2007 (False) and one of 1997 (True) can be asked for; to the other's questions it stays silent."""

_BY_PHASE = {
    "voltage": ("voltage", "_v", 1.0),
    "current": ("current", "_a", 1.0),
    "active_power": ("active_power", "_w", _K),
    "reactive_power": ("reactive_power", "_var", _K),
    "apparent_power": ("apparent_power", "_va", _K),
    "power_factor": ("power_factor", "", 1.0),
    "voltage_distortion": ("voltage_thd", "_pct", 1.0),
}
"""Quantity of a field's name -> metric's name without phase, its ending, and how many of its units make the field's."""
FIELDS: dict[str, tuple[str, float]] = {
    "active_energy_combined_total": ("energy_net_kwh", 1.0),
    "active_energy_forward_total": ("energy_import_kwh", 1.0),
    "active_energy_reverse_total": ("energy_export_kwh", 1.0),
    "reactive_energy_forward_total": ("reactive_energy_import_kvarh", 1.0),
    "reactive_energy_reverse_total": ("reactive_energy_export_kvarh", 1.0),
    "reactive_energy_combined1_total": ("reactive_energy_import_kvarh", 1.0),
    "reactive_energy_combined2_total": ("reactive_energy_export_kvarh", 1.0),
    "reactive_energy_quadrant1_total": ("reactive_energy_import_kvarh", 1.0),
    "reactive_energy_quadrant4_total": ("reactive_energy_export_kvarh", 1.0),
    "neutral_current": ("current_neutral_a", 1.0),
    "frequency": ("frequency_hz", 1.0),
    "active_power_minute_mean": ("active_power_w", _K),
    "active_demand": ("active_power_w", _K),
    "reactive_demand": ("reactive_power_var", _K),
    "apparent_demand": ("apparent_power_va", _K),
    **{f"active_energy_forward_tariff{n}": (f"energy_tariff{n}_kwh", 1.0) for n in range(1, _TARIFFS + 1)},
    **{
        f"{quantity}_{phase}": (f"{name}_{phase}{ending}", size)
        for quantity, (name, ending, size) in _BY_PHASE.items()
        for phase in ("l1", "l2", "l3")
    },
    **{
        f"{quantity}_total": (f"{name}{ending}", size)
        for quantity, (name, ending, size) in _BY_PHASE.items()
        if quantity.endswith(("_power", "_factor"))
    },
}
"""Field's name -> metric, and how many of its units make one of the field's."""


class Dlt645Meter:
    """One meter. ``rules`` of its profile say which transformer ratios it leaves to the reader."""

    def __init__(
        self,
        address: str,
        rules: Mapping[str, PointRule],
        read: Reader,
        *,
        edition_1997: bool = False,
        blocks: bool = True,
        max_data: int = MAX_DATA,
    ) -> None:
        # A site with one meter may name it by the wildcard; the meter still has a number of its own.
        self.address = "000000000001" if address == codec.WILDCARD else address
        self._rules = rules
        self._read = read
        self._edition_1997 = edition_1997
        self._part = 0
        self._blocks = blocks
        self._max_data = max_data

    def hears(self, request: Frame) -> bool:
        """Return whether the request is for this meter; broadcasts and replies of others are not."""
        return not request.from_meter and codec.matches(request.address, self.address)

    def answer(self, request: Frame) -> Frame | None:
        """Answer a request; None: the standard wants silence."""
        if not self.hears(request) or request.function in _FUNCTIONS[not self._edition_1997]:
            return None
        if request.function == codec.READ_ADDRESS:
            return codec.address_reply(self.address)
        di_size = 2 if self._edition_1997 else 4
        if request.function not in _FUNCTIONS[self._edition_1997] or len(request.data) < di_size:
            return codec.error_reply(self.address, request.function, OTHER_ERROR)
        di = codec.di_text(request.data[:di_size])
        data = self._item(di)
        if data is None:
            return codec.error_reply(self.address, request.function, NO_SUCH_DATA)
        if request.function in (codec.READ, codec.READ_1997):
            self._part = 0
            return codec.read_reply(self.address, di, data[: self._max_data], more=len(data) > self._max_data)
        self._part += 1
        asked = request.data[di_size:]
        part = self._part if self._edition_1997 else asked[0] if asked else 0
        rest = data[part * self._max_data :]
        if part == 0 or not rest:
            return codec.error_reply(self.address, request.function, NO_SUCH_DATA)
        more = len(rest) > self._max_data
        return codec.following_reply(self.address, di, rest[: self._max_data], part, more=more)

    def refuse(self, request: Frame) -> Frame:
        """Say no for no good reason."""
        return codec.error_reply(self.address, request.function, OTHER_ERROR)

    def _item(self, di: str) -> bytes | None:
        """Return the data of an item; None: this meter does not have it."""
        if di in ("04000401", "04000402", "C032"):
            return bytes.fromhex(self.address)[::-1]
        item = find_item(di)
        if item is None or (item.singles and not self._blocks):
            return None
        return self._fill(item, self._read())

    def _fill(self, item: Item, values: Mapping[str, float]) -> bytes | None:
        filled = b""
        for field in item.fields:
            if field.name not in FIELDS:
                break  # an energy block ends after the tariffs that the meter is set up for
            filled += self._encode(field, values)
        return filled or None

    def _encode(self, field: Field, values: Mapping[str, float]) -> bytes:
        metric, size = FIELDS[field.name]
        value = values.get(metric, 0.0)
        raw = to_raw(self._rules[metric], value) if metric in self._rules else value / size
        try:
            return field.encode(raw)
        except ValueError:  # too large for the display: the meter shows no value
            return field.encode(None)


def dlt645_ear(meters: Sequence[Dlt645Meter]) -> MeterEar[Frame]:
    """Listen for all DL/T 645 meters of one line."""
    return MeterEar(meters, Decoder(), codec.encode, preamble=1)
