"""``make bench``: the whole chain beside a bare pymodbus loop and a bare socket loop, then the alarms; two minutes."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from typing import Any

from benchmarks.map60 import DEVICES, MANY_DEVICES

FULL_S, PACED_S, SLOW_S = 12.0, 10.0, 8.0
PACED_EVERY = "60ms"  # 10 devices x 60 points every 60 ms: 10,000 values/s


@contextmanager
def responders() -> Any:
    """Start the other side; it ends when its standard input is closed."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.responders"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield json.loads(child.stdout.readline())
    finally:
        child.stdin.close()
        child.wait(10)


def contest(name: str, **arguments: Any) -> dict[str, Any]:
    """Run one contestant in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.contestants", name, json.dumps(arguments)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=100,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    result["cpu_s_per_million"] = result["cpu_s"] / result["values"] * 1e6
    return result


def main() -> None:
    with responders() as other_side:
        every_port, influx = other_side["modbus"], other_side["influx"]
        ports = every_port[:DEVICES]
        sockets = contest("bare_sockets", ports=ports, seconds=FULL_S)
        pymodbus = contest("bare_pymodbus", ports=ports, seconds=FULL_S)
        full = contest("sitegate", ports=ports, seconds=FULL_S, influx=influx, every="1ms")
        paced = contest("sitegate", ports=ports, seconds=PACED_S, influx=influx, every=PACED_EVERY)
        few = contest("sitegate", ports=ports, seconds=SLOW_S, influx=influx, every="1s")
        many = contest("sitegate", ports=every_port, seconds=SLOW_S, influx=influx, every="1s")
    per_device_kib = (many["rss_mib"] - few["rss_mib"]) * 1024 / (MANY_DEVICES - DEVICES)

    print(f"\n{DEVICES} Modbus TCP devices x 60 float32 points, full speed, {FULL_S:g} s each, one run\n")
    print(f"{'':28}{'CPU s / million values':>24}{'ratio to pymodbus':>20}{'ratio to sockets':>18}")
    rows = (("bare sockets", sockets), ("bare pymodbus loop", pymodbus), ("Sitegate, poll to sink", full))
    for name, result in rows:
        cost = result["cpu_s_per_million"]
        to_pymodbus = cost / pymodbus["cpu_s_per_million"]
        to_sockets = cost / sockets["cpu_s_per_million"]
        print(f"{name:28}{cost:24.2f}{to_pymodbus:20.2f}{to_sockets:18.2f}")
    print("\nSitegate                              this run      budget")
    print(f"requests per cycle (60 points)     {full['requests_per_cycle']:11.1f}      <= 4")
    print(f"CPU s per million values           {full['cpu_s_per_million']:11.2f}      <= 5, aim 3")
    pace = f"(at {paced['values_per_s']:,.0f} values/s)"
    print(f"CPU s per million, paced           {paced['cpu_s_per_million']:11.2f}      {pace}")
    print(f"RSS, paced, MiB                    {paced['rss_mib']:11.1f}      <= 60")
    print(f"RSS per further device, KiB        {per_device_kib:11.0f}      <= 20 (60 points, every second)")
    print(f"loop lag p99, paced, ms            {paced['lag_p99_ms']:11.1f}      <= 20 at 10,000 values/s")
    print(
        f"loop lag p99, full speed, ms       {full['lag_p99_ms']:11.1f}      (at {full['values_per_s']:,.0f} values/s)"
    )
    print(f"behind at the end, records         {full['pending_records_at_end']:11,}      (full speed)")
    print(f"dropped records, bad values        {full['dropped_records']:7} / {full['bad_values']}      0 / 0")
    print(
        "\n" + json.dumps({"bare_sockets": sockets, "bare_pymodbus": pymodbus, "full": full, "paced": paced}),
        flush=True,
    )
    subprocess.run([sys.executable, "-m", "benchmarks.alarms"], check=True)
    subprocess.run([sys.executable, "-m", "benchmarks.line"], check=True)


if __name__ == "__main__":
    main()
