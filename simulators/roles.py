"""What a device on this site measures: its ``role`` in the site file -> numbers in the vocabulary's metrics and units.

To give a device something new to play, add a line to ``ROLES``.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Mapping

from simulators.crane import rated_load_t
from simulators.errors import Silent, SimulatorError
from simulators.feeder import Feeder
from simulators.machine_roles import MACHINES, driver_card
from simulators.world import World

Live = Callable[[], World]
"""Gives the world as it is now."""
Reader = Callable[[], Mapping[str, float]]
"""What one device measures now, by metric. Raises Silent when it has no power."""

_PHASES = ("l1", "l2", "l3")
_TURN = cmath.exp(2j * math.pi / 3.0)


def _electricity(feeder: Feeder, frequency_hz: float) -> dict[str, float]:
    """Everything an electricity meter may show, each number consistent with the others."""
    values: dict[str, float] = {}
    for i, phase in enumerate(_PHASES):
        power, apparent = feeder.power_w[i], feeder.apparent_va(i)
        values[f"voltage_{phase}_v"] = feeder.voltage_v[i]
        values[f"current_{phase}_a"] = feeder.current_a(i)
        values[f"active_power_{phase}_w"] = power
        values[f"reactive_power_{phase}_var"] = feeder.reactive_var[i]
        values[f"apparent_power_{phase}_va"] = apparent
        values[f"power_factor_{phase}"] = power / apparent if apparent else 1.0
        values[f"energy_import_{phase}_kwh"] = feeder.energy_kwh[i]
        values[f"energy_export_{phase}_kwh"] = 0.0
        values[f"voltage_thd_{phase}_pct"] = 1.6 + 0.012 * feeder.current_a(i)
    volts = [feeder.voltage_v[i] * _TURN**-i for i in range(3)]
    for (a, b), name in zip(((0, 1), (1, 2), (2, 0)), ("l1_l2", "l2_l3", "l3_l1"), strict=True):
        values[f"voltage_{name}_v"] = abs(volts[a] - volts[b])
    power, reactive = feeder.total_w, sum(feeder.reactive_var)
    apparent = math.hypot(power, reactive)
    energy = feeder.total_kwh
    values |= {
        "current_neutral_a": abs(sum(feeder.current_a(i) * _TURN**-i for i in range(3))),
        "active_power_w": power,
        "reactive_power_var": reactive,
        "apparent_power_va": apparent,
        "power_factor": power / apparent if apparent else 1.0,
        "phase_angle_deg": math.degrees(math.atan2(reactive, power)),
        "frequency_hz": frequency_hz,
        "energy_import_kwh": energy,
        "energy_export_kwh": 0.0,
        "energy_total_kwh": energy,
        "energy_net_kwh": energy,
        "reactive_energy_import_kvarh": feeder.reactive_kvarh,
        "reactive_energy_export_kvarh": 0.0,
        "reactive_energy_total_kvarh": feeder.reactive_kvarh,
        "residual_current_ma": feeder.residual_current_ma,
        "cable_temperature_c": feeder.cable_temperature_c,
    }
    values |= {f"energy_tariff{i}_kwh": used for i, used in enumerate(feeder.tariff_kwh, 1)}
    return values


def _main(world: World) -> dict[str, float]:
    return _electricity(world.main, world.frequency.value)


def _zone(name: str) -> Callable[[World], dict[str, float]]:
    return lambda world: _electricity(world.zones[name], world.frequency.value)


def _gate(world: World) -> dict[str, float]:
    """Dust, noise and weather at the gate."""
    sky, dust, noise = world.weather, world.dust, world.noise
    return {
        "pm2_5_ug_m3": dust.pm2_5_ug_m3,
        "pm10_ug_m3": dust.pm10_ug_m3,
        "tsp_ug_m3": dust.tsp_ug_m3,
        "noise_la_db": noise.la_db,
        "noise_laeq_db": noise.laeq_db,
        "noise_lamax_db": noise.lamax_db,
        "air_temperature_c": sky.air_temperature_c,
        "humidity_pct": sky.humidity_pct,
        "pressure_kpa": sky.pressure_kpa,
        "wind_speed_m_s": sky.wind_speed_m_s,
        "wind_direction_deg": sky.wind_direction_deg,
        "illuminance_lx": sky.illuminance_lx,
        "rain_mm": sky.rain_mm,
    }


def _crane(world: World) -> dict[str, float]:
    crane = world.crane
    return {
        "load_t": crane.load_t,
        "rated_load_t": rated_load_t(crane.radius_m),
        "moment_pct": crane.moment_pct,
        "radius_m": crane.radius_m,
        "hook_height_m": crane.height_m,
        "slewing_deg": crane.slewing_deg % 360.0,
        "tilt_deg": crane.tilt_deg,
        "tilt_y_deg": -0.4 * crane.tilt_deg,
        "wind_speed_m_s": crane.wind_m_s,
        "warning_bits": crane.warning_bits,
        "running": float(crane.working),
        "driver_card": driver_card(world),
        "operating_hours_h": crane.operating_hours_h,
        "active_power_w": crane.power_w,
    }


def _cannon(world: World) -> dict[str, float]:
    cannon = world.cannon
    return {
        "running": float(cannon.wanted),
        "spraying": float(cannon.spraying),
        "tank_level_pct": cannon.tank_level_pct,
        "water_flow_m3_h": cannon.water_flow_m3_h,
        "water_pressure_mpa": cannon.water_pressure_mpa,
        "water_volume_m3": cannon.water_volume_m3,
        "operating_hours_h": cannon.operating_hours_h,
        "active_power_w": cannon.power_w,
    }


def _relay(world: World) -> dict[str, float]:
    """The relay module in the cannon's cabinet: what it was told, and two contacts that tell what came of it."""
    return {
        **_outputs(world, "relay:gate"),
        "input_1_on": float(world.cannon.wanted),  # limit switch of the valve
        "input_2_on": float(world.cannon.tank_level_pct > 10.0),  # float switch in the tank
    }


