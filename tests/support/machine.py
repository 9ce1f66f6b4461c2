"""What tests need of the machine they run on: free ports, and real programs."""

from __future__ import annotations

import os
import shutil
import socket

import pytest


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def need(program: str, package: str) -> str:
    """Return the path of a program; without it skip the test, or fail it where CI promises every real server."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        text = f"{program} is not installed (Debian package {package}): this test needs the real program"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    return path
