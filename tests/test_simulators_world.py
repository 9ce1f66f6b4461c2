"""The simulated world: physics that adds up, whatever seed, scenario and pace."""

from __future__ import annotations

import math

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.vocabulary import METRICS
from simulators.chance import stream
from simulators.errors import SimulatorError
from simulators.faults import FaultRates, WireFaults
from simulators.feeder import LOSSES
from simulators.roles import ROLES, ZONES, reader
from simulators.scenarios import SCENARIOS, Scenario
from simulators.world import STEP_MS, World, activity

DAY_MS = 1_790_000_000_000
SEEDS = st.integers(0, 10_000)
# A world costs 50 ms: few examples, and a seed that fails is no clearer when shrunk.
WORLDS = settings(deadline=None, max_examples=15, phases=[Phase.reuse, Phase.generate])
ANY_SCENARIO = st.sampled_from(sorted(SCENARIOS))


def world(seed: int = 1, scenario: str = "normal") -> World:
    play = SCENARIOS[scenario]
    return World(seed, play.start_ms(DAY_MS), play)


def everything(of: World) -> dict[str, dict[str, float]]:
    return {role: measure(of) for role, measure in ROLES.items()}


@WORLDS
@given(SEEDS, ANY_SCENARIO, st.lists(st.integers(1, 200_000), max_size=12))
def test_the_same_seed_is_the_same_site_at_any_pace(seed: int, scenario: str, jumps_ms: list[int]) -> None:
    one, other = world(seed, scenario), world(seed, scenario)
    now_ms = one.start_ms
    for jump_ms in jumps_ms:
        now_ms += jump_ms
        one.advance(now_ms)
        one.advance(now_ms - 5_000)  # looking back changes nothing
    other.advance(now_ms)
    assert one.now_ms == other.now_ms
    assert now_ms - STEP_MS < one.now_ms <= now_ms
    assert everything(one) == everything(other)


def test_another_seed_is_another_site() -> None:
    assert everything(world(1)) != everything(world(2))


@WORLDS
@given(SEEDS, ANY_SCENARIO, st.integers(0, 86_400), st.integers(1, 120))
def test_energies_integrate_powers(seed: int, scenario: str, offset_s: int, seconds: int) -> None:
    play = SCENARIOS[scenario]
    site = World(seed, play.start_ms(DAY_MS) + offset_s * 1000, play)
    feeders = {"main": site.main, **site.zones}
    before = {name: (feeder.total_kwh, sum(feeder.tariff_kwh)) for name, feeder in feeders.items()}
    used_kwh = dict.fromkeys(feeders, 0.0)
    for _ in range(seconds):
        site.advance(site.now_ms + STEP_MS)
        for name, feeder in feeders.items():
            assert feeder.total_w > 0.0
            used_kwh[name] += feeder.total_w / 3.6e6
    for name, feeder in feeders.items():
        energy, by_tariff = before[name]
        assert feeder.total_kwh - energy == pytest.approx(used_kwh[name], abs=1e-8)
        assert sum(feeder.tariff_kwh) - by_tariff == pytest.approx(used_kwh[name], abs=1e-8)


@WORLDS
@given(SEEDS, ANY_SCENARIO, st.integers(0, 24), st.integers(0, 3600))
def test_what_is_measured_fits_together(seed: int, scenario: str, hours: int, seconds: int) -> None:
    play = SCENARIOS[scenario]
    site = World(seed, play.start_ms(DAY_MS) + hours * 3_600_000 + seconds * 1000, play)
    shown = everything(site)

    for role, values in shown.items():
        for metric, value in values.items():
            assert METRICS[metric].low <= value <= METRICS[metric].high, (role, metric, value)

    gate = shown["gate"]
    assert 0 < gate["pm2_5_ug_m3"] <= gate["pm10_ug_m3"] <= gate["tsp_ug_m3"]
    assert gate["noise_laeq_db"] <= gate["noise_lamax_db"]

    zones_w = sum(shown[f"zone:{zone}"]["active_power_w"] for zone in ZONES)
    assert shown["main"]["active_power_w"] == pytest.approx(zones_w * (1 + LOSSES))
    assert set(ZONES) == set(site.zones)

    for role in ("main", *(f"zone:{zone}" for zone in ZONES)):
        meter = shown[role]
        assert meter["active_power_w"] == pytest.approx(sum(meter[f"active_power_l{i}_w"] for i in (1, 2, 3)))
        assert meter["apparent_power_va"] ** 2 == pytest.approx(
            meter["active_power_w"] ** 2 + meter["reactive_power_var"] ** 2
        )
        assert meter["active_power_w"] == pytest.approx(meter["power_factor"] * meter["apparent_power_va"])
        for phase in ("l1", "l2", "l3"):
            assert 200 < meter[f"voltage_{phase}_v"] < 245
            assert meter[f"apparent_power_{phase}_va"] == pytest.approx(
                meter[f"voltage_{phase}_v"] * meter[f"current_{phase}_a"]
            )

    crane = shown["crane:1"]
    assert crane["moment_pct"] == pytest.approx(100 * crane["load_t"] / crane["rated_load_t"])
    assert 0 <= crane["hook_height_m"] < 60


