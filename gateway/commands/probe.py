"""``sitegate probe``: one device, read once, each value beside the bytes that carried it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.errors import DriverError
from gateway.commands.loop import run_loop
from gateway.commands.output import FINE, MISUSE, PROBLEM, complain, complain_all, print_json, print_table, say
from gateway.config.loader import LoadedDevice, LoadedSite, load_site
from gateway.config.site import MqttLink
from gateway.errors import ConfigError
from gateway.links.wires import make_line, polled
from gateway.model import Mark
from gateway.pipeline.normalize import Normalizer
from gateway.vocabulary import METRICS


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, what came back, or why nothing did."""

    rows: list[dict[str, Any]]
    sent: bytes
    received: bytes
    failure: str | None


def probe(file: Path, device: str, *, show_raw: bool, as_json: bool) -> int:
    """Read once and print. 1 when anything was not good."""
    try:
        site = load_site(file)
    except ConfigError as error:
        return complain_all(error)
    if device not in site.devices:
        complain(f"{file} has no device {device!r}; it has {', '.join(site.devices)}")
        return MISUSE
    if isinstance(site.config.links[site.devices[device].config.link], MqttLink):
        complain(f"{device} speaks by itself over MQTT: it cannot be asked. Run the gateway and look at its page")
        return MISUSE
    exchanges = run_loop(_probe(site, site.devices[device]))
    good = all(e.failure is None and all(r["mark"] == Mark.GOOD for r in e.rows) for e in exchanges)
    if as_json:
        print_json({"device": device, "good": good, "exchanges": [_plain(e) for e in exchanges]})
    else:
        _show(exchanges, show_raw=show_raw)
    return FINE if good else PROBLEM


async def _probe(site: LoadedSite, device: LoadedDevice) -> list[Exchange]:
    link = site.config.links[device.config.link]
    assert not isinstance(link, MqttLink)
    line = make_line(link)
    try:
        await line.open()
    except DriverError as why:
        return [Exchange([], b"", b"", str(why))]
    exchanges = []
    try:
        opened = polled(device, line, link.timeout).device
        for request in opened.plan(tuple(device.points)):
            try:
                raw, sent, received = await opened.probe(request)
            except DriverError as why:
                sent, received = line.last_frames
                exchanges.append(Exchange([], sent, received, f"{', '.join(request.points)}: {why}"))
                continue
            readings = Normalizer(device.name, [device.rules[p] for p in request.points]).apply(raw, 0)
            rows = [
                {
                    "metric": m,
                    "raw": r,
                    "value": v,
                    "unit": METRICS[m].unit,
                    "mark": mark,
                    "note": _note(device, m, mark),
                }
                for m, r, v, mark in zip(readings.metrics, raw, readings.values, readings.marks, strict=True)
            ]
            exchanges.append(Exchange(rows, sent, received, None))
            await asyncio.sleep(0)
    finally:
        await line.close()
    return exchanges


def _note(device: LoadedDevice, metric: str, mark: str) -> str:
    """Why a value does not count, for people."""
    if mark == Mark.OUT_OF_RANGE:
        rule = device.rules[metric]
        return f"outside {rule.low:g} to {rule.high:g}: word order, scale or range wrong?"
    return "the device says that it has no value" if mark == Mark.FAULT else ""


def _plain(exchange: Exchange) -> dict[str, Any]:
    return {
        "values": exchange.rows,
        "sent": exchange.sent.hex(" "),
        "received": exchange.received.hex(" "),
        "failure": exchange.failure,
    }


def _show(exchanges: list[Exchange], *, show_raw: bool) -> None:
    columns = ("metric", "value", "unit", "mark", "raw", "note")
    rows = [[r[column] for column in columns] for e in exchanges for r in e.rows]
    if rows:
        print_table(columns, rows)
    for exchange in exchanges:
        if exchange.failure:
            complain(exchange.failure)
        if show_raw:
            say(f"> {exchange.sent.hex(' ')}\n< {exchange.received.hex(' ')}")
