"""What all configuration models are made of: one strict base, and the small types that several files share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
URL = r"^https?://[^\s/]+[^\s]*$"
HOST = r"^[^\s/]+$"
NOTICE_URL = r"^[a-z0-9]+://[^\s]+$"
RULE = r"^[a-z][a-z0-9_]{0,62}$"
PATTERNS = {
    NAME: "write lower-case letters, digits, - and _ only, at most 63",
    URL: "write an address that starts with http:// or https://",
    RULE: "write lower-case letters, digits and _ only, a letter first, at most 63",
    HOST: "write a host name or address alone, without http:// and without blanks",
    NOTICE_URL: "write an apprise address, which starts with the service: wecombot://…, mailtos://…",
}
"""What to tell the person whose text does not match."""

Name = Annotated[str, Field(pattern=NAME, description="Lower-case letters, digits, - and _; at most 63.")]
"""Names become InfluxDB tags, file names and URL parts: plain, bounded."""

Secret = Annotated[str, Field(min_length=1, description="${NAME} or file:PATH; never printed.")]
"""Never shown. Written as ``${NAME}`` (environment) or ``file:/run/secrets/name``."""

FilePath = Annotated[Path, Field(strict=False)]
"""Relative to the site file; ``load_site`` makes it absolute."""


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{value!r} is not a time zone; write one such as Asia/Shanghai") from None
    return value


TimeZone = Annotated[str, AfterValidator(_zone)]
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S = 3650 * 86400.0


def parse_duration(value: Any) -> Any:
    """Turn ``500ms 5s 10min 2h 30d`` into seconds. Raises ValueError with the forms that are understood."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f"write a duration with its unit, such as {value:g}s or {value:g}min")
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("write a duration as a number and a unit (ms, s, min, h, d), such as 5s")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0.001 <= seconds <= _LONGEST_S:
        raise ValueError("write a duration from 1ms to 3650d")
    return seconds


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$", "examples": ["500ms", "5s", "10min"]}),
]
"""Seconds inside; in YAML a number and a unit."""


class Model(BaseModel):
    """Base of all configuration models: frozen, strict, nothing unknown."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True)


class Label(Model):
    """A name for people in both languages."""

    en: str = Field(min_length=1, max_length=120)
    zh: str = Field(min_length=1, max_length=120)


def _label(value: Any) -> Any:
    if isinstance(value, str):
        return {"en": value, "zh": value}
    if not isinstance(value, (dict, Label)):
        raise ValueError("write a text, or {en: …, zh: …}")
    return value


AnyLabel = Annotated[Label, BeforeValidator(_label, json_schema_input_type=str | Label)]
