"""What ``sitegate decode`` prints for meters: one object per frame, or per place where a frame is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drivers.meters.frames import PREAMBLE, START, Fault, Framing


def describe_stream(
    data: bytes, framing: Framing, explain: Callable[[bytes, int], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return what ``data`` holds, in order: what ``explain`` says of each frame, or ``valid: false`` and ``error``.

    ``explain`` gets the frame and the number of its preambles. ``skipped_bytes``: stepped over before this object,
    given when they were more than preambles.
    """
    found: list[dict[str, Any]] = []
    fault: Fault | None = None
    at = done = 0
    while at < len(data):
        here = framing.fault_at(data, at) if data[at] == START else "no_start"
        if here is not None:
            if here not in ("no_start", "too_short"):
                fault = fault or here
            at += 1
            continue
        if fault is not None:
            found.append(_broken(fault, need_more=False))
        end = framing.end_of(data, at)
        preamble = at - done - len(data[done:at].rstrip(bytes((PREAMBLE,))))
        entry = explain(data[at:end], preamble)
        if at - done > preamble:
            entry["skipped_bytes"] = at - done
        found.append(entry)
        fault, at, done = None, end, end
    if done < len(data):
        found.append(_rest(data[done:], fault, framing, after_frames=bool(found)))
    return found


def _rest(rest: bytes, fault: Fault | None, framing: Framing, *, after_frames: bool) -> dict[str, Any]:
    """What is left when no further frame was found."""
    if fault is None:
        short = len(rest.lstrip(bytes((PREAMBLE,)))) < framing.frame_size
        fault = "too_short" if short else "no_start"
    entry = _broken(fault, need_more=fault in ("incomplete", "too_short"))
    if after_frames:
        entry["skipped_bytes"] = len(rest)
    return entry


def _broken(fault: Fault, *, need_more: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"valid": False, "error": "length" if fault == "incomplete" else fault}
    if need_more:
        entry["need_more"] = True
    return entry
