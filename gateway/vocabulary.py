"""Every quantity the gateway speaks of, once: name with unit, domain, kind, range, HJ 212 code, two labels.

Profiles, sinks, ledger, page, alerts, dashboards and reports use these names; nothing invents a name beside them.
Adding a quantity is adding one line here. HJ 212 codes: HJ 212-2017 tables B.2 and B.3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Domain(StrEnum):
    """The InfluxDB measurement, and the group on the page."""

    ENERGY = "energy"
    AIR = "air"
    NOISE = "noise"
    WEATHER = "weather"
    WATER = "water"
    ELECTRICAL = "electrical"
    EQUIPMENT = "equipment"
    GATEWAY = "gateway"
    """What the gateway says of itself: for sinks only, no device has these."""
    ALERTS = "alerts"
    """How alarms stand, likewise."""


class Kind(StrEnum):
    """What sort of number it is: decides how a minute is averaged and what a missing value means."""

    GAUGE = "gauge"  # arithmetic mean
    LEVEL_DB = "level_db"  # energy mean: 10 lg(mean(10^(L/10))), never an arithmetic mean of decibels
    DIRECTION = "direction"  # vector mean, degrees
    COUNTER = "counter"  # only grows; a minute keeps the last value and the increase
    STATE = "state"  # a small whole number; a minute keeps the last one


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the vocabulary."""

    name: str
    domain: Domain
    kind: Kind
    unit: str
    low: float
    """Smallest plausible value; below it the reading is marked out of range."""
    high: float
    decimals: int
    """For people: how many are worth showing."""
    en: str
    zh: str
    hj212: str | None = None
    states: dict[int, tuple[str, str]] | None = None
    """For STATE: number -> (English, Chinese)."""
    regulated: bool = False
    """Emission data a regulator may ask for: its minutes are kept for 400 days."""


NEAR_WRAP = 0.1
"""Of a counter's register: how near the end it stood before a wrap, and how near the beginning it stands after."""


def has_wrapped(before: float, after: float, wrap: float | None) -> bool:
    """True when a counter's register that fell did so because it started again at zero after ``wrap``."""
    return wrap is not None and before >= wrap * (1 - NEAR_WRAP) and after <= wrap * NEAR_WRAP


_E, _A, _N, _W = Domain.ENERGY, Domain.AIR, Domain.NOISE, Domain.WEATHER
_H2O, _S, _Q = Domain.WATER, Domain.ELECTRICAL, Domain.EQUIPMENT
_G, _L, _D, _C, _T = Kind.GAUGE, Kind.LEVEL_DB, Kind.DIRECTION, Kind.COUNTER, Kind.STATE
_GW, _AL = Domain.GATEWAY, Domain.ALERTS
_ON_OFF = {0: ("off", "关"), 1: ("on", "开")}
_VALVE = {0: ("open", "开"), 1: ("closed", "关"), 2: ("unclear", "不明"), 3: ("abnormal", "异常")}
_BATTERY = {0: ("good", "正常"), 1: ("low", "电量低")}
_MACHINE = {0: ("off", "停机"), 1: ("idle", "待机"), 2: ("working", "工作"), 3: ("alarm", "报警")}


def _phases(
    name: str, phases: str, unit: str, low: float, high: float, decimals: int, en: str, zh: str
) -> list[Metric]:
    """One metric per phase or phase pair: ``voltage_{}_v`` with "l1 l2 l3"."""
    return [
        Metric(name.format(p), _E, _G, unit, low, high, decimals, en.format(label), zh.format(label))
        for p in phases.split()
        for label in [p.upper().replace("_", "-")]
    ]


