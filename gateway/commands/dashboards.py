"""``sitegate dashboards``: Grafana dashboards from the vocabulary and the rules, and bringing them to a Grafana."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import configs
import dashboards
from gateway.alerts.figures import limits
from gateway.alerts.presets import load_rules
from gateway.alerts.rule import RuleSet
from gateway.commands.output import FINE, MISUSE, PROBLEM, complain, say
from gateway.config.loader import LoadedSite, load_site
from gateway.errors import ConfigError, NotNow

if TYPE_CHECKING:
    from gateway.grafana.push import Grafana

NEEDS = "this needs the extra packages for Grafana: pip install 'sitegate[grafana]'"


def build(site: Path | None, folder: Path | None, *, check: bool) -> int:
    """Write the dashboards, or say which of them are not current; the levels drawn are those of ``site``."""
    try:
        from gateway.grafana.build import stale, write

        _, _, files = _made(site or configs.path("site.demo.yaml"))
    except (ModuleNotFoundError, ConfigError) as why:
        return _not_made(why)
    into = folder or Path(dashboards.__file__).parent
    if check:
        old = stale(files, into)
        for name in old:
            complain(f"{into / name}: not current; run sitegate dashboards build")
        return PROBLEM if old else FINE
    try:
        write(files, into)
    except OSError as why:
        complain(f"{into}: cannot be written ({why.strerror}); name another folder with --out")
        return PROBLEM
    say(f"{len(files)} dashboards in {into}")
    return FINE


def provision(site_file: Path, folder: Path, found_at: str | None) -> int:
    """Write everything that a Grafana reads at its start; ``found_at`` is where Grafana sees ``folder``."""
    try:
        from gateway.grafana.provision import files, left_out, secrets

        site, rules, boards = _made(site_file)
        written = files(site, rules, boards, found_at or str(folder.resolve()))
    except (ModuleNotFoundError, ConfigError, NotNow) as why:
        return _not_made(why)
    try:
        for name, text in written.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as why:
        complain(f"{folder}: cannot be written ({why.strerror}); name another folder with --out")
        return PROBLEM
    say(f"{len(written)} files in {folder}")
    say(f"Grafana reads them with GF_PATHS_PROVISIONING={found_at or folder.resolve()}")
    if names := secrets(site, rules):
        say(f"Grafana needs in its environment: {', '.join(names)} (no file holds a secret)")
    for channel in left_out(site):
        say(f"notices.channels.{channel} is no contact point: Grafana has no such kind; the gateway tells it itself")
    return FINE


def push(url: str, token: str, site_file: Path, *, dry_run: bool, force: bool) -> int:
    """Bring the dashboards to a running Grafana; what people changed there stays unless it is forced."""
    try:
        from gateway.grafana.push import Grafana, Refused

        _, _, files = _made(site_file)
    except (ModuleNotFoundError, ConfigError) as why:
        return _not_made(why)
    try:
        with Grafana(url, token) as grafana:
            return _push(grafana, files, dry_run=dry_run, force=force)
    except ValueError as why:
        complain(why)
        return MISUSE
    except Refused as why:
        complain(why)
        return PROBLEM


def _push(grafana: Grafana, files: dict[str, str], *, dry_run: bool, force: bool) -> int:
    changes = grafana.look(files)
    for change in changes:
        if change.what != "same":
            say(f"{change.what:8}{change.name}" + (f" (saved last by {change.by})" if change.by else ""))
        if dry_run and change.what in ("changed", "theirs"):
            say("\n".join(change.diff()))
    if dry_run:
        say("nothing was pushed: --dry-run")
        return FINE
    kept = [change.name for change in changes if change.what == "fixed" or (change.what == "theirs" and not force)]
    if kept:
        complain(
            f"people changed {len(kept)} of the dashboards, or Grafana reads them from files ({', '.join(kept)}); "
            "nothing was pushed. Save a copy of them under another name if they are to stay; --force overwrites "
            "what people changed, never what comes from files"
        )
        return PROBLEM
    say(f"{grafana.push(changes, force=force)} of {len(changes)} dashboards pushed")
    return FINE


def _made(site_file: Path) -> tuple[LoadedSite, RuleSet, dict[str, str]]:
    from gateway.grafana.build import build as make

    site = load_site(site_file)
    rules = load_rules(site)
    return site, rules, make(rules, limits(rules, 0))


def _not_made(why: Exception) -> int:
    complain(f"{NEEDS} ({why.name})" if isinstance(why, ModuleNotFoundError) else why)
    return PROBLEM
