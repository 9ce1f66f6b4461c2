"""What no key of an output can know alone: its device, what may be written there, and whether the times fit each other.

Rules are looked up later (gateway/control/binding.py): which of them are in use is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from gateway.config.cross_checks import section
from gateway.config.model import parse_duration
from gateway.config.outputs import ACCEPT_NONE, OutputConfig
from gateway.config.profile import Profile
from gateway.config.profiles import TIMEOUT
from gateway.config.report import Report, unknown
from gateway.vocabulary import METRICS, Domain

_GUARDS = {"wind_above": "wind_speed_m_s", "frost_below": "air_temperature_c"}
_ON_AND_OFF = {0.0, 1.0}
_TIMEOUT_S = 1.0


def check_outputs(data: Any, profiles: Mapping[str, Profile], report: Report) -> None:
    """Check every output whose own keys are right."""
    devices = section(data, "devices")
    owners: dict[tuple[str, str], str] = {}
    times: dict[str, tuple[str, object]] = {}
    for name, raw in section(data, "outputs").items():
        try:
            output = OutputConfig.model_validate_json(json.dumps(raw))
        except ValidationError:
            continue  # said already
        check = _Check(name, output, devices, profiles, report)
        check.all(section(data, "links"))
        first = owners.setdefault((output.device, output.point), name)
        if first != name:
            check.add("point", f"output {first!r} has this point already; one relay, one output")
        if check.module:
            other, given = times.setdefault(output.device, (name, output.dead_man))
            if given != output.dead_man:
                check.add(
                    "dead_man", f"the module has one time for all, and output {other!r} has another; write the same"
                )


class _Check:
    """One output under examination."""

    def __init__(
        self,
        name: str,
        output: OutputConfig,
        devices: Mapping[str, Mapping[str, Any]],
        profiles: Mapping[str, Profile],
        report: Report,
    ) -> None:
        self.name, self.output, self.devices, self.profiles, self.report = name, output, devices, profiles, report

    @property
    def module(self) -> bool:
        """The device switches all its outputs off after one time of its own."""
        profile = self._profile(self.output.device) if self.output.device in self.devices else None
        rule = profile.writes.get(self.output.point) if profile else None
        return rule is not None and rule.dead_man == "module"

    def add(self, key: str, text: str, *more: str | int) -> None:
        self.report.add(("outputs", self.name, key, *more), text)

    def all(self, links: Mapping[str, Mapping[str, Any]]) -> None:
        output = self.output
        if self._known(output.device, "device") and (profile := self._profile(output.device)) is not None:
            self._point(profile, links)
        self._sensors()
        self._guards()
        if output.water_below is not None:
            self._measures(output.water_below.device, output.water_below.metric, "water_below")
        if output.feedback is not None:
            self._measures(output.feedback.device, output.feedback.metric, "feedback")
        if output.min_on > output.longest_run:
            self.add("min_on", "this is longer than longest_run")
        if output.night_ban is not None and output.night_ban[0] == output.night_ban[1]:
            self.add("night_ban", "from and to are the same; leave it out, or write mode: off")

    def _point(self, profile: Profile, links: Mapping[str, Mapping[str, Any]]) -> None:
        output, device = self.output, self.devices[self.output.device]
        points = [point for point in profile.points if point not in _without(device)]
        if output.point not in points:
            self.add("point", unknown("point", output.point, profile.writes or points))
            return
        rule = profile.writes.get(output.point)
        if rule is None:
            may = f"it has: {', '.join(sorted(profile.writes))}" if profile.writes else "it has none that may"
            self.add("point", f"profile {profile.name} does not let this point be written; {may}")
        elif not set(rule.allow) >= _ON_AND_OFF:
            self.add("point", f"profile {profile.name} allows {_list(rule.allow)} here; an output needs 0 and 1")
        else:
            self._dead_man(profile, links.get(str(device.get("link")), {}))

    def _dead_man(self, profile: Profile, link: Mapping[str, Any]) -> None:
        """The device must switch off by itself, and not while we are only slow."""
        output, rule = self.output, profile.writes[self.output.point]
        given = output.dead_man
        if rule.dead_man == "none":
            if given != ACCEPT_NONE and output.mode == "armed":
                text = f"profile {profile.name} knows no way for it to switch off by itself: after a crash it stays on"
                self.add("dead_man", f"{text}; write dead_man: accept_none if you accept that")
            return
        if given == ACCEPT_NONE:
            self.add("dead_man", f"profile {profile.name} can switch off by itself ({rule.dead_man}); write a time")
            return
        assert isinstance(given, float)
        device = self.devices[output.device]
        every_s = _seconds(device.get("every"), profile.every_s)
        timeout_s = _seconds(link.get("timeout"), _TIMEOUT_S)
        asked = link.get("kind") in ("serial", "tcp")  # others report when they like
        confirm_s = rule.confirm_within_s + (0.0 if asked else 2 * every_s + timeout_s)
        least_s = max(3 * timeout_s, 2 * rule.confirm_within_s, confirm_s)
        if rule.dead_man == "module":
            least_s = max(least_s, 2 * every_s)
        if given < least_s:
            why = f"read every {every_s:g}s, time-out {timeout_s:g}s, confirmed within {rule.confirm_within_s:g}s"
            self.add(
                "dead_man", f"too short: the device would switch off while all is well ({why}); at least {least_s:g}s"
            )
        if rule.dead_man == "module":
            if TIMEOUT in _without(device):
                self.add("device", f"the device does without {TIMEOUT}, which holds its dead-man time")
            elif given not in profile.writes[TIMEOUT].allow:
                allowed = _list(each for each in profile.writes[TIMEOUT].allow if each)
                self.add("dead_man", f"profile {profile.name} allows these times only, in seconds: {allowed}")

    def _sensors(self) -> None:
        for key, names in (("sensors", self.output.sensors), ("near", self.output.near)):
            for i, device in enumerate(names):
                if not self._known(device, key, i) or key != "near" or self._profile(device) is None:
                    continue
                if not any(METRICS[point].domain is Domain.AIR for point in self._points(device)):
                    self.add("near", f"{device} measures no dust: there is nothing to mark as sprayed", i)

    def _guards(self) -> None:
        for key, metric in _GUARDS.items():
            if getattr(self.output, key) is None:
                continue
            if self.output.weather is None:
                self.add(key, "name the station that measures it: weather: DEVICE")
            else:
                self._measures(self.output.weather, metric, "weather", inside=False)

    def _measures(self, device: str, metric: str, key: str, *, inside: bool = True) -> None:
        if self._known(device, key, *(["device"] if inside else [])) and self._profile(device) is not None:
            points = self._points(device)
            if metric not in points:
                text = unknown("metric", metric, points) if inside else f"{device} does not measure {metric}"
                self.add(key, text, *(["metric"] if inside else []))

    def _known(self, device: str, key: str, *more: str | int) -> bool:
        if device not in self.devices:
            self.add(key, unknown("device", device, self.devices), *more)
        return device in self.devices

    def _profile(self, device: str) -> Profile | None:
        """Return its profile; None when that is wrong, which is said elsewhere."""
        return self.profiles.get(str(self.devices[device].get("profile")))

    def _points(self, device: str) -> list[str]:
        profile, without = self._profile(device), _without(self.devices[device])
        return [] if profile is None else [point for point in profile.points if point not in without]


def _without(device: Mapping[str, Any]) -> list[Any]:
    left_out = device.get("without")
    return left_out if isinstance(left_out, list) else []


def _seconds(raw: Any, otherwise: float) -> float:
    try:
        return otherwise if raw is None else float(parse_duration(raw))
    except ValueError:  # said elsewhere
        return otherwise


def _list(numbers: Any) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
