"""From a new value to the relay frame on the wire, with 1,000 rules and 2,000 series; and what rules cost besides.

``python -m benchmarks.alarms`` prints it; ``make bench`` does so at its end.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
import uvloop

from benchmarks.__main__ import responders
from benchmarks.map60 import POINTS
from benchmarks.relay import SENSORS
from benchmarks.site import bench_profile
from gateway.alerts import engine
from gateway.alerts.live import Live
from gateway.alerts.rule import READING, Rule, RuleSet, Where
from gateway.alerts.schedule import CHINA
from gateway.app import running
from gateway.config.loader import load_site
from gateway.ledger.minute import MINUTE_MS, Minute
from gateway.ledger.windows import SeriesWindows, Statistic, Wanted, WindowSpec
from gateway.model import Readings

METERS, ZONES, RULES = 34, 17, 1_000
SECONDS, LEAST_STARTS = 25.0, 100
_POINT = {"table": "input", "type": "f32", "address": 0}


# --- the whole way ------------------------------------------------------------------------------------------------


def write_site(folder: Path, meters: list[int], sensors: list[int], relay: int) -> Path:
    """Write a site of 34 meters with 60 points, five dust sensors and a relay, with 1,000 rules and five outputs."""
    for name, profile in {
        "bench_meter": bench_profile(),
        "bench_dust": _profile("bench_dust", {"pm10_ug_m3": _POINT}, {"input": {0: [0x4220, 0]}}, 40.0),
        "bench_relay": _profile("bench_relay", dict(_coils()), {"coil": {0: [0] * SENSORS}}, 0.0),
    }.items():
        (folder / "profiles").mkdir(exist_ok=True)
        (folder / "profiles" / f"{name}.yaml").write_text(json.dumps(profile))
    (folder / "alerts").mkdir()
    rules = _rules()
    cases = [{"name": "calm", "rule": rule["alert"], "feed": {rule["metric"]: "0x3"}, "expect": []} for rule in rules]
    (folder / "alerts" / "bench.yaml").write_text(json.dumps(rules))
    (folder / "alerts" / "bench_test.yaml").write_text(json.dumps({"rules": "bench.yaml", "cases": cases}))
    ports = {f"meter-{n}": meters[n] for n in range(METERS)} | {f"dust-{n}": p for n, p in enumerate(sensors)}
    devices: dict[str, Any] = {
        f"meter-{n}": _device(f"meter-{n}", "bench_meter", 1, "1s", f"zone-{n % ZONES}") for n in range(METERS)
    }
    devices |= {f"dust-{n}": _device(f"dust-{n}", "bench_dust", n + 1, "20ms", f"gate-{n}") for n in range(SENSORS)}
    devices["relay"] = _device("relay", "bench_relay", 1, "1s", "site")
    site = {
        "site": {"id": "bench", "name": "Benchmark", "timezone": "Asia/Shanghai", "simulated": True},
        "links": {n: {"kind": "tcp", "host": "127.0.0.1", "port": p} for n, p in {**ports, "relay": relay}.items()},
        "devices": devices,
        "alerts": {"use": ["bench"]},
        "outputs": {f"cannon-{n}": _output(n) for n in range(SENSORS)},
        "page": {"port": 0},
    }
    file = folder / "site.yaml"
    file.write_text(json.dumps(site))
    return file


def _profile(name: str, points: dict[str, Any], raw: dict[str, Any], gives: float) -> dict[str, Any]:
    return {
        "profile": name, "maker": "benchmark", "models": [name], "title": {"en": name, "zh": name}, "driver": "modbus",
        "verified": "simulated", "source": "benchmarks/relay.py", "points": points,
        "example": {"raw": raw, "gives": dict.fromkeys(points, gives)},
    }  # fmt: skip


def _coils() -> dict[str, Any]:
    write = {"allow": [0, 1], "confirm_within": "3s", "dead_man": "none"}
    return {f"output_{n + 1}_on": {"table": "coil", "address": n, "write": write} for n in range(SENSORS)}


def _device(link: str, profile: str, unit: int, every: str, zone: str) -> dict[str, Any]:
    return {"link": link, "profile": profile, "address": {"unit": unit}, "every": every, "zone": zone}


def _output(n: int) -> dict[str, Any]:
    return {
        "device": "relay", "point": f"output_{n + 1}_on", "mode": "armed", "when": ["dusty"], "sensors": [f"dust-{n}"],
        "min_on": "1ms", "min_rest": "1ms", "max_starts_per_hour": 60, "dead_man": "accept_none",
    }  # fmt: skip


def _rules() -> list[dict[str, Any]]:
    """Each rule judges one quantity of two meters; half of them by readings, half by windows of five minutes."""
    dusty = {"alert": "dusty", "metric": "pm10_ug_m3", "window": "reading", "above": 150, "clear_below": 100}
    rules: list[dict[str, Any]] = [dusty]
    for k in range(RULES):
        metric = POINTS[k % len(POINTS)]
        window = "reading" if k % 2 else {"length": "5min", "sliding": True}
        rules.append({
            "alert": f"rule_{k}", "metric": metric.name, "window": window, "above": 0.999 * min(metric.high, 501),
            "where": {"zone": f"zone-{k // len(POINTS)}"},
        })  # fmt: skip
    return rules


async def to_the_relay(meters: list[int]) -> list[float]:
    """Let dust come and go for a while; return the seconds from each dusty reading to its relay frame."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.relay"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    *sensors, relay = json.loads(child.stdout.readline())
    with tempfile.TemporaryDirectory(prefix="sitegate-bench-", dir=Path.cwd()) as folder:
        async with running(load_site(write_site(Path(folder), meters, sensors, relay))):
            await asyncio.sleep(SECONDS)
            child.stdin.write("\n")
            child.stdin.flush()
            took = await asyncio.to_thread(child.stdout.readline)
    child.wait(10)
    return [float(each) for each in json.loads(took)]


