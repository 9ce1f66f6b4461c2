"""``sitegate new``: what it writes passes ``check``; what would not is never written."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from gateway.commands.new import questions
from gateway.commands.outline import Outline, device_from, link_from, outline_of, render
from gateway.config.loader import load_site
from tests.support.sitegate import sitegate

FLAGS = (
    "--id", "riverside-2", "--name", "河畔 2: lot", "--link", "meters=serial:/dev/ttyUSB0,2400,even",
    "--link", "zones=tcp:10.0.4.20:502", "--device", "living=dlt645_three_phase@meters:000000123456",
    "--device", "main=eastron_sdm630@zones:unit=1",
)  # fmt: skip


def test_flags_make_a_site_file_that_passes_check(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    made = sitegate("new", str(file), *FLAGS)
    assert made.returncode == 0, made.stderr
    assert sitegate("check", str(file)).returncode == 0
    site = load_site(file)
    assert site.config.site.name.zh == "河畔 2: lot"
    assert site.devices["living"].address.meter == "000000123456"
    assert site.config.links["meters"].baudrate == 2400  # type: ignore[union-attr]
    assert "#sinks:" in file.read_text(encoding="utf-8")
    again = sitegate("new", str(file), *FLAGS)
    assert (again.returncode, "--force" in again.stderr) == (2, True)
    assert sitegate("new", str(file), *FLAGS, "--force").returncode == 0


def test_what_would_not_pass_check_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    made = sitegate("new", str(file), *FLAGS, "--device", "same=eastron_sdm120@zones:1")
    assert made.returncode == 1
    assert "'main' has this address" in made.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--id"),
        (("--id", "x"), "links and devices"),
        (("--id", "x", "--link", "m=serial"), "serial:PORT"),
        (("--id", "x", "--link", "m=tcp:h:x"), "should be a number"),
        (("--id", "x", "--device", "m=eastron_sdm639@a:1"), "eastron_sdm630"),
        (("--id", "x", "--device", "eastron_sdm630"), "NAME=PROFILE@LINK:ADDRESS"),
        (("--id", "x", "--scan", "README.md"), "sitegate scan --json"),
    ],
)
def test_what_is_missing_or_wrong_is_said(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    made = sitegate("new", str(tmp_path / "site.yaml"), *arguments, stdin="")
    assert made.returncode == 2
    assert said in made.stderr
    assert "Traceback" not in made.stderr


@pytest.mark.parametrize(
    "document",
    ["[1]", '{"wires": 5}', '{"wires": [{}]}', '{"wires": [{"devices": [{"link": {}}]}]}', '{"wires": ["x"]}'],
)
def test_what_no_scan_has_printed_is_refused(tmp_path: Path, document: str) -> None:
    found = tmp_path / "found.json"
    found.write_text(document)
    made = sitegate("new", str(tmp_path / "site.yaml"), "--id", "x", "--scan", str(found), stdin="")
    assert made.returncode == 2
    assert made.stderr == f"{found} is not what `sitegate scan --json` prints\n"


def test_questions_ask_only_for_what_is_missing_and_go_on_after_a_mistake(tmp_path: Path) -> None:
    answers: Iterator[str] = iter(
        ["Site A", "bus=sreial:/dev/x", "bus=serial:/dev/ttyUSB0", "", "d=eastron_sdm630@bus:1", ""]
    )
    outline = Outline()
    device_of = partial(device_from, own_profiles=tmp_path)
    assert questions(outline, "a", None, device_of, lambda question, default: next(answers)) == ("a", "Site A")
    assert next(answers, None) is None
    outline.site = {"id": "a", "name": "Site A"}
    file = tmp_path / "site.yaml"
    file.write_text(render(outline), encoding="utf-8")
    assert list(load_site(file).devices) == ["d"]


def test_every_kind_of_link_and_address_is_understood(tmp_path: Path) -> None:
    assert link_from("n=rtu:10.0.4.21:4001")[1] == {
        "kind": "tcp", "host": "10.0.4.21", "port": 4001, "framing": "rtu",
    }  # fmt: skip
    assert link_from("mq=mqtt:broker.example")[1] == {"kind": "mqtt", "host": "broker.example"}
    assert link_from("st=hj212:0.0.0.0:7212")[1] == {"kind": "hj212_server", "host": "0.0.0.0", "port": 7212}
    assert device_from("c=yunzhu_tower_crane@mq:tc-01", tmp_path)[1]["address"] == {"id": "tc-01"}
    address = device_from("w=cjt188_water@bus:meter=00990000000123,type=hot_water", tmp_path)[1]["address"]
    assert address == {"meter": "00990000000123", "type": "hot_water"}


def test_a_profile_beside_the_site_file_counts(tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    text = Path("configs/profiles/renke_noise.yaml").read_text(encoding="utf-8")
    (tmp_path / "profiles" / "mine.yaml").write_text(text.replace("profile: renke_noise", "profile: mine"))
    made = sitegate(
        "new", str(tmp_path / "s.yaml"), "--id", "a", "--link", "b=serial:/dev/x", "--device", "d=mine@b:1", stdin=""
    )
    assert made.returncode == 0, made.stderr


def test_a_scan_becomes_links_devices_and_remarks() -> None:
    line = {"kind": "serial", "port": "/dev/ttyUSB0", "baudrate": 9600}
    guess = {"address": {"unit": 1}, "profile": "renke_noise", "sure": False, "note": ""}
    devices = [
        {
            "link": line,
            "protocol": "modbus",
            "candidates": [{"profile": "renke_noise"}, {"profile": "xy_md02"}],
            **guess,
        },
        {"link": line, "protocol": "modbus", "candidates": [], **guess, "address": {"unit": 7}, "profile": None},
    ]
    outline = outline_of({"wires": [{"address": "/dev/ttyUSB0", "devices": devices}]})
    text = render(outline)
    found = yaml.safe_load(text)
    assert found["links"] == {"line-1": line}
    assert found["devices"]["renke-noise-1"]["address"] == {"unit": 1}
    assert "# a guess; may be xy_md02" in text
    assert "# line-1: modbus unit 7 answers, but no profile fits" in text
