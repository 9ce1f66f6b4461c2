"""Runs the real command in a process of its own, as a person or a service manager would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]


def sitegate(*arguments: str, timeout_s: float = 25.0, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=ROOT,
        check=False,
    )


class Running:
    """A command that goes on until it is stopped; as a context it never outlives the test."""

    def __init__(self, *arguments: str, log: Path) -> None:
        self.log = log
        self._file = log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", *arguments], stdout=self._file, stderr=self._file, cwd=ROOT
        )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(5)
        self._file.close()

    def kill(self) -> None:
        """What a power cut looks like to the process."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(5)

    def stop(self, number: int = signal.SIGINT, within_s: float = 5.0) -> tuple[int, float]:
        """Ask it to stop; return its exit status and how long that took."""
        begun_s = time.monotonic()
        self.process.send_signal(number)
        status = self.process.wait(within_s)
        return status, time.monotonic() - begun_s


def get_json(url: str) -> Any:
    """GET and parse; None while nobody answers yet."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # a fixed loopback url
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)
    except OSError:
        return None


def eventually(look: Callable[[], T], *, within_s: float = 15.0, what: str) -> T:
    """Look again and again until there is something; fail with ``what`` is missing."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {within_s:g} s: {what}")


def environment(**changes: str) -> dict[str, str]:
    """Our environment with changes."""
    return {**os.environ, **changes}
