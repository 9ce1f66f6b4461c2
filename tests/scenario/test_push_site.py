"""A site of devices that speak first: one posts over HTTP, two print lines on a serial line, one prints when asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from gateway.app import Gateway, running
from gateway.config.loader import load_site
from simulators.site import simulated_site
from tests.support.machine import free_port

SITE = """\
site: {{id: push, name: Push, simulated: true}}
data_dir: data
links:
  posts: {{kind: http, host: 127.0.0.1, port: {posts}}}
  printer: {{kind: serial, port: {folder}/printer}}
  dtu: {{kind: tcp, framing: rtu, host: 127.0.0.1, port: {dtu}}}
devices:
  crane:
    {{link: posts, profile: tower_crane_http, address: {{token: "0123456789abcdef"}}, role: "crane:1", every: 200ms}}
  dust_a: {{link: printer, profile: text_dust_noise, address: {{id: "01"}}, role: gate, every: 200ms}}
  dust_b: {{link: printer, profile: text_dust_noise, address: {{id: "02"}}, role: gate, every: 200ms}}
  dust_c: {{link: dtu, profile: asked, address: {{id: "07"}}, role: gate, every: 200ms}}
page: {{port: 0}}
"""


async def all_good(gateway: Gateway) -> None:
    async with asyncio.timeout(15):
        while not all(health.state == "good" for health in gateway.device_health.values()):
            await asyncio.sleep(0.02)


async def test_all_of_them_report_and_what_they_say_is_durable(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "configs" / "profiles" / "text_dust_noise.yaml"
    asked = shipped.read_text(encoding="utf-8").replace("profile: text_dust_noise", "profile: asked")
    asked = asked.replace('  end: "\\r\\n"\n', '  end: "\\r\\n"\n  request: "?{id}\\r"\n')
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "asked.yaml").write_text(asked, encoding="utf-8")
    file = tmp_path / "site.yaml"
    file.write_text(SITE.format(posts=free_port(), dtu=free_port(), folder=tmp_path), encoding="utf-8")
    site = load_site(file)
    async with simulated_site(site), running(site) as gateway:
        await all_good(gateway)
        link = site.config.links["posts"]
        async with aiohttp.ClientSession() as session:
            url = f"http://127.0.0.1:{link.port}/push"  # type: ignore[union-attr]
            head = {"Authorization": "Bearer 0123456789abcdef"}
            body = {"load": {"hook_t": 3.25, "moment_pct": 50}, "wind_m_s": 1.5, "time": gateway.clock.wall_ms()}
            async with session.post(url, json=body, headers=head) as answer:
                assert answer.status == 202
        kept = [r async for r in gateway.buffer.replay(0) if r.device == "crane" and 3.25 in r.values]
        assert kept, "202 was said, so it is on the disk"
    assert [health.failures for health in gateway.links.values()] == [{}, {}, {}]
