"""From wheels alone: without a network, and from one version to the next and back on the same data."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import __version__
from tests.support.machine import free_port
from tests.support.sitegate import ROOT

SOURCES = ("gateway", "drivers", "simulators", "configs", "dashboards", "pyproject.toml", "README.md", "LICENSE")
NEXT = "9.9.0"


@pytest.mark.timeout(180)  # some sixty wheels twice
def test_a_box_without_a_network_installs_from_the_wheel_folder(tmp_path: Path) -> None:
    wheels, venv = tmp_path / "wheels", tmp_path / "venv"
    subprocess.run(["sh", ROOT / "deploy/wheelhouse.sh", sys.executable, wheels], check=True, capture_output=True)
    assert {path.suffix for path in wheels.iterdir()} == {".whl"}
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_EXTRA_INDEX_URL": ""}
    subprocess.run(
        [venv / "bin/pip", "install", "--quiet", "--no-index", "--find-links", wheels, "sitegate"],
        check=True,
        env={**os.environ, **nowhere},
        capture_output=True,
    )

    def sitegate(*arguments: str) -> str:
        command = [venv / "bin/sitegate", *arguments]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    assert sitegate("--version") == f"sitegate {__version__}\n"
    assert "eastron_sdm630" in sitegate("profiles", "list")
    root = tmp_path / "root"
    (tmp_path / "site.yaml").write_text(site_text())
    sitegate("install", "site.yaml", "--root", str(root))
    assert f"ExecStart={venv}/bin/sitegate run" in (root / "etc/systemd/system/sitegate.service").read_text()


def site_text() -> str:
    return (
        "site: {id: kept, name: kept, simulated: true}\n"
        f"links: {{bus: {{kind: tcp, host: 127.0.0.1, port: {free_port()}}}}}\n"
        "devices: {meter: {link: bus, profile: eastron_sdm630, address: {unit: 1}, every: 200ms, role: main}}\n"
        "page: {port: 0}\n"
    )


def build(folder: Path, version: str, change: Callable[[Path], None]) -> Path:
    """Build the tree as ``version`` and return its wheel, unpacked."""
    tree = folder / f"tree-{version}"
    tree.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    _replace(tree / "pyproject.toml", f'version = "{__version__}"', f'version = "{version}"')
    _replace(tree / "gateway/__init__.py", f'"{__version__}"', f'"{version}"')
    change(tree)
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", tree],
        check=True,
        capture_output=True,
    )
    installed = folder / version
    with zipfile.ZipFile(folder / f"dist/sitegate-{version}-py3-none-any.whl") as archive:
        archive.extractall(installed)
    return installed


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


class Box:
    """One site with its data, on which now this version runs, now that."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.site = folder / "site.yaml"
        self.data = folder / "data"
        self.site.write_text(site_text())

    def sitegate(self, version: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": str(version)},
            capture_output=True,
            text=True,
            timeout=25,
        )

    def run(self, version: Path, seconds: float = 2.5) -> str:
        """Let the gateway read its meter for some seconds; return its log."""
        with subprocess.Popen(
            [sys.executable, "-m", "gateway", "simulate", self.site],
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": str(version)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as devices:
            try:
                done = self.sitegate(version, "run", str(self.site), "--seconds", str(seconds))
            finally:
                devices.terminate()
        assert done.returncode == 0, done.stderr
        return done.stderr

    def records(self, version: Path) -> list[str]:
        done = self.sitegate(version, "buffer", "export", str(self.site))
        assert done.returncode == 0, done.stderr
        return [json.dumps(json.loads(line), sort_keys=True) for line in done.stdout.splitlines()]


@pytest.mark.timeout(120)  # two builds and three runs
def test_a_newer_version_reads_the_older_ones_data_and_back(tmp_path: Path) -> None:
    older = build(tmp_path, "0.0.9", lambda tree: None)
    newer = build(tmp_path, NEXT, lambda tree: None)
    box = Box(tmp_path)
    box.run(older)
    first = box.records(older)
    assert first
    assert box.records(newer) == first
    assert NEXT in box.run(newer)
    second = box.records(newer)
    assert second[: len(first)] == first
    assert len(second) > len(first)
    box.run(older)  # rolled back
    third = box.records(older)
    assert third[: len(second)] == second
    assert list(box.data.glob("*.damaged-*")) == []


@pytest.mark.timeout(120)
def test_a_store_of_another_form_is_set_aside_whole_and_can_be_brought_back(tmp_path: Path) -> None:
    def change(tree: Path) -> None:
        file = tree / "gateway/buffer/file.py"
        text = file.read_text(encoding="utf-8")
        (version,) = re.findall(r"SCHEMA = Schema\(\n    version=(\d+)", text)
        file.write_text(text.replace(f"version={version},", "version=900,", 1), encoding="utf-8")

    older = build(tmp_path, "0.0.9", lambda tree: None)
    newer = build(tmp_path, NEXT, change)
    box = Box(tmp_path)
    box.run(older)
    first = box.records(older)
    assert "written by another release" in box.run(newer)
    aside = box.data / "buffer.sqlite.damaged-1"
    assert aside.exists()
    for name in ("buffer.sqlite", "buffer.sqlite-wal"):  # as docs/deploy.md says for a way back
        (box.data / name).unlink(missing_ok=True)
    aside.rename(box.data / "buffer.sqlite")
    assert box.records(older) == first
