"""The demo as a newcomer starts it: real processes, real sockets, the page over HTTP."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.commands.demo import zone_of
from tests.support.machine import free_port
from tests.support.sitegate import ROOT, Running, eventually, get_json, sitegate


def test_twenty_seconds_in_short_prints_one_object() -> None:
    done = sitegate("demo", "--seconds", "6", "--json", "--port", "0")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["devices"] >= 8
    assert summary["devices_good"] == summary["devices"]
    assert summary["readings"] > 200
    assert summary["bad_readings"] <= 3, "whether dust was sprayed is unknown until the cannon has reported"
    assert summary["minutes"] > 20
    assert summary["bytes_on_disk"] > 0
    assert summary["dropped_records"] == 0
    assert summary["restarts"] == {}
    assert summary["failures"] == {}


def test_every_device_shows_a_good_value_history_grows_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with Running("demo", "--port", str(port), log=tmp_path / "demo.log") as demo:

        def all_good() -> Any:
            values = get_json(f"{url}/api/latest")
            good = {v["device"] for v in values or [] if v["mark"] == "N" and v["value"] is not None}
            known = get_json(f"{url}/api/devices")
            return good if known and len(good) == len(known) else None

        devices = eventually(all_good, what=f"a good value of each device; {demo.log.read_text()[-2000:]}")
        assert {d["name"] for d in get_json(f"{url}/api/devices")} == devices
        assert get_json(f"{url}/api/site")["simulated"] is True

        def points() -> int:
            history = get_json(f"{url}/api/history?device=noise-gate&metric=noise_la_db&step=1")
            return len([p for p in history["points"] if p[1] is not None])

        before = eventually(points, what="history")
        eventually(lambda: points() > before, what="a longer history")
        status, seconds = demo.stop()
        assert status == 0, demo.log.read_text()
        assert seconds < 2.0
    assert "Traceback" not in demo.log.read_text()


def test_noise_on_the_lines_costs_readings_but_never_invents_them() -> None:
    done = sitegate("demo", "--seconds", "6", "--json", "--port", "0", "--scenario", "line-noise")
    summary = json.loads(done.stdout)
    assert done.returncode == 0
    assert summary["readings"] > 100
    assert summary["failures"], "the scenario is there to hurt"
    assert summary["restarts"] == {}


def test_an_unknown_scenario_is_named() -> None:
    done = sitegate("demo", "--scenario", "sandstorm")
    assert done.returncode == 2
    assert "sandstorm" in done.stderr
    assert "night-pour" in done.stderr


def test_a_taken_port_is_named() -> None:
    with Running("demo", "--port", str(port := free_port()), log=Path("/dev/null")) as first:
        eventually(lambda: get_json(f"http://127.0.0.1:{port}/api/site"), what="the first demo's page")
        done = sitegate("demo", "--seconds", "3", "--port", str(port))
        assert done.returncode == 1
        assert str(port) in done.stderr
        assert "Traceback" not in done.stderr
        assert first.process.poll() is None


@pytest.mark.parametrize(("scenario", "hour"), [("normal", 9.67), ("dust", 10.33), ("night-pour", 22.5)])
@pytest.mark.parametrize("now_h", range(0, 24, 5))
def test_the_demo_lies_where_the_scenarios_time_of_day_is_now(scenario: str, hour: float, now_h: int) -> None:
    now = datetime(2026, 11, 22, now_h, 20, tzinfo=UTC)
    local = now.astimezone(ZoneInfo(zone_of(scenario, int(now.timestamp() * 1000))))
    apart = abs(local.hour + local.minute / 60 - hour)
    assert min(apart, 24 - apart) <= 0.51


def test_ctrl_c_on_a_terminal_ends_make_demo_with_status_0(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "demo.log"
    typescript = ["script", "--quiet", "--return", "--command", f"make demo ARGS='--port {port}'", str(log)]
    with subprocess.Popen(typescript, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as terminal:
        assert terminal.stdin is not None
        eventually(lambda: get_json(f"http://127.0.0.1:{port}/api/site"), what="the page")
        terminal.stdin.write(b"\x03")
        terminal.stdin.flush()
        assert terminal.wait(5) == 0, log.read_text()
