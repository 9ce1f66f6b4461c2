"""A device that publishes JSON: the profile's mapping, read backwards."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from drivers.mqtt_json.codec import ID, Limits, Point, by_topic, compose
from drivers.mqtt_json.commands import HOLD, VALUE
from gateway.config.profile import PointRule
from simulators.outputs import Outputs
from simulators.roles import Reader
from simulators.scaling import shown_raw


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
        raw = {name: shown_raw(self._rules[name], values.get(name, 0.0)) for name in self._points}
        [(topic, payload)] = compose(self._points, raw, self._id, self._limits, sent_at_ms).items()
        return topic, payload


def nodes_of(
    device_id: str,
    points: Mapping[str, Point],
    limits: Limits,
    rules: Mapping[str, PointRule],
    read: Reader,
) -> list[MqttNode]:
    """Return one node per topic of a device."""
    return [MqttNode(device_id, of_topic, limits, rules, read) for of_topic in by_topic(points, device_id).values()]


class MqttEar:
    """Where one device listens for commands to one of its points, in the words of the profile's template."""

    def __init__(
        self, device_id: str, name: str, point: Point, rule: PointRule, read: Reader, outputs: Outputs
    ) -> None:
        assert point.command_topic is not None, "the profile's check asks for it"
        self.topic = point.command_topic.replace(ID, device_id)
        self._name = name
        self._rule = rule
        self._read = read
        self._outputs = outputs
        template = point.command_payload.replace(VALUE, json.dumps(VALUE)).replace(HOLD, json.dumps(HOLD))
        self._value_at = _path_to(VALUE, json.loads(template))
        self._hold_at = _path_to(HOLD, json.loads(template))
        self._texts = point.map or {}

    def hear(self, payload: bytes, *, retained: bool) -> None:
        """Do as told; what is no command in these words, or an old one that the broker kept, changes nothing."""
        try:
            document = json.loads(payload)
            value = _at(document, self._value_at)
            hold_s = None if self._hold_at is None else float(_at(document, self._hold_at))
            raw = float(self._texts[value] if isinstance(value, str) else value)
        except (ValueError, TypeError, LookupError):
            return
        if retained:
            return
        self._read()  # the world moves on to this moment before anything changes
        self._outputs.set(self._name, self._rule.scaled(raw), hold_s if raw else None)


def ears_of(
    device_id: str,
    points: Mapping[str, Point],
    rules: Mapping[str, PointRule],
    read: Reader,
    writes: Collection[str],
    outputs: Outputs | None,
) -> list[MqttEar]:
    """Return one ear per point that may be written."""
    if outputs is None:
        return []
    return [MqttEar(device_id, name, points[name], rules[name], read, outputs) for name in writes if name in points]


def _path_to(mark: str, template: Any) -> tuple[str | int, ...] | None:
    """Return keys and positions that lead to the placeholder."""
    if template == mark:
        return ()
    inside: Any = template.items() if isinstance(template, dict) else ()
    if isinstance(template, list):
        inside = enumerate(template)
    for step, part in inside:
        if (rest := _path_to(mark, part)) is not None:
            return (step, *rest)
    return None


def _at(document: Any, path: tuple[str | int, ...] | None) -> Any:
    for step in path or ():
        document = document[step]
    return document
