"""The wheel carries everything: installed outside the checkout it runs the demo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.sitegate import ROOT


def test_the_wheel_alone_runs_the_demo(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist"), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=25,
    )
    (wheel,) = (tmp_path / "dist").glob("sitegate-*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(installed)
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "gateway",
        "drivers",
        "simulators",
        "configs",
        "dashboards",
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        # our own dependencies are visible, but the wheel's packages come first and the checkout is not the folder
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
            timeout=25,
            check=False,
        )

    where = python("-c", "import gateway, configs, simulators; print(gateway.__file__, configs.__file__)")
    assert where.stdout.count(str(installed)) == 2
    done = python("-m", "gateway", "demo", "--seconds", "4", "--json", "--port", "0")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["devices_good"] >= 8
