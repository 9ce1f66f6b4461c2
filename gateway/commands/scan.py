"""``sitegate scan``: who answers on a wire or behind a host, and which profile fits. Only reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from drivers.modbus.identity import ALL_UNITS
from gateway.commands.loop import run_loop, told_to_stop
from gateway.commands.new import draft, outline_of
from gateway.commands.output import FINE, MISUSE, PROBLEM, complain, complain_all, print_json, print_table, say
from gateway.config.profile import Profile
from gateway.config.profiles import list_profiles, read_profile
from gateway.config.site import SerialLink
from gateway.errors import ConfigError
from gateway.links.guess import is_sure
from gateway.links.scan import PROTOCOLS, Effort, Found, OnStep, Survey, scan, serial_ways, setting_of, tcp_ways

MODBUS_TCP_PORT = 502


def scan_wires(
    serials: list[str],
    hosts: list[str],
    *,
    baudrates: list[int],
    parities: list[str],
    protocols: list[str],
    units: str | None,
    timeout_s: float,
    within_s: float,
    every_setting: bool,
    own_profiles: Path,
    as_json: bool,
) -> int:
    """Scan all wires at the same time and print what answers. 1 when nothing does. Ctrl-C and ``within_s`` end it.

    ``own_profiles``: a folder whose profiles are tried beside the shipped ones; it need not exist.
    """
    try:
        surveys = [Survey(port, serial_ways(port, baudrates, parities)) for port in dict.fromkeys(serials)]
        surveys += [Survey(f"{host}:{port}", tcp_ways(host, port)) for host, port in map(_host, dict.fromkeys(hosts))]
        if not surveys:
            raise ValueError("name a wire: --serial /dev/ttyUSB0 or --tcp 10.0.4.20:502")
        if wrong := [p for p in protocols if p not in PROTOCOLS]:
            raise ValueError(f"{wrong[0]!r} cannot be scanned; choose of {', '.join(PROTOCOLS)}")
        effort = Effort(
            timeout_s=timeout_s,
            protocols=tuple(protocols) or PROTOCOLS,
            units=_units(units) if units else ALL_UNITS,
            every_setting=every_setting,
        )
    except ValueError as why:
        complain(why)
        return MISUSE
    try:
        profiles = [read_profile(file) for file in list_profiles([own_profiles]).values()]
    except ConfigError as error:
        return complain_all(error)
    run_loop(_scan_all(surveys, effort, profiles, within_s))
    document = _document(surveys)
    if as_json:
        print_json(document)
    else:
        _show(surveys, document)
    return FINE if any(survey.found for survey in surveys) else PROBLEM


async def _scan_all(surveys: list[Survey], effort: Effort, profiles: list[Profile], within_s: float) -> None:
    """Until done, told to stop, or out of time; the surveys keep what was found until then."""
    with _progress() as bars:
        scans = [
            asyncio.ensure_future(scan(survey, effort, profiles, _bar(bars, survey.address))) for survey in surveys
        ]
        stop = asyncio.ensure_future(told_to_stop(within_s))
        done = asyncio.ensure_future(asyncio.wait(scans))
        try:
            await asyncio.wait([done, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stop, *scans):
                task.cancel()
            await asyncio.wait([stop, *scans])
            await done
        for task in scans:
            if not task.cancelled():
                task.result()


@contextlib.contextmanager
def _progress() -> Iterator[Progress | None]:
    """Bars on standard error where a person watches."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (TextColumn("{task.fields[wire]}"), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield bars


def _bar(bars: Progress | None, wire: str) -> OnStep:
    if bars is None:
        return lambda done, of, text: None
    task = bars.add_task("", wire=wire)

    def on_step(done: int, of: int, text: str) -> None:
        bars.update(task, completed=done, total=of, description=text)

    return on_step


def _host(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"\[?([0-9A-Za-z._:-]+?)\]?(?::(\d{1,5}))?", text)
    if not match or not 0 < int(match[2] or MODBUS_TCP_PORT) < 65536:
        raise ValueError(f"{text!r} is no address; write a host and a port, as in 10.0.4.20:502")
    return match[1], int(match[2] or MODBUS_TCP_PORT)


def _units(text: str) -> tuple[int, ...]:
    units: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,3})(?:\s*-\s*(\d{1,3}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= 255:
            raise ValueError(f"{part!r} are no units; write 1 to 255, as in 1-32,100")
        units.update(range(first, last + 1))
    return tuple(sorted(units))


def _document(surveys: list[Survey]) -> dict[str, Any]:
    return {
        "complete": all(survey.complete for survey in surveys),
        "wires": [
            {
                "address": survey.address,
                "complete": survey.complete,
                "failure": survey.failure,
                "devices": [_plain(found) for found in survey.found],
            }
            for survey in surveys
        ],
    }


def _plain(found: Found) -> dict[str, Any]:
    link = found.link.model_dump(include={"kind", "port", "host", "baudrate", "parity", "stop_bits", "framing"})
    if isinstance(found.link, SerialLink) and found.link.echo:
        link["echo"] = True
    return {
        "link": link,
        "protocol": found.sighting.protocol,
        "address": dict(found.sighting.address),
        "profile": found.guesses[0].profile if found.guesses else None,
        "sure": is_sure(found.guesses, found.sighting),
        "candidates": [
            {
                "profile": g.profile,
                "score": g.score,
                "points": g.points,
                "answered": g.answered,
                "plausible": g.plausible,
            }
            for g in found.guesses
        ],
        "note": found.sighting.note,
    }


def _show(surveys: list[Survey], document: dict[str, Any]) -> None:
    rows = [_cells(survey, found) for survey in surveys for found in survey.found]
    if rows:
        print_table(["wire", "setting", "protocol", "address", "profile", "how well it fits", "note"], rows)
    for survey in surveys:
        if survey.failure:
            complain(survey.failure)
        elif not survey.complete:
            complain(f"{survey.address}: not everything was asked; --within gives it more time")
        elif not survey.found:
            kind = (
                "speed, parity or polarity (A and B)" if isinstance(survey.ways[0], SerialLink) else "unit or framing"
            )
            complain(
                f"{survey.address}: nobody answers. Check power and wires, then {kind}; --timeout 1s is more patient"
            )
    if rows:
        say("\nFor the site file (`sitegate new SITE.yaml --scan FILE` writes one from `sitegate scan --json`):\n")
        say(draft(outline_of(document)))


def _cells(survey: Survey, found: Found) -> list[str | None]:
    profile = fits = None
    if found.guesses:
        best = found.guesses[0]
        others = ", ".join(guess.profile for guess in found.guesses[1:4])
        profile = best.profile if is_sure(found.guesses, found.sighting) else f"{best.profile}?"
        fits = f"{best.plausible} of {best.points} plausible" + (f"; or {others}" if others else "")
    address = json.dumps(dict(found.sighting.address)).strip("{}").replace('"', "", 2)
    return [
        survey.address,
        setting_of(found.link),
        found.sighting.protocol,
        address,
        profile,
        fits,
        found.sighting.note,
    ]
