"""Puts secrets and environment values into a site file's data. What was put in is never printed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from gateway.config.report import Report, is_secret
from gateway.config.yaml_tree import Path as TreePath

_NAME = re.compile(r"\$\{([^}]*)\}")
_PLACEHOLDER = re.compile(r"(?i)<.*>|change[-_ ]?me|replace[-_ ]?me|your[-_ ].*|x{3,}|\*{3,}|password|secret|token")
_MAX_SECRET_BYTES = 65_536


def put_in(data: Any, folder: Path, report: Report, path: TreePath = ()) -> Any:
    """Return a copy of ``data`` with ``${NAME}`` replaced everywhere, and ``file:…`` under secret keys.

    Whatever is missing, empty or still a placeholder is reported. File names are relative to ``folder``.
    """
    if isinstance(data, dict):
        return {key: put_in(value, folder, report, (*path, key)) for key, value in data.items()}
    if isinstance(data, list):
        return [put_in(value, folder, report, (*path, i)) for i, value in enumerate(data)]
    if not isinstance(data, str):
        return data
    secret = is_secret(path)
    if secret and data.startswith("file:"):
        return _from_file(data, folder, report, path)
    if "${" in data:
        return _from_environment(data, report, path)
    if secret and _PLACEHOLDER.fullmatch(data):
        report.add(path, "still holds a placeholder; set a real secret, best as ${NAME} from the environment")
    return data


def _from_environment(text: str, report: Report, path: TreePath) -> str:
    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            report.add(path, "write ${NAME} with letters, digits and _ between the braces")
            return match[0]
        value = os.environ.get(name, "")
        if not value:
            report.add(path, f"the environment variable {name} is not set, or empty; set it before the start")
            return match[0]
        value = value.encode("utf-8", "replace").decode()
        _hide(report, value, match[0])
        return value

    return _NAME.sub(value_of, text)


def _from_file(text: str, folder: Path, report: Report, path: TreePath) -> str:
    try:
        with (folder / text.removeprefix("file:")).open("rb") as stream:
            value = stream.read(_MAX_SECRET_BYTES).decode().strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        report.add(path, f"the secret's file {text.removeprefix('file:')!r} cannot be read: {reason}")
        return text
    if not value:
        report.add(path, f"the secret's file {text.removeprefix('file:')!r} is empty")
        return text
    _hide(report, value, text)
    return value


def _hide(report: Report, value: str, written: str) -> None:
    if len(value) > 3:  # shorter ones would turn every message into riddles
        report.hidden[value] = written
