"""The site file and the profile of the benchmark: ten meters of the 60-point map."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import yaml

from benchmarks.map60 import ADDRESSES, POINTS


def write_site(folder: Path, ports: list[int], influx: int, every: str) -> Path:
    """Write profile and site file into ``folder``; return the site file."""
    (folder / "profiles").mkdir()
    (folder / "profiles" / "bench_meter.yaml").write_text(yaml.safe_dump(bench_profile()))
    site: dict[str, Any] = {
        "site": {"id": "bench", "name": "Benchmark", "timezone": "Asia/Shanghai", "simulated": True},
        "links": {f"net-{n}": {"kind": "tcp", "host": "127.0.0.1", "port": port} for n, port in enumerate(ports)},
        "devices": {
            f"meter-{n}": {"link": f"net-{n}", "profile": "bench_meter", "address": {"unit": 1}, "every": every}
            for n in range(len(ports))
        },
        "sinks": {
            "influx": {"kind": "influxdb", "api": "v1", "url": f"http://127.0.0.1:{influx}", "database": "bench"}
        },
        "page": {"port": 0},
    }
    file = folder / "site.yaml"
    file.write_text(yaml.safe_dump(site))
    return file


def bench_profile() -> dict[str, Any]:
    """Return the profile of one 60-point meter."""
    members = list(zip(ADDRESSES, POINTS, strict=True))
    return {
        "profile": "bench_meter",
        "maker": "benchmark",
        "models": ["60-point map"],
        "title": {"en": "60-point meter", "zh": "60 点电表"},
        "driver": "modbus",
        "verified": "simulated",
        "source": "benchmarks/map60.py",
        "limits": {"max_count": 80, "max_gap": 24},
        "points": {metric.name: {"table": "input", "address": address, "type": "f32"} for address, metric in members},
        "example": {
            "raw": {
                "input": {
                    a: list(struct.unpack(">HH", struct.pack(">f", (metric.low + metric.high) / 2)))
                    for a, metric in members
                }
            },
            "gives": {metric.name: (metric.low + metric.high) / 2 for _, metric in members},
        },
    }