# --- what rules cost ----------------------------------------------------------------------------------------------


def us_per_call(call: Callable[[int], object], times: int) -> float:
    """Return the best of five runs, in microseconds."""
    best = min(_timed(call, times) for _ in range(5))
    return best / times * 1e6


def _timed(call: Callable[[int], object], times: int) -> float:
    begun = time.perf_counter()
    for n in range(times):
        call(n)
    return time.perf_counter() - begun


def record_us(rules_per_value: int) -> float:
    """Return what judging one record of 60 calm values costs with so many rules on each."""
    names = tuple(metric.name for metric in POINTS)
    rules = {
        name: tuple(
            Rule(f"{name}_{k}", "warning", name, None, Where(), Statistic.LAST, READING, limit=1e9)
            for k in range(rules_per_value)
        )
        for name in names
    }
    series = {(name, "meter"): of for name, of in rules.items() if of}
    rule_set = RuleSet(tuple(rule for of in rules.values() for rule in of), series, {}, {}, {})
    states = {(rule.name, "meter"): engine.start(rule, "meter", ["meter"], 0) for rule in rule_set.rules}
    live = Live(rule_set, {}, states, lambda *_: None, lambda: 0)
    record = Readings("meter", 0, names, tuple(map(float, range(len(names)))), "N" * len(names))
    return us_per_call(lambda _: live.see(record), 2_000)


def window_us(history_minutes: int) -> float:
    """Return what one more minute costs a series with four windows, after so much history."""
    lengths = (("15min", True), ("60min", False), ("24h", True), ("month", False))
    wanted = [Wanted(WindowSpec(length, sliding), Statistic.MEAN) for length, sliding in lengths]
    windows = SeriesWindows("pm10_ug_m3", wanted, CHINA)
    last_ms = 1_790_000_000_000 // MINUTE_MS * MINUTE_MS

    def add(start_ms: int) -> None:
        windows.add(Minute("dust", "pm10_ug_m3", start_ms, 60, 0, 1.0, 40.0, 60.0, 50.0, 50.0, start_ms))

    for n in range(history_minutes, 0, -1):
        add(last_ms - n * MINUTE_MS)
    begun = time.perf_counter()
    for n in range(1440):
        add(last_ms + n * MINUTE_MS)
    return (time.perf_counter() - begun) / 1440 * 1e6


def main() -> None:
    """Print one run."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))  # errors: alarms come and go here
    with responders() as other_side, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        took_ms = sorted(1000 * each for each in runner.run(to_the_relay(other_side["modbus"])))
    assert len(took_ms) >= LEAST_STARTS, f"only {len(took_ms)} starts were seen"
    p99 = took_ms[int(len(took_ms) * 0.99)]
    print(
        f"\nAlarms: {RULES:,} rules, {METERS * len(POINTS):,} series each second; journal on disk before each write\n"
    )
    print(f"new value to relay frame, median ms{statistics.median(took_ms):11.1f}      ({len(took_ms)} starts)")
    print(f"new value to relay frame, p99 ms   {p99:11.1f}      <= 20")
    print(f"new value to relay frame, most ms  {took_ms[-1]:11.1f}")
    calm, busy, none = record_us(1), record_us(17), record_us(0)
    print(f"record of 60 values, no rule, us   {none:11.2f}")
    print(f"record of 60 values, 60 rules, us  {calm:11.1f}      << 1000")
    print(f"record of 60 values, 1,020 rules   {busy:11.1f}      < 1000 us")
    new, old = window_us(1440), window_us(365 * 1440)
    print(f"window update, new series, us      {new:11.1f}")
    print(f"window update, a year old, us      {old:11.1f}      ratio {old / new:.2f}, about 1")


if __name__ == "__main__":
    main()
