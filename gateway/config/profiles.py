"""Finds, reads and tests device profiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import configs
from drivers import registry
from drivers.api import Driver, Value
from gateway.config.profile import PointRule, Profile, WriteRule
from gateway.config.profile_file import PointKeys, ProfileFile, WriteKeys, build, model_for
from gateway.config.report import Report, unknown
from gateway.vocabulary import METRICS, Kind

SHIPPED = configs.path("profiles")
TIMEOUT = "output_timeout_s"
"""The point that holds a module's own time-out, for ``dead_man: module``."""


def list_profiles(extra_dirs: Sequence[Path] = ()) -> dict[str, Path]:
    """Return name -> file, sorted by name. A file in ``extra_dirs`` hides the shipped one of that name."""
    files = {
        file.stem: file
        for folder in (SHIPPED, *reversed(extra_dirs))
        if folder.is_dir()
        for file in folder.glob("*.yaml")
    }
    return dict(sorted(files.items()))


def find_profile(name: str, extra_dirs: Sequence[Path] = ()) -> Profile:
    """Return a checked profile by name. Raises KeyError (with a suggestion) or ConfigError."""
    files = list_profiles(extra_dirs)
    if name not in files:
        raise KeyError(unknown("profile", name, files))
    return read_profile(files[name])


def read_profile(file: Path) -> Profile:
    """Return the profile in a file. Raises ConfigError with every problem."""
    report = Report(file)
    root = report.read()
    data = root.data()
    if not isinstance(data, dict):
        report.add((), "a profile is a mapping that starts with profile: NAME")
    protocol = data.get("driver") if isinstance(data, dict) else None
    if isinstance(protocol, str) and protocol not in registry.PROTOCOLS:
        report.add(("driver",), unknown("driver", protocol, registry.PROTOCOLS))
    known = protocol if isinstance(protocol, str) and protocol in registry.PROTOCOLS else None
    model = report.check(model_for(known) if known else ProfileFile, data)
    if isinstance(data, dict):
        _check_names(data, file, report)
    if model is None or known is None:
        report.finish()
    assert model, "finish() has raised"
    assert known, "finish() has raised"
    driver = registry.load(known)
    raw = root.value["example"].value["raw"].data(number_keys=True)  # type: ignore[index, call-overload, union-attr]
    limits = _limits(driver, model, report)
    points = _points(driver, model, limits, report)
    rules = _rules(model, report)
    writes = _writes(driver, model, limits or driver.Limits(), points, rules, report)
    report.finish()
    return Profile(
        name=model.profile,
        maker=model.maker,
        models=model.models,
        title=model.title.model_dump(),
        driver=known,
        verified=model.verified,
        source=model.source,
        caveats=model.caveats,
        limits=limits,
        points=points,
        rules=rules,
        example_raw=raw,
        example_gives=model.example.gives,
        file=str(file),
        every_s=model.every,
        ratios={name: p.ratio for name, p in model.points.items() if p.ratio},
        writes=writes,
    )


def test_profile(profile: Profile) -> list[str]:
    """Run the profile's example through its driver and rules; return what does not agree, one sentence each."""
    gives = profile.example_gives
    faults = [
        f"{name}: not in example.gives; every point needs a value there" for name in profile.points.keys() - gives
    ]
    faults += [f"{name}: in example.gives, but not a point" for name in gives.keys() - profile.points]
    try:
        raw = registry.load(profile.driver).read_example(profile.points, profile.example_raw, profile.limits)
    except ValueError as error:
        return [*sorted(faults), f"example.raw: {error}"]
    for name in profile.points.keys() & gives:
        rule, want = profile.rules[name], gives[name]
        if name not in raw:
            faults.append(f"{name}: example.raw does not cover it")
            continue
        got = engineering_value(rule, raw[name])
        if not _agree(got, want):
            faults.append(f"{name}: raw {raw[name]} gives {got}, but the example says {want}")
        elif got is not None and not rule.low <= got <= rule.high:
            faults.append(f"{name}: {got} lies outside {rule.low:g} to {rule.high:g}")
    return sorted(faults)


test_profile.__test__ = False  # type: ignore[attr-defined]  # pytest: the name is the field's, not a test's


def _agree(got: float | None, want: float | None) -> bool:
    if got is None or want is None:
        return got is want
    return math.isclose(got, want, rel_tol=1e-6, abs_tol=1e-9)


def engineering_value(rule: PointRule, raw: Value) -> float | None:
    """Return a raw number in the metric's unit, None for "no value"."""
    return None if raw is None or raw in rule.sentinels or not math.isfinite(raw) else rule.scaled(raw)


def _check_names(data: dict[str, Any], file: Path, report: Report) -> None:
    if isinstance(data.get("profile"), str) and data["profile"] != file.stem:
        report.add(("profile",), f"the file's name says {file.stem!r}; both must be the same")
    points, example = data.get("points"), data.get("example")
    points = points if isinstance(points, dict) else {}
    for name in points:
        if name not in METRICS:
            report.add(("points", name), unknown("metric", name, METRICS), at_key=True)
    gives = example.get("gives") if isinstance(example, dict) else None
    for name in gives if isinstance(gives, dict) else {}:
        if name not in points:
            report.add(("example", "gives", name), unknown("point", name, points), at_key=True)


