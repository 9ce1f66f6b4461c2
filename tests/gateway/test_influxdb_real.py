"""The InfluxDB sink against real servers: what was written is read back, value by value."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from gateway.config.site import InfluxSink
from gateway.errors import SinkUnavailable
from gateway.model import Readings
from gateway.sinks import Sink
from gateway.sinks.line_protocol import Encoder
from gateway.sinks.pump import Pump
from gateway.sinks.registry import make_sink
from gateway.vocabulary import METRICS
from tests.support.clock import ManualClock
from tests.support.lending import LendingBuffer
from tests.support.servers import Influx1, ServerProcess, Victoria, influxdb1, victoria

NOW = (int(time.time()) - 3600) * 1000
ENERGY = tuple(name for name, metric in METRICS.items() if metric.domain == "energy")
ZONES = {"main": "gate", "odd, name=1": "roof top"}


@pytest.fixture
def influx() -> Iterator[Influx1]:
    with influxdb1() as server:
        server.create_database("site")
        yield server


@pytest.fixture
def metrics_store() -> Iterator[Victoria]:
    with victoria() as server:
        yield server


@asynccontextmanager
async def sink_to(server: ServerProcess, **options: Any) -> AsyncIterator[Sink]:
    known: dict[str, Any] = {"kind": "influxdb", "url": server.url, "api": "v1", "database": "site"} | options
    sink = make_sink("influx", InfluxSink(**known), Encoder("pilot", ZONES, True))
    try:
        yield sink
    finally:
        await sink.close()


def batch(records: int = 40) -> list[Readings]:
    """Full-precision numbers, every metric of another size, a few gaps, a device whose name needs escaping."""
    rng = random.Random(7)
    sizes = [10.0 ** rng.randint(-12, 12) for _ in ENERGY]
    result = []
    for number in range(records):
        values: list[float | None] = [rng.uniform(-1, 1) * size for size in sizes]
        marks = ["N"] * len(ENERGY)
        if number % 5 == 0:
            values[number % len(ENERGY)], marks[number % len(ENERGY)] = None, "T"
        result.append(Readings("main", NOW + number * 997, ENERGY, tuple(values), "".join(marks)))
        air = (rng.random() * 300, 0.1 + 0.2)
        result.append(Readings("odd, name=1", NOW + number * 997 + 1, ("pm10_ug_m3", "noise_la_db:mean"), air, "NN"))
    return result


def frequency(device: str, value: float, time_ms: int = NOW) -> Readings:
    return Readings(device, time_ms, ("frequency_hz",), (value,), "N")


Key = tuple[str, str, int]


def expected(records: Sequence[Readings]) -> dict[Key, float]:
    """Device, field, time -> value."""
    return {
        (r.device, metric.replace(":", "_"), r.time_ms): value
        for r in records
        for metric, value in zip(r.metrics, r.values, strict=True)
        if value is not None
    }


def stored(server: Influx1, database: str = "site") -> dict[Key, float]:
    """Everything that the database holds; every tag is checked on the way."""
    found: dict[Key, float] = {}
    for series in server.query(database, "SELECT * FROM /.*/ GROUP BY *"):
        tags = series["tags"]
        assert tags["site"] == "pilot"
        assert tags["simulated"] == "true"
        assert tags["zone"] == ZONES.get(tags["device"], "")
        for time_ms, *values in series["values"]:
            for field, value in zip(series["columns"][1:], values, strict=True):
                if value is None:
                    continue
                domain = METRICS[field.removesuffix("_mean")].domain
                assert series["name"] == (f"{domain}_1m" if field.endswith("_mean") else domain)
                assert (tags["device"], field, time_ms) not in found
                found[tags["device"], field, time_ms] = value
    return found


@pytest.mark.parametrize("packed", [False, True])
async def test_every_value_comes_back_exactly(influx: Influx1, packed: bool) -> None:
    records = batch()
    async with sink_to(influx, gzip=packed) as sink:
        assert (await sink.write(records)).rejected == {}
        assert (await sink.write(records)).rejected == {}  # a replay overwrites itself
    assert stored(influx) == expected(records)
    types = {field[1] for series in influx.query("site", "SHOW FIELD KEYS") for field in series["values"]}
    assert types == {"float"}


async def test_a_type_conflict_costs_its_record_only(influx: Influx1) -> None:
    line = f"air,device=old pm10_ug_m3=5i {NOW}"  # somebody else made this field an integer
    assert influx.post("/write", line.encode(), db="site", precision="ms") == (204, "")
    good = [frequency(f"d{n}", 50 + n / 7, NOW + n) for n in range(30)]
    bad = Readings("dust", NOW, ("frequency_hz", "pm10_ug_m3"), (49.5, 81.5), "NN")
    async with sink_to(influx) as sink:
        written = await sink.write([*good[:11], bad, *good[11:]])
    assert list(written.rejected) == [11]
    assert "field type conflict" in written.rejected[11]
    assert "already exists as type integer" in written.rejected[11]
    [series] = influx.query("site", "SELECT frequency_hz FROM energy")
    assert sorted(value for _, value in series["values"]) == sorted([49.5, *(r.values[0] for r in good)])


async def test_readings_beyond_retention_are_refused_and_the_rest_is_stored(influx: Influx1) -> None:
    influx.manage('CREATE RETENTION POLICY "short" ON "site" DURATION 1d REPLICATION 1')
    day_ms = 86_400_000
    records = [frequency("a", 50.0), frequency("b", 50.1, NOW - 2 * day_ms), frequency("c", 50.2)]
    async with sink_to(influx, retention_policy="short") as sink:
        written = await sink.write(records)
    assert list(written.rejected) == [1]
    assert "beyond retention policy" in written.rejected[1]
    [series] = influx.query("site", "SELECT frequency_hz FROM short.energy")
    assert {value for _, value in series["values"]} == {50.0, 50.2}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"database": "none"}, 'database not found: "none"; create the database'),
        ({"database": None}, "name the database"),
        ({"retention_policy": "none"}, "retention policy not found: none; create the retention policy"),
        ({"api": "v2", "bucket": "site"}, "HTTP 404.*check url, api and names"),
    ],
)
async def test_a_wrong_address_keeps_everything(influx: Influx1, options: dict[str, Any], says: str) -> None:
    async with sink_to(influx, **options) as sink:
        for _ in range(4):
            with pytest.raises(SinkUnavailable, match=says):
                await sink.write([frequency("a", 50.0)])


async def test_credentials() -> None:
    admin = {"u": "admin", "p": "s3cret word"}
    with influxdb1(auth=True) as server:
        server.manage("CREATE USER admin WITH PASSWORD 's3cret word' WITH ALL PRIVILEGES")
        server.manage("CREATE DATABASE site", **admin)
        async with sink_to(server, username="admin", password="s3cret word") as sink:
            assert (await sink.write([frequency("a", 50.0)])).rejected == {}
        for options in ({}, {"username": "admin", "password": "wrong"}):
            async with sink_to(server, **options) as sink:
                with pytest.raises(SinkUnavailable, match=r"HTTP 401: .*check user name and password") as caught:
                    await sink.write([frequency("a", 50.0)])
                assert "wrong" not in str(caught.value)


async def test_a_body_too_large_for_the_server_is_split() -> None:
    records = batch()
    giant = Readings("main", NOW - 1, ENERGY, tuple(1 / 3 for _ in ENERGY), "N" * len(ENERGY))
    with influxdb1(max_body_bytes=4000) as server:
        server.create_database("site")
        async with sink_to(server) as sink:
            assert (await sink.write([*records, giant])).rejected == {}
        assert stored(server) == expected([*records, giant])
    with influxdb1(max_body_bytes=1000) as server:
        server.create_database("site")
        small = frequency("main", 50.0)
        async with sink_to(server) as sink:
            written = await sink.write([small, giant])
        assert written.rejected == {1: "Request Entity Too Large"}
        assert stored(server) == expected([small])


class WatchedClock(ManualClock):
    """Tells when somebody starts to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.asleep.set()
        await super().sleep(seconds)


