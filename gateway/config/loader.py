"""Reads a site file with everything it refers to. Touches no device, no network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.config import cross_checks, secrets
from gateway.config.cross_checks import section
from gateway.config.output_checks import check_outputs
from gateway.config.profile import PointRule, Profile, ReportRule
from gateway.config.profiles import list_profiles, read_profile
from gateway.config.report import Report, unknown
from gateway.config.reporting import ReportConfig
from gateway.config.site import DeviceConfig, SiteConfig
from gateway.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LoadedDevice:
    """One device of the site, resolved against its profile."""

    name: str
    config: DeviceConfig
    profile: Profile
    address: Any
    """The driver's own Address."""
    points: Mapping[str, Any]
    """Metric -> the driver's own Point; what the device does ``without`` is not here."""
    rules: Mapping[str, PointRule]
    """The same metrics; with the device's ``every`` and transformer ratios in them."""


@dataclass(frozen=True, slots=True)
class LoadedSite:
    """A checked site. Every path in ``config`` is absolute, every secret in its place."""

    file: Path
    config: SiteConfig
    profiles: Mapping[str, Profile]
    """Those that are used, by name."""
    devices: Mapping[str, LoadedDevice]
    """In the order of the file."""


def load_site(path: str | Path) -> LoadedSite:
    """Return the site, or raise ConfigError with all problems of the file and of the profiles it uses, sorted."""
    file = Path(path)
    folder = file.absolute().parent
    report = Report(file)
    data: Any = secrets.put_in(report.read().data(), folder, report)
    if not isinstance(data, dict):
        report.add((), "a site file is a mapping that starts with site:")
        report.finish()
    _make_absolute(data, folder)
    config = report.check(SiteConfig, data)
    cross_checks.check_links(data, report)
    cross_checks.check_sinks(data, report)
    cross_checks.check_mqtt_files(data, report)
    cross_checks.check_page(data, report)
    profiles = _profiles(data, folder / "profiles", report)
    addresses = _check_devices(data, profiles, report)
    check_outputs(data, profiles, report)
    report.finish()
    assert config is not None, "finish() has raised"
    devices = {
        name: _resolve(name, device, profiles[device.profile], addresses[name], config.report)
        for name, device in config.devices.items()
    }
    return LoadedSite(file, config, profiles, devices)


def _make_absolute(data: dict[str, Any], folder: Path) -> None:
    if isinstance(data.get("data_dir", "data"), str):
        data["data_dir"] = str(folder / data.get("data_dir", "data"))
    for link in section(data, "links").values():
        tls = link.get("tls")
        if isinstance(tls, dict):
            files = {k: str(folder / v) for k, v in tls.items() if k.endswith("_file") and isinstance(v, str)}
            tls.update(files)


def _profiles(data: Any, own_folder: Path, report: Report) -> dict[str, Profile]:
    """Read the profiles that devices name: those beside the site file first, then the shipped ones."""
    files = list_profiles([own_folder])
    profiles: dict[str, Profile] = {}
    broken: set[str] = set()
    for name, device in section(data, "devices").items():
        wanted = device.get("profile")
        if not isinstance(wanted, str) or wanted in profiles or wanted in broken:
            continue
        if wanted not in files:
            report.add(("devices", name, "profile"), unknown("profile", wanted, files))
            continue
        try:
            profiles[wanted] = read_profile(files[wanted])
        except ConfigError as error:
            broken.add(wanted)
            report.add_foreign(error.problems)
    return profiles


def _check_devices(data: Any, profiles: Mapping[str, Profile], report: Report) -> dict[str, Any]:
    """Check every device; return the addresses of those that have a good one."""
    links, devices = section(data, "links"), section(data, "devices")
    link_names = data["links"] if isinstance(data.get("links"), dict) else {}
    addresses: dict[str, Any] = {}
    for name, device in devices.items():
        link, profile = device.get("link"), device.get("profile")
        if isinstance(link, str) and link_names and link not in link_names:
            report.add(("devices", name, "link"), unknown("link", link, link_names))
        if isinstance(profile, str) and profile in profiles:
            wire = links.get(link) if isinstance(link, str) else None
            address = cross_checks.check_device(name, device, profiles[profile], wire, report)
            if address is not None:
                addresses[name] = address
    cross_checks.check_duplicates(devices, addresses, profiles, report)
    cross_checks.check_company(devices, links, profiles, addresses, report)
    return addresses


def _resolve(
    name: str, config: DeviceConfig, profile: Profile, address: Any, site_report: ReportConfig | None
) -> LoadedDevice:
    points = {m: point for m, point in profile.points.items() if m not in config.without}
    report = config.report or site_report
    report_rule = None if report is None else report.rule()
    rules = {m: _rule(m, config, profile, report_rule) for m in points}
    return LoadedDevice(name, config, profile, address, points, rules)


def _rule(metric: str, config: DeviceConfig, profile: Profile, report: ReportRule | None) -> PointRule:
    rule = profile.rules[metric]
    every_s = rule.every_s
    if config.every is not None:
        # What the profile reads more rarely than the rest (energies) stays rare.
        every_s = max(config.every, every_s) if every_s > profile.every_s else config.every
    ct, pt = config.ratio.ct, config.ratio.pt
    factor = {"ct": ct, "pt": pt, "ct_pt": ct * pt}.get(profile.ratios.get(metric, ""), 1.0)
    report = rule.report or report
    if report is not None and report.takes_all:
        report = None
    if every_s == rule.every_s and factor == 1.0 and report == rule.report:
        return rule  # one for all devices of the profile: a hundred meters have thousands of points
    return dataclasses.replace(
        rule,
        every_s=every_s,
        multiply=rule.multiply * factor,
        report=report,
        wrap=None if rule.wrap is None else rule.wrap * factor,
        max_per_hour=None if rule.max_per_hour is None else rule.max_per_hour * factor,
    )
