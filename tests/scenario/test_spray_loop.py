"""The whole loop without a person: simulators on real sockets, gateway, alarm, valve, clearing, closed alarm.

The world runs thirty times as fast as the clock; the relay module and the gateway do not.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gateway.alerts.state import Event
from gateway.app import Gateway, running
from gateway.commands.demo import zone_of
from gateway.config.loader import load_site
from gateway.control.runtime import Control
from gateway.model import Alarm, JournalEntry, OutputStatus
from simulators.site import RunningSite, simulated_site
from tests.support.machine import free_port

T = TypeVar("T")
SPEED = 30.0
RELAY = "relay"


def site_text(scenario: str) -> str:
    """A gate with its stations and a relay module that opens the cannon's valve; times as short as the world's."""

    def link() -> dict[str, object]:
        return {"kind": "tcp", "host": "127.0.0.1", "port": free_port(), "framing": "rtu", "timeout": "200ms"}

    gate = {"zone": "gate", "every": "200ms"}
    station = {"link": "fence", "role": "gate", **gate}
    quick = {"clear_for": "1s", "close_after": "1s"}
    return json.dumps(
        {
            "site": {
                "id": "loop",
                "name": "Loop",
                "simulated": True,
                "timezone": zone_of(scenario, time.time_ns() // 1_000_000),
            },
            "links": {"fence": link(), "cabinet": link()},
            "devices": {
                "dust-gate": {
                    "profile": "renke_dust_station",
                    "address": {"unit": 1},
                    "without": ["noise_la_db"],
                    **station,
                },
                "noise-gate": {"profile": "renke_noise", "address": {"unit": 2}, **station},
                RELAY: {
                    "link": "cabinet",
                    "profile": "lc_relay_8",
                    "address": {"unit": 255},
                    "role": "relay:gate",
                    **gate,
                },
            },
            "alerts": {
                "use": ["pm10_spray", "noise_night_max_live", "output_fault"],
                "set": {
                    "pm10_spray": {"for": "400ms", **quick},
                    "noise_night_max_live": quick,
                    "output_fault": {"for": "100ms"},
                },
            },
            "outputs": {
                "cannon": {
                    "device": RELAY,
                    "point": "output_1_on",
                    "mode": "armed",
                    "when": ["pm10_spray"],
                    "near": ["dust-gate"],
                    "min_on": "500ms",
                    "min_rest": "500ms",
                    "dead_man": "6s",
                    "hold": "3s",
                    "water_below": {"device": RELAY, "metric": "input_2_on", "below": 1},
                    "feedback": {"device": RELAY, "metric": "input_1_on", "within": "1s"},
                }
            },
            "page": {"port": 0},
        }
    )


@dataclass(frozen=True)
class Loop:
    """A running site with its gateway."""

    gateway: Gateway
    played: RunningSite

    @property
    def control(self) -> Control:
        assert self.gateway.control is not None
        return self.gateway.control

    def cannon(self) -> OutputStatus:
        [output] = self.control.outputs()
        return output

    async def story(self, rule: str) -> list[tuple[Alarm, list[Event]]]:
        """Every alarm of a rule with its events, the oldest first."""
        assert self.gateway.alerts is not None
        found = [alarm for alarm in await self.gateway.alerts.find(0, 2**53) if alarm.rule == rule]
        told = [await self.gateway.alerts.history(alarm.id) for alarm in sorted(found, key=lambda a: a.raised_ms)]
        return [each for each in told if each is not None]

    async def journal(self) -> list[JournalEntry]:
        """The whole journal, the oldest line first."""
        return (await self.control.journal(0, 2**53))[::-1]

    async def until(self, look: Callable[[], Awaitable[T]], what: str) -> T:
        """Return the first answer that is not empty."""
        for _ in range(400):
            if found := await look():
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"in 20 s never: {what}; {self.cannon()}; {await self.journal()}")

    async def closed(self, rule: str) -> tuple[Alarm, list[Event]]:
        """Wait for the first alarm of a rule to be closed."""

        async def look() -> list[tuple[Alarm, list[Event]]]:
            return [(alarm, events) for alarm, events in await self.story(rule) if alarm.state == "closed"]

        return (await self.until(look, f"a closed alarm of {rule}"))[0]


@asynccontextmanager
async def loop(folder: Path, scenario: str) -> AsyncIterator[Loop]:
    file = folder / "site.yaml"
    file.write_text(site_text(scenario))
    site = load_site(file)
    async with simulated_site(site, scenario=scenario, speed=SPEED) as played, running(site) as gateway:
        yield Loop(gateway, played)


async def test_dust_is_sprayed_clears_and_is_closed_without_a_person(tmp_path: Path) -> None:
    async with loop(tmp_path, "dust") as site:
        alarm, events = await site.closed("pm10_spray")
        kinds = [event.kind for event in events]
        assert (kinds[0], kinds[-1]) == ("raised", "closed")
        assert kinds.index("acted") < kinds.index("cleared")
        ours = [event.details for event in events if event.kind in ("acted", "closed")]
        assert {details["by"] for details in ours} == {"sitegate"}
        assert all(details["note"] for details in ours), "what happened is said"
        assert alarm.details["simulated"] is True

        [run] = [line for line in await site.journal() if (line.step, line.command) == ("confirmed", "on")]
        steps = [(line.step, line.command) for line in await site.journal()]
        first = steps.index(("asked", "on"))
        assert steps[first : first + 4] == [("asked", "on"), ("intent", "on"), ("written", "on"), ("confirmed", "on")]
        assert run.alarm == alarm.id
        assert ("confirmed", "off") in steps[first:]
        assert alarm.raised_ms <= run.at_ms < alarm.raised_ms + 1_000

        cannon = site.cannon()
        assert (cannon.state, cannon.is_on, cannon.starts_last_hour) == ("off", False, 1)
        world = site.played.live()
        assert not world.cannon.spraying
        assert world.cannon.tank_level_pct < 97.0
        minutes = await site.gateway.ledger.minutes("dust-gate", "sprayed", 0, 2**53)
        assert (min(m.low or 0 for m in minutes), max(m.high or 0 for m in minutes)) == (0, 1)


async def test_a_night_pour_is_noticed_at_once_and_closed_when_it_pauses(tmp_path: Path) -> None:
    async with loop(tmp_path, "night-pour") as site:
        alarm, events = await site.closed("noise_night_max_live")
        assert [event.kind for event in events] == ["raised", "cleared", "closed"]
        assert alarm.subject == "noise-gate"
        assert events[-1].details["by"] == "sitegate"
        assert await site.journal() == [], "water does not help against noise"
        assert not site.played.live().cannon.spraying


async def test_a_stuck_relay_ends_in_the_right_alarm_and_is_left_alone(tmp_path: Path) -> None:
    async with loop(tmp_path, "stuck-relay") as site:

        async def fault() -> list[tuple[Alarm, list[Event]]]:
            return await site.story("output_fault")

        [(alarm, _)] = await site.until(fault, "an alarm for the output")
        assert (alarm.subject, alarm.active) == (RELAY, True)
        assert "cannon" in str(alarm.details)
        cannon = site.cannon()
        assert (cannon.state, cannon.reason) == ("fault", "feedback_off")
        before = len(await site.journal())
        await asyncio.sleep(1.5)  # three rests: time enough to start again
        lines = await site.journal()
        assert [(line.step, line.command) for line in lines].count(("intent", "on")) == 1, "no endless toggling"
        assert len(lines) <= before + 4
        assert site.played.live().outputs["relay:gate"].on("output_1_on") is False
        [(dust, _)] = await site.story("pm10_spray")
        assert dust.active, "what it should have done something about still holds"


async def test_without_water_it_is_asked_and_refused(tmp_path: Path) -> None:
    async with loop(tmp_path, "dry-tank") as site:

        async def refusal() -> list[JournalEntry]:
            return [line for line in await site.journal() if line.step == "refused"]

        [line] = await site.until(refusal, "a refusal")
        assert (line.command, line.reason) == ("on", "no_water")
        assert site.cannon().blocked_by == ("no_water",)
        assert not site.played.live().outputs["relay:gate"].now()


async def test_a_module_that_rebooted_is_noticed_and_told_again(tmp_path: Path) -> None:
    async with loop(tmp_path, "relay-reboot") as site:

        async def twice() -> bool:
            steps = [(line.step, line.command) for line in await site.journal()]
            return steps.count(("confirmed", "on")) == 2

        assert await site.until(twice, "on again after the reboot")
        reasons = {line.reason for line in await site.journal()}
        assert reasons & {"went_off", "no_answer"}  # seen off, or met dark while the pulse was renewed
        assert site.played.live().outputs["relay:gate"].on("output_1_on")
