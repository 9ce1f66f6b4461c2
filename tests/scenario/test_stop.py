"""Stopped while the sink is a black hole: in a fixed time, with status 0 and everything on the disk (fault 6)."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

from tests.support.machine import free_port
from tests.support.sitegate import Running, eventually, get_json, sitegate

SITE = """
site: {{id: stop, name: Stop, simulated: true}}
data_dir: data
links:
  net: {{kind: tcp, host: 127.0.0.1, port: {modbus}}}
devices:
  main: {{link: net, profile: eastron_sdm630, address: {{unit: 1}}, every: 200ms, role: main}}
sinks:
  hole: {{kind: influxdb, api: v1, url: "http://127.0.0.1:{hole}", database: site}}
buffer: {{commit_every: 10s}}
page: {{port: {page}}}
"""
WITHIN_S = 10.0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_stop_with_a_dead_uplink_is_quick_and_loses_nothing(tmp_path: Path, number: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:  # takes connections and never says a word
        site, page = tmp_path / "site.yaml", free_port()
        site.write_text(SITE.format(modbus=free_port(), hole=hole.getsockname()[1], page=page))

        def records() -> int:
            found = get_json(f"http://127.0.0.1:{page}/api/site")
            return found["readings"]["records"] if found else 0

        with (
            Running("simulate", str(site), log=tmp_path / "simulate.log"),
            Running("run", str(site), log=tmp_path / "run.log") as gateway,
        ):
            eventually(lambda: records() > 20, what="readings")
            seen = records()
            status, took_s = gateway.stop(number, WITHIN_S)
        assert status == 0, (tmp_path / "run.log").read_text()
        assert took_s < WITHIN_S
    export = sitegate("buffer", "export", str(site))
    kept = [r for r in map(json.loads, export.stdout.splitlines()) if ":" not in next(iter(r["values"]))]
    assert len([r for r in kept if r["device"] == "main"]) >= seen, "what waited in memory was written before the end"
