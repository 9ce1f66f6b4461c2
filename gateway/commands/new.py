"""``sitegate new``: a commented site file from flags, from answers on a terminal, or from what a scan has found."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import typer

from gateway.commands.outline import LINK_FORMS, Outline, device_from, link_from, outline_of
from gateway.commands.outline import render as draft
from gateway.commands.output import FINE, MISUSE, PROBLEM, complain, say
from gateway.config.loader import load_site
from gateway.config.profiles import list_profiles
from gateway.errors import ConfigError

Ask = Callable[[str, str | None], str]
"""Takes a question and the answer that Enter alone gives (None: there must be one); returns the answer."""
Entry = tuple[str, dict[str, Any]]
"""Name and keys of a link or device."""

__all__ = ["draft", "new", "outline_of", "questions"]


def new(
    file: Path,
    *,
    site_id: str | None,
    name: str | None,
    timezone: str,
    links: list[str],
    devices: list[str],
    scan_file: str | None,
    simulated: bool,
    force: bool,
) -> int:
    """Write ``file`` when it would pass ``sitegate check``. What flags do not say is asked for on a terminal."""
    if file.exists() and not force:
        complain(f"{file} exists already: choose another name, or --force to replace it")
        return MISUSE
    device_of = partial(device_from, own_profiles=file.absolute().parent / "profiles")
    try:
        outline = _scanned(scan_file) if scan_file else Outline()
        outline.links.update(map(link_from, links))
        outline.devices.update(map(device_of, devices))
        if sys.stdin.isatty():
            site_id, name = questions(outline, site_id, name, device_of, _prompt)
        if site_id is None:
            raise ValueError("name the site: --id riverside-2 (it becomes the tag of all data)")
        if not outline.links or not outline.devices:
            raise ValueError("a site has links and devices: --link NAME=… --device NAME=…, or --scan FILE")
    except ValueError as why:
        complain(why)
        return MISUSE
    outline.site = {"id": site_id, "name": name or site_id, "timezone": timezone}
    if simulated:
        outline.site["simulated"] = True
    return _write(file, draft(outline))


def questions(
    outline: Outline, site_id: str | None, name: str | None, device_of: Callable[[str], Entry], ask: Ask
) -> tuple[str, str]:
    """Ask for what is missing and put it into ``outline``; return id and name of the site."""
    site_id = site_id or ask("Short name of the site (lower case; tag of all its data)", None)
    name = name or ask("Its name for people", site_id)
    if not outline.links:
        while link := ask("A wire as NAME=" + " or NAME=".join(LINK_FORMS), "" if outline.links else None):
            _take(link, link_from, outline.links)
    if not outline.devices:
        say(f"Profiles: {', '.join(list_profiles())}")
        while device := ask("A device as NAME=PROFILE@LINK:ADDRESS", "" if outline.devices else None):
            _take(device, device_of, outline.devices)
    return site_id, name


def _take(text: str, read: Callable[[str], Entry], into: dict[str, Any]) -> None:
    try:
        name, value = read(text)
    except ValueError as why:
        complain(why)
    else:
        into[name] = value


def _prompt(question: str, default: str | None) -> str:
    return str(typer.prompt(question, default=default, show_default=bool(default)))


def _scanned(file: str) -> Outline:
    try:
        document = json.loads(sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8"))
    except OSError as why:
        raise ValueError(f"cannot read {file}: {why.strerror}") from None
    except ValueError:
        document = None
    try:
        return outline_of(document)
    except (KeyError, TypeError, AttributeError, StopIteration):  # somebody else's JSON
        raise ValueError(f"{file} is not what `sitegate scan --json` prints") from None


def _write(file: Path, text: str) -> int:
    trial = file.with_name(f".{file.name}.new.yaml")  # beside the file: its own profiles/ counts
    try:
        trial.write_text(text, encoding="utf-8")
        load_site(trial)
        trial.replace(file)
    except ConfigError as error:
        for problem in error.problems:
            complain(f"{problem.path}: {problem.text}")
        complain(f"{file} was not written: it would not pass sitegate check")
        return PROBLEM
    finally:
        with suppress(FileNotFoundError):
            trial.unlink()
    say(f"{file} is written. Next: sitegate check {file}, then sitegate probe {file} DEVICE for each device")
    return FINE
