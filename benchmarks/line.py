"""``python -m benchmarks.line``: time on a serial line at the real byte rate, beside the least that is possible."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import serial

from benchmarks.map60 import ADDRESSES
from drivers.modbus.driver import ModbusDevice
from drivers.modbus.plan import Limits, Prices, plan, wire_s
from drivers.modbus.points import Point
from drivers.transport.line import Line
from drivers.transport.serial import SerialStream, character_s, modbus_silence_s
from gateway.commands.loop import run_loop

SECONDS = 4.0
FRAME_BYTES = 13
RATIO = 0.97
"""The least time as a share of ours."""

MAP60 = {f"p{i}": Point("input", address, "f32") for i, address in enumerate(ADDRESSES)}
MAP60_LIMITS = Limits(max_count=80, max_gap=24)


def small(first: int, count: int, step: int = 1) -> dict[str, Point]:
    """A map of ``count`` single registers."""
    return {f"p{i}": Point("holding", first + i * step) for i in range(count)}


@dataclass(frozen=True)
class Unit:
    points: Mapping[str, Point]
    limits: Limits
    turnaround_s: float


ONE_METER = [Unit(MAP60, MAP60_LIMITS, 0.012)]
MIXED = [
    Unit(MAP60, MAP60_LIMITS, 0.012),
    Unit(small(0, 14), Limits(max_count=14), 0.030),  # a weather station
    Unit(small(0, 1), Limits(max_count=1), 0.008),  # a wind sensor
    Unit(small(0x61, 30, 3), Limits(), 0.020),
    Unit(small(0x500, 12, 9), Limits(), 0.045),
    Unit(small(0, 20, 6), Limits(max_gap=20), 0.005),  # quick: asking twice may be cheaper
    Unit(small(0, 20, 6), Limits(max_gap=20), 0.060),  # slow: reading along is
    Unit(small(0x2000, 28), Limits(max_count=28), 0.015),
    Unit(small(0, 8), Limits(max_count=8, max_gap=0), 0.010),
    Unit(small(100, 6, 20), Limits(max_gap=40), 0.025),
]


def least_s(units: Sequence[Unit], char_s: float, silence_s: float) -> float:
    """Return the least time of one cycle: the cheapest blocks, back to back, with the true turnarounds."""
    return sum(
        wire_s(plan(u.points, u.limits, prices), prices)
        for u in units
        for prices in [Prices(FRAME_BYTES * char_s + silence_s + u.turnaround_s, char_s)]
    )


async def measure(port: str, baudrate: int, units: Sequence[Unit]) -> dict[str, float]:
    """Poll the units as fast as the line allows and return what a cycle took."""
    char_s = character_s(baudrate, "none", 1)
    silence_s = modbus_silence_s(baudrate, char_s)
    line = Line(SerialStream(port, baudrate), kind="serial", framing="rtu", char_s=char_s, silence_s=silence_s)
    devices = [ModbusDevice(line, i, u.points, u.limits, 1.0) for i, u in enumerate(units, 1)]
    await line.open()
    for device, unit in zip(devices, units, strict=True):
        request = device.plan(tuple(unit.points))[0]
        for _ in range(15):  # then the turnaround is known
            await device.ask(request)
    plans = [(device, device.plan(tuple(unit.points))) for device, unit in zip(devices, units, strict=True)]
    cycles, busy_s, began_s = 0, line.busy_s, time.monotonic()
    while time.monotonic() - began_s < SECONDS:
        for device, requests in plans:
            for request in requests:
                await device.ask(request)
        cycles += 1
    await line.close()
    costs = [(r.read.frame, device.cost(r).reply_bytes) for device, requests in plans for r in requests]  # type: ignore[attr-defined]
    return {
        "bare_s": bare_loop_s(port, silence_s, costs),
        "requests": sum(len(requests) for _, requests in plans),
        "cycle_s": (line.busy_s - busy_s) / cycles,
        "least_s": least_s(units, char_s, silence_s),
    }


def bare_loop_s(port: str, silence_s: float, frames: Sequence[tuple[bytes, int]]) -> float:
    """Return the time of one cycle of a loop that does nothing else: blocking, no checks, no decoding."""
    with serial.Serial(port, timeout=1.0, exclusive=True) as wire:
        began_s, cycles = time.monotonic(), 0
        while time.monotonic() - began_s < SECONDS:
            for frame, reply_bytes in frames:
                time.sleep(silence_s)
                wire.write(frame)
                wire.read(reply_bytes)
            cycles += 1
        return (time.monotonic() - began_s) / cycles


def run(baudrate: int, units: Sequence[Unit]) -> dict[str, float]:
    """Start the units and measure."""
    asked = {
        "char_s": character_s(baudrate, "none", 1),
        "turnaround_s": {i: unit.turnaround_s for i, unit in enumerate(units, 1)},
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.line_units", json.dumps(asked)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        return run_loop(measure(child.stdout.readline().strip(), baudrate, units))
    finally:
        child.stdin.close()
        child.wait(10)


def main() -> None:
    print(f"\nOne serial line, bytes at their real rate, {SECONDS:g} s each: milliseconds a cycle\n")
    print(f"{'':30}{'requests':>10}{'Sitegate':>10}{'bare loop':>11}{'least':>9}{'least/ours':>12}{'bare/ours':>11}")
    for name, units in (("60-point meter", ONE_METER), ("ten units", MIXED)):
        for baudrate in (9600, 115_200):
            it = run(baudrate, units)
            ours_s, bare_s, least = it["cycle_s"], it["bare_s"], it["least_s"]
            print(
                f"{f'{name}, {baudrate} baud':30}{it['requests']:10.0f}{ours_s * 1e3:10.1f}{bare_s * 1e3:11.1f}"
                f"{least * 1e3:9.1f}{least / ours_s:12.3f}{bare_s / ours_s:11.3f}"
            )
    print(f"\nAim: {RATIO}. The bare loop asks the same blocks; what it lacks to the least is the rig's own delay.")


if __name__ == "__main__":
    main()
