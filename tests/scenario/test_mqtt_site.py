"""The whole gateway on a real broker: crane and fog cannon over MQTT 5, the broker restarted under it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from gateway.app import Gateway, running
from gateway.config.loader import load_site
from simulators.site import simulated_site
from tests.support.mosquitto import Mosquitto

SITE = """
site: {{id: mq, name: MQTT, simulated: true}}
links:
  equipment: {{kind: mqtt, host: 127.0.0.1, port: {port}, version: "5"}}
devices:
  crane: {{link: equipment, profile: yunzhu_tower_crane, address: {{id: tc-01}}, every: 200ms, role: "crane:1"}}
  cannon: {{link: equipment, profile: fog_cannon_mqtt, address: {{id: fc-01}}, every: 200ms, role: "cannon:1"}}
page: {{port: 0}}
"""


async def until(look: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(12):
        while not look():
            await asyncio.sleep(0.02)
    assert look(), what


def all_good(gateway: Gateway) -> bool:
    return all(health.state == "good" for health in gateway.device_health.values())


async def test_equipment_reports_and_survives_a_broker_restart(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker:
        file = tmp_path / "site.yaml"
        file.write_text(SITE.format(port=broker.port))
        site = load_site(file)
        async with simulated_site(site), running(site) as gateway:
            await until(lambda: all_good(gateway), "both devices good")
            values = {(v.device, v.metric): v.value for v in gateway.latest.values()}
            assert values["crane", "hook_height_m"] is not None
            assert values["cannon", "tank_level_pct"] is not None
            await broker.stop()
            await until(lambda: gateway.links["equipment"].state == "down", "the loss noticed")
            assert {v.mark for v in gateway.latest.values()} == {"B"}, "no old value stands for a new one"
            await broker.start()
            await until(lambda: all_good(gateway), "both devices good again")
            assert gateway.links["equipment"].reconnects == 1
            assert gateway.supervisor.restarts == {}
