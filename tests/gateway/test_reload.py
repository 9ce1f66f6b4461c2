"""A changed site file while the gateway runs: rules are taken up, mistakes change nothing."""

from __future__ import annotations

import signal
from pathlib import Path

from gateway.app import Gateway, running
from gateway.config.loader import load_site
from gateway.reload import reload
from gateway.web.findings import findings
from tests.support.clock import ManualClock
from tests.support.machine import free_port
from tests.support.sitegate import Running, eventually, get_json

SITE = """
site: {{id: pilot, name: Pilot, simulated: true}}
links: {{net: {{kind: tcp, host: 127.0.0.1, port: 9}}}}
devices:
  dust: {{link: net, profile: cubic_opm6303, address: {{unit: 1}}, every: {every}, zone: gate}}
alerts: {{use: [{use}], set: {set}}}
page: {{port: {port}}}
"""


def write(folder: Path, *, use: str = "pm10_live", set: str = "{}", every: str = "10s", port: int = 0) -> Path:  # noqa: A002
    file = folder / "site.yaml"
    file.write_text(SITE.format(use=use, set=set, every=every, port=port))
    return file


def limit(gateway: Gateway) -> set[float]:
    assert gateway.alerts is not None
    return {line.value for line in gateway.alerts.limits() if not line.warning or line.rule == "pm10_live"}


def codes(gateway: Gateway) -> set[str]:
    return {f.code for f in findings(gateway.page_state, gateway.clock.wall_ms())} & {
        "settings_refused",
        "settings_wait",
    }


async def test_changed_limits_hold_from_now_on(tmp_path: Path) -> None:
    file = write(tmp_path)
    async with running(load_site(file), ManualClock()) as gateway:
        assert limit(gateway) == {120.0, 200.0}
        await reload(gateway, write(tmp_path, set="{pm10_live: {above: 180}}"))
        assert limit(gateway) == {120.0, 180.0}
        assert codes(gateway) == set()


async def test_a_file_with_mistakes_changes_nothing_and_is_shown_until_it_is_right(tmp_path: Path) -> None:
    file = write(tmp_path)
    async with running(load_site(file), ManualClock()) as gateway:
        await reload(gateway, write(tmp_path, set="{pm10_live: {above: 180, clear_below: 190, warn: 500}}"))
        assert limit(gateway) == {120.0, 200.0}
        assert codes(gateway) == {"settings_refused"}
        [said] = [f for f in findings(gateway.page_state, 0) if f.code == "settings_refused"]
        assert f"{file}:" in said.en
        assert f"{file}:" in said.zh
        await reload(gateway, write(tmp_path, use="pm10_life"))
        assert "pm10_live" in gateway.settings.refused[0]  # did you mean …
        await reload(gateway, write(tmp_path))
        assert codes(gateway) == set()


async def test_what_is_no_rule_waits_for_the_next_start_and_says_so(tmp_path: Path) -> None:
    file = write(tmp_path)
    async with running(load_site(file), ManualClock()) as gateway:
        await reload(gateway, write(tmp_path, every="20s", set="{pm10_live: {above: 190}}"))
        assert limit(gateway) == {120.0, 190.0}
        assert gateway.settings.waiting == ("devices",)
        assert codes(gateway) == {"settings_wait"}
        await reload(gateway, write(tmp_path))
        assert gateway.settings.waiting == ()


def test_a_service_is_told_by_sighup(tmp_path: Path) -> None:
    port = free_port()
    file = write(tmp_path, port=port)
    url = f"http://127.0.0.1:{port}/api/limits"

    def limits() -> set[float]:
        return {line["value"] for line in get_json(url) or ()}

    with Running("run", str(file), log=tmp_path / "run.log") as gateway:
        eventually(lambda: 200.0 in limits(), what="the page")
        write(tmp_path, set="{pm10_live: {above: 170}}", port=port)
        gateway.process.send_signal(signal.SIGHUP)
        eventually(lambda: 170.0 in limits(), what="the new limit")
        write(tmp_path, use="nothing", port=port)
        gateway.process.send_signal(signal.SIGHUP)
        eventually(lambda: "site file refused" in (tmp_path / "run.log").read_text(), what="the refusal")
        assert 170.0 in limits()
        assert gateway.stop(signal.SIGTERM)[0] == 0
