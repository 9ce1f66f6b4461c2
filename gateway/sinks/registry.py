"""Kind of sink -> module, loaded on demand so that a client library costs nothing until it is used."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from gateway.config import site
from gateway.sinks import Sink
from gateway.sinks.line_protocol import Encoder

SINKS = {
    "influxdb": "gateway.sinks.influxdb",
}


def make_sink(name: str, config: site.InfluxSink, encoder: Encoder) -> Sink:
    """Return the sink of one entry under ``sinks:`` in the site file. Does no I/O."""
    return cast(Sink, import_module(SINKS[config.kind]).make(name, config, encoder))
