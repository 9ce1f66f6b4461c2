"""Protocol name -> driver module, loaded on demand so that optional dependencies stay optional."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from drivers.api import Driver, PolledDriver

if TYPE_CHECKING:  # mypy holds each driver module against the contract here
    import drivers.dlt645.driver
    import drivers.modbus.driver
    import drivers.mqtt_json.driver

    _modbus: PolledDriver = drivers.modbus.driver
    _dlt645: PolledDriver = drivers.dlt645.driver
    _mqtt_json: Driver = drivers.mqtt_json.driver

PROTOCOLS = {
    "modbus": "drivers.modbus.driver",
    "dlt645": "drivers.dlt645.driver",
    "mqtt_json": "drivers.mqtt_json.driver",
}


def load(protocol: str) -> Driver:
    """Return the driver module of a protocol. Raises KeyError for an unknown name."""
    return cast(Driver, import_module(PROTOCOLS[protocol]))
