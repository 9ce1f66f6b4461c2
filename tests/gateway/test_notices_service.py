"""The way out: real apprise against a real HTTP server, wrong addresses, and the commands."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import pytest

from gateway.alerts.presets import load_rules
from gateway.alerts.state import Event
from gateway.alerts.store import FILE_NAME as ALARMS
from gateway.alerts.store import AlarmStore
from gateway.clock import SystemClock
from gateway.commands import notices as command
from gateway.config.loader import load_site
from gateway.errors import ConfigError
from gateway.notices.outlets import about_of, check_channels, open_notices, outlets_of
from gateway.notices.service import sender, understood
from gateway.notices.text import Message
from tests.support.http_stub import Answer, HttpStub, Request
from tests.support.machine import free_port
from tests.support.sitegate import ROOT

SITE = """
site: {id: small, name: {en: Small, zh: 小工地}, simulated: true}
links:
  net: {kind: tcp, host: 127.0.0.1, port: 1502}
devices:
  main: {link: net, profile: eastron_sdm630, address: {unit: 1}}
alerts: {use: [device]}
notices:
  fold: 1s
  channels:
    office: {url: "json://127.0.0.1:%PORT%/hook-4711", rules: [device_silent]}
    yard: {url: "json://127.0.0.1:%PORT%/yard", language: en, rules: [device]}
