"""`sitegate install` into a folder, and the unit that it writes: held against systemd's own tools."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import configs
from gateway.commands.install import plan
from tests.support.machine import need
from tests.support.sitegate import ROOT, sitegate

SITE = """\
site: {id: box-7, name: box 7}
links: {bus: {kind: tcp, host: 127.0.0.1, port: 5020}}
devices: {meter: {link: bus, profile: own_meter, address: {unit: 1}}}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site file with a profile of its own beside it."""
    (tmp_path / "from/profiles").mkdir(parents=True)
    profile = configs.path("profiles", "eastron_sdm630.yaml").read_text(encoding="utf-8")
    own = tmp_path / "from/profiles/own_meter.yaml"
    own.write_text(profile.replace("profile: eastron_sdm630", "profile: own_meter"), encoding="utf-8")
    file = tmp_path / "from/my-site.yaml"
    file.write_text(SITE)
    return file


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_it_installs_into_a_folder_and_again_without_changing_what_people_edit(site: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    done = sitegate("install", str(site), "--root", str(root))
    assert done.returncode == 0, done.stderr
    found = tree(root)
    assert set(found) == {
        "etc/sitegate/data",
        "etc/sitegate/environment",
        "etc/sitegate/profiles/own_meter.yaml",
        "etc/sitegate/site.yaml",
        "etc/systemd/system/sitegate.service",
        "etc/udev/rules.d/60-sitegate.rules",
        "usr/lib/sysusers.d/sitegate.conf",
    }
    assert found["etc/sitegate/data"] == "/var/lib/sitegate"  # data_dir: data, as most site files have it
    assert found["etc/sitegate/site.yaml"] == SITE
    unit = found["etc/systemd/system/sitegate.service"]
    assert not re.search(r"@\w+@", unit)
    assert re.search(r"^ExecStart=/\S+/sitegate run /etc/sitegate/site\.yaml$", unit, re.MULTILINE)
    assert (root / "etc/sitegate/environment").stat().st_mode & 0o007 == 0  # secrets may come here

    edited = root / "etc/sitegate/site.yaml"
    edited.write_text(SITE.replace("box 7", "box seven"))
    (root / "etc/systemd/system/sitegate.service").write_text("of an older release")
    again = sitegate("install", str(site), "--root", str(root))
    assert again.returncode == 0
    assert "keep    /etc/sitegate/site.yaml" in again.stdout
    assert "box seven" in edited.read_text()
    update = sitegate("install", "--root", str(root))
    assert update.returncode == 0
    assert tree(root)["etc/systemd/system/sitegate.service"] == unit


def test_a_dry_run_names_every_step_and_changes_nothing(site: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    done = sitegate("install", str(site), "--root", str(root), "--dry-run")
    assert done.returncode == 0
    steps = done.stdout.splitlines()
    assert [s for s in steps if "sysusers" in s] != []
    assert any(s.startswith("run     systemctl enable sitegate") for s in steps)
    assert not root.exists()


def test_what_it_refuses(site: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    nothing = sitegate("install", "--root", str(root))
    assert nothing.returncode == 1
    assert "name the site file" in nothing.stderr
    site.write_text(SITE.replace("own_meter", "own_metre"))
    wrong = sitegate("install", str(site), "--root", str(root))
    assert wrong.returncode == 1
    assert "did you mean" in wrong.stderr
    assert not root.exists()


def test_only_root_may_install_into_the_system(site: Path) -> None:
    if os.geteuid() != 0:
        done = sitegate("install", str(site))
    else:  # as nobody, who cannot read this checkout: only the command's own check is asked
        script = (
            "import os; os.geteuid = lambda: 65534\n"
            "from pathlib import Path\n"
            "from gateway.commands.install import install\n"
            f"raise SystemExit(install(Path({str(site)!r}), Path('/'), dry_run=False))"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "needs root" in done.stderr


def test_a_data_directory_elsewhere_may_be_written_to(site: Path, tmp_path: Path) -> None:
    site.write_text(f"{SITE}data_dir: /mnt/ssd/sitegate\n")
    steps = plan(site, tmp_path / "root", Path("/opt/sitegate/bin/sitegate"))
    assert steps is not None
    texts = [str(step) for step in steps]
    assert any("ReadWritePaths=/mnt/ssd/sitegate" in text for text in texts)
    assert any("'install', '-d', '-o', 'sitegate'" in text for text in texts)
    assert not any(text.startswith("Link(") for text in texts)


@pytest.fixture
def unit(site: Path, tmp_path: Path) -> Path:
    assert sitegate("install", str(site), "--root", str(tmp_path / "root")).returncode == 0
    return tmp_path / "root/etc/systemd/system/sitegate.service"


def test_systemd_takes_the_unit_without_a_word(unit: Path) -> None:
    analyze = need("systemd-analyze", "systemd")
    text = unit.read_text()
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    said = subprocess.run([analyze, "verify", unit], capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
    unit.write_text(text.replace("WatchdogSec=", "WatchdogSecs="))  # it would have said so
    assert "WatchdogSecs" in subprocess.run([analyze, "verify", unit], capture_output=True, text=True).stderr


def test_the_sandbox_leaves_little_open(unit: Path) -> None:
    analyze = need("systemd-analyze", "systemd")
    command = [analyze, "security", "--offline=yes", "--threshold=20", unit]
    assert subprocess.run(command, capture_output=True).returncode == 0  # 2.0 of 10
    open_doors = re.sub(r"^(Protect|Restrict|System|Capab|Device)\w+=.*\n", "", unit.read_text(), flags=re.MULTILINE)
    unit.write_text(open_doors)
    assert subprocess.run(command, capture_output=True).returncode != 0


def test_the_unit_never_gives_up_and_is_watched(unit: Path) -> None:
    text = unit.read_text()
    for line in ("StartLimitIntervalSec=0", "Restart=always", "Type=notify", "WatchdogSec=120", "MemoryMax=512M"):
        assert line in text.splitlines()


def test_the_user_is_made_with_serial_ports(unit: Path, tmp_path: Path) -> None:
    sysusers = need("systemd-sysusers", "systemd")
    root = tmp_path / "root"
    subprocess.run([sysusers, f"--root={root}", "sitegate.conf"], check=True, capture_output=True)
    assert re.search(r"^sitegate:.*nologin$", (root / "etc/passwd").read_text(), re.MULTILINE)
    assert re.search(r"^dialout:.*sitegate", (root / "etc/group").read_text(), re.MULTILINE)
