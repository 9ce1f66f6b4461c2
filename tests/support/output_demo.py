"""Outputs for the made-up site of alarm_demo: an OutputDesk that keeps everything in memory.

``python -m tests.support.output_demo [PORT] [--open]`` serves the page with them until Ctrl-C; the password is
``demo``, with ``--open`` only for changes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from gateway.clock import Clock, SystemClock
from gateway.config.site import PageConfig
from gateway.errors import NotNow
from gateway.model import JournalEntry, OutputStatus
from gateway.web.server import PageServer
from tests.support.alarm_demo import PASSWORD, DemoDesk, with_alarms
from tests.support.page_demo import Demo

M, H = 60_000, 3_600_000
NO_WATER = "There is not enough water."


class DemoOutputs:
    """Fulfils gateway.web.state.OutputDesk: a cannon that runs, a valve on trial without water, a lamp not in use."""

    def __init__(self, clock: Clock, alarm: str) -> None:
        self._clock = clock
        self.revision = 1
        self.entries: list[JournalEntry] = []
        now_ms = clock.wall_ms()
        cannon = OutputStatus(
            "cannon-gate", "Fog cannon, gate", "大门雾炮", "gate", "relay-gate", "output_1_on", "armed", "on",
            True, True, now_ms - 4 * M, "alarm", (), "automatic", None, None, (alarm,), 2, 1_520.0, 20.0,
        )  # fmt: skip
        self.known = {
            "cannon-gate": cannon,
            "sprinkler-road": replace(
                cannon, name="sprinkler-road", en="Sprinkler, haul road", zh="施工道路喷淋", metric="output_2_on",
                mode="dry_run", state="off", wanted=False, is_on=False, since_ms=now_ms - 3 * H, reason="idle",
                blocked_by=("no_water", "wind"), alarms=(), starts_last_hour=0, on_s_today=0.0, dead_man_s=None,
            ),
            "lamp": replace(
                cannon, name="lamp", en="Warning lamp", zh="警示灯", metric="output_3_on", mode="off", state="unknown",
                wanted=False, is_on=None, reason="not_armed", blocked_by=("not_armed",), alarms=(), on_s_today=0.0,
            ),
        }  # fmt: skip
        for before_ms, step, command, reason in [
            (30 * H, "confirmed", "on", "alarm"), (29 * H, "confirmed", "off", "cleared"),
            (50 * M, "refused", "on", "min_rest"), (4 * M + 60, "asked", "on", "alarm"),
            (4 * M + 50, "intent", "on", "alarm"), (4 * M + 20, "written", "on", "alarm"),
            (4 * M, "confirmed", "on", "alarm"),
        ]:  # fmt: skip
            self.write(now_ms - before_ms, "cannon-gate", step, command, reason, alarm=alarm)
        self.write(now_ms - 2 * M, "sprinkler-road", "dry_run", "on", "alarm")

    def write(
        self, at_ms: int, output: str, step: str, command: str, reason: str, by: str = "sitegate", alarm: str = ""
    ) -> None:
        """Add a line to the journal."""
        number = len(self.entries) + 1
        self.entries.append(JournalEntry(number, at_ms, output, step, command, reason, by, alarm, {}))

    def put(self, output: str, **changes: Any) -> OutputStatus:
        """Let an output stand otherwise."""
        self.known[output] = replace(self.known[output], since_ms=self._clock.wall_ms(), **changes)
        self.revision += 1
        return self.known[output]

    def outputs(self) -> Sequence[OutputStatus]:
        return list(self.known.values())

    async def journal(self, from_ms: int, to_ms: int, output: str | None = None) -> Sequence[JournalEntry]:
        found = [e for e in self.entries if from_ms <= e.at_ms < to_ms and output in (None, e.output)]
        return sorted(found, key=lambda e: (e.at_ms, e.number), reverse=True)

    async def command(self, output: str, want: str, by: str, minutes: float) -> OutputStatus | None:
        known, now_ms = self.known.get(output), self._clock.wall_ms()
        if known is None:
            return None
        if want == "on" and "no_water" in known.blocked_by:
            self.write(now_ms, output, "refused", "on", "no_water", by)
            self.revision += 1
            raise NotNow(f"{output} cannot be switched on. {NO_WATER}")
        if want == "auto":
            self.write(now_ms, output, "released", "", "released", by)
            return self.put(output, owner="automatic", by=None, lease_until_ms=None, reason="released")
        self.write(now_ms, output, "manual", want, "manual", by)
        lease_ms = now_ms + int(minutes * M)
        on = want == "on"
        return self.put(output, state=want, wanted=on, is_on=on, owner="manual", by=by, lease_until_ms=lease_ms,
                        reason="manual" if on else "manual_lease")  # fmt: skip


def with_outputs(
    clock: Clock, password: str | None = PASSWORD, protects: Literal["everything", "answers"] = "everything"
) -> tuple[Demo, DemoDesk, DemoOutputs]:
    """The made-up site with alarms and outputs; its dust station knows when it is sprayed."""
    demo, alarms = with_alarms(clock, password)
    outputs = DemoOutputs(clock, alarms.dust)
    dust = demo.state.devices["dust-1"]
    views = {**demo.state.devices, "dust-1": replace(dust, every_s={**dust.every_s, "sprayed": 5.0})}
    page = PageConfig(password=password, protects=protects)
    site = demo.state.site.model_copy(update={"page": page})
    demo.state = replace(demo.state, site=site, devices=views, outputs=outputs)
    demo.buffer.every_s["dust-1", "sprayed"] = 5.0
    demo.poll(clock.wall_ms(), everything=True)
    return demo, alarms, outputs


async def serve(port: int, protects: Literal["everything", "answers"]) -> None:
    """Serve it until cancelled."""
    clock = SystemClock()
    demo, _, _ = with_outputs(clock, protects=protects)
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
    arguments.add_argument("--open", action="store_true")
    given = arguments.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(given.port, "answers" if given.open else "everything"))
