"""What machines and the stations along the fence measure, by role; a part of ``simulators.roles.ROLES``."""

from __future__ import annotations

import math
from collections.abc import Callable

from simulators.engine import Engine, Generator
from simulators.hoist import RATED_T
from simulators.world import World

CARDS = (20260017, 20260042)
"""Card numbers of the early and of the late shift; made up."""


def driver_card(world: World) -> float:
    """The card in the reader: one until one o'clock, the other after it."""
    return float(CARDS[world.hour >= 13.0])


def _west(world: World) -> dict[str, float]:
    """Dust, noise and weather at the western fence, away from the gate: the same air, thinner and quieter."""
    sky, dust, noise = world.weather, world.dust, world.noise
    return {
        "pm1_ug_m3": 0.32 * dust.pm2_5_ug_m3,
        "pm2_5_ug_m3": 0.6 * dust.pm2_5_ug_m3,
        "pm10_ug_m3": 0.5 * dust.pm10_ug_m3,
        "tsp_ug_m3": 0.5 * dust.tsp_ug_m3,
        "noise_la_db": max(32.0, noise.la_db - 9.0),
        "noise_laeq_db": max(32.0, noise.laeq_db - 9.0),
        "noise_lamax_db": max(32.0, noise.lamax_db - 9.0),
        "air_temperature_c": sky.air_temperature_c,
        "humidity_pct": sky.humidity_pct,
        "pressure_kpa": sky.pressure_kpa,
        "wind_speed_m_s": sky.wind_speed_m_s,
        "wind_gust_m_s": world.gust_m_s,
        "wind_direction_deg": sky.wind_direction_deg,
        "illuminance_lx": sky.illuminance_lx,
        "rain_mm": sky.rain_mm,
    }


def _hoist(world: World) -> dict[str, float]:
    hoist = world.hoist
    return {
        "load_t": hoist.load_t,
        "rated_load_t": RATED_T,
        "load_pct": hoist.load_pct,
        "persons_aboard": float(hoist.persons),
        "floor_number": float(hoist.floor),
        "cage_height_m": hoist.height_m,
        "cage_speed_m_s": hoist.speed_m_s,
        "wind_speed_m_s": hoist.wind_m_s,
        "tilt_deg": 0.08 + 0.02 * hoist.load_t,
        "warning_bits": float(hoist.warning_bits),
        "running": float(hoist.moving),
        "operating_hours_h": hoist.operating_hours_h,
        "driver_card": driver_card(world),
        "active_power_w": hoist.power_w,
    }


def _pump(world: World) -> dict[str, float]:
    pump = world.pump
    return {
        "machine_state": float(pump.state),
        "running": float(pump.state > 0),
        "concrete_volume_m3": pump.pumped_m3,
        "concrete_flow_m3_h": pump.flow_m3_h,
        "pumping_pressure_mpa": pump.pressure_mpa,
        "hydraulic_oil_temperature_c": pump.oil_c,
        "operating_hours_h": pump.operating_hours_h,
        "active_power_w": world.zones["concrete-pump"].total_w,
    }


def _wash(world: World) -> dict[str, float]:
    wash = world.wash
    return {
        "running": float(wash.spraying),
        "spraying": float(wash.spraying),
        "vehicles_washed": float(wash.vehicles),
        "tank_level_pct": wash.basin_pct,
        "water_flow_m3_h": wash.flow_m3_h,
        "water_pressure_mpa": wash.pressure_mpa,
        "water_volume_m3": wash.water_m3,
        "recycled_water_m3": wash.recycled_m3,
        "operating_hours_h": wash.operating_hours_h,
    }


def _engine(engine: Engine) -> dict[str, float]:
    return {
        "machine_state": float(engine.state),
        "running": float(engine.runs),
        "engine_speed_rpm": engine.speed_rpm,
        "coolant_temperature_c": engine.coolant_c,
        "oil_pressure_kpa": engine.oil_kpa,
        "battery_voltage_v": engine.battery_v,
        "fuel_level_pct": engine.fuel_pct,
        "fuel_used_l": engine.fuel_used_l,
        "engine_starts": float(engine.starts),
        "operating_hours_h": engine.operating_hours_h,
        "idle_hours_h": engine.idle_hours_h,
    }


def _excavator(world: World) -> dict[str, float]:
    return {
        **_engine(world.excavator.engine),
        "hydraulic_oil_temperature_c": 25.0 + 0.5 * world.excavator.engine.coolant_c,
        "tilt_deg": 1.4 * world.excavator.load,
        "tilt_y_deg": -0.6 * world.excavator.load,
        "driver_card": driver_card(world),
    }


def _generator(world: World) -> dict[str, float]:
    """Three balanced phases at a power factor of 0.9; while it stands all zero, and no frequency."""
    generator: Generator = world.generator
    volts = 231.0 if generator.power_w else 0.0
    phase_w = generator.power_w / 3.0
    values = {
        **_engine(generator.engine),
        **({"frequency_hz": 50.0} if volts else {}),
        "active_power_w": generator.power_w,
        "energy_total_kwh": generator.energy_kwh,
    }
    for phase, across in (("l1", "l1_l2"), ("l2", "l2_l3"), ("l3", "l3_l1")):
        values[f"voltage_{phase}_v"] = volts
        values[f"voltage_{across}_v"] = math.sqrt(3.0) * volts
        values[f"current_{phase}_a"] = phase_w / 0.9 / volts if volts else 0.0
        values[f"active_power_{phase}_w"] = phase_w
    return values


def _safety(world: World) -> dict[str, float]:
    """The box at the main board."""
    box = world.safety_box
    l1_c, l2_c, l3_c, n_c = box.phase_c
    return {
        "residual_current_ma": world.main.residual_current_ma,
        "cable_temperature_c": max(l1_c, l2_c, l3_c, n_c),
        "cable_temperature_l1_c": l1_c,
        "cable_temperature_l2_c": l2_c,
        "cable_temperature_l3_c": l3_c,
        "cable_temperature_n_c": n_c,
        "cabinet_temperature_c": box.air_c,
    }


def _platform(world: World) -> dict[str, float]:
    """An unloading platform: what the crane sets down on it."""
    return {"load_t": 0.25 * world.crane.load_t, "warning_bits": 0.0}


MACHINES: dict[str, Callable[[World], dict[str, float]]] = {
    "fence:west": _west,
    "hoist:1": _hoist,
    "pump:1": _pump,
    "wash:gate": _wash,
    "excavator:1": _excavator,
    "generator:1": _generator,
    "safety:main": _safety,
    "platform:1": _platform,
}
