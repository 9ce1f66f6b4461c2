"""Units on a serial line, in a process of their own: every byte takes its time, every unit its turnaround."""

from __future__ import annotations

import json
import os
import select
import sys
import time
import tty

from pymodbus.framer import FramerRTU

CHUNK_S = 0.004
"""Bytes are handed over in groups, as adapters do."""


def main() -> None:
    """``line_units.py '{"char_s": …, "turnaround_s": {"1": 0.01, …}}'``: prints its port; ends with its input."""
    asked = json.loads(sys.argv[1])
    char_s, turnaround_s = asked["char_s"], {int(unit): s for unit, s in asked["turnaround_s"].items()}
    master, slave = os.openpty()
    tty.setraw(master)
    tty.setraw(slave)
    print(os.ttyname(slave), flush=True)
    heard = b""
    while True:
        ready, _, _ = select.select([master, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        if not heard:
            began_s = time.monotonic()
        heard += os.read(master, 256)
        if len(heard) < 8:
            continue
        frame, heard = heard[:8], b""
        count = int.from_bytes(frame[4:6], "big")
        body = frame[:2] + bytes([2 * count]) + bytes(2 * count)
        reply = body + FramerRTU.compute_CRC(body).to_bytes(2, "big")
        speak(master, reply, began_s + 8 * char_s + turnaround_s[frame[0]], char_s)


def speak(master: int, reply: bytes, at_s: float, char_s: float) -> None:
    """Write the reply so that each byte is there when its last bit would be."""
    size = max(1, int(CHUNK_S / char_s))
    for start in range(0, len(reply), size):
        chunk = reply[start : start + size]
        at_s += len(chunk) * char_s
        time.sleep(max(0.0, at_s - time.monotonic()))
        os.write(master, chunk)


if __name__ == "__main__":
    main()
