"""``sitegate check``: every problem of a site file; then what each wire will have to carry. Touches no device."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from gateway.alerts.presets import load_rules
from gateway.commands.output import FINE, PROBLEM, print_json, print_table, say
from gateway.config.check import check_site
from gateway.config.loader import LoadedSite, load_site
from gateway.config.site import MqttLink
from gateway.errors import ConfigError, Problem
from gateway.links.forecast import Load, forecast
from gateway.links.wires import make_line, polled

FULL = 0.9
"""A wire that is planned to be busier than this has no room for retries and late devices."""


def check(file: Path, *, as_json: bool) -> int:
    """Print problems, or the forecast of every polled wire. 1 when something is wrong or does not fit."""
    if problems := _problems(file):
        if as_json:
            print_json({"ok": False, "problems": [dataclasses.asdict(p) for p in problems]})
        else:
            for problem in problems:
                say(str(problem))
            say(f"{len(problems)} problem{'s' if len(problems) != 1 else ''} found")
        return PROBLEM
    site = load_site(file)
    loads = {name: _loads(site, name) for name in site.config.links}
    shares = {name: sum(load.share for load in members) for name, members in loads.items()}
    full = [name for name, share in shares.items() if share > FULL]
    if as_json:
        links = {n: {"share": round(shares[n], 4), "rounds": [_plain(x) for x in loads[n]]} for n in loads}
        print_json({"ok": not full, "problems": [], "links": links, "overloaded": full})
        return PROBLEM if full else FINE
    verdict = "asks too much of a wire" if full else "is fine"
    say(f"{file} {verdict}: {len(site.devices)} devices on {len(loads)} links, {len(site.config.sinks)} sinks")
    rows = [[n, *_row(load)] for n, members in loads.items() for load in members]
    if rows:
        print_table(["link", "device", "every", "points", "requests", "wire time", "share"], rows)
    for name in full:
        advice = "read some devices less often, raise the baud rate or use a second line"
        say(f"{name}: needs {shares[name]:.0%} of its time and will skip rounds: {advice}")
    return PROBLEM if full else FINE


def _problems(file: Path) -> list[Problem]:
    """Those of the site file and its profiles, and those of the alert rules that it chooses."""
    problems = check_site(file)
    try:
        load_rules(load_site(file))
    except ConfigError as error:
        problems = sorted({*problems, *error.problems})
    return problems


def _loads(site: LoadedSite, name: str) -> list[Load]:
    link = site.config.links[name]
    if isinstance(link, MqttLink):
        return []
    line = make_line(link)
    loads: list[Load] = []
    for device in site.devices.values():
        if device.config.link == name:
            member = polled(device, line, link.timeout)
            loads += forecast(member.name, member.device, member.every_s, char_s=line.char_s, silence_s=line.silence_s)
    return loads


def _row(load: Load) -> list[Any]:
    return [
        load.device,
        f"{load.period_s:g} s",
        load.points,
        load.requests,
        f"{load.wire_s * 1000:.0f} ms",
        f"{load.share:.1%}",
    ]


def _plain(load: Load) -> dict[str, Any]:
    return {**dataclasses.asdict(load), "share": round(load.share, 4)}
