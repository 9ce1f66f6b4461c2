"""A gateway killed between an alarm and its message: the next one tells it, once (fault 118)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.request import urlopen

from tests.support.http_stub import Answer, HttpStub
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
notices:
  link: http://127.0.0.1:{page_port}
  language: en
  fold: 4s
  channels:
    hook: {{url: "json://127.0.0.1:{hook_port}/key-4711"}}
page: {{port: {page_port}}}
"""


def listed(site: Path) -> list[tuple[str, int]]:
    done = sitegate("notices", "list", str(site), "--json")
    assert done.returncode == 0, done.stderr
    return [(entry["state"], len(entry["alarms"])) for entry in json.loads(done.stdout)]


async def test_a_kill_between_alarm_and_message_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    site, page = tmp_path / "site.yaml", f"http://127.0.0.1:{(page_port := free_port())}"

    def states() -> list[str]:
        found = get_json(f"{page}/api/notices") or {"notices": []}
        return [entry["state"] for entry in found["notices"]]

    def raised_and_killed() -> None:
        with Running("run", str(site), log=tmp_path / "first.log") as first:
            eventually(lambda: states() == ["waiting"], what="a line in the outbox")
            first.kill()

    def told_after_all() -> None:
        with Running("run", str(site), log=tmp_path / "second.log"):
            eventually(lambda: states() == ["sent"], what="the message")
            assert listed(site) == [("sent", 1)], "asked of the gateway that runs"
            with urlopen(f"{page}/metrics") as answer:
                assert 'sitegate_notices_sent_total{channel="hook"} 1.0' in answer.read().decode()

    async with HttpStub(lambda _: Answer(200)) as hook:
        site.write_text(SITE.format(device_port=free_port(), page_port=page_port, hook_port=hook.port))
        await asyncio.to_thread(raised_and_killed)
        assert hook.requests == []
        assert await asyncio.to_thread(listed, site) == [("waiting", 1)], "read from the file of the dead gateway"
        await asyncio.to_thread(told_after_all)
    (request,) = hook.requests
    said = json.loads(request.body)
    assert said["title"].startswith("[SIMULATED] Small: NEW, ")
    assert f"{page}/#alarm=device_silent@gate@" in said["message"]
    logs = (tmp_path / "first.log").read_text() + (tmp_path / "second.log").read_text()
    assert "4711" not in logs
    assert "Traceback" not in logs
