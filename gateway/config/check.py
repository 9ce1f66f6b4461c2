"""What ``sitegate check`` says about a site file, beside the wire time that the links report."""

from __future__ import annotations

import socket
from pathlib import Path

from gateway.config.cross_checks import is_loopback, section
from gateway.config.loader import load_site
from gateway.config.profiles import test_profile
from gateway.config.report import Report
from gateway.errors import ConfigError, Problem

BROKER_S = 1.0


def check_site(path: str | Path) -> list[Problem]:
    """Return every problem of a site file and of the profiles it uses, their own examples included; sorted."""
    try:
        site = load_site(path)
    except ConfigError as error:
        problems = error.problems
    else:
        problems = [
            Problem(profile.file, 1, 1, "example", fault)
            for profile in site.profiles.values()
            for fault in test_profile(profile)
        ]
    return sorted({*problems, *_silent_brokers(Path(path))})


def _silent_brokers(file: Path) -> list[Problem]:
    """Brokers on this very machine that do not answer; what lies beyond the network is left to the gateway.

    A simulated site brings its own.
    """
    report = Report(file)
    try:
        data = report.read().data()
    except ConfigError:
        return []  # not YAML: said already
    site = data.get("site") if isinstance(data, dict) else None
    if isinstance(site, dict) and site.get("simulated") is True:
        return []
    for name, link in section(data, "links").items():
        host, port = link.get("host"), link.get("port", 1883)
        if link.get("kind") != "mqtt" or not isinstance(host, str) or type(port) is not int:
            continue
        if is_loopback(host) and 0 < port < 65536 and not _answers(host.strip("[]"), port):
            report.add(
                ("links", name, "host"), f"no broker answers on {host}:{port}; start it, or correct host and port"
            )
    return report.problems()


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=BROKER_S).close()
    except OSError:
        return False
    return True