_MW = 10_000_000.0  # a construction site's transformer is below 10 MVA
_EVER = 1e15  # no range: our own numbers are not doubted
DEVICE_STATES = {
    0: ("good", "正常"), 1: ("partly", "部分应答"), 2: ("refused", "拒绝"), 3: ("waiting", "等待"),
    4: ("silent", "无应答"), 5: ("link_down", "链路断开"),
}  # fmt: skip
"""Numbers of ``DeviceHealth.state``; the higher, the worse."""
ALARM_LEVELS = {
    0: ("none", "无"), 1: ("info", "提示"), 2: ("warning", "预警"), 3: ("alarm", "报警"), 4: ("critical", "紧急"),
}  # fmt: skip
VERDICTS = {0: ("passed", "达标"), 1: ("not enough data", "数据不足"), 2: ("exceeded", "超标")}
ALARM_ANSWERS = {0: ("open", "未处置"), 1: ("acknowledged", "已确认"), 2: ("acted", "已处置"), 3: ("closed", "已关闭")}
_KWH = 1e10  # s64 watt-hour registers can hold far more; nothing real does
_ENERGIES = [
    ("energy_import_kwh", "Energy imported", "正向有功电能"),
    ("energy_export_kwh", "Energy exported", "反向有功电能"),
    ("energy_total_kwh", "Energy, import plus export", "总有功电能"),
    ("energy_import_l1_kwh", "Energy imported, L1", "L1 正向有功电能"),
    ("energy_import_l2_kwh", "Energy imported, L2", "L2 正向有功电能"),
    ("energy_import_l3_kwh", "Energy imported, L3", "L3 正向有功电能"),
    ("energy_export_l1_kwh", "Energy exported, L1", "L1 反向有功电能"),
    ("energy_export_l2_kwh", "Energy exported, L2", "L2 反向有功电能"),
    ("energy_export_l3_kwh", "Energy exported, L3", "L3 反向有功电能"),
    ("energy_tariff1_kwh", "Energy, tariff 1 (sharp)", "尖电能"),
    ("energy_tariff2_kwh", "Energy, tariff 2 (peak)", "峰电能"),
    ("energy_tariff3_kwh", "Energy, tariff 3 (flat)", "平电能"),
    ("energy_tariff4_kwh", "Energy, tariff 4 (valley)", "谷电能"),
]

