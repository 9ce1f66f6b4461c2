"""State to plain dictionaries, the bodies of the HTTP API. Pure: no I/O, no clock; ``now_ms`` is handed in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from gateway.model import Alarm, Mark
from gateway.pipeline.latest import LatestValue
from gateway.vocabulary import METRICS, Metric
from gateway.web.findings import FAULT, UNHEALTHY, findings
from gateway.web.reasons import reason
from gateway.web.state import DeviceView, PageState, Wire, age_s, is_stale

Json = dict[str, Any]

HEADLINES = frozenset({
    "active_power_w", "energy_import_kwh", "energy_total_kwh", "power_factor",
    "pm2_5_ug_m3", "pm10_ug_m3", "tsp_ug_m3", "noise_la_db", "noise_laeq_db",
    "air_temperature_c", "humidity_pct", "wind_speed_m_s", "wind_direction_deg",
    "water_volume_m3", "water_flow_m3_h", "residual_current_ma", "cable_temperature_c",
    "load_t", "moment_pct", "radius_m", "hook_height_m", "running", "spraying", "tank_level_pct", "sprayed",
    "machine_state", "load_pct", "persons_aboard", "floor_number", "concrete_volume_m3", "vehicles_washed",
    "recycled_water_m3", "fuel_level_pct", "heat_energy_kwh", "gas_volume_m3",
})  # fmt: skip
"""What people look for first; the page shows these large and folds the rest away."""
assert set(METRICS) >= HEADLINES
MAX_FRAME = 64
"""Bytes of a frame that are shown."""


def site(state: PageState, now_ms: int) -> Json:
    """``/api/site``: who we are, how things stand, what is wrong."""
    info = state.site.site
    return {
        "id": info.id,
        "name": {"en": info.name.en, "zh": info.name.zh},
        "timezone": info.timezone,
        "simulated": info.simulated,
        "answerable": state.site.page.locked,
        "asks_password": state.site.page.locked and state.site.page.protects == "answers",
        "version": state.version,
        "started_ms": state.started_ms,
        **summary(state, now_ms),
    }


def summary(state: PageState, now_ms: int) -> Json:
    """The part of ``/api/site`` that changes while the gateway runs; also the heartbeat of ``/events``."""
    found = findings(state, now_ms)
    level = "ok" if not found else FAULT if found[0].level == FAULT else "warning"
    stats = state.buffer.stats()
    return {
        "now_ms": now_ms,
        "status": level,
        "findings": [
            {"level": f.level, "code": f.code, "subject": f.subject, "since_ms": f.since_ms,
             "text": {"en": f.en, "zh": f.zh}}
            for f in found
        ],
        "devices": len(state.devices),
        "links": len(state.links),
        "links_up": sum(link.state in ("up", "silent") for link in state.links.values()),
        "readings": {
            "records": state.latest.records,
            "good": state.latest.good_values,
            "bad": state.latest.bad_values,
            "minutes": state.ledger.minutes_total(),
        },
        "buffer": {
            "records": stats.records,
            "values": stats.values,
            "bytes_on_disk": stats.bytes_on_disk,
            "max_bytes": stats.max_bytes,
            "hours_left": stats.hours_left,
            "dropped": stats.dropped_records,
            "damaged": stats.damaged_records,
            "pending": {sink.name: sink.pending_records for sink in stats.sinks},
        },
        "sinks": [_sink(state, name) for name in state.site.sinks],
        "alarms": None if state.alarms is None else {
            "revision": state.alarms.revision,
            "active": sum(alarm.active for alarm in state.alarms.alarms()),
            "unanswered": sum(alarm.state == "open" for alarm in state.alarms.alarms()),
            "worst": _worst(state.alarms.alarms()),
        },
        "outputs": None if state.outputs is None else {
            "revision": state.outputs.revision,
            "on": sum(output.is_on is True for output in state.outputs.outputs()),
            "faults": sum(output.state == "fault" for output in state.outputs.outputs()),
        },
    }  # fmt: skip


def _worst(alarms: Iterable[Alarm]) -> str | None:
    """Whether active alarms are all mere warnings; None when none is active."""
    severities = {alarm.severity for alarm in alarms if alarm.active}
    return None if not severities else "warning" if severities <= {"info", "warning"} else "alarm"


def revision(state: PageState) -> tuple[int, int]:
    """Changes whenever an alarm or an output does."""
    return (
        0 if state.alarms is None else state.alarms.revision,
        0 if state.outputs is None else state.outputs.revision,
    )


def _sink(state: PageState, name: str) -> Json:
    pump = state.pumps.get(name)
    stats = next((s for s in state.buffer.stats().sinks if s.name == name), None)
    return {
        "name": name,
        "kind": state.site.sinks[name].kind,
        "state": pump.state if pump else "waiting",
        "since_ms": pump.since_ms if pump else None,
        "last_error": pump.last_error if pump else None,
        "reason": reason(pump.last_error) if pump else None,
        "sent_values": pump.sent_values if pump else 0,
        "retries": pump.retries if pump else 0,
        "quarantined": stats.quarantined if stats else 0,
        "oldest_pending_ms": stats.oldest_pending_ms if stats else None,
    }


def devices(state: PageState, now_ms: int) -> list[Json]:
    """``/api/devices``: every configured device, heard of or not."""
    good: dict[str, int] = {}
    for value in state.latest.values():
        every_s = _every_s(state, value)
        if value.mark == Mark.GOOD and every_s and not is_stale(value.time_ms, every_s, now_ms):
            good[value.device] = good.get(value.device, 0) + 1
    return [_device(state, view, good.get(view.name, 0), now_ms) for view in state.devices.values()]


def _every_s(state: PageState, value: LatestValue) -> float | None:
    view = state.devices.get(value.device)
    return view.every_s.get(value.metric) if view else None


def _device(state: PageState, view: DeviceView, good: int, now_ms: int) -> Json:
    health = state.device_health.get(view.name)
    last_ms = health.last_answer_ms if health else None
    return {
        "name": view.name,
        "label": {"en": view.label_en, "zh": view.label_zh},
        "zone": view.zone,
        "profile": view.profile,
        "title": {"en": view.title_en, "zh": view.title_zh},
        "link": view.link,
        "state": health.state if health else "waiting",
        "last_answer_ms": last_ms,
        "age_s": age_s(last_ms, now_ms),
        "metrics": len(view.every_s),
        "good": good,
        "stale": is_stale(last_ms, view.fastest_s, now_ms),
        "last_error": health.last_error if health else None,
        "reason": reason(health.last_error) if health else None,
        "every_s": view.fastest_s,
        "address": view.address,
        "failures_in_row": health.failures_in_row if health else 0,
        "next_try_in_s": health.next_try_in_s if health else None,
    }


def latest(state: PageState, now_ms: int, device: str | None = None) -> list[Json]:
    """``/api/latest``: one entry per configured series, in the site file's order.

    A series that was never read has ``time_ms`` null and the mark of no answer: it is missing, and says so.
    """
    newest = {(v.device, v.metric): v for v in state.latest.values(device)}
    return [
        _value(METRICS[metric], view, newest.get((view.name, metric)), now_ms)
        for view in state.devices.values()
        if device is None or view.name == device
        for metric in view.every_s
    ]


def _value(metric: Metric, view: DeviceView, newest: LatestValue | None, now_ms: int) -> Json:
    every_s = view.every_s[metric.name]
    time_ms = newest.time_ms if newest else None
    body: Json = {
        "device": view.name,
        "metric": metric.name,
        "value": newest.value if newest else None,
        "mark": newest.mark if newest else str(Mark.NO_ANSWER),
        "time_ms": time_ms,
        "age_s": age_s(time_ms, now_ms),
        "every_s": every_s,
        "stale": is_stale(time_ms, every_s, now_ms),
        "last_good_ms": newest.last_good_ms if newest else None,
        "unit": metric.unit,
        "domain": str(metric.domain),
        "kind": str(metric.kind),
        "decimals": metric.decimals,
        "headline": metric.name in HEADLINES,
        "label": {"en": metric.en, "zh": metric.zh},
    }
    if metric.states and newest and newest.value is not None:
        en, zh = metric.states.get(int(newest.value), (str(int(newest.value)),) * 2)
        body["state_label"] = {"en": en, "zh": zh}
    return body


def changes(values: Iterable[LatestValue], seen: dict[tuple[str, str], int]) -> list[Json]:
    """Values newer than ``seen`` (device, metric -> time_ms), which is brought up to date."""
    changed = []
    for value in values:
        key = (value.device, value.metric)
        if seen.get(key) != value.time_ms:
            seen[key] = value.time_ms
            changed.append({
                "device": value.device, "metric": value.metric, "value": value.value, "mark": str(value.mark),
                "time_ms": value.time_ms, "last_good_ms": value.last_good_ms,
            })  # fmt: skip
    return changed


def links(state: PageState) -> list[Json]:
    """``/api/links``: every wire with its health, the devices on it and, where the gateway asks, its last exchange."""
    return [
        {
            **asdict(link),
            "reason": reason(link.last_error),
            "devices": [d.name for d in state.devices.values() if d.link == link.name],
            "last_frames": _frames(state.wires[link.name]) if link.name in state.wires else None,
        }
        for link in state.links.values()
    ]


def _frames(wire: Wire) -> Json:
    """What went over the wire last, as hexadecimal; long frames are cut."""
    sent, received = wire.last_frames
    return {"sent": sent[:MAX_FRAME].hex(" "), "received": received[:MAX_FRAME].hex(" ")}


def health(state: PageState, now_ms: int) -> Json:
    """``/healthz``: ``reasons`` is empty exactly when the gateway does its work (findings.UNHEALTHY)."""
    found = findings(state, now_ms)
    reasons = [f.en for f in found if f.code in UNHEALTHY]
    return {
        "status": "failing" if reasons else "ok",
        "reasons": reasons,
        "warnings": [f.en for f in found if f.code not in UNHEALTHY],
    }


def vocabulary() -> list[Json]:
    """``/api/vocabulary``: every metric the gateway knows."""
    return [
        {
            "name": m.name, "domain": str(m.domain), "kind": str(m.kind), "unit": m.unit, "low": m.low, "high": m.high,
            "decimals": m.decimals, "label": {"en": m.en, "zh": m.zh}, "hj212": m.hj212, "regulated": m.regulated,
            "states": {str(n): {"en": en, "zh": zh} for n, (en, zh) in (m.states or {}).items()},
        }
        for m in METRICS.values()
    ]  # fmt: skip
