"""What no single key can know: names that must exist, ports with two owners, addresses taken twice.

The checks read the raw data of the file, not the models, so that they speak even when other keys are wrong.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from drivers import registry
from gateway.config.profile import Profile
from gateway.config.profile_file import build, model_of
from gateway.config.report import Report, unknown

_RATIOS_OF = {"ct": {"ct"}, "pt": {"pt"}, "ct_pt": {"ct", "pt"}}
_SINK_NEEDS = {"v1": ("database",), "v2": ("bucket", "token")}


def section(data: Any, name: str) -> dict[str, dict[str, Any]]:
    """Return the entries of a section that are mappings; what is wrong with the others the models say."""
    entries = data.get(name) if isinstance(data, dict) else None
    return {k: v for k, v in entries.items() if isinstance(v, dict)} if isinstance(entries, dict) else {}


def check_links(data: Any, report: Report) -> None:
    """One wire, one link: two owners of a port garble each other's requests."""
    owners: dict[tuple[str, ...], str] = {}
    for name, link in section(data, "links").items():
        port, host = link.get("port"), link.get("host")
        if link.get("kind") == "serial" and isinstance(port, str):
            # /dev/serial/by-id/… and /dev/ttyUSB0 may be the same line
            key: tuple[str, ...] = ("serial", str(Path(port).resolve()) if "\0" not in port else port)
            what = "serial port"
        elif link.get("kind") in ("tcp", "mqtt", "hj212_server", "http") and isinstance(host, str):
            key, what = (host.lower(), str(port or 1883)), "host and port"
        else:
            continue
        first = owners.setdefault(key, name)
        if first != name:
            text = f"link {first!r} uses this {what} already; put the devices of both on one link"
            report.add(("links", name, "port"), text)


def check_sinks(data: Any, report: Report) -> None:
    """Which keys a sink needs depends on the api it speaks."""
    for name, sink in section(data, "sinks").items():
        api = sink.get("api", "v2")
        for key in _SINK_NEEDS.get(api, ()) if isinstance(api, str) and sink.get("kind") == "influxdb" else ():
            if not sink.get(key):
                report.add(("sinks", name, key), f"api {api} needs {key}; write it here", at_key=True)


def check_page(data: Any, report: Report) -> None:
    """Nobody but this machine sees the page before it has a password."""
    page = data.get("page") if isinstance(data, dict) else None
    if not isinstance(page, dict) or not isinstance(host := page.get("host"), str) or is_loopback(host):
        return
    if not page.get("password"):
        text = "this shows the page to the network: write page.password too, or keep host 127.0.0.1"
        report.add(("page", "host"), text)
    elif page.get("protects") == "answers":
        text = "this shows the page to the network without its password: write everything, or keep host 127.0.0.1"
        report.add(("page", "protects"), text)


def is_loopback(host: str) -> bool:
    """True for names and addresses that lead to this machine only."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_mqtt_files(data: Any, report: Report) -> None:
    """Certificates must be there; a broker's refusal at night is a poor place to learn that."""
    for name, link in section(data, "links").items():
        tls = link.get("tls")
        for key, file in tls.items() if isinstance(tls, dict) else ():
            if key in ("ca_file", "cert_file", "key_file") and isinstance(file, str) and not _is_file(file):
                report.add(("links", name, "tls", key), f"there is no file {file!r}")


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except ValueError:  # a NUL byte
        return False


def check_device(name: str, device: Mapping[str, Any], profile: Profile, link: Any, report: Report) -> Any:
    """Check one device against its profile and its link (raw, or None); return its Address, or None."""
    if isinstance(link, dict):
        _check_wire(name, profile, link, report)
    _check_ratio(name, device.get("ratio"), profile, report)
    _check_without(name, device.get("without"), profile, report)
    address = _address(name, device.get("address"), profile, report)
    if address is not None and isinstance(link, dict):
        fault = registry.load(profile.driver).check_address(address, str(link.get("kind")))
        if fault:
            report.add(("devices", name, "address"), fault)
    return address


def check_duplicates(
    devices: Mapping[str, Mapping[str, Any]],
    addresses: Mapping[str, Any],
    profiles: Mapping[str, Profile],
    report: Report,
) -> None:
    """Two devices that answer to one address on one wire spoil each other's answers."""
    owners: dict[tuple[Any, ...], str] = {}
    for name, address in addresses.items():
        profile = profiles[devices[name]["profile"]]
        # On a broker topics tell devices apart, and topics depend on the profile: one box may speak through several.
        apart = profile.name if "mqtt" in registry.load(profile.driver).WIRES else ""
        link = devices[name].get("link")
        first = owners.setdefault((str(link), profile.driver, apart, address), name)
        if first != name:
            text = f"device {first!r} has this address on link {link!r} already; each needs its own"
            report.add(("devices", name, "address"), text)