"""
MESSAGE = Message("标题 [x]", "第一行\n*second* <b>line</b> \\n")


def site_file(folder: Path, port: int, *swap: tuple[str, str]) -> Path:
    text = SITE.replace("%PORT%", str(port))
    for old, new in swap:
        assert old in text
        text = text.replace(old, new)
    file = folder / "site.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def fine(_: Request) -> Answer:
    return Answer(200)


async def test_a_message_arrives_as_it_was_written() -> None:
    async with HttpStub(fine) as stub:
        assert await sender(f"json://127.0.0.1:{stub.port}/hook")(MESSAGE) is None
    (request,) = stub.requests
    said = json.loads(request.body)
    assert (said["title"], said["message"]) == (MESSAGE.title, MESSAGE.body)


@pytest.mark.parametrize("status", [400, 500])
async def test_a_refusal_says_why_and_never_shows_the_key(status: int) -> None:
    async with HttpStub(lambda _: Answer(status)) as stub:
        why = await sender(f"json://robot:s3cr3t%21pw@127.0.0.1:{stub.port}/key-4711-abc")(MESSAGE)
    assert why is not None
    assert f"error={status}" in why
    assert not any(secret in why for secret in ("s3cr3t", "key-4711", "robot"))


async def test_nobody_listens() -> None:
    why = await sender(f"json://127.0.0.1:{free_port()}/key-4711")(MESSAGE)
    assert why is not None
    assert "Connection error" in why
    assert "4711" not in why


async def test_an_endpoint_that_never_answers_is_given_up_and_the_process_ended() -> None:
    async with HttpStub(lambda _: Answer(stall=True)) as stub:
        sending = asyncio.create_task(sender(f"json://127.0.0.1:{stub.port}/?rto=30", timeout_s=1.5)(MESSAGE))
        assert await sending == "no answer within 1.5 s"
        under_way = asyncio.create_task(sender(f"json://127.0.0.1:{stub.port}/?rto=30")(MESSAGE))
        async with asyncio.timeout(10):
            while len(stub.requests) < 2:
                await asyncio.sleep(0.02)
        under_way.cancel()
        assert isinstance((await asyncio.gather(under_way, return_exceptions=True))[0], asyncio.CancelledError)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


async def test_which_addresses_apprise_understands() -> None:
    known = ["json://127.0.0.1/", "wecombot://key", "dingtalk://token", "feishu://token", "mailtos://u:p@example.com"]
    wrong = ["wecom://key", "json://", "mailtos://"]
    assert await understood([*known, *wrong]) == [True] * len(known) + [False] * len(wrong)


async def test_wrong_channels_are_named_with_their_line(tmp_path: Path) -> None:
    wrong = ("json://127.0.0.1:1/hook-4711", "jsn://hook-4711"), ("rules: [device_silent]", "rules: [device_silnt]")
    file = site_file(tmp_path, 1, *wrong)
    site = load_site(file)
    with pytest.raises(ConfigError) as caught:
        await check_channels(site, {rule.name: rule.policy for rule in load_rules(site).rules})
    url, rule = [str(problem) for problem in caught.value.problems]
    assert url.startswith(f"{file}:11:19: notices.channels.office.url: apprise does not understand this address")
    assert rule.startswith(f"{file}:11:")
    assert "did you mean 'device_silent'" in rule
    assert "4711" not in f"{url}{rule}{site!r}"


def test_channels_are_made_as_the_file_says(tmp_path: Path) -> None:
    quiet = ("fold: 1s", "fold: 1s\n  quiet: {from: 21:30, to: 06:30, but: alarm}\n  link: https://box.example.com")
    config = load_site(site_file(tmp_path, 1, quiet)).config
    outlets = outlets_of(config, {"device_silent": "device", "device_stuck": "device", "pm10_live": "dust"})
    office, yard = outlets["office"], outlets["yard"]
    assert (office.language, yard.language) == ("zh", "en")
    assert office.settings.rules == {"device_silent"}
    assert yard.settings.rules == {"device_silent", "device_stuck"}
    assert office.settings.quiet is not None
    assert (str(office.settings.quiet.begin), office.settings.quiet.but) == ("21:30:00", "alarm")
    assert about_of(config).simulated
    assert about_of(config).link == "https://box.example.com"


async def test_the_test_command_sends_now_and_says_how_it_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with HttpStub(lambda request: Answer(200 if request.path == "/yard" else 500)) as stub:
        file = site_file(tmp_path, stub.port)
        assert await asyncio.to_thread(command.test, file, "yard", as_json=False) == 0
        assert "yard: the service took the test message" in capsys.readouterr().out
        said = json.loads(stub.requests[0].body)
        assert said["title"] == "[SIMULATED] Small: test message"
        assert await asyncio.to_thread(command.test, file, None, as_json=True) == 1
        office, yard = json.loads(capsys.readouterr().out)
        assert (office["channel"], office["sent"], yard["sent"]) == ("office", False, True)
        assert "error=500" in office["reason"]
        assert await asyncio.to_thread(command.test, file, "ofice", as_json=False) == 2
        assert "did you mean 'office'" in capsys.readouterr().err


def test_the_test_command_without_channels_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = site_file(tmp_path, 1)
    file.write_text(file.read_text(encoding="utf-8").split("notices:")[0], encoding="utf-8")
    assert command.test(file, None, as_json=False) == 1
    assert "notices.channels" in capsys.readouterr().err


async def test_the_list_command_reads_the_outbox_of_a_stopped_gateway(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = site_file(tmp_path, 1)
    assert await asyncio.to_thread(command.list_notices, file, None, None, as_json=False) == 1
    assert "nobody was to be told" in capsys.readouterr().err
    config = load_site(file).config
    alarms = await AlarmStore.open(config.data_dir / ALARMS)
    notices = await open_notices(config, {"device_silent": "device"}, alarms, config.data_dir, SystemClock())
    await alarms.keep([Event("silent@main@1", "raised", 1, "device_silent", "main", "alarm", {})], {})
    await notices.take()
    await notices.close()
    await alarms.close()
    assert await asyncio.to_thread(command.list_notices, file, None, None, as_json=True) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(e["channel"], e["state"], e["alarms"]) for e in found] == [
        ("office", "waiting", ["silent@main@1"]),
        ("yard", "waiting", ["silent@main@1"]),
    ]
    assert await asyncio.to_thread(command.list_notices, file, None, None, as_json=False) == 0
    assert "waiting" in capsys.readouterr().out


def test_what_the_documents_show_loads_and_apprise_knows_every_service_named(tmp_path: Path) -> None:
    page = (ROOT / "docs/notices.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    head = SITE[: SITE.index("notices:")]
    secret = tmp_path / "night-watch"
    secret.write_text("dingtalk://token-4711")
    file = tmp_path / "site.yaml"
    snippet = snippet.replace("${WECOM_KEY}", "key-4711").replace("/run/secrets/night-watch", str(secret))
    file.write_text(head + snippet, encoding="utf-8")
    assert list(load_site(file).config.notices.channels) == ["office", "night-watch"]
    services = re.findall(r"`([a-z]+://[^`…]+)`", page)
    assert len(services) == 6
    assert asyncio.run(understood([each.replace("HOST:PORT", "127.0.0.1:1") for each in services])) == [True] * 6
