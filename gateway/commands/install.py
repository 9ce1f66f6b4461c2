"""``sitegate install``: the gateway as a service of a box without containers. Every step is named, then done.

Nothing that exists is replaced but the service's own files: a second run after an update is safe.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

import configs
from gateway.archive import BESIDE, data_dir_of
from gateway.commands.output import FINE, PROBLEM, complain, complain_all, say
from gateway.config.loader import load_site
from gateway.errors import ConfigError

CONFIG = Path("/etc/sitegate")
SITE = CONFIG / "site.yaml"
STATE = Path("/var/lib/sitegate")
_ENVIRONMENT = "# NAME=value, one a line, for ${NAME} in the site file. Only root and the gateway may read this.\n"


@dataclass(frozen=True, slots=True)
class Write:
    """A file of the box."""

    path: Path
    text: str
    mode: int = 0o644
    ours: bool = True
    """False: what people edit; it stays when it exists."""


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link."""

    path: Path
    target: Path


@dataclass(frozen=True, slots=True)
class Run:
    """A command that only a running system can carry out."""

    command: tuple[str, ...]


Step = Write | Link | Run


def install(site: Path | None, root: Path, *, dry_run: bool) -> int:
    """Install below ``root`` (``/``: this system); ``site``: the site file, or None for an update."""
    here = root == Path("/")
    if here and not dry_run and os.geteuid() != 0:
        complain("this needs root: sudo sitegate install …, or --dry-run to see what it would do")
        return PROBLEM
    if here and not dry_run and shutil.which("systemctl") is None:
        complain("this box has no systemd: start `sitegate run` by what it has, or install into another --root")
        return PROBLEM
    program = Path(sys.executable).parent / "sitegate"
    if program.is_relative_to("/home") or program.is_relative_to("/root"):
        say(f"note: {program} lies where a service may not look; install Sitegate into /opt/sitegate for a real box")
    try:
        if site is not None:
            load_site(site)
        steps = plan(site, root, program)
    except ConfigError as error:
        return complain_all(error)
    except (OSError, yaml.YAMLError) as why:
        complain(why)
        return PROBLEM
    if steps is None:
        complain(f"there is no {SITE} yet: name the site file, as in sitegate install my-site.yaml")
        return PROBLEM
    try:
        for step in steps:
            _do(step, root, dry_run=dry_run, system=here)
    except (OSError, subprocess.CalledProcessError) as why:
        complain(f"stopped half-way: {why}; it is safe to run it again")
        return PROBLEM
    return FINE


def plan(site: Path | None, root: Path, program: Path) -> list[Step] | None:
    """Return the steps; None when there is neither a site file here nor one on the box. Raises OSError or YAMLError."""
    installed = _below(root, SITE)
    decides = installed if installed.exists() else site
    if decides is None:
        return None
    data = data_dir_of(decides, SITE)
    beside = data.parent == CONFIG  # as most site files have it: data_dir: data
    fill = {"@PROGRAM@": str(program), "@SITE@": str(SITE), "@CONFIG@": str(CONFIG), "@DATA@": str(STATE)}
    if not beside:
        fill["@DATA@"] = str(data)
    unit = _shipped("sitegate.service")
    for mark, value in fill.items():
        unit = unit.replace(mark, value)
    steps: list[Step] = [
        Write(Path("/usr/lib/sysusers.d/sitegate.conf"), _shipped("sitegate.conf")),
        Run(("systemd-sysusers", "sitegate.conf")),
        Write(Path("/etc/udev/rules.d/60-sitegate.rules"), _shipped("60-sitegate.rules")),
        Write(Path("/etc/systemd/system/sitegate.service"), unit),
        Write(CONFIG / "environment", _ENVIRONMENT, 0o640, ours=False),
    ]
    if site is not None:
        own = [path for name in BESIDE for path in sorted((site.parent / name).rglob("*.yaml"))]
        for path in (site, *own):
            at = SITE if path == site else CONFIG / path.relative_to(site.parent)
            steps.append(Write(at, path.read_text(encoding="utf-8"), 0o640, ours=False))
    if beside:
        steps.append(Link(data, STATE))
    elif data != STATE:
        steps.append(Run(("install", "-d", "-o", "sitegate", "-g", "sitegate", "-m", "0750", str(data))))
    return [
        *steps,
        Run(("chown", "-R", "-h", "root:sitegate", str(CONFIG))),
        Run(("chmod", "-R", "u=rwX,g=rX,o=", str(CONFIG))),
        Run(("udevadm", "control", "--reload")),
        Run(("systemctl", "daemon-reload")),
        Run(("systemctl", "enable", "sitegate")),
        Run(("systemctl", "restart", "sitegate")),
    ]


def _do(step: Step, root: Path, *, dry_run: bool, system: bool) -> None:
    match step:
        case Write(path, text, mode, ours):
            target = _below(root, path)
            if target.exists() and not ours:
                say(f"keep    {path}")
                return
            say(f"write   {path}")
            if not dry_run:
                target.parent.mkdir(parents=True, exist_ok=True)
                coming = target.with_name(target.name + ".new")
                coming.write_text(text, encoding="utf-8")
                coming.chmod(mode)
                coming.replace(target)
        case Link(path, target):
            place = _below(root, path)
            if place.exists() or place.is_symlink():
                say(f"keep    {path}")
                return
            say(f"link    {path} -> {target}")
            if not dry_run:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(target)
        case Run(command):
            say(f"run     {' '.join(command)}" + ("" if system else "   (on the box itself)"))
            if system and not dry_run:
                subprocess.run(command, check=True)  # noqa: S603  # fixed commands


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _shipped(name: str) -> str:
    return configs.path("box", name).read_text(encoding="utf-8")
