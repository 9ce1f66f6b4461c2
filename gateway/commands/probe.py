"""``sitegate probe``: one device, read once, each value beside the bytes that carried it."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.api import Value
from drivers.errors import DriverError
from drivers.modbus.orders import LETTERS, in_every_order
from gateway.commands.loop import run_loop
from gateway.commands.output import FINE, MISUSE, PROBLEM, complain, complain_all, print_json, print_table, say
from gateway.config.loader import LoadedDevice, LoadedSite, load_site
from gateway.errors import ConfigError
from gateway.links.wires import is_polled, make_line, polled
from gateway.model import Mark
from gateway.pipeline.normalize import Normalizer
from gateway.vocabulary import METRICS

_TINY = 1e-6
"""Floats in a wrong order are often next to nothing, which lies in every range that begins at zero."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, what came back, or why nothing did."""

    rows: list[dict[str, Any]]
    sent: bytes
    received: bytes
    failure: str | None


def probe(file: Path, device: str, *, show_raw: bool, orders: bool, as_json: bool) -> int:
    """Read once and print. 1 when anything was not good. ``orders``: numbers of several registers in every order."""
    try:
        site = load_site(file)
    except ConfigError as error:
        return complain_all(error)
    if device not in site.devices:
        complain(f"{file} has no device {device!r}; it has {', '.join(site.devices)}")
        return MISUSE
    loaded = site.devices[device]
    if not is_polled(site.config.links[loaded.config.link], [loaded]):
        complain(f"{device} speaks by itself: it cannot be asked. Run the gateway and look at its page")
        return MISUSE
    exchanges = run_loop(_probe(site, site.devices[device]))
    good = all(e.failure is None and all(r["mark"] == Mark.GOOD for r in e.rows) for e in exchanges)
    if as_json:
        print_json({"device": device, "good": good, "exchanges": [_plain(e) for e in exchanges]})
    else:
        _show(exchanges, show_raw=show_raw)
        if orders:
            _show_orders(exchanges)
    return FINE if good else PROBLEM


async def _probe(site: LoadedSite, device: LoadedDevice) -> list[Exchange]:
    link = site.config.links[device.config.link]
    assert is_polled(link, [device])
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
                _row(device, m, r, v, mark)
                for m, r, v, mark in zip(readings.metrics, raw, readings.values, readings.marks, strict=True)
            ]
            exchanges.append(Exchange(rows, sent, received, None))
            await asyncio.sleep(0)
    finally:
        await line.close()
    return exchanges


def _row(device: LoadedDevice, metric: str, raw: Value, value: float | None, mark: str) -> dict[str, Any]:
    orders = _orders(device, metric, raw)
    return {
        "metric": metric,
        "raw": raw,
        "value": value,
        "unit": METRICS[metric].unit,
        "mark": mark,
        "note": _note(device, metric, mark, orders),
        "orders": orders,
    }


def _orders(device: LoadedDevice, metric: str, raw: Value) -> list[dict[str, Any]]:
    """What the registers of a Modbus number mean in every order, the profile's own first; [] where there is none."""
    point, rule = device.points[metric], device.rules[metric]
    if device.profile.driver != "modbus" or raw is None or not math.isfinite(raw):
        return []
    found = []
    for (word, byte), number in in_every_order(point, raw).items():
        value = rule.scaled(number)
        finite = math.isfinite(value)
        found.append(
            {
                "order": LETTERS[word, byte],
                "word_order": word,
                "byte_order": byte,
                "value": float(f"{value:.7g}") if finite else None,
                "plausible": finite and rule.low <= value <= rule.high and (abs(value) > _TINY or number == 0),
                "in_profile": (word, byte) == (point.word_order, point.byte_order),
            }
        )
    return sorted(found, key=lambda order: not order["in_profile"])


def _note(device: LoadedDevice, metric: str, mark: str, orders: list[dict[str, Any]]) -> str:
    """Why a value does not count, for people, and which order of words and bytes would make it count."""
    rule = device.rules[metric]
    no_value = "the device says that it has no value"
    text = {Mark.OUT_OF_RANGE: f"outside {rule.low:g} to {rule.high:g}: word order, scale or range wrong?"}.get(
        Mark(mark), no_value if mark == Mark.FAULT else ""
    )
    better = [f"{o['order']} ({o['value']:g})" for o in orders if o["plausible"] and not o["in_profile"]]
    if not text or not better:
        return text
    if text == no_value:  # a number next to nothing is what a float in the wrong order looks like
        text = "no value, or the wrong word order?"
    return f"{text} Plausible would be {' or '.join(better)}"


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


def _show_orders(exchanges: list[Exchange]) -> None:
    """One line per number of several registers; * marks the plausible readings, [ ] the profile's own order."""
    rows = []
    for row in (r for e in exchanges for r in e.rows if len(r["orders"]) > 1):
        cells = {o["order"]: _order_cell(o) for o in row["orders"]}
        rows.append([row["metric"], row["unit"], *[cells.get(letters, "") for letters in LETTERS.values()]])
    if rows:
        say("")
        print_table(["metric", "unit", *LETTERS.values()], rows, title="Every order; * plausible, [ ] the profile's")


def _order_cell(order: dict[str, Any]) -> str:
    text = ("—" if order["value"] is None else f"{order['value']:g}") + ("*" if order["plausible"] else "")
    return f"[{text}]" if order["in_profile"] else text
