"""Which profile fits a device that answered: each is tried, and what comes back is judged. Only reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from drivers.api import Device, PolledDriver, Value
from drivers.errors import DriverError, LinkDown, NoAnswer
from drivers.registry import load as load_driver
from drivers.sighting import Sighting
from drivers.transport.line import Line
from gateway.config.profile import PointRule, Profile
from gateway.config.profile_file import build, model_of
from gateway.config.profiles import engineering_value
from gateway.vocabulary import Kind

TELLING = {"Hz": (45.0, 65.0), "V": (80.0, 500.0), "kPa": (60.0, 110.0)}
"""Unit -> what it is everywhere: mains and air. Other numbers may be anything, and fit many profiles."""
_TINY = 1e-6
"""A float in the wrong order is often next to nothing, which lies in every range that begins at zero."""
_WEIGHTS = {
    "telling": 3.0,
    "plausible": 1.0,
    "empty": 0.25,
    "zero": 0.0,
    "wrong": -2.0,
    "misfit": -3.0,
    "refused": -0.5,
}
"""What one point adds to a profile's score."""
_ENOUGH, _CLEAR = 3.0, 1.5
"""A guess is sure from this score on, when it is so many times that of the next one."""


@dataclass(frozen=True, slots=True)
class Guess:
    """How well one profile fits."""

    profile: str
    score: float
    points: int
    answered: int
    plausible: int
    """Answered with a number that is not zero and lies where it should."""


async def guess(line: Line, sighting: Sighting, profiles: Iterable[Profile], timeout_s: float) -> list[Guess]:
    """Return the profiles that fit, the best first; at most those that are half as good as it. Raises LinkDown."""
    guesses = []
    for profile in profiles:
        if profile.driver != sighting.protocol or not _may_be(profile, sighting.limits):
            continue
        driver = cast(PolledDriver, load_driver(profile.driver))
        address = build(driver.Address, model_of(driver.Address).model_validate(dict(sighting.address)))
        device = driver.open_device(line, address, profile.points, profile.limits, timeout_s)
        fit = await _try(device, profile)
        if fit.score > 0:
            guesses.append(fit)
    guesses.sort(key=lambda g: (-round(g.score, 1), g.points, g.profile))
    return [g for g in guesses if g.score >= guesses[0].score / 2]


def is_sure(guesses: Sequence[Guess], sighting: Sighting) -> bool:
    """True when the first one stands out, or is the only one for a kind that the device itself told."""
    if len(guesses) == 1 and sighting.limits:
        return True
    if not guesses or guesses[0].score < _ENOUGH:
        return False
    return len(guesses) == 1 or guesses[0].score >= _CLEAR * guesses[1].score


def _may_be(profile: Profile, limits: Mapping[str, Any]) -> bool:
    return all(getattr(profile.limits, key) == value for key, value in limits.items())


async def _try(device: Device, profile: Profile) -> Guess:
    """Read everything once, the fullest request first; give up when the first two bring nothing."""
    verdicts: list[str] = []
    answered = failed = 0
    for request in sorted(device.plan(tuple(profile.points)), key=lambda r: -len(r.points)):
        try:
            raw = await device.ask(request)
        except LinkDown:
            raise
        except DriverError as why:
            verdicts += ["refused"] * len(request.points)
            failed += 1
            if not answered and (failed > 1 or isinstance(why, NoAnswer)):
                return Guess(profile.name, -1.0, len(profile.points), 0, 0)
            continue
        answered += len(request.points)
        verdicts += [judge(profile.rules[name], value) for name, value in zip(request.points, raw, strict=True)]
    plausible = sum(verdict in ("telling", "plausible") for verdict in verdicts)
    score = sum(_WEIGHTS[verdict] for verdict in verdicts)
    return Guess(profile.name, round(score, 2), len(profile.points), answered, plausible)


def judge(rule: PointRule, raw: Value) -> str:
    """Return what one number says about its profile: a key of the weights."""
    value = engineering_value(rule, raw)
    if value is None or rule.metric.kind is Kind.STATE:
        return "empty"
    if value == 0:
        return "zero"
    if not rule.low <= value <= rule.high or abs(value) < _TINY:
        return "wrong"
    if rule.metric.unit in TELLING:
        low, high = TELLING[rule.metric.unit]
        return "telling" if low <= value <= high else "misfit"
    return "plausible"
