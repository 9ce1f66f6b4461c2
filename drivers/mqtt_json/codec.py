"""Topics of one device and what their messages say. Pure; the same mapping serves gateway and simulator."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from drivers.api import Value
from drivers.json_fields import fields
from drivers.json_fields.fields import FieldType, Stamped

ID = "{id}"


@dataclass(frozen=True, slots=True)
class Point:
    """Where a value is found in the device's messages."""

    topic: str
    """With ``{id}`` where the device's id stands: ``site/crane/{id}/live``."""
    path: str | None = None
    """Keys joined by dots, list positions as numbers: ``data.sensors.0.value``. None: the payload is the value."""
    type: FieldType = "number"
    """``bits_msb_first``: text of 0 and 1 whose leftmost character is the highest bit. ``text``: see ``map``."""
    bit: int | None = None
    """Only this bit (0 is the lowest) of a bit text or of a whole number."""
    map: dict[str, float] | None = None
    """For ``text``: what each text means, as a number."""
    command_topic: str | None = None
    """Where the device takes commands for this point, with ``{id}``."""
    command_payload: str = "{value}"
    """What is sent there: JSON, with ``{value}`` and, for pulses, ``{hold_s}`` in their places."""


@dataclass(frozen=True, slots=True)
class Limits(Stamped):
    """Where the device's own time stamp stands in each of its messages, and where it is told that it is gone."""

    will_topic: str | None = None
    """Where the broker publishes the device's last will, with ``{id}``: ``site/crane/{id}/status``."""
    will_payload: str = "offline"
    """The text that says there that the device is gone; any other text changes nothing."""

    def __post_init__(self) -> None:
        Stamped.__post_init__(self)
        if self.will_topic is not None and (wrong := topic_fault("will_topic", self.will_topic)) is not None:
            raise ValueError(wrong)


def fault(point: Point) -> str | None:
    """Return what is wrong with a point beyond its types, or None."""
    return topic_fault("topic", point.topic) or fields.fault(point)


def topic_fault(key: str, topic: str) -> str | None:
    """Return what is wrong with a topic of a profile, or None."""
    if ID not in topic:
        return f'{key} "{topic}" needs {ID} where the device\'s id stands: devices are told apart by topic'
    if re.search(r"[+#\0{}]", topic.replace(ID, "")):
        return f'{key} "{topic}" must be one exact topic, without + # and placeholders other than {ID}'
    return None


def by_topic(points: Mapping[str, Point], device_id: str) -> dict[str, dict[str, Point]]:
    """Sort points under the real topics of one device."""
    topics: dict[str, dict[str, Point]] = {}
    for name, point in points.items():
        topics.setdefault(point.topic.replace(ID, device_id), {})[name] = point
    return topics


def compose(
    points: Mapping[str, Point], values: Mapping[str, Value], device_id: str, limits: Limits, sent_at_ms: int
) -> dict[str, bytes]:
    """For simulators: the payload of each topic of one device."""
    topics = by_topic(points, device_id)
    return {topic: fields.compose(here, values, limits, sent_at_ms) for topic, here in topics.items()}
