"""Ledger, buffer and what goes to the sinks tell the same story, whatever stops and kills come in between.

A kill is a copy of the data directory while everything put so far is durable: the next run starts from the copy.
"""

from __future__ import annotations

import asyncio
import math
import random
import shutil
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.app import Gateway, running
from gateway.buffer.export import iter_export
from gateway.config.loader import load_site
from gateway.ledger import file
from tests.support.clock import ManualClock

SITE = """
site: {id: sums, name: Sums, timezone: Asia/Shanghai}
data_dir: data
links:
  dead: {kind: tcp, host: 127.0.0.1, port: 1, framing: rtu}
devices:
  meter: {link: dead, profile: eastron_sdm120, address: {unit: 1}, every: 1h}
  station: {link: dead, profile: renke_dust_station, address: {unit: 2}, every: 1h}
buffer: {commit_every: 1s}
sinks: {nowhere: {kind: influxdb, url: "http://127.0.0.1:1", api: v1, database: x}}
page: {port: 0}
"""
SERIES = {
    "meter": ("energy_import_kwh", "active_power_w"),
    "station": ("pm10_ug_m3", "noise_la_db", "wind_direction_deg"),
}
M = 60_000
START_MS = 1_790_000_040_000  # a full minute


class Bench:
    """One data directory after the other, one gateway on each; the clock goes on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "run-0"
        self.folder.mkdir()
        self.clock = ManualClock(START_MS)
        self.runs = 0
        self._stack = AsyncExitStack()

    async def start(self) -> Gateway:
        (self.folder / "site.yaml").write_text(SITE)
        self.gateway = await self._stack.enter_async_context(running(load_site(self.folder / "site.yaml"), self.clock))
        return self.gateway

    async def stop(self) -> None:
        await self._stack.aclose()

    async def kill_and_start(self) -> Gateway:
        await self.gateway.buffer.flush()
        await self.gateway.ledger.stored_since(0)  # its thread has nothing left to do
        self.runs += 1
        image = self.folder.with_name(f"run-{self.runs}")
        shutil.copytree(self.folder, image)
        await self.stop()  # the one that was killed has no say any more
        self.folder = image
        return await self.start()

    def say(self, device: str, values: dict[str, float]) -> None:
        points = tuple(values)
        rules = self.gateway.site.devices[device].rules
        raw = [round(rules[p].unscaled(values[p]), 3) for p in points]
        self.gateway.pipeline.prepare(device, points)(raw, self.clock.wall_ms())

    async def advance(self, seconds: float) -> None:
        """Move the clock; every minute that ends is stored and in the buffer before it goes on."""
        for _ in range(math.ceil(seconds)):
            await self.clock.advance(min(1.0, seconds))
            await self.gateway.ledger.stored_since(START_MS + 2**40)
            await self.clock.advance(0)

    def exported(self) -> list[dict[str, Any]]:
        records = iter_export(self.folder / "data" / "buffer.sqlite")
        return [r for r in records if r["device"] in SERIES]  # without what the gateway says of itself


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def said(records: list[dict[str, Any]]) -> Iterator[tuple[str, str, int, float | None]]:
    for r in sorted(records, key=lambda r: r["time_ms"]):
        for metric, value in r["values"].items():
            if ":" not in metric and metric in SERIES[r["device"]]:
                yield r["device"], metric, r["time_ms"], value


def recomputed(records: list[dict[str, Any]]) -> dict[tuple[str, int, str], float]:
    """Statistics of every minute by the plainest arithmetic, keyed as the sinks see them."""
    groups: dict[tuple[str, str, int], list[float | None]] = {}
    result: dict[tuple[str, int, str], float] = {}
    last: dict[tuple[str, str], float] = {}
    for device, metric, time_ms, value in said(records):
        start_ms = time_ms - time_ms % M
        groups.setdefault((device, metric, start_ms), []).append(value)
        if value is not None and metric.endswith("_kwh"):
            key = (device, start_ms, f"{metric}:delta")
            result[key] = result.get(key, 0.0) + value - last.get((device, metric), value)
            last[device, metric] = value
    for (device, metric, start_ms), values in groups.items():
        good = [v for v in values if v is not None]
        result[device, start_ms, f"{metric}:count"] = len(good)
        if not good or metric.endswith("_kwh"):
            continue
        mean = sum(good) / len(good)
        if metric == "noise_la_db":
            mean = 10 * math.log10(sum(10 ** (v / 10) for v in good) / len(good))
        if metric == "wind_direction_deg":
            east, north = (sum(f(math.radians(v)) for v in good) for f in (math.sin, math.cos))
            mean = math.degrees(math.atan2(east, north)) % 360
        result[device, start_ms, f"{metric}:mean"] = mean
    return result


def sent(records: list[dict[str, Any]]) -> dict[tuple[str, int, str], float]:
    """The statistics that go to the sinks; whatever comes twice is equal, for lanes may change the order."""
    found: dict[tuple[str, int, str], float] = {}
    for r in records:
        for metric, value in r["values"].items():
            name, _, statistic = metric.partition(":")
            if name in SERIES[r["device"]] and statistic in ("count", "mean", "delta") and value is not None:
                assert found.setdefault((r["device"], r["time_ms"], metric), value) == value
    return found


@pytest.mark.parametrize("seed", range(4))
async def test_minutes_are_what_the_readings_say(bench: Bench, seed: int) -> None:
    chance = random.Random(seed)
    energy = 1000.0
    await bench.start()
    for _ in range(90):
        await bench.advance(chance.choice((1, 3, 7)))
        energy += chance.random()
        bench.say("meter", {"energy_import_kwh": energy, "active_power_w": chance.uniform(0, 5000)})
        if chance.random() < 0.7:
            direction = chance.choice((350.0, 5.0, 20.0))
            pm10 = chance.choice((20.0, 150.0, -1.0))  # the last one is out of range
            bench.say(
                "station", {"pm10_ug_m3": pm10, "noise_la_db": chance.uniform(40, 90), "wind_direction_deg": direction}
            )
        event = chance.random()
        if event < 0.06:
            await bench.kill_and_start()
        elif event < 0.12:
            await bench.stop()
            await bench.clock.advance(chance.choice((0, 5, 70)))
            await bench.start()
    await bench.advance(63)
    await bench.stop()
    records = bench.exported()
    right, delivered = recomputed(records), sent(records)
    wrong = {
        key: (delivered.get(key), right[key])
        for key in right
        if delivered.get(key) != pytest.approx(right[key], abs=1e-6)
    }
    assert not wrong
    assert delivered.keys() - right.keys() == set()


async def test_an_orderly_stop_sends_each_minute_that_is_not_sent_yet(bench: Bench) -> None:
    """Stopped one second into a minute, the one before is not closed yet."""
    await bench.start()
    await bench.advance(30)
    bench.say("meter", {"energy_import_kwh": 100.0})
    await bench.advance(31)
    bench.say("meter", {"energy_import_kwh": 101.0})
    await bench.stop()
    assert {key[1] for key in sent(bench.exported())} == {START_MS}, "the second minute is not over"
    await bench.clock.advance(10)
    await bench.start()
    await bench.advance(55)
    await bench.stop()
    assert {key[1] for key in sent(bench.exported())} == {START_MS, START_MS + M}


async def test_a_stop_while_a_minute_is_being_stored_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = await bench.start()
    await bench.advance(30)
    bench.say("meter", {"energy_import_kwh": 100.0})
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    store = file.store

    def slow(*args: Any) -> Any:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(5)
        return store(*args)

    monkeypatch.setattr(file, "store", slow)
    await bench.clock.advance(33)
    await begun.wait()
    bench.say("meter", {"energy_import_kwh": 101.0})
    stopping = asyncio.create_task(bench.stop())
    await asyncio.sleep(0)
    go_on.set()
    await stopping
    assert gateway.ledger.minutes_total() >= 2
    assert {key[1] for key in sent(bench.exported())} == {START_MS}
