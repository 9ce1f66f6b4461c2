"""A gateway killed in the middle of an alarm: no second start, no lost end (fault 118), answers kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.machine import free_port
from tests.support.sitegate import Running, eventually, get_json, sitegate

SITE = """
site: {{id: small, name: Small, simulated: true}}
links:
  net: {{kind: tcp, host: 127.0.0.1, port: {device_port}, timeout: 300ms}}
devices:
  main: {{link: net, profile: eastron_sdm630, address: {{unit: 1}}, role: main, every: 1s, zone: gate}}
alerts:
  use: [device]
  set: {{device_silent: {{for: 1s, clear_for: 1s}}}}
page: {{port: {page_port}, password: gravel-27}}
"""


def alarms(site: Path, *more: str) -> list[dict[str, Any]]:
    done = sitegate("alerts", "list", str(site), "--json", *more)
    found: list[dict[str, Any]] = json.loads(done.stdout) if done.returncode == 0 else []
    return found


@pytest.mark.timeout(60)
def test_a_kill_in_an_alarm_neither_doubles_its_start_nor_loses_its_end(tmp_path: Path) -> None:
    site, page_port = tmp_path / "site.yaml", free_port()
    site.write_text(SITE.format(device_port=free_port(), page_port=page_port))
    answers = f"http://127.0.0.1:{page_port}/healthz"
    with Running("run", str(site), log=tmp_path / "first.log") as first:
        eventually(lambda: get_json(answers), what="the page")
        (alarm,) = eventually(lambda: alarms(site), what="an alarm for the silent meter")
        assert (alarm["rule"], alarm["active"], alarm["details"]["simulated"]) == ("device_silent", True, True)
        by = ("--by", "Li", "--note", "fuse is out")
        assert sitegate("alerts", "act", alarm["id"], str(site), *by).returncode == 0
        assert sitegate("alerts", "close", alarm["id"], str(site), *by).returncode == 1, "it still holds"
        first.kill()
    assert [a["state"] for a in alarms(site)] == ["acted"], "read from the file of the dead gateway"
    with (
        Running("simulate", str(site), log=tmp_path / "simulate.log"),
        Running("run", str(site), log=tmp_path / "second.log"),
    ):
        eventually(lambda: [a for a in alarms(site) if not a["active"]], what="the end of the alarm")
        assert len(alarms(site, "--all")) == 1
        assert sitegate("alerts", "close", alarm["id"], str(site), *by).returncode == 0
        assert alarms(site) == []


def test_wrong_rules_stop_the_start_with_file_and_line(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    text = SITE.format(device_port=free_port(), page_port=free_port())
    site.write_text(text.replace("use: [device]", "use: [device, dsut]"))
    done = sitegate("run", str(site))
    assert done.returncode == 1
    assert "site.yaml:8" in done.stderr
    assert "dsut" in done.stderr
    assert "Traceback" not in done.stderr