def test_a_working_day_has_the_life_of_a_site() -> None:
    site = world()
    lifts, lifted_before, sprays, noise = 0, False, 0, []
    before_kwh = site.zones["tower-crane"].total_kwh
    for _ in range(6 * 60):  # 09:40 to 15:40
        site.advance(site.now_ms + 60_000)
        lifted = site.crane.load_t > 0
        lifts += lifted and not lifted_before
        lifted_before = lifted
        sprays += site.cannon.spraying
        noise.append(site.noise.laeq_db)
    assert lifts > 20
    assert sprays > 10
    assert 15 < site.zones["tower-crane"].total_kwh - before_kwh < 300  # a machine shift's order of magnitude
    leq = 10 * math.log10(sum(10 ** (level / 10) for level in noise) / len(noise))
    assert 60 < leq < 72


def test_in_the_dust_scenario_pm10_climbs_and_nobody_sprays() -> None:
    site = world(scenario="dust")
    assert site.dust.pm10_ug_m3 < 150
    site.advance(site.start_ms + 40_000)
    assert 150 < site.dust.pm10_ug_m3 < 600
    assert not site.cannon.spraying


def test_spraying_lowers_the_dust_with_a_delay() -> None:
    dry, wet = world(scenario="dust"), world(scenario="dust")
    for site in (dry, wet):
        site.advance(site.start_ms + 20_000)
    wet.cannon.wanted = True
    for site in (dry, wet):
        site.advance(site.start_ms + 28_000)
    assert wet.cannon.spraying
    assert wet.dust.pm10_ug_m3 > 0.9 * dry.dust.pm10_ug_m3
    for site in (dry, wet):
        site.advance(site.start_ms + 80_000)
    assert wet.dust.pm10_ug_m3 < 0.8 * dry.dust.pm10_ug_m3
    assert wet.cannon.water_volume_m3 > dry.cannon.water_volume_m3


def test_an_empty_tank_stops_the_spray() -> None:
    site = world(scenario="dust")
    site.cannon._tank_m3 = 0.0
    site.cannon.wanted = True
    site.cannon.step()
    assert not site.cannon.spraying


def test_the_night_pour_is_loud_at_night() -> None:
    site = world(scenario="night-pour")
    assert site.hour == pytest.approx(22.5)
    assert activity(site.hour) == 0.0
    over = 0
    for _ in range(60):
        site.advance(site.now_ms + 60_000)
        over += site.noise.laeq_db > 55
    assert over > 50
    quiet = World(1, SCENARIOS["night-pour"].start_ms(DAY_MS), Scenario("quiet", "22:30", pours=()))
    quiet.advance(quiet.start_ms + 600_000)
    assert quiet.noise.laeq_db < 50


def test_a_scenario_begins_at_its_hour_whatever_the_time_is_now() -> None:
    for hour in range(24):
        start_ms = SCENARIOS["normal"].start_ms(DAY_MS + hour * 3_600_000)
        assert (start_ms // 60_000 + 8 * 60) % 1440 == 9 * 60 + 40


def test_an_unknown_role_is_named_with_those_there_are() -> None:
    with pytest.raises(SimulatorError, match=r"device m1 has the role 'zone:moon'.*zone:workshop"):
        reader("m1", "zone:moon", world)
    with pytest.raises(SimulatorError, match="device m1 has no role"):
        reader("m1", None, world)


RATES = st.floats(0, 1)


@given(
    st.integers(0, 1000),
    st.builds(FaultRates, noise=RATES, drop=RATES, delay=RATES, garble=RATES, split=RATES),
    st.binary(min_size=1, max_size=80),
)
def test_faults_are_seeded_and_do_what_they_say(seed: int, rates: FaultRates, reply: bytes) -> None:
    chunks = WireFaults(rates, stream(seed, "f")).spoil(reply)
    assert chunks == WireFaults(rates, stream(seed, "f")).spoil(reply)
    sent = b"".join(chunk.data for chunk in chunks)
    if not chunks:
        assert rates.drop > 0
        return
    assert len(chunks) <= 2
    assert (len(chunks) == 1) or rates.split > 0
    assert chunks[0].after_s in (0.0, rates.delay_s)
    if rates.noise == 0:
        assert len(sent) == len(reply)
    differing = sum(a != b for a, b in zip(sent[-len(reply) :], reply, strict=True))
    assert differing <= (1 if rates.garble > 0 else 0)


def test_each_fault_strikes_as_often_as_its_rate() -> None:
    faults = WireFaults(FaultRates(drop=0.2, refuse=0.1), stream(1, "rates"))
    dropped = sum(not faults.spoil(b"reply") for _ in range(5000))
    refused = sum(faults.refuses() for _ in range(5000))
    assert 850 < dropped < 1150
    assert 400 < refused < 600
