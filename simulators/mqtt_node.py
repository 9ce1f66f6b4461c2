"""A device that publishes JSON: the profile's mapping, read backwards."""

from __future__ import annotations

from collections.abc import Mapping

from drivers.mqtt_json.codec import Limits, Point, by_topic, compose
from gateway.config.profile import PointRule
from simulators.roles import Reader
from simulators.scaling import to_raw


class MqttNode:
    """What one device publishes on one topic."""

    def __init__(
        self,
        device_id: str,
        points: Mapping[str, Point],
        limits: Limits,
        rules: Mapping[str, PointRule],
        read: Reader,
    ) -> None:
        """``points`` are all of one topic."""
        self._id = device_id
        self._points = points
        self._limits = limits
        self._rules = rules
        self._read = read
        self.every_s = min(rules[name].every_s for name in points)

    def message(self, sent_at_ms: int) -> tuple[str, bytes]:
        """Return topic and payload for this moment; ``sent_at_ms`` is the time that the device stamps on it."""
        values = self._read()
        raw = {name: self._raw(name, values.get(name, 0.0)) for name in self._points}
        [(topic, payload)] = compose(self._points, raw, self._id, self._limits, sent_at_ms).items()
        return topic, payload

    def _raw(self, name: str, value: float) -> float | int:
        rule = self._rules[name]
        # Devices print a few decimals; states and bits are whole.
        shown = round(to_raw(rule, value), rule.metric.decimals + 2 if rule.metric.decimals else 0)
        return int(shown) if shown.is_integer() else shown


def nodes_of(
    device_id: str,
    points: Mapping[str, Point],
    limits: Limits,
    rules: Mapping[str, PointRule],
    read: Reader,
) -> list[MqttNode]:
    """Return one node per topic of a device."""
    return [MqttNode(device_id, of_topic, limits, rules, read) for of_topic in by_topic(points, device_id).values()]
