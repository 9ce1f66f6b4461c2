"""compose.yaml holds against the Compose specification and against itself. No container is started here."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiomqtt
import jsonschema
import pytest
import yaml

from gateway import __version__
from gateway.config.loader import load_site
from tests.support.machine import free_port, need
from tests.support.mosquitto import Mosquitto
from tests.support.sitegate import ROOT, Running, eventually, get_json, sitegate

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
SITES = sorted((ROOT / "deploy/site").glob("*.yaml"))
ONE_SHOT_OR_PLAY = {"provision", "simulators"}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    subprocess.run(["sh", ROOT / "deploy/secrets.sh", folder], check=True, capture_output=True)
    return folder


def with_secrets(site: Path, secrets: Path, folder: Path, **replace: str) -> Path:
    """The site file as a container sees it, with the secrets and data where this test has them."""
    text = site.read_text(encoding="utf-8").replace("/run/secrets", str(secrets))
    for old, new in {"/var/lib/sitegate": str(folder / "data"), **replace}.items():
        text = text.replace(old, new)
    copy = folder / site.name
    copy.write_text(text, encoding="utf-8")
    return copy


def test_it_holds_against_the_compose_specification() -> None:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text("utf-8"))
    check = jsonschema.validators.validator_for(schema)(schema)
    assert [e.message for e in check.iter_errors(COMPOSE)] == []
    # the schema sees mistakes at all
    broken = {**COMPOSE, "services": {"gateway": {**SERVICES["gateway"], "helthcheck": {}}}}
    assert list(check.iter_errors(broken))


def test_images_are_pinned_and_ours_is_of_this_version() -> None:
    for name, service in SERVICES.items():
        tag = service["image"].rpartition(":")[2]
        assert re.fullmatch(r"\d+\.\d+\.\d+", tag), f"{name}: {service['image']}"
    assert SERVICES["gateway"]["image"] == f"sitegate:{__version__}"
    for line in re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", line)


def test_every_service_is_watched_bounded_and_without_rights() -> None:
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name
        if name not in ONE_SHOT_OR_PLAY:
            assert service["healthcheck"]["test"], name
            assert service["mem_limit"], name
            assert service["restart"] == "unless-stopped", name


def test_what_is_named_exists(secrets: Path) -> None:
    assert {path.name for path in secrets.iterdir()} == set(COMPOSE["secrets"])
    volumes, bound = set(), set()
    for service in SERVICES.values():
        assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            (bound if source.startswith(".") else volumes).add(source)
        assert set(service.get("depends_on", ())) <= set(SERVICES)
    assert volumes == set(COMPOSE["volumes"])
    assert all((ROOT / source).exists() for source in bound)
    # nothing but a default stands in for what is not set
    assert set(re.findall(r"(?<!\$)\$\{([^}]*)\}", (ROOT / "compose.yaml").read_text(encoding="utf-8"))) == {
        "SITE:-site.yaml",
        "PAGE_PORT:-8080",
        "GRAFANA_PORT:-3000",
        "MQTT_PORT:-1883",
    }


def test_secrets_are_made_once_and_for_this_user_only(secrets: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    assert all(re.fullmatch(r"[0-9a-f]{48}", text) for text in before.values())
    assert len(set(before.values())) == len(before)
    assert secrets.stat().st_mode & 0o777 == 0o700
    again = subprocess.run(["sh", ROOT / "deploy/secrets.sh", secrets], check=True, capture_output=True)
    assert again.stdout == b""
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("site", SITES, ids=lambda p: p.name)
def test_the_site_files_are_right_and_write_where_grafana_looks(site: Path, secrets: Path, tmp_path: Path) -> None:
    loaded = load_site(with_secrets(site, secrets, tmp_path))
    assert loaded.config.page.host == "0.0.0.0"
    (sink,) = loaded.config.sinks.values()
    influx = SERVICES["influxdb"]["environment"]
    assert (sink.org, sink.bucket) == (influx["DOCKER_INFLUXDB_INIT_ORG"], influx["DOCKER_INFLUXDB_INIT_BUCKET"])
    assert sink.url == "http://influxdb:8086"
    assert sink.token == (secrets / "influx_token").read_text()
    hosts = {getattr(link, "host", None) for link in loaded.config.links.values()}
    assert hosts <= set(SERVICES)


def test_grafana_is_provisioned_from_the_same_site_file(secrets: Path, tmp_path: Path) -> None:
    command = SERVICES["provision"]["command"]
    site = with_secrets(ROOT / "deploy/site/demo.yaml", secrets, tmp_path)
    filled = {"/etc/sitegate/${SITE:-site.yaml}": str(site), "/provisioning": str(tmp_path / "provisioning")}
    done = sitegate(*(filled.get(word, word) for word in command))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "provisioning/datasources/sitegate.yaml").read_text(encoding="utf-8")
    named = set(re.findall(r"\$\{(\w+)\}", text))
    exported = set(re.findall(r"export (\w+)=", SERVICES["grafana"]["entrypoint"][-1]))
    assert named == exported
    found_at = command[command.index("--at") + 1]
    assert f"grafana-provisioning:{found_at}:ro" in SERVICES["grafana"]["volumes"]
    (source,) = yaml.safe_load(text)["datasources"]
    assert source["jsonData"]["dbName"] == "sitegate"


@pytest.fixture
def running_page(tmp_path: Path) -> Iterator[int]:
    port = free_port()
    site = tmp_path / "site.yaml"
    site.write_text(
        "site: {id: health, name: health}\n"
        f"links: {{bus: {{kind: tcp, host: 127.0.0.1, port: {free_port()}}}}}\n"
        "devices: {meter: {link: bus, profile: eastron_sdm630, address: {unit: 1}}}\n"
        f"page: {{port: {port}}}\n"
    )
    with Running("run", str(site), log=tmp_path / "log"):
        eventually(lambda: get_json(f"http://127.0.0.1:{port}/healthz"), what="the page")
        yield port


def test_the_health_check_tells_a_complaining_gateway_from_a_dead_one(running_page: int) -> None:
    words = SERVICES["gateway"]["healthcheck"]["test"]
    assert words[:2] == ["CMD", "python"]

    def status(port: int) -> int:
        return subprocess.run(
            [need("python3", "python3"), *(w.replace("8080", str(port)) for w in words[2:])], capture_output=True
        ).returncode

    assert status(running_page) == 0  # its meter does not answer: 503, and alive
    assert status(free_port()) != 0


async def test_the_broker_starts_with_the_secret_and_lets_nobody_else_in(secrets: Path, tmp_path: Path) -> None:
    need("mosquitto_passwd", "mosquitto")
    broker = Mosquitto(tmp_path)  # for a free port, and to know that the real program is here
    text = (ROOT / "deploy/mosquitto/mosquitto.conf").read_text()
    users = tmp_path / "users"
    config = tmp_path / "ours.conf"
    config.write_text(
        text.replace("listener 1883", f"listener {broker.port} 127.0.0.1")
        .replace("/tmp/sitegate-users", str(users))
        .replace("/mosquitto/data/", f"{tmp_path}/")
        + ("user root\n" if os.geteuid() == 0 else "")
    )
    start = tmp_path / "start.sh"
    start.write_text((ROOT / "deploy/mosquitto/start.sh").read_text().replace("/tmp/sitegate-users", str(users)))
    path = f"{os.environ['PATH']}:/usr/sbin"
    process = subprocess.Popen(
        ["sh", start, secrets / "mqtt_password", config],
        env={**os.environ, "PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        password = (secrets / "mqtt_password").read_text()

        async def connects(user: str | None, secret: str | None) -> bool | None:
            try:
                async with aiomqtt.Client("127.0.0.1", broker.port, username=user, password=secret):
                    return True
            except aiomqtt.MqttCodeError:
                return False
            except aiomqtt.MqttError:
                return None

        for _ in range(100):
            if await connects("sitegate", password):
                break
            assert process.poll() is None
            await asyncio.sleep(0.05)
        else:
            pytest.fail("the broker does not let the gateway in")
        assert not await connects(None, None)
        assert not await connects("sitegate", "wrong")
        assert password not in users.read_text()
    finally:
        process.terminate()
        process.wait(5)
