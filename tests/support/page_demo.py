"""A made-up site behind the real page: for the page's own tests, its screenshots, and for working on it.

``python -m tests.support.page_demo [PORT] [--trouble]`` serves it until Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.buffer import Lease
from gateway.clock import Clock, SystemClock
from gateway.config.site import SiteConfig
from gateway.ledger.bucket import Bucket
from gateway.model import BufferStats, DeviceHealth, LinkHealth, Readings, SinkHealth, SinkStats
from gateway.pipeline.latest import Latest
from gateway.vocabulary import METRICS, Kind
from gateway.web.server import PageServer
from gateway.web.state import DeviceView, PageState

METER = (
    "active_power_w energy_import_kwh power_factor voltage_l1_v voltage_l2_v voltage_l3_v current_l1_a current_l2_a "
    "current_l3_a frequency_hz reactive_power_var"
)
#: name, English, Chinese, zone, link, seconds, metrics
DEVICES = [
    ("main-meter", "Main meter", "总配电电表", "main", "meters", 5, METER),
    ("camp-meter", "Workers' camp meter", "生活区电表", "camp", "meters", 10, METER),
    ("workshop-meter", "Rebar workshop meter", "钢筋加工棚电表", "workshop", "zones", 5, METER),
    ("crane-meter", "Tower crane meter", "塔吊电表", "crane", "zones", 5, METER),
    ("dust-1", "Dust station, north gate", "北门扬尘站", "gate", "environment", 5,
     "pm2_5_ug_m3 pm10_ug_m3 tsp_ug_m3 air_temperature_c humidity_pct pressure_kpa wind_speed_m_s wind_direction_deg"),
    ("noise-1", "Noise, north gate", "北门噪声", "gate", "environment", 1, "noise_la_db noise_laeq_db"),
    ("crane-1", "Tower crane 1", "1 号塔吊", "crane", "equipment", 2,
     "load_t rated_load_t moment_pct radius_m hook_height_m slewing_deg wind_speed_m_s warning_bits running"),
    ("cannon-1", "Fog cannon 1", "1 号雾炮", "gate", "equipment", 5,
     "running spraying tank_level_pct water_flow_m3_h operating_hours_h"),
]  # fmt: skip
LINKS = {"meters": "serial", "zones": "tcp", "environment": "serial", "equipment": "mqtt"}
ADDRESSES = {
    "meters": "/dev/serial/by-id/meters 9600 8N1", "zones": "10.0.4.20:502",
    "environment": "/dev/serial/by-id/environment 4800 8N1", "equipment": "10.0.4.2:1883",
}  # fmt: skip
BASE = {
    "pm2_5_ug_m3": (38, 9), "pm10_ug_m3": (72, 22), "tsp_ug_m3": (128, 40), "noise_la_db": (61, 6),
    "noise_laeq_db": (62, 2), "air_temperature_c": (27.4, 1.5), "humidity_pct": (63, 6), "pressure_kpa": (100.6, 0.1),
    "wind_speed_m_s": (2.8, 1.4), "wind_direction_deg": (340, 40), "power_factor": (0.91, 0.03),
    "frequency_hz": (50, 0.03), "load_t": (2.4, 2.2), "rated_load_t": (6, 0), "moment_pct": (48, 30),
    "radius_m": (24, 12), "hook_height_m": (31, 18), "slewing_deg": (180, 150), "warning_bits": (0, 0),
    "tank_level_pct": (82, 6), "water_flow_m3_h": (4.2, 0.4),
}  # fmt: skip
POWER_W = {"main-meter": 148_000, "camp-meter": 21_500, "workshop-meter": 46_000, "crane-meter": 58_000}


def value(device: str, metric: str, time_ms: int) -> float:
    """A believable number for that moment; the same every time it is asked."""
    seconds = time_ms / 1000
    shift = sum(map(ord, device + metric)) % 97
    wave = 0.6 * math.sin(seconds / 300 + shift) + 0.3 * math.sin(seconds / 47 + shift) + 0.1 * math.sin(seconds * 1.7)
    if METRICS[metric].kind is Kind.COUNTER:
        return 18_000 + POWER_W.get(device, 900) / 3.6e6 * (seconds % 8e6)
    if METRICS[metric].kind is Kind.STATE:
        return float(metric == "running" or (metric in ("spraying", "sprayed") and seconds % 900 < 300))
    if metric in BASE:
        middle, swing = BASE[metric]
        number = middle + swing * wave
        return number % 360 if METRICS[metric].unit == "°" else number
    power = POWER_W.get(device, 1000) * (1 + 0.25 * wave)
    if metric.endswith("_v"):
        return 229 + 2.5 * wave
    return {"a": power / 690, "w": power, "var": power * 0.4}[metric.rsplit("_", 1)[1]]


class DemoLedger:
    """Minutes of ``value``, with a hole from 31 to 24 minutes ago."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def history(self, device: str, metric: str, from_ms: int, to_ms: int, step_s: int) -> Sequence[Bucket]:
        now_ms, buckets = self._clock.wall_ms(), []
        for start in range(from_ms // (step_s * 1000) * step_s * 1000, min(to_ms, now_ms), step_s * 1000):
            if not 24 * 60_000 < now_ms - start < 31 * 60_000:
                seen = [value(device, metric, start + i * step_s * 100) for i in range(10)]
                buckets.append(Bucket(start, min(seen), max(seen), sum(seen) / 10, 10, 1.0))
        return buckets

    def minutes_total(self) -> int:
        return 48_213


class DemoWire:
    """A wire on which two registers of unit 1 were read."""

    last_frames = (bytes.fromhex("01 03 00 00 00 02 C4 0B"), bytes.fromhex("01 03 04 43 66 99 9A 5A 04"))


class DemoBuffer:
    """Fulfils gateway.buffer.Buffer as far as the page asks."""

    def __init__(self, stats: BufferStats, every_s: dict[tuple[str, str], float]) -> None:
        self.now = stats
        self.every_s = every_s

    async def recent(self, device: str, metric: str, from_ms: int, to_ms: int) -> list[tuple[int, float | None]]:
        step_ms = int(self.every_s[device, metric] * 1000)
        return [(t, value(device, metric, t)) for t in range(from_ms // step_ms * step_ms, to_ms, step_ms)]

    def stats(self) -> BufferStats:
        return self.now

    def put(self, readings: Readings) -> None:
        raise NotImplementedError

    async def flush(self) -> None:
        raise NotImplementedError

    async def durable(self) -> None:
        raise NotImplementedError

    def hurry(self) -> None:
        raise NotImplementedError

    async def lease(self, sink: str, max_values: int) -> Lease:
        raise NotImplementedError

    async def settle(self, lease: Lease, rejected: Mapping[int, str]) -> None:
        raise NotImplementedError

    def replay(self, from_ms: int) -> AsyncIterator[Readings]:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


@dataclass(slots=True)
class Demo:
    """The live objects behind the page, for tests to change."""

    state: PageState
    latest: Latest
    links: dict[str, LinkHealth]
    health: dict[str, DeviceHealth]
    pump: SinkHealth
    buffer: DemoBuffer
    silent: set[str] = field(default_factory=set)
    """Devices that no longer get readings from ``poll``."""

    def poll(self, now_ms: int, *, everything: bool = False) -> None:
        """Take one reading of every device whose turn it is."""
        for view in self.state.devices.values():
            due = everything or now_ms // 1000 % int(view.fastest_s) == 0
            if due and view.name not in self.silent:
                metrics = tuple(view.every_s)
                values = tuple(value(view.name, m, now_ms) for m in metrics)
                self.latest.put(Readings(view.name, now_ms, metrics, values, "N" * len(metrics)))
                self.health[view.name].last_answer_ms = now_ms

    def fail(self, device: str, mark: str, now_ms: int) -> None:
        """Give one record of a device in which nothing is good."""
        metrics = tuple(self.state.devices[device].every_s)
        self.latest.put(Readings(device, now_ms, metrics, (None,) * len(metrics), mark * len(metrics)))

    def trouble(self, now_ms: int) -> None:
        """One wire down, one device silent, one metric out of range, one sink away."""
        down = self.links["zones"]
        down.state, down.since_ms = "down", now_ms - 260_000
        down.last_error = "10.0.4.20:502 refuses the connection: nothing listens on this port, or another client has it"
        down.failures = {"link_down": 12, "no_answer": 3}
        for name in ("workshop-meter", "crane-meter"):
            self.health[name].state = "link_down"
            self.fail(name, "B", now_ms)
        self.silent |= {"workshop-meter", "crane-meter", "noise-1"}
        noise = self.health["noise-1"]
        noise.state, noise.last_answer_ms = "silent", now_ms - 95_000
        noise.last_error = "unit 2: no answer within 1 s"
        self.fail("noise-1", "B", now_ms)
        cannon = tuple(self.state.devices["cannon-1"].every_s)
        good = tuple(value("cannon-1", m, now_ms) for m in cannon)
        self.silent.add("cannon-1")
        self.latest.put(Readings("cannon-1", now_ms, cannon, (*good[:2], None, *good[3:]), "NNTNN"))
        self.pump.state, self.pump.since_ms = "down", now_ms - 1_900_000
        self.pump.last_error = "http://influx.example:8086 refused the connection"
        self.buffer.now = stats(pending=41_200, used=0.31, oldest_ms=now_ms - 1_900_000)


def stats(pending: int = 3, used: float = 0.04, oldest_ms: int | None = None) -> BufferStats:
    max_bytes = 512 * 1024 * 1024
    sinks = (SinkStats("influx", pending, oldest_ms, 0),)
    return BufferStats(61_022, 1_204_377, int(used * max_bytes), max_bytes, 0, 0, 210.0 * (1 - used), sinks)


def make_demo(clock: Clock, *, simulated: bool = True) -> Demo:
    """The site with everything in order, first readings taken."""
    now_ms = clock.wall_ms()
    site = SiteConfig.model_validate({
        "site": {
            "id": "changsha-demo", "simulated": simulated,
            "name": {"en": "Changsha Binjiang pilot site", "zh": "长沙滨江试点工地"},
        },
        "links": {"zones": {"kind": "tcp", "host": "10.0.4.20", "port": 502}},
        "devices": {name: {"link": link, "profile": "demo", "address": {}} for name, *_, link, _s, _m in DEVICES},
        "sinks": {"influx": {"kind": "influxdb", "url": "http://influx.example:8086", "api": "v1", "database": "site"}},
    })  # fmt: skip
    views = {
        name: DeviceView(
            name,
            en,
            zh,
            zone,
            "demo_profile",
            en,
            zh,
            link,
            dict.fromkeys(metrics.split(), float(s)),
            address=f"id {name}" if LINKS[link] == "mqtt" else f"unit {unit}",
        )
        for unit, (name, en, zh, zone, link, s, metrics) in enumerate(DEVICES, 1)
    }
    links = {
        name: LinkHealth(name, kind, ADDRESSES[name], "up", now_ms - 8_100_000, None, 16_200, 16_188,
                         {"no_answer": 9, "bad_frame": 3} if kind == "serial" else {}, busy_share=0.37)
        for name, kind in LINKS.items()
    }  # fmt: skip
    health = {name: DeviceHealth(name, "good") for name in views}
    latest, pump = Latest(), SinkHealth("influx", "up", now_ms - 8_000_000, None, 120_400, 1_031_550, 0, 2)
    buffer = DemoBuffer(stats(), {(v.name, m): s for v in views.values() for m, s in v.every_s.items()})
    started_ms = now_ms - 8_100_000
    pumps = {"influx": pump}
    state = PageState(
        site,
        "0.1.0",
        started_ms,
        clock,
        views,
        health,
        links,
        latest,
        buffer,
        DemoLedger(clock),
        pumps,
        wires={name: DemoWire() for name, kind in LINKS.items() if kind != "mqtt"},
    )
    demo = Demo(state, latest, links, health, pump, buffer)
    demo.poll(now_ms, everything=True)
    return demo


async def serve(port: int, trouble: bool) -> None:
    """Serve the demo until cancelled."""
    clock = SystemClock()
    demo = make_demo(clock)
    if trouble:
        demo.trouble(clock.wall_ms())
    server = PageServer(demo.state, "127.0.0.1", port)
    await server.start()
    print(server.url, flush=True)
    try:
        while True:
            await asyncio.sleep(1)
            demo.poll(clock.wall_ms())
    finally:
        await server.stop()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int, nargs="?", default=0)
    arguments.add_argument("--trouble", action="store_true")
    given = arguments.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(given.port, given.trouble))