def check_company(
    devices: Mapping[str, Mapping[str, Any]],
    links: Mapping[str, Mapping[str, Any]],
    profiles: Mapping[str, Profile],
    addresses: Mapping[str, Any],
    report: Report,
) -> None:
    """Who speaks by itself has its line alone: it would talk into the answers of devices that are asked."""
    asked: dict[str, str] = {}
    loud: list[tuple[str, str]] = []
    for name, device in devices.items():
        link, profile = device.get("link"), profiles.get(str(device.get("profile")))
        if profile is None or not isinstance(link, str) or links.get(link, {}).get("kind") not in ("serial", "tcp"):
            continue
        if registry.asks(registry.load(profile.driver)):
            asked.setdefault(link, name)
        else:
            loud.append((name, link))
    for name, link in loud:
        first = next(other for other, its_link in loud if its_link == link)
        mine, its = profiles[devices[name]["profile"]], profiles[devices[first]["profile"]]
        if link in asked:
            text = f"this device speaks by itself, and {asked[link]!r} on link {link!r} is asked; give it its own link"
            report.add(("devices", name, "link"), text)
        elif mine.driver != its.driver:
            text = f"this device speaks {mine.driver}, and {first!r} on link {link!r} {its.driver}"
            report.add(("devices", name, "link"), f"{text}; give it its own link")
        elif first != name and mine.driver == "serial_text":
            _check_lines(name, first, mine.limits, its.limits, addresses, report)


def _check_lines(name: str, first: str, mine: Any, its: Any, addresses: Mapping[str, Any], report: Report) -> None:
    """Instruments that print on one line must be told apart by it."""
    path = ("devices", name, "address")
    for device, limits in ((first, its), (name, mine)):
        if "(?P<id>" not in limits.pattern:
            text = f"{first!r} prints on this line too, and the pattern of {device!r} has no group id"
            report.add(("devices", name, "link"), f"{text}; give it its own link")
            return
        if device in addresses and addresses[device].id is None:
            report.add(path, f"{first!r} prints on this line too: each of the two needs its id, as its lines say it")
            return
    if (mine.request is None) != (its.request is None) or mine.end != its.end:
        text = f"{first!r} on this line is asked or ends its lines otherwise (limits request, end)"
        report.add(("devices", name, "link"), f"{text}; give it its own link")


def _check_wire(name: str, profile: Profile, link: Mapping[str, Any], report: Report) -> None:
    driver = registry.load(profile.driver)
    kind, framing, path = link.get("kind"), link.get("framing", "modbus_tcp"), ("devices", name, "link")
    speaks = f"profile {profile.name} speaks {profile.driver}"
    if kind in ("serial", "tcp", "mqtt", "hj212_server", "http") and kind not in driver.WIRES:
        report.add(path, f"{speaks}, which runs on {' or '.join(sorted(driver.WIRES))}; this link is {kind}")
    elif kind == "tcp" and framing in ("modbus_tcp", "rtu") and framing not in driver.FRAMINGS:
        report.add(path, f"{speaks}; give this link framing: {' or '.join(sorted(driver.FRAMINGS))}")


def _check_ratio(name: str, ratio: Any, profile: Profile, report: Report) -> None:
    used = set().union(*(_RATIOS_OF[r] for r in profile.ratios.values()))
    for key in ratio if isinstance(ratio, dict) else ():
        if key in ("ct", "pt") and key not in used:
            text = f"no point of profile {profile.name} uses {key}: the meter applies it itself; remove it here"
            report.add(("devices", name, "ratio", key), text, at_key=True)


def _check_without(name: str, without: Any, profile: Profile, report: Report) -> None:
    left_out = [point for point in without if isinstance(point, str)] if isinstance(without, list) else []
    for i, point in enumerate(left_out):
        if point not in profile.points:
            report.add(("devices", name, "without", i), unknown("point", point, profile.points))
    if profile.points and set(left_out) >= profile.points.keys():
        report.add(("devices", name, "without"), "no point is left to read; remove the device instead")


def _address(name: str, raw: Any, profile: Profile, report: Report) -> Any:
    if not isinstance(raw, dict):
        return None
    wanted = registry.load(profile.driver).Address
    path = ("devices", name, "address")
    model = report.check(model_of(wanted), raw, path)
    if model is None:
        return None
    try:
        return build(wanted, model)
    except ValueError as error:
        report.add(path, str(error))
        return None
