"""What ``sitegate check`` says about a site file, beside the wire time that the links report."""

from __future__ import annotations

from pathlib import Path

from gateway.config.loader import load_site
from gateway.config.profiles import test_profile
from gateway.errors import ConfigError, Problem


def check_site(path: str | Path) -> list[Problem]:
    """Return every problem of a site file and of the profiles it uses, their own examples included; sorted."""
    try:
        site = load_site(path)
    except ConfigError as error:
        return error.problems
    return sorted(
        Problem(profile.file, 1, 1, "example", fault)
        for profile in site.profiles.values()
        for fault in test_profile(profile)
    )
