"""``sitegate profiles``: what devices are known, what one profile says, and whether profiles are right."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from gateway.commands.output import FINE, MISUSE, PROBLEM, complain, print_json, print_table, say
from gateway.config.profile import Profile
from gateway.config.profiles import list_profiles, read_profile, test_profile
from gateway.config.report import unknown
from gateway.errors import ConfigError


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


def _place(point: Any) -> dict[str, Any]:
    """What the profile says of a point, without what need not be said."""
    default = {f.name: f.default for f in dataclasses.fields(point)}
    return {key: value for key, value in dataclasses.asdict(point).items() if value != default[key]}


def _head(profile: Profile) -> dict[str, Any]:
    return {key: getattr(profile, key) for key in ("name", "maker", "models", "title", "driver", "verified", "source")}