def _yard(world: World) -> dict[str, float]:
    """A small controller in the yard, whose inputs tell what runs."""
    return {
        **_outputs(world, "relay:yard"),
        "input_1_on": float(world.wash.spraying),
        "input_2_on": float(world.generator.power_w > 0.0),
    }


def _outputs(world: World, role: str) -> dict[str, float]:
    """What a module was told, all else at rest."""
    told = world.outputs.get(role)
    return {
        "output_timeout_s": 0.0,
        **{f"output_{number}_on": 0.0 for number in range(1, 9)},
        **{f"input_{number}_on": 0.0 for number in range(1, 9)},
        **({} if told is None else told.now()),
    }


def _water(world: World) -> dict[str, float]:
    """The site's main water meter."""
    return {
        "water_volume_m3": world.water_volume_m3,
        "water_flow_m3_h": world.water_flow_m3_h,
        "water_valve_state": 0.0,
        "water_meter_battery_low": 0.0,
        "water_pressure_mpa": 0.32 - 0.012 * world.water_flow_m3_h,
    }


def _heat(world: World) -> dict[str, float]:
    """The heat meter of the living quarters."""
    heating = world.heating
    return {
        "heat_energy_kwh": heating.heat_kwh,
        "heat_power_w": heating.power_w,
        "heat_flow_m3_h": heating.flow_m3_h,
        "heat_volume_m3": heating.circulated_m3,
        "supply_temperature_c": heating.supply_c,
        "return_temperature_c": heating.return_c,
        "heat_meter_battery_low": 0.0,
    }


def _gas(world: World) -> dict[str, float]:
    """The gas meter before boiler and canteen."""
    return {"gas_volume_m3": world.heating.gas_m3, "gas_valve_state": 0.0, "gas_meter_battery_low": 0.0}


ZONES = ("tower-crane", "workshop", "concrete-pump", "hoist", "living", "office", "gate")
ROLES: dict[str, Callable[[World], dict[str, float]]] = {
    "main": _main,
    **{f"zone:{name}": _zone(name) for name in ZONES},
    "gate": _gate,
    "crane:1": _crane,
    "cannon:1": _cannon,
    "relay:gate": _relay,
    "relay:yard": _yard,
    "water": _water,
    "heat": _heat,
    "gas": _gas,
    **MACHINES,
}


def reader(device: str, role: str | None, live: Live) -> Reader:
    """Return what ``device`` measures. Raises SimulatorError with the roles there are."""
    if role is None or role not in ROLES:
        said = "has no role" if role is None else f"has the role {role!r}, which nobody plays"
        raise SimulatorError(f"device {device} {said}; to simulate it, give it one of: {', '.join(ROLES)}")
    measure = ROLES[role]

    def read() -> Mapping[str, float]:
        world = live()
        if role in world.mute:
            raise Silent
        return measure(world)

    return read
