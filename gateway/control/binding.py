"""From a site file to its outputs, with everything of profiles and rules bound in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.clock import Clock
from gateway.config.loader import LoadedDevice, LoadedSite
from gateway.config.outputs import ACCEPT_NONE, OutputConfig
from gateway.config.report import Report, unknown
from gateway.control.journal import FILE_NAME, Journal
from gateway.control.output import Output, SeriesName
from gateway.control.runtime import Control
from gateway.control.sprayed import is_air
from gateway.ledger.day import Calendar
from gateway.links.wires import is_polled

WIND, TEMPERATURE = "wind_speed_m_s", "air_temperature_c"


def load_outputs(site: LoadedSite, rules: Mapping[str, str | None]) -> list[Output]:
    """Return the outputs of a site. ``rules``: those in use, with the metric that each judges.

    Raises ConfigError with every problem between the outputs and the rules that they name.
    """
    report = Report(site.file)
    report.read()
    outputs = [_bind(name, config, site, rules, report) for name, config in site.config.outputs.items()]
    report.finish()
    return outputs


async def open_control(
    site: LoadedSite, outputs: Sequence[Output], folder: Path, clock: Clock, calendar: Calendar
) -> Control:
    """Return control with its journal open. Raises StoreBusy, or OSError when the folder cannot be used."""
    simulated = site.config.site.simulated
    return Control(
        outputs,
        {name: device.rules for name, device in site.devices.items()},
        {(name, metric): rule.every_s for name, d in site.devices.items() for metric, rule in d.rules.items()},
        await Journal.open(folder / FILE_NAME),
        clock,
        calendar,
        simulated=simulated,
        # a role is what simulators play: on a real site such a device moves nothing
        played=[] if simulated else [name for name, device in site.devices.items() if device.config.role],
        keep_s=site.config.ledger.keep_regulated,
    )


def near_air(site: LoadedSite) -> dict[str, float]:
    """Return the sensors whose records are marked as sprayed, with the time between their dust readings."""
    near = {device for output in site.config.outputs.values() for device in output.near}
    return {name: _air_every_s(site.devices[name]) for name in sorted(near)}


def _air_every_s(device: LoadedDevice) -> float:
    return min(rule.every_s for metric, rule in device.rules.items() if is_air(metric))


def _bind(name: str, config: OutputConfig, site: LoadedSite, rules: Mapping[str, str | None], report: Report) -> Output:
    device = site.devices[config.device]
    rule = device.profile.writes[config.point]
    zone = config.zone or device.config.zone
    confirm_s = rule.confirm_within_s
    if not is_polled(site.config.links[device.config.link], [device]):
        confirm_s += 2 * device.rules[config.point].every_s  # it reports when it likes, not when asked
    weather = config.weather
    begin, end = config.night_ban or (None, None)
    return Output(
        name=name,
        en=config.name.en if config.name else name,
        zh=config.name.zh if config.name else name,
        zone=zone,
        device=config.device,
        metric=config.point,
        mode=config.mode,
        allow=rule.allow,
        confirm_s=confirm_s,
        dead_man=rule.dead_man,
        dead_man_s=None if rule.dead_man == "none" or config.dead_man == ACCEPT_NONE else float(config.dead_man),
        when=frozenset(config.when),
        sensors=_sensors(name, config, zone, site, rules, report),
        near=config.near,
        min_on_s=config.min_on,
        min_rest_s=config.min_rest,
        longest_run_s=config.longest_run,
        max_starts_per_hour=config.max_starts_per_hour,
        hold_s=config.hold,
        wind=(weather, WIND) if weather and config.wind_above is not None else None,
        wind_above=_or(config.wind_above, float("inf")),
        frost=(weather, TEMPERATURE) if weather and config.frost_below is not None else None,
        frost_below=_or(config.frost_below, -float("inf")),
        water=(config.water_below.device, config.water_below.metric) if config.water_below else None,
        water_below=config.water_below.below if config.water_below else -float("inf"),
        night_ban=(begin.hour * 60 + begin.minute, end.hour * 60 + end.minute) if begin and end else None,
        feedback=(config.feedback.device, config.feedback.metric) if config.feedback else None,
        feedback_within_s=config.feedback.within if config.feedback else 0.0,
    )


def _sensors(
    name: str, config: OutputConfig, zone: str, site: LoadedSite, rules: Mapping[str, str | None], report: Report
) -> tuple[SeriesName, ...]:
    """Return what the rules judge among the sensors that may ask."""
    asks = config.sensors or tuple(d.name for d in site.devices.values() if d.config.zone == zone)
    found: list[SeriesName] = []
    for i, wanted in enumerate(config.when):
        path = ("outputs", name, "when", i)
        metric = rules.get(wanted)
        if wanted not in rules:
            advice = unknown("rule", wanted, rules) if rules else f"no rule is in use here: write {wanted!r}"
            report.add(path, advice if rules else f"{advice} or its policy under alerts: use")
            continue
        if metric is None:
            report.add(path, "this rule judges a device's state, not a value; it cannot ask for an output")
            continue
        measured = [(device, metric) for device in asks if metric in site.devices[device].points]
        if not measured:
            place = "the sensors named here" if config.sensors else f"the devices of zone {zone!r}"
            text = f"rule {wanted!r} judges {metric}, which none of {place} measures; name the right ones under sensors"
            report.add(path, text)
        found += measured
    return tuple(dict.fromkeys(found))


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
