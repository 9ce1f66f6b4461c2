"""What a machine says it does; the numbers are those of the metric ``machine_state``."""

from __future__ import annotations

from enum import IntEnum


class MachineState(IntEnum):
    """Alarm: it wants to work and cannot."""

    OFF = 0
    IDLE = 1
    WORKING = 2
    ALARM = 3
