"""``sitegate profiles``: what devices are known, what one profile says, and whether profiles are right.

``catalogue`` is the same for people who have not installed it yet: docs/profiles.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.commands.output import FINE, MISUSE, PROBLEM, complain, print_json, print_table, say
from gateway.config.profile import Profile
from gateway.config.profiles import list_profiles, read_profile, test_profile
from gateway.config.report import unknown
from gateway.errors import ConfigError
from gateway.vocabulary import Domain

_HEAD = """\
# Devices that are known

Every shipped profile, made from `configs/profiles/` by `make schemas`. `sitegate profiles show NAME` prints the points
of one; a device that is not here takes one file ([CONTRIBUTING.md](../CONTRIBUTING.md), recipe 1). How far each was
tried stands in *verified*: `simulated` (against our simulator only), `bench` (one device on a desk) or `field`. Where
the map comes from, and how sure that is, stands in *source*: *confirmed* by two sources, *reported* by one, *from
memory*, or a *conflict* between them.
*Writes* counts the points that may be set; all others are only ever read."""


def list_all(*, as_json: bool) -> int:
    """List the shipped profiles."""
    profiles = [read_profile(file) for file in list_profiles().values()]
    if as_json:
        print_json([{**_head(p), "points": len(p.points)} for p in profiles])
        return FINE
    rows = [[p.name, p.maker, ", ".join(p.models), p.driver, len(p.points), p.verified] for p in profiles]
    print_table(["profile", "maker", "models", "protocol", "points", "verified"], rows)
    return FINE


def show(name: str, *, as_json: bool) -> int:
    """Show one profile."""
    files = list_profiles()
    if name not in files:
        complain(unknown("profile", name, files))
        return MISUSE
    profile = read_profile(files[name])
    places = {metric: _place(point) for metric, point in profile.points.items()}
    if as_json:
        writes = {metric: dataclasses.asdict(rule) for metric, rule in profile.writes.items()}
        print_json({**_head(profile), "caveats": profile.caveats, "points": places, "writes": writes})
        return FINE
    say(f"{profile.name}: {profile.title['en']} · {profile.title['zh']}")
    say(f"{profile.maker} {', '.join(profile.models)} · {profile.driver} · verified: {profile.verified}")
    say(f"source: {profile.source}")
    for caveat in profile.caveats:
        say(f"caveat: {caveat}")
    rows = []
    for metric, place in places.items():
        rule = profile.rules[metric]
        where = " ".join(f"{k}={v}" for k, v in place.items())
        write = profile.writes.get(metric)
        allowed = "" if write is None else f"{', '.join(f'{v:g}' for v in write.allow)} (dead man: {write.dead_man})"
        rows.append([metric, rule.metric.unit, f"{rule.every_s:g} s", where, allowed])
    print_table(["metric", "unit", "every", "where", "may be written"], rows)
    return FINE


def test(files: list[Path], *, as_json: bool) -> int:
    """Run each profile's own example; without files, all shipped profiles."""
    results: dict[str, list[str]] = {}
    for file in files or list_profiles().values():
        try:
            profile = read_profile(file)
            results[profile.name] = test_profile(profile)
        except ConfigError as error:
            results[str(file)] = [str(p) for p in error.problems]
    wrong = {name: faults for name, faults in results.items() if faults}
    if as_json:
        print_json({"tested": len(results), "failed": len(wrong), "faults": wrong})
    else:
        for name, faults in results.items():
            say(f"{'wrong' if faults else 'ok   '} {name}")
            for fault in faults:
                complain(f"      {fault}")
    return PROBLEM if wrong else FINE


def catalogue() -> str:
    """Return all shipped profiles as Markdown: one table per domain, then source and caveats of each."""
    return "\n".join(_catalogue_lines()) + "\n"


def _catalogue_lines() -> Iterator[str]:
    profiles = [read_profile(file) for _, file in sorted(list_profiles().items())]
    yield _HEAD
    for domain in Domain:
        of_domain = [p for p in profiles if _domain(p) is domain]
        if of_domain:
            yield f"\n## {domain}\n"
            yield "| profile | device | 设备 | maker | models | protocol | points | writes | verified |"
            yield "|---|---|---|---|---|---|---|---|---|"
            yield from (_catalogue_row(p) for p in of_domain)
    yield "\n## Sources and caveats"
    for p in profiles:
        yield f"\n### {p.name}\n"
        yield f"Source: {p.source}\n"
        yield from (f"- {caveat}" for caveat in p.caveats)


def _catalogue_row(p: Profile) -> str:
    cells = (f"`{p.name}`", p.title["en"], p.title["zh"], p.maker, ", ".join(p.models), p.driver, len(p.points))
    return f"| {' | '.join(map(str, cells))} | {len(p.writes) or ''} | {p.verified} |"


def _domain(profile: Profile) -> Domain:
    """Where people would look for it: the domain of most of its points, the first of them where two are even."""
    domains = [rule.metric.domain for rule in profile.rules.values()]
    return max(domains, key=domains.count)


def _place(point: Any) -> dict[str, Any]:
    """What the profile says of a point, without what need not be said."""
    default = {f.name: f.default for f in dataclasses.fields(point)}
    return {key: value for key, value in dataclasses.asdict(point).items() if value != default[key]}


def _head(profile: Profile) -> dict[str, Any]:
    return {key: getattr(profile, key) for key in ("name", "maker", "models", "title", "driver", "verified", "source")}
