"""Protocol name -> driver module, loaded on demand so that optional dependencies stay optional."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from drivers.api import Driver

PROTOCOLS = {
    "modbus": "drivers.modbus.driver",
    "dlt645": "drivers.dlt645.driver",
    "mqtt_json": "drivers.mqtt_json.driver",
}


def load(protocol: str) -> Driver:
    """Return the driver module of a protocol. Raises KeyError for an unknown name."""
    return cast(Driver, import_module(PROTOCOLS[protocol]))