def _limits(driver: Driver, model: ProfileFile, report: Report) -> Any:
    """Return the driver's Limits, or None: what depends on them cannot be judged before they are right."""
    try:
        return build(driver.Limits, model.limits)
    except ValueError as error:
        report.add(("limits",), str(error))
        return None


def _points(driver: Driver, model: ProfileFile, limits: Any, report: Report) -> dict[str, Any]:
    points: dict[str, Any] = {}
    for name, keys in model.points.items():
        try:
            points[name] = build(driver.Point, keys)
            fault = None if limits is None else driver.check_point(name, points[name], limits)
        except ValueError as error:
            fault = str(error)
        if fault:
            report.add(("points", name), fault.removeprefix(f"{name}: "))
    return points


def _rules(model: ProfileFile, report: Report) -> dict[str, PointRule]:
    rules: dict[str, PointRule] = {}
    for name, keys in model.points.items():
        if name not in METRICS:
            continue
        metric = METRICS[name]
        low, high = keys.range or (metric.low, metric.high)
        if not metric.low <= low < high <= metric.high:
            text = f"must be two rising numbers within {metric.low:g} and {metric.high:g} (the vocabulary's range)"
            report.add(("points", name, "range"), text)
        for key in ("wrap", "max_per_hour"):
            if getattr(keys, key) is not None and metric.kind is not Kind.COUNTER:
                report.add(("points", name, key), f"belongs to counters; {name} is a {metric.kind}", at_key=True)
        if metric.kind is Kind.STATE and keys.report and max(keys.report.deadband, keys.report.deadband_percent) > 0:
            text = f"{name} is a state, of which every change is reported; remove the deadband"
            report.add(("points", name, "report"), text, at_key=True)
        if keys.scale == 0:
            report.add(("points", name, "scale"), "must not be 0")
            continue
        multiply, divide = _exact(keys.scale)
        rules[name] = PointRule(
            metric=metric,
            every_s=keys.every or model.every,
            multiply=multiply,
            divide=divide,
            offset=keys.offset,
            low=low,
            high=high,
            sentinels=_sentinels(keys),
            wrap=keys.wrap,
            max_per_hour=keys.max_per_hour,
            report=None if keys.report is None else keys.report.rule(),
        )
    return rules


def _writes(
    driver: Driver,
    model: ProfileFile,
    limits: Any,
    points: dict[str, Any],
    rules: dict[str, PointRule],
    report: Report,
) -> dict[str, WriteRule]:
    writes: dict[str, WriteRule] = {}
    for name, keys in model.points.items():
        if keys.write is None or name not in points or name not in rules:
            continue
        wrong = _write_fault(name, keys.write, rules[name], model)
        if wrong is None:
            raws = [rules[name].unscaled(value) for value in keys.write.allow]
            fault = driver.check_write(name, points[name], limits, timed=keys.write.dead_man == "pulse", raws=raws)
            wrong = ("", fault.removeprefix(f"{name}: ")) if fault else None
        if wrong is None:
            allow = tuple(map(float, keys.write.allow))
            writes[name] = WriteRule(allow, keys.write.confirm_within, keys.write.dead_man)
        else:
            key, text = wrong
            report.add(("points", name, "write", *([key] if key else [])), text)
    return writes


def _write_fault(name: str, keys: WriteKeys, rule: PointRule, model: ProfileFile) -> tuple[str, str] | None:
    """Return what is wrong beyond types whatever the protocol: the key ("" for all of them) and a sentence."""
    if rule.metric.kind is Kind.COUNTER:
        return "", f"{name} is a counter: nobody writes what a device has counted"
    outside = [value for value in keys.allow if not rule.low <= value <= rule.high]
    if outside:
        return "allow", f"{outside[0]:g} lies outside {rule.low:g} to {rule.high:g}, the range of this point"
    if keys.dead_man == "pulse" and set(keys.allow) != {0, 1}:
        return "allow", "a pulse is for what is on or off: with dead_man: pulse write allow: [0, 1]"
    if keys.dead_man == "module":
        timeout = model.points.get(TIMEOUT)
        if timeout is None or timeout.write is None:
            text = f"module needs a point {TIMEOUT} with write: in this profile, the time after which outputs fall back"
            return "dead_man", text
    return None


def _exact(scale: float) -> tuple[float, float]:
    """Scale as (multiply, divide): 0.1 becomes a division by 10, because 2305 * 0.1 is not 230.5."""
    inverse = 1 / scale
    if abs(scale) < 1 and math.isclose(inverse, round(inverse), rel_tol=1e-9):
        return 1.0, float(round(inverse))
    return scale, 1.0


def _sentinels(keys: PointKeys) -> frozenset[float]:
    return frozenset(keys.sentinel if isinstance(keys.sentinel, tuple) else (keys.sentinel,))
