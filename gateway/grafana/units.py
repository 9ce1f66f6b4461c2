"""Units of the vocabulary in Grafana's words; what it has none for is written behind the number. Pure."""

from __future__ import annotations

_GRAFANA = {
    "": "none",
    "%": "percent",
    "V": "volt",
    "A": "amp",
    "mA": "mamp",
    "W": "watt",
    "VA": "voltamp",
    "var": "voltampreact",
    "kWh": "kwatth",
    "Hz": "hertz",
    "°": "degree",
    "°C": "celsius",
    "µg/m³": "conμgm3",
    "m/s": "velocityms",
    "kPa": "pressurekpa",
    "lx": "lux",
    "mm": "lengthmm",
    "m": "lengthm",
    "m³": "m3",
    "t": "masst",
    "s": "s",
    "ms": "ms",
    "MB": "decmbytes",
    "r/min": "rotrpm",
    "L": "litre",
}


def grafana_unit(unit: str) -> str:
    """Return Grafana's id of a unit."""
    return _GRAFANA.get(unit) or f"suffix: {unit}"
