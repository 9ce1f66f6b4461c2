"""Protocol name -> driver module, loaded on demand so that optional dependencies stay optional."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from drivers.api import Driver, PolledDriver

if TYPE_CHECKING:  # mypy holds each driver module against the contract here
    import drivers.cjt188.driver
    import drivers.dlt645.driver
    import drivers.hj212.driver
    import drivers.http_push.driver
    import drivers.modbus.driver
    import drivers.mqtt_json.driver
    import drivers.serial_text.driver

    _modbus: PolledDriver = drivers.modbus.driver
    _dlt645: PolledDriver = drivers.dlt645.driver
    _cjt188: PolledDriver = drivers.cjt188.driver
    _mqtt_json: Driver = drivers.mqtt_json.driver
    _hj212: Driver = drivers.hj212.driver
    _http_push: Driver = drivers.http_push.driver
    _serial_text: Driver = drivers.serial_text.driver

PROTOCOLS = {
    "modbus": "drivers.modbus.driver",
    "dlt645": "drivers.dlt645.driver",
    "cjt188": "drivers.cjt188.driver",
    "mqtt_json": "drivers.mqtt_json.driver",
    "hj212": "drivers.hj212.driver",
    "http_push": "drivers.http_push.driver",
    "serial_text": "drivers.serial_text.driver",
}


def load(protocol: str) -> Driver:
    """Return the driver module of a protocol. Raises KeyError for an unknown name."""
    return cast(Driver, import_module(PROTOCOLS[protocol]))


def asks(driver: Driver) -> bool:
    """True for a ``PolledDriver``; the devices of the others speak first."""
    return hasattr(driver, "open_device")
