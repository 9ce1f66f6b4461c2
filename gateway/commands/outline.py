"""The skeleton of a site file: links and devices in short words or from a scan, and the commented YAML they become."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from drivers.registry import load as load_driver
from gateway.config.profiles import find_profile
from gateway.errors import ConfigError

LINK_FORMS = ("serial:PORT[,BAUD[,PARITY]]", "tcp:HOST:PORT", "rtu:HOST:PORT", "mqtt:HOST[:PORT]", "hj212:HOST:PORT")
"""How a link is written on a command line; ``rtu`` is a serial server."""
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./:-]*")
_YAML_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "null", "y", "n"))


@dataclass(slots=True)
class Outline:
    """What a site file will hold; filled step by step."""

    site: dict[str, Any] = field(default_factory=dict)
    links: dict[str, dict[str, Any]] = field(default_factory=dict)
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    """Device -> what the person must know of it."""
    strangers: list[str] = field(default_factory=list)
    """Devices that answered, but no profile fits: one sentence each."""


def link_from(text: str) -> tuple[str, dict[str, Any]]:
    """Return name and keys of ``NAME=FORM``. Raises ValueError with the forms that are understood."""
    match = re.fullmatch(r"([^=]+)=(serial|tcp|rtu|mqtt|hj212):(.+)", text.strip())
    if not match:
        raise ValueError(f"{text!r} is no link; write NAME=" + " or NAME=".join(LINK_FORMS))
    name, kind, rest = match.groups()
    if kind == "serial":
        port, *settings = rest.split(",")
        keys: dict[str, Any] = {"kind": "serial", "port": port}
        keys |= {"baudrate": _number(settings[0], text)} if settings else {}
        return name, keys | ({"parity": settings[1]} if len(settings) > 1 else {})
    host, colon, number = rest.rpartition(":")
    if kind == "mqtt" and not colon:
        return name, {"kind": "mqtt", "host": rest}
    keys = {
        "kind": {"rtu": "tcp", "hj212": "hj212_server"}.get(kind, kind),
        "host": host,
        "port": _number(number, text),
    }
    return name, keys | ({"framing": "rtu"} if kind == "rtu" else {})


def device_from(text: str, own_profiles: Path) -> tuple[str, dict[str, Any]]:
    """Return name and keys of ``NAME=PROFILE@LINK:ADDRESS``; the address is its first key's, or ``key=value,…``.

    ``own_profiles``: the folder beside the site file, which goes first. Raises ValueError.
    """
    match = re.fullmatch(r"([^=]+)=([^@]+)@([^:]+):(.+)", text.strip())
    if not match:
        raise ValueError(f"{text!r} is no device; write NAME=PROFILE@LINK:ADDRESS, as in main=eastron_sdm630@meters:1")
    name, profile, link, address = match.groups()
    try:
        kind = load_driver(find_profile(profile, [own_profiles]).driver).Address
    except (KeyError, ConfigError) as why:
        raise ValueError(f"{name}: {why.args[0]}") from None
    hints = get_type_hints(kind)
    first = dataclasses.fields(kind)[0].name
    pairs = [part.partition("=") for part in address.split(",")] if "=" in address else [(first, "=", address)]
    keys = {key: _number(value, text) if hints.get(key) is int else value for key, _, value in pairs}
    return name, {"link": link, "profile": profile, "address": keys}


def _number(text: str, where: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{where!r}: {text!r} should be a number")
    return int(text)


def outline_of(scanned: Mapping[str, Any]) -> Outline:
    """Return what ``sitegate scan --json`` has found."""
    outline = Outline()
    names: dict[str, str] = {}
    for wire in scanned["wires"]:
        for device in wire["devices"]:
            keys = device["link"]
            kind = "line" if keys["kind"] == "serial" else "host"
            link = names.setdefault(json.dumps(keys), f"{kind}-{1 + sum(n.startswith(kind) for n in names.values())}")
            _add(outline, link, keys, device)
    return outline


def _add(outline: Outline, link: str, keys: dict[str, Any], device: Mapping[str, Any]) -> None:
    where = ", ".join(f"{key} {value}" for key, value in device["address"].items())
    if device["profile"] is None:
        outline.strangers.append(f"{link}: {device['protocol']} {where} answers, but no profile fits")
        return
    outline.links[link] = keys
    number = str(next(iter(device["address"].values()))).lower().lstrip("0")
    stem = f"{device['profile'].replace('_', '-')}-{number}"
    name = next(n for n in (stem, *(f"{stem}-{i}" for i in range(2, 1000))) if n not in outline.devices)
    outline.devices[name] = {"link": link, "profile": device["profile"], "address": device["address"]}
    others = [candidate["profile"] for candidate in device["candidates"][1:4]]
    remarks = [device["note"]] if device["note"] else []
    if not device["sure"]:
        remarks.append("a guess" + (f"; may be {', '.join(others)}" if others else "") + ": compare with its label")
    if remarks:
        outline.remarks[name] = "; ".join(remarks)


def render(outline: Outline) -> str:
    """Return the YAML text: a whole site file, or links and devices only when ``outline.site`` is empty."""
    lines: list[str] = []
    if outline.site:
        lines += [
            "# Check this file before you start it: sitegate check. Every key: configs/site.example.yaml",
            "",
            "site:",
        ]
        lines += [f"  {key}: {_yaml(value)}" for key, value in outline.site.items()]
        lines.append("")
    lines += [
        "# One link is one wire. Name it as you would label the cable; devices below refer to the name.",
        "links:",
    ]
    for name, keys in outline.links.items():
        lines.append(f"  {_yaml(name)}:")
        lines += [f"    {key}: {_yaml(value)}" for key, value in keys.items()]
    lines += ["", "# One device each. Name them as people on the site do, and give each its zone.", "devices:"]
    for name, keys in outline.devices.items():
        if name in outline.remarks:
            lines.append(f"  # {outline.remarks[name]}")
        lines.append(f"  {_yaml(name)}:")
        lines += [f"    {key}: {_yaml(value)}" for key, value in keys.items()]
        lines.append("    #zone: gate" if outline.site else "    zone: site")
    lines += [f"  # {sentence}" for sentence in outline.strangers]
    if outline.site:
        lines += _TAIL
    return "\n".join(lines) + "\n"


_TAIL = [
    "",
    "# Where readings go beside the gateway's own store and page; they wait in its buffer while the server is away.",
    "#sinks:",
    "#  influx:",
    "#    kind: influxdb",
    "#    url: http://192.0.2.10:8086",
    "#    bucket: sitegate",
    "#    org: sitegate",
    '#    token: "${INFLUX_TOKEN}"           # taken from the environment',
    "",
    "# Limits and alarms; `sitegate alerts rules` shows what there is.",
    "#alerts:",
    "#  use: [noise, dust_hunan_default, device]",
    "",
    "#page: {port: 8080}                    # this machine only; other addresses need a password",
    "#data_dir: data                        # buffer and minute ledger, beside this file",
]


def _yaml(value: Any) -> str:
    """A value on one line; text is quoted unless it can be nothing else."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(v)}" for key, v in value.items()) + "}"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _YAML_WORDS and value[-1] != ":":
        return value
    return json.dumps(value, ensure_ascii=False)
