"""Alarms for the made-up site of page_demo: an AlarmDesk that keeps everything in memory.

``python -m tests.support.alarm_demo [PORT]`` serves the page with them until Ctrl-C; the password is ``demo``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

from gateway.alerts.alarm import STEPS, follow, why_not
from gateway.alerts.state import Event
from gateway.clock import Clock, SystemClock
from gateway.config.site import PageConfig
from gateway.errors import NotNow
from gateway.model import Alarm, LimitLine, WindowVerdict
from gateway.web.server import PageServer
from tests.support.page_demo import Demo, make_demo

PASSWORD = "demo"
M, H = 60_000, 3_600_000
DUST = {
    "title": {"en": "PM10, 15 minute warning", "zh": "PM10 15 分钟预警"},
    "text": {"en": "Dust station, north gate: PM10 236 µg/m³", "zh": "北门扬尘站：PM10 236 µg/m³"},
    "metric": "pm10_ug_m3", "unit": "µg/m³", "device": "dust-1", "statistic": "mean", "window": "15min",
    "value": 236.4, "limit": 200.0, "warn": 120.0, "direction": "above", "valid_share": 0.93, "schedule": "always",
    "edition": "2026", "source": "limits.md section 6", "confidence": "project choice", "stage": "structure",
    "background": None, "simulated": True,
}  # fmt: skip
NOISE = {
    "title": {"en": "Noise at night", "zh": "夜间噪声"}, "metric": "noise_la_db", "unit": "dB(A)",
    "device": "noise-1", "statistic": "mean", "window": "20min", "value": 58.2, "limit": 55.0, "warn": 50.0,
    "direction": "above", "valid_share": 1.0, "schedule": "night", "edition": "GB 12523-2025", "source": "Table 1",
    "confidence": "reported",
}  # fmt: skip


class DemoDesk:
    """Fulfils gateway.web.state.AlarmDesk."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.revision = 0
        self.events: list[Event] = []
        self.known: dict[str, Alarm] = {}
        now_ms = clock.wall_ms()
        window = {"window_start_ms": now_ms - 40 * M, "window_end_ms": now_ms - 25 * M, "sprayed_minutes": 5}
        self.dust = self.tell("dust_pm10", "dust-1", "raised", now_ms - 25 * M, "alarm", {**DUST, **window})
        self.night = self.tell("noise_night", "noise-1", "raised", now_ms - 9 * H, "warning", NOISE)
        self.tell("noise_night", "noise-1", "cleared", now_ms - 8 * H, "warning", {"lasted_ms": H}, self.night)
        self._start_ms = now_ms - now_ms % (24 * H) - 26 * H  # 22:00 UTC: fine for a made-up day

    def tell(
        self, rule: str, subject: str, kind: str, at_ms: int, severity: str, details: dict[str, object], alarm: str = ""
    ) -> str:
        """Let something happen; return the name of the alarm."""
        name = alarm or f"{rule}@{subject}@{at_ms}"
        event = Event(name, kind, at_ms, rule, subject, severity, details)  # type: ignore[arg-type]
        self.events.append(event)
        after = follow(self.known.get(name), event)
        assert after is not None
        self.known[name] = after
        self.revision += 1
        return name

    def alarms(self) -> Sequence[Alarm]:
        return [a for a in self.known.values() if a.active or a.state != "closed"]

    def limits(self) -> Sequence[LimitLine]:
        return [
            LimitLine("dust-1", "pm10_ug_m3", "dust_pm10", "PM10 alarm", "PM10 报警", 200.0, False, "always", True),
            LimitLine("dust-1", "pm10_ug_m3", "dust_pm10", "PM10 warning", "PM10 预警", 120.0, True, "always", True),
            LimitLine("noise-1", "noise_la_db", "noise_day", "GB 12523 day", "GB 12523 昼间", 70.0, False, "day", True),
            LimitLine("noise-1", "noise_la_db", "noise_night", "Night", "夜间", 55.0, False, "night", False),
        ]

    def verdicts(self) -> Sequence[WindowVerdict]:
        def one(period: str, start_ms: int, value: float | None, limit: float, result: str, over: int, share: float):  # type: ignore[no-untyped-def]
            length_ms = 8 * H if period == "night" else 16 * H
            return WindowVerdict(
                "noise-1", "noise_la_db", f"noise_{period}", "Noise", "噪声", period, start_ms, start_ms + length_ms,
                value, limit, result, over, share, False,
            )  # fmt: skip

        at = self._start_ms
        return [
            one("day", at - 16 * H, 66.4, 70.0, "passed", 0, 0.99),
            one("night", at, 58.2, 55.0, "exceeded", 2, 1.0),
            one("day", at + 8 * H, None, 70.0, "not_enough_data", 0, 0.41),
            one("night", at + 24 * H, 49.8, 55.0, "open", 0, 1.0),
        ]

    async def find(self, from_ms: int, to_ms: int) -> Sequence[Alarm]:
        return [a for a in self.known.values() if from_ms <= a.raised_ms < to_ms]

    async def history(self, alarm: str) -> tuple[Alarm, Sequence[Event]] | None:
        found = self.known.get(alarm)
        return None if found is None else (found, [e for e in self.events if e.alarm == alarm])

    async def answer(self, alarm: str, step: str, by: str, note: str) -> Alarm | None:
        found = self.known.get(alarm)
        if found is None:
            return None
        if refusal := why_not(found, step, note):
            raise NotNow(refusal)
        details: dict[str, object] = {"by": by, "note": note}
        self.tell(found.rule, found.subject, STEPS[step][0], self._clock.wall_ms(), found.severity, details, alarm)
        return self.known[alarm]


def with_alarms(clock: Clock, password: str | None = PASSWORD) -> tuple[Demo, DemoDesk]:
    """The made-up site with two alarms; without a password nobody can answer them."""
    demo, desk = make_demo(clock), DemoDesk(clock)
    site = demo.state.site.model_copy(update={"page": PageConfig(password=password)})
    demo.state = replace(demo.state, site=site, alarms=desk)
    return demo, desk


async def serve(port: int) -> None:
    """Serve it until cancelled."""
    clock = SystemClock()
    demo, _ = with_alarms(clock)
    server = PageServer(demo.state, "127.0.0.1", port)
    await server.start()
    print(server.url, flush=True)
    try:
        while True:
            await asyncio.sleep(1)
            demo.poll(clock.wall_ms())
    finally:
        await server.stop()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int, nargs="?", default=0)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(arguments.parse_args().port))