async def test_nothing_is_lost_while_the_server_is_dead(influx: Influx1) -> None:
    records = batch()
    buffer, clock = LendingBuffer("influx"), WatchedClock()
    async with sink_to(influx) as sink:
        pump = Pump(sink, buffer, clock, 1000)  # type: ignore[arg-type]
        task = asyncio.create_task(pump.run())
        await buffer.put(*records[:20])
        await buffer.until_settled(20)
        influx.kill()
        await buffer.put(*records[20:40])
        await clock.asleep.wait()
        assert pump.health.state == "down"
        await buffer.put(*records[40:])
        assert len(buffer.settled) == 20
        influx.start()
        await clock.advance(60)
        await buffer.until_settled(len(records))
        assert pump.health.state == "up"
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert stored(influx) == expected(records)


@pytest.mark.parametrize("packed", [False, True])
async def test_v2_writes_reach_victoria_metrics(metrics_store: Victoria, packed: bool) -> None:
    records = [r for r in batch(10) if r.device == "main"]
    async with sink_to(metrics_store, api="v2", database=None, bucket="b", org="o", token="t", gzip=packed) as sink:
        assert (await sink.write(records)).rejected == {}
    found: dict[Key, float] = {}
    for series in metrics_store.export():
        labels = series["metric"]
        assert (labels["site"], labels["zone"], labels["simulated"]) == ("pilot", "gate", "true")
        name = labels["__name__"].removeprefix("energy_")
        name = name if name in ENERGY else labels["__name__"]
        for time_ms, value in zip(series["timestamps"], series["values"], strict=True):
            found[labels["device"], name, time_ms] = value
    want = expected(records)
    assert found.keys() == want.keys()
    # VictoriaMetrics keeps about 13 significant digits
    assert all(found[key] == pytest.approx(want[key], rel=1e-11, abs=0) for key in want)
