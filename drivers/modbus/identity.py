"""Which Modbus units answer on a line or behind a host. Only reads."""

from __future__ import annotations

from drivers.errors import BadFrame, NoAnswer, Refused
from drivers.modbus.frames import rtu_read, rtu_reply, tcp_read, tcp_reply
from drivers.modbus.points import Table
from drivers.sighting import Sighting
from drivers.transport.line import Line

USUAL_UNITS = range(1, 9)
"""Where devices leave the factory, and where installers count from."""
ALL_UNITS = (*range(1, 248), 255)
"""Those of the specification (Modbus over serial line 1.02, 2.2), and 255, the factory's of some relay boards."""
TABLES: tuple[Table, ...] = ("holding", "input")
"""One register of the first is asked for; a device without it refuses, which is an answer. Some stay silent instead."""
_NOBODY_BEHIND_THE_GATEWAY = (10, 11)


async def find(line: Line, unit: int, timeout_s: float, tables: tuple[Table, ...] = TABLES) -> Sighting | None:
    """Return the unit if it answers anything at all, a refusal included. Raises LinkDown."""
    for table in tables:
        if await _answers(line, unit, table, timeout_s):
            note = "255 is a factory setting: give it an address of its own, 1 to 247" if unit == 255 else ""
            return Sighting("modbus", {"unit": unit}, note=note)
    return None


async def _answers(line: Line, unit: int, table: Table, timeout_s: float) -> bool:
    try:
        if line.framing == "modbus_tcp":
            number = unit | 0x5300  # told apart from each other by the unit
            asked = tcp_read(unit, table, 0, 1)
            frame = number.to_bytes(2, "big") + asked.frame[2:]
            await line.exchange(frame, lambda data: tcp_reply(asked, number, data), timeout_s, matched=True)
        else:
            asked = rtu_read(unit, table, 0, 1)
            await line.exchange(asked.frame, rtu_reply(asked), timeout_s)
    except Refused as why:
        return why.code not in _NOBODY_BEHIND_THE_GATEWAY
    except (NoAnswer, BadFrame):
        return False
    return True
