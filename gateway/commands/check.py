"""``sitegate check``: every problem of a site file; then what each wire will have to carry. Touches no device."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

from drivers.transport.serial import character_s, modbus_silence_s
from gateway.alerts.presets import load_rules
from gateway.commands.output import FINE, PROBLEM, print_json, print_table, say
from gateway.config.check import check_site
from gateway.config.loader import LoadedSite, load_site
from gateway.config.site import Link, SerialLink
from gateway.control.binding import load_outputs
from gateway.errors import ConfigError, Problem
from gateway.links.forecast import FULL, Load, at_speed, forecast, share_of, slower, split
from gateway.links.wires import is_polled, make_line, polled
from gateway.notices.outlets import check_channels

SPEEDS = (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)


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
    shares = {name: share_of(members) for name, members in loads.items()}
    full = [name for name, share in shares.items() if share > FULL]
    advice = {name: _advice(site.config.links[name], loads[name]) for name in full}
    if as_json:
        links = {
            name: {
                "share": round(shares[name], 4),
                "cycle_s": round(_cycle_s(members), 4),
                "rounds": [_plain(x) for x in members],
                "advice": advice.get(name, []),
            }
            for name, members in loads.items()
        }
        print_json({"ok": not full, "problems": [], "links": links, "overloaded": full})
        return PROBLEM if full else FINE
    verdict = "asks too much of a wire" if full else "is fine"
    say(f"{file} {verdict}: {len(site.devices)} devices on {len(loads)} links, {len(site.config.sinks)} sinks")
    rows = [[n, *_row(load)] for n, members in loads.items() for load in members]
    if rows:
        print_table(["link", "device", "every", "points", "requests", "wire time", "share"], rows)
    for name, members in loads.items():
        if members:
            say(f"{name}: one round of everything takes {_cycle_s(members):.2f} s; {shares[name]:.0%} of its time")
    for name in full:
        say(f"{name}: needs {shares[name]:.0%} of its time and will skip rounds. One of these helps:")
        for sentence in advice[name]:
            say(f"  - {sentence}")
    return PROBLEM if full else FINE


def _cycle_s(loads: list[Load]) -> float:
    """Time on the wire when everything is due at once."""
    return sum(load.wire_s for load in loads)


def _advice(link: Link, loads: list[Load]) -> list[str]:
    """What to change, one sentence each, so that a wire which is asked too much of has room again."""
    rarely = ", ".join(f"{device} every: {period_s:g}s" for device, period_s in slower(loads).items())
    advice = [f"read less often: {rarely}"]
    if isinstance(link, SerialLink):
        for speed in (s for s in SPEEDS if s > link.baudrate):
            char_s = character_s(speed, link.parity, link.stop_bits)
            if at_speed(loads, char_s=char_s, silence_s=modbus_silence_s(speed, char_s)) <= FULL:
                advice.append(f"raise the baud rate to {speed}, here and in every device of the line")
                break
    if lines := split(loads):
        advice.append(f"use {len(lines)} lines: {' | '.join(', '.join(names) for names in lines)}")
    return advice


def _problems(file: Path) -> list[Problem]:
    """Those of the site file and its profiles, of the alert rules that it chooses, of its outputs and its notices."""
    problems = check_site(file)
    try:
        site = load_site(file)
        rules = load_rules(site)
        load_outputs(site, {rule.name: rule.metric for rule in rules.rules})
        asyncio.run(check_channels(site, {rule.name: rule.policy for rule in rules.rules}))
    except ConfigError as error:
        problems = sorted({*problems, *error.problems})
    return problems


def _loads(site: LoadedSite, name: str) -> list[Load]:
    link = site.config.links[name]
    if not is_polled(link, [d for d in site.devices.values() if d.config.link == name]):
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
