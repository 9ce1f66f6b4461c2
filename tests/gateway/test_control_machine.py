"""One output's decisions, without wires and clocks: what the read-back shows decides (faults 112 to 115, 119)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.control import machine
from gateway.control.machine import Outcome, Step
from gateway.control.output import Demand, Facts, Lease, Output, State

OUTPUT = Output(
    "cannon", "Cannon", "雾炮", "gate", "relay", "output_1_on", "armed", (0.0, 1.0), 3.0, "pulse", 30.0,
    min_on_s=20, min_rest_s=60, longest_run_s=300, max_starts_per_hour=4, hold_s=30,
    feedback=("relay", "input_1_on"), feedback_within_s=5.0,
)  # fmt: skip


class Bench:
    """A relay with a pulse of its own, read once a second, and the machine that drives it."""

    def __init__(self, output: Output = OUTPUT, state: State | None = None) -> None:
        self.output = output
        self.state = state or State()
        self.now_s = 0.0
        self.demand = Demand()
        self.on = False
        self.until_s = math.inf
        self.obeys = True
        self.answers: Callable[[str], Outcome] = lambda act: "done"
        self.readable = True
        self.facts: dict[str, Any] = {}
        self.steps: list[str] = []
        self.acts: list[tuple[float, str]] = []
        self._read = (False, -math.inf)

    def look(self) -> Step:
        """One step with what is known now; what it asks for is done."""
        if self.now_s >= self.until_s:
            self.on, self.until_s = False, math.inf
        if self.readable:
            self._read = (self.on, self.now_s)
        fresh = self.now_s - self._read[1] < 8
        known = {"is_on": self._read[0] if fresh else None, "read_s": self._read[1], "feedback": self.on, **self.facts}
        step = machine.step(self.output, self.state, self.demand, Facts(**known), self.now_s)
        self.state = step.state
        self.steps += [f"{note.step} {note.command} {note.reason}" for note in step.notes]
        if step.act != "none":
            self.now_s += 0.01
            self.acts.append((self.now_s, step.act))
            outcome = self.answers(step.act)
            if outcome == "done" and self.obeys and step.act != "set_dead_man":
                self.on = step.act != "off"
                self.until_s = self.now_s + 30 if self.on else math.inf
            self.state, notes = machine.settled(self.output, self.state, step.act, outcome, self.now_s)
            self.steps += [f"{note.step} {note.command} {note.reason}" for note in notes]
        return step

    def run(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += 1.0
            self.look()

    def count(self, act: str) -> int:
        return sum(each == act for _, each in self.acts)


def test_an_alarm_is_followed_from_start_to_confirmed_off() -> None:
    bench = Bench()
    bench.run(2)
    bench.demand = Demand(("dust@gate@1",))
    bench.run(2)
    assert bench.state.phase == "on"
    assert bench.state.alarm == "dust@gate@1"
    bench.run(30)
    assert bench.count("hold") >= 2  # pulses of 30 s, refreshed every 10 s
    bench.demand = Demand()
    bench.run(3)
    assert (bench.state.phase, bench.state.reason, bench.on) == ("off", "cleared", False)
    assert bench.steps == [
        "intent on alarm", "written on ", "confirmed on alarm",
        "intent off cleared", "written off ", "confirmed off cleared",
    ]  # fmt: skip


def test_a_swinging_demand_neither_flaps_nor_outruns_the_starts_of_an_hour() -> None:
    bench = Bench()
    for swing in range(600):
        bench.demand = Demand(("a",)) if swing % 2 else Demand()
        bench.run(5)
    ons = [at for at, act in bench.acts if act == "on"]
    offs = [at for at, act in bench.acts if act == "off"]
    assert len(ons) == 4
    assert all(off - on >= 20 for on, off in zip(ons, offs, strict=True))
    assert all(on - off >= 60 for off, on in zip(offs, ons[1:], strict=False))


def test_a_start_that_nobody_answered_is_read_back_before_anything_else() -> None:
    bench = Bench()
    bench.run(1)
    bench.answers, bench.readable = (lambda act: "no_answer"), False
    bench.demand = Demand(("a",))
    bench.run(3)
    assert [act for _, act in bench.acts] == ["on"]  # one write, then only looking
    bench.run(2)
    assert bench.state.phase == "stopping"  # nobody knows: off, until it is seen
    bench.run(120)
    assert bench.count("on") == 1
    assert bench.count("off") >= 4
    minute = [at for at, act in bench.acts if act == "off" and at > bench.now_s - 60]
    assert len(minute) <= 3  # bounded
    bench.answers, bench.readable, bench.demand = (lambda act: "done"), True, Demand()
    bench.run(70)
    assert (bench.state.phase, bench.state.fault) == ("off", "")


def test_a_relay_that_does_not_move_is_a_fault_and_is_left_in_peace() -> None:
    bench = Bench()
    bench.run(1)
    bench.obeys = False
    bench.demand = Demand(("a",))
    bench.run(600)
    assert bench.state.fault == "not_confirmed"
    assert bench.count("on") == 2
    assert bench.count("off") == 1
    assert "fault  not_confirmed" in bench.steps


def test_a_welded_relay_is_a_fault_and_off_is_still_tried_now_and_then() -> None:
    bench = Bench()
    bench.demand = Demand(("a",))
    bench.run(5)
    bench.obeys, bench.until_s, bench.demand = False, math.inf, Demand()
    bench.run(600)
    assert (bench.state.fault, bench.state.phase) == ("stuck_on", "stopping")
    assert bench.count("on") == 1
    assert 8 <= bench.count("off") <= 20
    bench.obeys = True
    bench.run(70)
    assert (bench.state.fault, bench.state.phase) == ("", "off")  # seen to be gone, no person needed


def test_a_broken_wire_behind_the_relay_shows_in_the_feedback() -> None:
    bench = Bench()
    bench.facts["feedback"] = False
    bench.demand = Demand(("a",))
    bench.run(600)
    assert (bench.state.fault, bench.state.phase, bench.on) == ("feedback_off", "off", False)
    assert (bench.count("on"), bench.count("off")) == (1, 1)


def test_a_valve_that_stays_open_is_told_and_nothing_is_toggled() -> None:
    bench = Bench()
    bench.facts["feedback"] = True
    bench.run(60)
    assert (bench.state.fault, bench.acts) == ("feedback_on", [])
    bench.facts["feedback"] = False
    bench.run(2)
    assert bench.state.fault == ""


def test_a_module_that_was_restarted_is_noticed_and_started_again_after_its_rest() -> None:
    bench = Bench()
    bench.demand = Demand(("a",))
    bench.run(30)
    bench.on = False
    bench.run(2)
    assert (bench.state.phase, bench.steps[-2:]) == ("off", ["failed on went_off", "refused on min_rest"])
    bench.run(62)
    assert bench.on


def test_after_a_standstill_no_late_pulse_starts_it_again_without_a_rest() -> None:
    bench = Bench(replace(OUTPUT, hold_s=120))
    bench.demand = Demand(("a",))
    bench.run(30)
    bench.now_s += 40  # stopped like a debugger does, or cut off: the relay's own time is over
    bench.readable = False
    bench.look()
    assert (bench.on, bench.acts[-1][0] < 40) == (False, True)
    bench.readable = True
    bench.run(2)
    assert (bench.state.phase, bench.steps[-2:]) == ("off", ["failed on went_off", "refused on min_rest"])
    bench.run(62)
    assert bench.on


def test_somebody_else_is_switched_off_twice_and_then_left_alone() -> None:
    bench = Bench()
    bench.run(2)
    for _ in range(5):
        bench.on = True
        bench.run(30)
    assert bench.state.fault == "contested"
    assert bench.count("off") == 2
    assert bench.on


def test_found_on_at_the_start_it_goes_on_only_if_somebody_asks() -> None:
    idle = Bench()
    idle.on = True
    idle.run(2)
    assert (idle.on, idle.steps[0]) == (False, "intent off restart")
    asked = Bench(state=State(run_since_s=-100.0, starts=(-100.0,)))
    asked.on, asked.demand = True, Demand(("a",))
    asked.run(3)
    assert asked.on
    assert (asked.state.run_since_s, asked.state.starts) == (-100.0, (-100.0,))
    asked.run(200)
    assert not asked.on  # its longest run counts from before


def test_a_refusal_of_the_device_is_a_fault() -> None:
    bench = Bench()
    bench.answers = lambda act: "refused"
    bench.demand = Demand(("a",))
    bench.run(100)
    assert bench.state.fault == "refused"
    assert bench.count("on") == 1


def test_nothing_is_switched_on_without_a_record() -> None:
    bench = Bench()
    bench.run(1)
    bench.answers = lambda act: "no_journal" if act == "on" else "done"
    bench.demand = Demand(("a",))
    bench.run(3)
    assert not bench.on
    assert "intent off no_journal" in bench.steps


def test_a_persons_run_ends_for_good_when_an_interlock_ends_it() -> None:
    bench = Bench(replace(OUTPUT, wind_above=8.0))
    bench.run(1)
    bench.state = replace(bench.state, lease=Lease(True, "Li", 1000.0))
    bench.run(5)
    assert (bench.on, bench.state.reason) == (True, "manual")
    bench.facts["wind_m_s"] = 9.0
    bench.run(5)
    assert (bench.on, bench.state.lease) == (False, None)
    bench.facts["wind_m_s"] = 0.0
    bench.run(200)
    assert not bench.on


def test_off_by_hand_wins_over_the_shortest_run_and_over_every_alarm() -> None:
    bench = Bench()
    bench.demand = Demand(("a",))
    bench.run(5)
    bench.state = replace(bench.state, lease=Lease(False, "Li", 200.0))
    bench.run(2)
    assert (bench.on, bench.state.reason) == (False, "manual")
    bench.run(100)
    assert not bench.on
    bench.run(150)
    assert bench.on  # the command's time is over, the alarm still asks


def test_a_module_is_told_its_own_time_first() -> None:
    bench = Bench(replace(OUTPUT, dead_man="module", feedback=None))
    bench.facts["timeout_s"] = 0.0
    bench.demand = Demand(("a",))
    bench.run(5)
    assert [act for _, act in bench.acts] == ["set_dead_man"]
    bench.on = False
    bench.facts["timeout_s"] = 30.0
    bench.run(3)
    assert bench.on


class AnyDay(RuleBasedStateMachine):
    """Any order of demands, commands, weather and lost answers, against a slow list of what happened."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(replace(OUTPUT, feedback=None, wind_above=8.0))
        self.seen = 0
        self.first_ons: list[float] = []
        self.rest_from = -math.inf

    @rule(on=st.booleans())
    def alarm(self, on: bool) -> None:
        self.bench.demand = Demand(("a",)) if on else Demand()

    @rule(on=st.booleans(), seconds=st.floats(1, 400))
    def person(self, on: bool, seconds: float) -> None:
        self.bench.state = replace(self.bench.state, lease=Lease(on, "Li", self.bench.now_s + seconds))

    @rule(wind=st.sampled_from([0.0, 20.0]))
    def weather(self, wind: float) -> None:
        self.bench.facts["wind_m_s"] = wind

    @rule(outcome=st.sampled_from(["done", "no_answer", "link_down"]))
    def wire(self, outcome: Outcome) -> None:
        self.bench.answers = lambda act: outcome

    @rule(readable=st.booleans())
    def reading(self, readable: bool) -> None:
        self.bench.readable = readable

    @rule(seconds=st.integers(1, 400))
    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            before, demand = self.bench.state, self.bench.demand
            self.bench.run(1)
            self.judge(before, demand)

    def judge(self, before: State, demand: Demand) -> None:
        bench, output = self.bench, self.bench.output
        for at, act in bench.acts[self.seen :]:
            if act == "on" and before.phase in ("off", "unknown"):
                asked = demand.alarms or (before.lease is not None and before.lease.on)
                assert asked, "on without anybody asking"
                assert at - self.rest_from >= output.min_rest_s - 0.1, "no rest"
                self.first_ons = [on for on in self.first_ons if at - on < 3600] + [at]
                assert len(self.first_ons) <= output.max_starts_per_hour, "too many starts"
                assert not bench.facts.get("wind_m_s", 0) > output.wind_above, "in the wind"
            if act in ("on", "hold"):
                assert at - self.first_ons[-1] <= output.longest_run_s + 1.1, "ran too long"
                self.rest_from = math.inf  # it may run until it is seen off
        self.seen = len(bench.acts)
        if bench.state.phase == "off":
            self.rest_from = min(self.rest_from, bench.now_s) if self.rest_from == math.inf else self.rest_from

    @invariant()
    def off_is_repeated_until_it_is_seen(self) -> None:
        state = self.bench.state
        if state.phase == "stopping":
            assert state.next_s - self.bench.now_s <= machine.OFF_CAP_S

    @precondition(lambda self: self.bench.state.phase == "off" and self.bench.readable)
    @invariant()
    def off_means_seen_off(self) -> None:
        assert not self.bench.on


TestAnyDay = AnyDay.TestCase
TestAnyDay.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
