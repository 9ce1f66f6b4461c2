"""The commands as people type them: what they print, and with which status they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.machine import free_port
from tests.support.sitegate import ROOT, Running, eventually, sitegate

DEMO = "configs/site.demo.yaml"
READ_ENERGY = "FE FE FE FE 68 61 01 00 00 00 00 68 11 04 33 33 34 33 14 16"

SITE = """
site: {{id: small, name: Small, simulated: true}}
links:
  net: {{kind: tcp, host: 127.0.0.1, port: {port}, timeout: 300ms}}
devices:
  main: {{link: net, profile: eastron_sdm630, address: {{unit: 1}}, role: main}}
  gone: {{link: net, profile: eastron_sdm120, address: {{unit: 9}}, role: main}}
page: {{port: 0}}
"""


@pytest.mark.parametrize(
    "command",
    ["demo", "run", "simulate", "scan", "new", "check", "probe", "decode", "profiles", "buffer", "schema"],
)
def test_every_command_explains_itself(command: str) -> None:
    done = sitegate(command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_wrong_use_is_status_2() -> None:
    assert sitegate("run").returncode == 2
    assert sitegate("fly").returncode == 2
    assert sitegate("decode", "morse").returncode == 2


def test_check_forecasts_every_wire() -> None:
    done = sitegate("check", DEMO, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"]
    assert 0 < found["links"]["meters"]["share"] < 1
    assert all(r["requests"] >= 1 and r["wire_s"] > 0 for link in found["links"].values() for r in link["rounds"])


def test_check_says_when_a_wire_is_too_slow(tmp_path: Path) -> None:
    site = tmp_path / "slow.yaml"
    site.write_text(
        "site: {id: slow, name: Slow}\n"
        "links: {bus: {kind: serial, port: /dev/ttyUSB9, baudrate: 1200}}\n"
        "devices:\n"
        "  a: {link: bus, profile: eastron_sdm630, address: {unit: 1}, every: 1s}\n"
    )
    done = sitegate("check", str(site))
    assert done.returncode == 1
    assert "bus: needs" in done.stdout
    assert "raise the baud rate" in done.stdout
    assert "read less often: a every: " in done.stdout
    told = json.loads(sitegate("check", str(site), "--json").stdout)["links"]["bus"]
    assert told["cycle_s"] > 1
    assert any("baud" in sentence for sentence in told["advice"])


def test_a_broken_site_file_names_every_mistake_and_starts_nothing(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        "site: {id: Bad Name, name: X, timezone: Asia/Chansha}\n"  # 1 id, 2 time zone
        "links:\n"
        "  bus: {kind: serial, port: /dev/ttyS0, baudrate: 9601}\n"  # 3 baud rate
        "devices:\n"
        "  a: {link: bus, profile: eastron_sdm639, address: {unit: 1}}\n"  # 4 profile
        "  b: {link: bsu, profile: eastron_sdm120, address: {unit: 2}}\n"  # 5 link
        "  c: {link: bus, profile: dlt645_three_phase, address: {meter: 000000123456}}\n"  # 6 unquoted
        "  d: {link: bus, profile: eastron_sdm120, address: {unit: 7}, evry: 5s}\n"  # 7 unknown key
        "  e: {link: bus, profile: eastron_sdm120, address: {unit: 7}, every: 5}\n"  # 8 duration (9 unit twice)
    )
    for command in ("check", "run"):
        done = sitegate(command, str(site))
        assert done.returncode == 1
        said = done.stdout if command == "check" else done.stderr
        for line, word in [(1, "id"), (1, "Chansha"), (3, "9601"), (5, "eastron_sdm630"), (6, "bus"), (7, "quotes")]:
            assert any(f"site.yaml:{line}:" in p and word in p for p in said.splitlines()), (word, said)
        assert any("site.yaml:8:" in p and "every" in p for p in said.splitlines())
        assert any("site.yaml:9:" in p and "5s" in p for p in said.splitlines())
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_decode_reads_lines_from_a_pipe_and_from_a_file(tmp_path: Path) -> None:
    done = sitegate("decode", "dlt645", stdin=f"# a comment\n\n{READ_ENERGY}\n")
    assert done.returncode == 0
    assert json.loads(done.stdout)["di"] == "00010000"
    file = tmp_path / "frames.txt"
    file.write_text("\ufeff01-04-00-34,0x00 02:30 05\r\n", encoding="utf-8")
    done = sitegate("decode", "modbus-rtu", str(file))
    assert json.loads(done.stdout)["function"] == 4


def test_decode_shows_registers_in_every_order() -> None:
    reply = "01 04 04 80 00 43 66 63 5e"  # 230.5, low word first
    done = sitegate("decode", "modbus-rtu", "--orders", stdin=reply)
    assert done.returncode == 0, done.stdout
    (pair,) = json.loads(done.stdout)["orders"]
    assert pair["f32"]["CDAB"] == 230.5
    assert "f32 CDAB" in pair["plausible"]
    assert "f32 ABCD" not in pair["plausible"]
    assert "orders" not in json.loads(sitegate("decode", "modbus-rtu", stdin=reply).stdout)
    assert sitegate("decode", "dlt645", "--orders", stdin=READ_ENERGY).returncode == 2


def test_decode_names_rubbish_and_goes_on() -> None:
    done = sitegate("decode", "dlt645", "-", stdin=f"not hex at all\n{READ_ENERGY[:-2]}17\n{READ_ENERGY}\n")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [f["valid"] for f in found] == [False, False, True]
    assert [f.get("error") for f in found[:2]] == ["not_hex", "end_byte"]
    assert done.returncode == 1


def test_profiles_list_show_and_test(tmp_path: Path) -> None:
    listed = json.loads(sitegate("profiles", "list", "--json").stdout)
    assert len(listed) >= 10
    assert all(p["source"] and p["verified"] in ("simulated", "bench", "field") for p in listed)
    assert "voltage_l1_v" in sitegate("profiles", "show", "eastron_sdm630").stdout
    unknown = sitegate("profiles", "show", "eastron_sdm631")
    assert unknown.returncode == 2
    assert "eastron_sdm630" in unknown.stderr
    tested = json.loads(sitegate("profiles", "test", "--json").stdout)
    assert tested == {"tested": len(listed), "failed": 0, "faults": {}}
    wrong = tmp_path / "wrong.yaml"
    text = Path("configs/profiles/renke_noise.yaml").read_text()
    wrong.write_text(text.replace("profile: renke_noise", "profile: wrong").replace("scale: 0.1", "scale: 0.2"))
    done = sitegate("profiles", "test", str(wrong))
    assert done.returncode == 1
    assert "noise_la_db" in done.stderr


def test_schemas_are_json() -> None:
    assert json.loads(sitegate("schema", "site").stdout)["properties"]["links"]
    assert json.loads(sitegate("schema", "profile").stdout)


def test_probe_shows_value_beside_raw_bytes_and_names_silence(tmp_path: Path) -> None:
    port = free_port()
    site = tmp_path / "site.yaml"
    site.write_text(
        SITE.format(port=port)
        .replace("gone: {link: net", "gone: {link: other")
        .replace("devices:", f"  other: {{kind: tcp, host: 127.0.0.1, port: {free_port()}}}\ndevices:")
    )
    with_devices = tmp_path / "devices.yaml"
    with_devices.write_text("\n".join(line for line in SITE.format(port=port).splitlines() if "gone" not in line))
    with Running("simulate", str(with_devices), log=tmp_path / "simulate.log"):
        done = eventually(
            lambda: (d := sitegate("probe", str(site), "main", "--raw")).returncode == 0 and d,
            what="an answer of the simulated meter",
        )
        assert "voltage_l1_v" in done.stdout
        assert "> " in done.stdout
        orders = sitegate("probe", str(site), "main", "--orders")
        assert "CDAB" in orders.stdout
        assert "*]" in orders.stdout
        swapped = tmp_path / "profiles" / "swapped.yaml"
        swapped.parent.mkdir()
        text = Path("configs/profiles/eastron_sdm630.yaml").read_text()
        text = text.replace("profile: eastron_sdm630", "profile: swapped")
        swapped.write_text(text.replace("0x0046, type: f32", "0x0046, type: f32, word_order: low_first"))
        site.write_text(site.read_text().replace("profile: eastron_sdm630", "profile: swapped"))
        wrong = json.loads(sitegate("probe", str(site), "main", "--json").stdout)
        (frequency,) = [v for e in wrong["exchanges"] for v in e["values"] if v["metric"] == "frequency_hz"]
        assert frequency["mark"] == "D"  # in the wrong order it is next to nothing
        assert "Plausible would be ABCD (5" in frequency["note"]
        gone = sitegate("probe", str(site), "gone")
        assert gone.returncode == 1
        assert "127.0.0.1" in gone.stderr
    unknown = sitegate("probe", str(site), "mian")
    assert unknown.returncode == 2
    assert "main" in unknown.stderr


def test_buffer_stat_before_the_first_run_says_so(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(SITE.format(port=free_port()))
    done = sitegate("buffer", "stat", str(site))
    assert done.returncode == 1
    assert "has not run yet" in done.stderr


def test_check_tries_the_broker_on_this_machine_even_when_more_is_wrong(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        "site: {id: mq, name: MQ}\n"
        f"links: {{mq: {{kind: mqtt, host: 127.0.0.1, port: {free_port()}}}}}\n"
        "devices: {crane: {link: mq, profile: yunzhu_tower_crain, address: {id: c1}}}\n"
    )
    done = sitegate("check", str(site))
    assert done.returncode == 1
    assert "site.yaml:2:32: links.mq.host: no broker answers on 127.0.0.1" in done.stdout
    assert "yunzhu_tower_crane" in done.stdout


@pytest.mark.parametrize("command", ["profiles list", "schema profile", f"check {DEMO}", f"decode dlt645 {DEMO}"])
def test_a_reader_that_has_seen_enough_is_no_error(command: str) -> None:
    line = f"{sys.executable} -m gateway {command} | head -c 1"
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=25, check=False)
    assert done.stderr == ""


def test_a_full_disk_and_a_poor_terminal_get_a_sentence() -> None:
    line = f"{sys.executable} -m gateway profiles list >/dev/full"
    done = subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=25, check=False)
    assert done.returncode != 0
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    poor = f"PYTHONIOENCODING=ascii {sys.executable} -m gateway profiles list"
    done = subprocess.run(["bash", "-c", poor], cwd=ROOT, capture_output=True, text=True, timeout=25, check=False)
    assert done.returncode == 0, done.stderr


def test_a_data_dir_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(SITE.format(port=free_port()) + "data_dir: site.yaml\n")
    done = sitegate("run", str(site), "--seconds", "1")
    assert done.returncode == 1
    assert "data_dir" in done.stderr
    assert "File exists" in done.stderr
    assert "Traceback" not in done.stderr


HANGING = """
import asyncio, time
from gateway.commands.loop import leave_within, run_loop

async def main():
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
    leave_within(0.1, 0)
    return 1

run_loop(main())
"""


def test_a_name_server_that_does_not_answer_cannot_hold_the_end() -> None:
    """A look-up cannot be cancelled, and Python waits for its thread."""
    assert subprocess.run([sys.executable, "-c", HANGING], timeout=10, check=False).returncode == 0
