"""Commands to devices that listen on a topic of their own: the profile's template filled in. Pure.

    command_topic: "site/cannon/{id}/set"
    command_payload: '{"spray": {value}, "for_s": {hold_s}}'        ->  {"spray": true, "for_s": 30}

``{value}`` is written as the point is read: true or false, a number, a quoted text of ``map``. ``{hold_s}`` is how long
the device may hold it without a further word, in seconds; 0 with the command to rest.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from drivers.mqtt_json.codec import ID, Point, topic_fault

VALUE, HOLD = "{value}", "{hold_s}"


def command_fault(point: Point, *, timed: bool, raws: Sequence[float]) -> str | None:
    """Return why this point cannot be set to each of ``raws`` (``timed``: for a given time), or None."""
    if point.command_topic is None:
        return f"a command needs command_topic, with {ID}: where the device listens"
    if (wrong := topic_fault("command_topic", point.command_topic)) is not None:
        return wrong
    if point.command_topic == point.topic:
        return "command_topic is the topic that is read: we would take our own command for the device's report"
    if VALUE not in point.command_payload:
        return f"command_payload needs {VALUE} where the number stands"
    if timed and HOLD not in point.command_payload:
        return f"a pulse needs {HOLD} in command_payload: how long the device may hold it without a further word"
    if not timed and HOLD in point.command_payload:
        return f"command_payload has {HOLD}, so say dead_man: pulse"
    for raw in raws:
        try:
            json.loads(command(point, "id", raw, 1.0 if timed else None)[1])
        except json.JSONDecodeError as why:
            return f"command_payload is not JSON when it is filled in: {why}"
        except ValueError as why:
            return str(why)
    return None


def command(point: Point, device_id: str, raw: float, hold_s: float | None = None) -> tuple[str, bytes]:
    """Return topic and payload. Raises ValueError for what cannot be said to this device."""
    if point.command_topic is None:
        raise ValueError("the point has no command_topic")
    payload = point.command_payload
    if raw and (hold_s is None) == (HOLD in payload):
        raise ValueError(f"{HOLD} in command_payload and a time to hold belong together")
    filled = payload.replace(HOLD, _seconds(hold_s or 0.0 if raw else 0.0)).replace(VALUE, _value(point, raw))
    return point.command_topic.replace(ID, device_id), filled.encode()


def _seconds(hold_s: float) -> str:
    """Whole milliseconds, rounded down: it must not hold longer than was said."""
    hold_ms = int(hold_s * 1000 + 1e-6)
    return str(hold_ms // 1000) if hold_ms % 1000 == 0 else str(hold_ms / 1000)


def _value(point: Point, raw: float) -> str:
    if point.bit is not None or point.type in ("bits_msb_first", "bits_lsb_first"):
        raise ValueError("one bit of a word cannot be set without touching its neighbours")
    if point.type == "bool":
        if raw not in (0, 1):
            raise ValueError(f"{raw:g} is neither 0 (false) nor 1 (true)")
        return "true" if raw else "false"
    if point.type == "text":
        texts = [text for text, number in (point.map or {}).items() if number == raw]
        if len(texts) != 1:
            raise ValueError(f"{raw:g} is not exactly one text of map")
        return json.dumps(texts[0], ensure_ascii=False)
    return json.dumps(int(raw) if float(raw).is_integer() else raw)