_ALL: list[Metric] = [
    # --- electricity -------------------------------------------------------------------------------------
    *_phases("voltage_{}_v", "l1 l2 l3", "V", 0, 40_000, 1, "Voltage {}", "{} 相电压"),
    *_phases("voltage_{}_v", "l1_l2 l2_l3 l3_l1", "V", 0, 40_000, 1, "Line voltage {}", "{} 线电压"),
    *_phases("current_{}_a", "l1 l2 l3", "A", -10_000, 10_000, 2, "Current {}", "{} 相电流"),
    Metric("current_neutral_a", _E, _G, "A", -10_000, 10_000, 2, "Neutral current", "零线电流"),
    *_phases("active_power_{}_w", "l1 l2 l3", "W", -_MW, _MW, 0, "Active power {}", "{} 有功功率"),
    Metric("active_power_w", _E, _G, "W", -_MW, _MW, 0, "Active power", "有功功率"),
    *_phases("reactive_power_{}_var", "l1 l2 l3", "var", -_MW, _MW, 0, "Reactive power {}", "{} 无功功率"),
    Metric("reactive_power_var", _E, _G, "var", -_MW, _MW, 0, "Reactive power", "无功功率"),
    *_phases("apparent_power_{}_va", "l1 l2 l3", "VA", -_MW, _MW, 0, "Apparent power {}", "{} 视在功率"),
    Metric("apparent_power_va", _E, _G, "VA", -_MW, _MW, 0, "Apparent power", "视在功率"),
    *_phases("power_factor_{}", "l1 l2 l3", "", -1.001, 1.001, 3, "Power factor {}", "{} 功率因数"),
    Metric("power_factor", _E, _G, "", -1.001, 1.001, 3, "Power factor", "功率因数"),
    Metric("phase_angle_deg", _E, _G, "°", -360, 360, 1, "Phase angle", "相角"),
    Metric("frequency_hz", _E, _G, "Hz", 40, 70, 2, "Frequency", "频率"),
    *_phases("voltage_thd_{}_pct", "l1 l2 l3", "%", 0, 100, 1, "Voltage distortion {}", "{} 电压谐波畸变率"),
    *[Metric(name, _E, _C, "kWh", 0, _KWH, 2, en, zh) for name, en, zh in _ENERGIES],
    Metric("energy_net_kwh", _E, _G, "kWh", -_KWH, _KWH, 2, "Energy, net (may fall)", "组合有功电能"),
    Metric("reactive_energy_import_kvarh", _E, _C, "kvarh", 0, _KWH, 2, "Reactive energy imported", "正向无功电能"),
    Metric("reactive_energy_export_kvarh", _E, _C, "kvarh", 0, _KWH, 2, "Reactive energy exported", "反向无功电能"),
    Metric("reactive_energy_total_kvarh", _E, _C, "kvarh", 0, _KWH, 2, "Reactive energy", "总无功电能"),
    # --- heat and gas --------------------------------------------------------------------------------------
    Metric("heat_energy_kwh", _E, _C, "kWh", 0, _KWH, 2, "Heat used", "用热量"),
    Metric("heat_power_w", _E, _G, "W", -_MW, _MW, 0, "Heat output", "热功率"),
    Metric("heat_flow_m3_h", _E, _G, "m³/h", 0, 5_000, 3, "Heating circuit, flow", "热媒流量"),
    Metric("heat_volume_m3", _E, _C, "m³", 0, 1e9, 2, "Heating circuit, volume", "热媒累计流量"),
    Metric("supply_temperature_c", _E, _G, "°C", -50, 250, 2, "Supply temperature", "供水温度"),
    Metric("return_temperature_c", _E, _G, "°C", -50, 250, 2, "Return temperature", "回水温度"),
    Metric("heat_meter_battery_low", _E, _T, "", 0, 1, 0, "Heat meter, battery", "热量表电池", states=_BATTERY),
    Metric("gas_volume_m3", _E, _C, "m³", 0, 1e9, 2, "Gas used", "用气量"),
    Metric("gas_valve_state", _E, _T, "", 0, 3, 0, "Gas valve", "燃气表阀门", states=_VALVE),
    Metric("gas_meter_battery_low", _E, _T, "", 0, 1, 0, "Gas meter, battery", "燃气表电池", states=_BATTERY),
    # --- air -----------------------------------------------------------------------------------------------
    Metric("pm1_ug_m3", _A, _G, "µg/m³", 0, 5_000, 0, "PM1", "PM1.0", "a34005", regulated=True),
    Metric("pm2_5_ug_m3", _A, _G, "µg/m³", 0, 5_000, 0, "PM2.5", "PM2.5", "a34004", regulated=True),
    Metric("pm10_ug_m3", _A, _G, "µg/m³", 0, 10_000, 0, "PM10", "PM10", "a34002", regulated=True),
    Metric("tsp_ug_m3", _A, _G, "µg/m³", 0, 30_000, 0, "TSP (total dust)", "总悬浮颗粒物", "a34001", regulated=True),
    Metric("sprayed", _A, _T, "", 0, 1, 0, "Sprayed (cannon runs nearby)", "喷雾影响", states=_ON_OFF, regulated=True),
    # --- noise ---------------------------------------------------------------------------------------------
    Metric("noise_la_db", _N, _L, "dB(A)", 20, 140, 1, "Noise level", "噪声 A 声级", "LA", regulated=True),
    Metric("noise_laeq_db", _N, _L, "dB(A)", 20, 140, 1, "Noise, Leq", "等效声级 Leq", "Leq", regulated=True),
    Metric("noise_lamax_db", _N, _L, "dB(A)", 20, 140, 1, "Noise, maximum", "最大声级 Lmax", "LMx", regulated=True),
    # --- weather -------------------------------------------------------------------------------------------
    Metric("air_temperature_c", _W, _G, "°C", -50, 70, 1, "Air temperature", "气温", "a01001", regulated=True),
    Metric("humidity_pct", _W, _G, "%", 0, 100, 1, "Humidity", "湿度", "a01002", regulated=True),
    Metric("pressure_kpa", _W, _G, "kPa", 50, 110, 1, "Air pressure", "大气压", "a01006", regulated=True),
    Metric("wind_speed_m_s", _W, _G, "m/s", 0, 75, 1, "Wind speed", "风速", "a01007", regulated=True),
    Metric("wind_gust_m_s", _W, _G, "m/s", 0, 100, 1, "Wind gust", "阵风风速"),
    Metric("wind_direction_deg", _W, _D, "°", 0, 360, 0, "Wind direction", "风向", "a01008", regulated=True),
    Metric("illuminance_lx", _W, _G, "lx", 0, 250_000, 0, "Illuminance", "光照度"),
    Metric("rain_mm", _W, _C, "mm", 0, 100_000, 1, "Rain", "雨量"),
    # --- water ---------------------------------------------------------------------------------------------
    Metric("water_volume_m3", _H2O, _C, "m³", 0, 1e9, 2, "Water used", "用水量"),
    Metric("water_flow_m3_h", _H2O, _G, "m³/h", -5_000, 5_000, 2, "Water flow", "水流量"),
    Metric("water_pressure_mpa", _H2O, _G, "MPa", 0, 10, 3, "Water pressure", "水压"),
    Metric("recycled_water_m3", _H2O, _C, "m³", 0, 1e9, 2, "Recycled water used", "回用水量"),
    Metric("water_valve_state", _H2O, _T, "", 0, 3, 0, "Water valve", "水表阀门", states=_VALVE),
    Metric("water_meter_battery_low", _H2O, _T, "", 0, 1, 0, "Water meter, battery", "水表电池", states=_BATTERY),
    # --- electrical safety ---------------------------------------------------------------------------------
    Metric("residual_current_ma", _S, _G, "mA", 0, 50_000, 0, "Residual current", "剩余电流"),
    Metric("cable_temperature_c", _S, _G, "°C", -50, 300, 1, "Cable temperature", "线缆温度"),
    Metric("cable_temperature_l1_c", _S, _G, "°C", -50, 300, 1, "Cable temperature L1", "L1 线缆温度"),
    Metric("cable_temperature_l2_c", _S, _G, "°C", -50, 300, 1, "Cable temperature L2", "L2 线缆温度"),
    Metric("cable_temperature_l3_c", _S, _G, "°C", -50, 300, 1, "Cable temperature L3", "L3 线缆温度"),
    Metric("cable_temperature_n_c", _S, _G, "°C", -50, 300, 1, "Cable temperature N", "N 线缆温度"),
    Metric("cabinet_temperature_c", _S, _G, "°C", -50, 150, 1, "Temperature in the cabinet", "箱内温度"),
    # --- equipment -----------------------------------------------------------------------------------------
    Metric("load_t", _Q, _G, "t", 0, 1_000, 2, "Load", "吊重"),
    Metric("rated_load_t", _Q, _G, "t", 0, 1_000, 2, "Permitted load", "额定吊重"),
    Metric("moment_pct", _Q, _G, "%", 0, 300, 0, "Load moment", "力矩百分比"),
    Metric("radius_m", _Q, _G, "m", 0, 150, 1, "Trolley radius", "幅度"),
    Metric("hook_height_m", _Q, _G, "m", -100, 600, 1, "Hook height", "吊钩高度"),
    Metric("slewing_deg", _Q, _D, "°", 0, 360, 0, "Slewing angle", "回转角度"),
    Metric("tilt_deg", _Q, _G, "°", -90, 90, 2, "Tilt", "倾角"),
    Metric("tilt_y_deg", _Q, _G, "°", -90, 90, 2, "Tilt, second axis", "Y 轴倾角"),
    Metric("load_pct", _Q, _G, "%", 0, 300, 0, "Load, share of the permitted", "载荷百分比"),
    Metric("persons_aboard", _Q, _G, "", 0, 100, 0, "Persons aboard", "载人数"),
    Metric("floor_number", _Q, _G, "", -20, 300, 0, "Floor", "所在楼层"),
    Metric("cage_height_m", _Q, _G, "m", -100, 1_000, 1, "Cage height", "吊笼高度"),
    Metric("cage_speed_m_s", _Q, _G, "m/s", -10, 10, 2, "Cage speed", "吊笼速度"),
    Metric("concrete_volume_m3", _Q, _C, "m³", 0, 1e7, 1, "Concrete pumped", "混凝土泵送量"),
    Metric("concrete_flow_m3_h", _Q, _G, "m³/h", 0, 300, 1, "Concrete output", "混凝土泵送速率"),
    Metric("pumping_pressure_mpa", _Q, _G, "MPa", 0, 100, 1, "Pumping pressure", "泵送压力"),
    Metric("hydraulic_oil_temperature_c", _Q, _G, "°C", -50, 200, 1, "Hydraulic oil", "液压油温"),
    Metric("vehicles_washed", _Q, _C, "", 0, 1e9, 0, "Vehicles washed", "冲洗车辆数"),
    Metric("engine_speed_rpm", _Q, _G, "r/min", 0, 10_000, 0, "Engine speed", "发动机转速"),
    Metric("coolant_temperature_c", _Q, _G, "°C", -50, 200, 0, "Coolant", "冷却液温度"),
    Metric("oil_pressure_kpa", _Q, _G, "kPa", 0, 2_000, 0, "Oil pressure", "机油压力"),
    Metric("fuel_level_pct", _Q, _G, "%", 0, 130, 0, "Fuel level", "燃油液位"),
    Metric("fuel_used_l", _Q, _C, "L", 0, 1e8, 1, "Fuel used", "累计油耗"),
    Metric("battery_voltage_v", _Q, _G, "V", 0, 100, 1, "Battery voltage", "蓄电池电压"),
    Metric("engine_starts", _Q, _C, "", 0, 1e9, 0, "Engine starts", "启动次数"),
    Metric("idle_hours_h", _Q, _C, "h", 0, 1e6, 2, "Hours at idle", "怠速小时"),
    Metric("machine_state", _Q, _T, "", 0, 3, 0, "Machine", "设备工况", states=_MACHINE),
    Metric("driver_card", _Q, _T, "", 0, 4_294_967_295, 0, "Driver's card number", "司机卡号"),
    Metric("warning_bits", _Q, _T, "", 0, 4_294_967_295, 0, "Warning bits", "报警位"),
    Metric("running", _Q, _T, "", 0, 1, 0, "Running", "运行状态", states=_ON_OFF),
    Metric("spraying", _Q, _T, "", 0, 1, 0, "Spraying", "喷雾状态", states=_ON_OFF),
    Metric("operating_hours_h", _Q, _C, "h", 0, 1e6, 2, "Operating hours", "运行小时"),
    Metric("tank_level_pct", _Q, _G, "%", 0, 100, 0, "Tank level", "水箱液位"),
    *[Metric(f"output_{n}_on", _Q, _T, "", 0, 1, 0, f"Output {n}", f"{n} 路输出", states=_ON_OFF) for n in range(1, 9)],
    *[Metric(f"input_{n}_on", _Q, _T, "", 0, 1, 0, f"Input {n}", f"{n} 路输入", states=_ON_OFF) for n in range(1, 9)],
    Metric("output_timeout_s", _Q, _G, "s", 0, 65_535, 1, "Outputs fall back after", "通讯中断输出复位时间"),
    # --- the gateway itself (gateway/telemetry.py) ------------------------------------------------------------
    Metric("gateway_started", _GW, _T, "", 0, 1, 0, "Started", "启动"),
    Metric("gateway_uptime_s", _GW, _G, "s", 0, _EVER, 0, "Runs since", "已运行时间"),
    Metric("gateway_restarts", _GW, _C, "", 0, _EVER, 0, "Tasks restarted", "任务重启次数"),
    Metric("gateway_lag_ms", _GW, _G, "ms", 0, _EVER, 1, "Event loop lag, maximum", "事件循环最大延迟"),
    Metric("gateway_memory_mb", _GW, _G, "MB", 0, _EVER, 1, "Memory, highest so far", "内存峰值"),
    Metric("values_good", _GW, _C, "", 0, _EVER, 0, "Good values taken", "有效数据数"),
    Metric("values_bad", _GW, _C, "", 0, _EVER, 0, "Values marked bad or missing", "无效或缺失数据数"),
    Metric("buffer_records", _GW, _G, "", 0, _EVER, 0, "Records in the buffer", "缓存记录数"),
    Metric("buffer_used_pct", _GW, _G, "%", 0, 100, 1, "Buffer in use", "缓存占用率"),
    Metric("buffer_dropped", _GW, _C, "", 0, _EVER, 0, "Records dropped unsent", "未发送即丢弃的记录"),
    Metric("sink_pending", _GW, _G, "", 0, _EVER, 0, "Records not yet delivered", "待发送记录数"),
    Metric("sink_behind_s", _GW, _G, "s", 0, _EVER, 0, "Age of the oldest undelivered record", "最早待发送记录的时延"),
    Metric("sink_refused", _GW, _G, "", 0, _EVER, 0, "Records the sink refused", "被拒收记录数"),
    Metric("link_up", _GW, _T, "", 0, 1, 0, "Link", "链路", states={0: ("down", "断开"), 1: ("up", "正常")}),
    Metric("link_busy_pct", _GW, _G, "%", 0, 100, 1, "Wire in use", "总线占用率"),
    Metric("link_requests", _GW, _C, "", 0, _EVER, 0, "Requests sent", "请求次数"),
    Metric("link_failures", _GW, _C, "", 0, _EVER, 0, "Requests that failed", "失败次数"),
    Metric("device_state", _GW, _T, "", 0, 5, 0, "Device", "设备状态", states=DEVICE_STATES),
    Metric("device_age_s", _GW, _G, "s", 0, _EVER, 0, "Time since the last answer", "距上次应答时间"),
    # --- alarms ------------------------------------------------------------------------------------------------
    Metric("alarm_level", _AL, _T, "", 0, 4, 0, "Alarm", "报警", states=ALARM_LEVELS),
    Metric("alarm_answer", _AL, _T, "", 0, 3, 0, "Alarm answered", "报警处置", states=ALARM_ANSWERS),
    Metric("alarm_value", _AL, _G, "", -_EVER, _EVER, 2, "Value judged", "判定值"),
    Metric("limit_in_force", _AL, _G, "", -_EVER, _EVER, 2, "Limit in force", "现行限值"),
    Metric("verdict", _AL, _T, "", 0, 2, 0, "Verdict", "判定", states=VERDICTS),
    Metric("verdict_value", _AL, _G, "", -_EVER, _EVER, 2, "Value of the window", "窗口值"),
    Metric("alarm_limit", _AL, _G, "", -_EVER, _EVER, 2, "Limit", "限值"),
]  # fmt: skip

METRICS: dict[str, Metric] = {m.name: m for m in _ALL}
assert len(METRICS) == len(_ALL), "a metric stands twice in the vocabulary"


def is_of_ourselves(metric: str) -> bool:
    """True for what the gateway says of itself: no reading of a device."""
    known = METRICS.get(metric)
    return known is not None and known.domain in (Domain.GATEWAY, Domain.ALERTS)


NAME = re.compile(r"[a-z][a-z0-9_]{1,62}")
assert all(NAME.fullmatch(name) for name in METRICS)
