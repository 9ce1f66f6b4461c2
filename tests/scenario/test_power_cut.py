"""Killed with the sink down, started again with the sink up: InfluxDB holds every durable reading exactly once."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.machine import free_port
from tests.support.servers import influxdb1
from tests.support.sitegate import Running, eventually, sitegate

SITE = """
site: {{id: cut, name: Power cut, timezone: Asia/Shanghai, simulated: true}}
data_dir: data
links:
  net: {{kind: tcp, host: 127.0.0.1, port: {modbus}}}
devices:
  main: {{link: net, profile: eastron_sdm630, address: {{unit: 1}}, every: 200ms, role: main}}
  crane: {{link: net, profile: acrel_dtsd1352, address: {{unit: 2}}, every: 100ms, role: "zone:tower-crane"}}
sinks:
  influx: {{kind: influxdb, api: v1, url: "http://127.0.0.1:{influx}", database: site, minutes: false}}
buffer: {{commit_every: 200ms}}
page: {{port: 0}}
"""


def durable(site: Path) -> dict[tuple[str, str, int], float]:
    """Every good reading in the stopped gateway's buffer; none of them twice."""
    done = sitegate("buffer", "export", str(site))
    assert done.returncode == 0, done.stderr
    found: dict[tuple[str, str, int], float] = {}
    for record in map(json.loads, done.stdout.splitlines()):
        for metric, value in record["values"].items():
            if value is not None and ":" not in metric:
                key = (record["device"], metric, record["time_ms"])
                assert key not in found
                found[key] = value
    return found


def stored(port: int) -> dict[tuple[str, str, int], float]:
    """Every point in the database."""
    query = urllib.parse.urlencode({"db": "site", "epoch": "ms", "q": "SELECT * FROM energy, gateway"})
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/query?{query}", timeout=10) as answer:
        result: dict[str, Any] = json.load(answer)["results"][0]
    found: dict[tuple[str, str, int], float] = {}
    for series in result.get("series", []):
        columns = series["columns"]
        device, time = columns.index("device"), columns.index("time")
        for row in series["values"]:
            for name, value in zip(columns, row, strict=True):
                if value is not None and name not in ("time", "device", "site", "zone", "simulated"):
                    key = (row[device], name, row[time])
                    assert key not in found, "a reading stands twice in InfluxDB"
                    found[key] = value
    return found


def test_every_durable_reading_arrives_exactly_once(tmp_path: Path) -> None:
    with influxdb1() as influx:
        influx.create_database("site")
        influx.kill()
        site = tmp_path / "site.yaml"
        site.write_text(SITE.format(modbus=free_port(), influx=influx.port))
        log = tmp_path / "data" / "buffer.sqlite-wal"
        with Running("simulate", str(site), log=tmp_path / "simulate.log"):
            for _ in range(3):
                with Running("run", str(site), log=tmp_path / "run.log") as gateway:
                    # commits make the log grow while nothing can be delivered
                    before = log.stat().st_size if log.exists() else 0
                    eventually(lambda: log.exists() and log.stat().st_size > before + 40_000, what="commits")  # noqa: B023
                    gateway.kill()
            readings = durable(site)
            assert len(readings) > 100
            influx.start()
            with Running("run", str(site), log=tmp_path / "run.log"):
                eventually(lambda: readings.keys() <= stored(influx.port).keys(), what="all of them in InfluxDB")
        delivered = stored(influx.port)
    assert {key: delivered[key] for key in readings} == readings
