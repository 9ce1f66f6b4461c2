"""What is wrong now, in words: one list behind the page's traffic light and behind ``/healthz``. Pure.

One cause gives one finding: while a wire is down its devices are not listed again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.model import DeviceHealth, LinkHealth, Mark
from gateway.vocabulary import METRICS, Metric
from gateway.web.reasons import in_chinese
from gateway.web.state import DeviceView, PageState, is_stale

FAULT, WARNING = "fault", "warning"

UNHEALTHY = frozenset({"link_down", "link_silent", "buffer_full"})
"""Findings that make ``/healthz`` answer 503: the gateway as a whole does not do its work. A single silent device or a
sink that is down is shown, but restarting or replacing the gateway would not help."""

SINK_DOWN_AFTER_MS = 30_000
HOURS_LEFT_LOW = 6.0
FULL_SHARE = 0.95
NAMED_METRICS = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, ready to be read by people."""

    level: str
    """fault: data is missing now (red) · warning: look at it soon (amber)."""
    code: str
    subject: str
    """Name of the link, device or sink; "buffer" for the buffer."""
    since_ms: int | None
    en: str
    zh: str


def findings(state: PageState, now_ms: int) -> list[Finding]:
    """Everything wrong at this moment, faults first."""
    found = [*_links(state, now_ms), *_buffer(state), *_sinks(state, now_ms), *_notices(state), *_settings(state)]
    return sorted(found, key=lambda f: f.level != FAULT)


def _because(error: str | None) -> str:
    return f": {error}" if error else ""


def _because_zh(error: str | None) -> str:
    return f"：{in_chinese(error)}" if error else ""


def _bad_metrics(state: PageState) -> dict[str, list[Metric]]:
    """Metrics by device whose newest reading is not good."""
    bad: dict[str, list[Metric]] = {}
    for value in state.latest.values():
        if value.mark != Mark.GOOD and value.metric in METRICS:
            bad.setdefault(value.device, []).append(METRICS[value.metric])
    return bad


def _links(state: PageState, now_ms: int) -> Iterator[Finding]:
    bad = _bad_metrics(state)
    members: dict[str, list[DeviceView]] = {}
    for device in state.devices.values():
        members.setdefault(device.link, []).append(device)
    for link in state.links.values():
        devices = members.get(link.name, [])
        if link.state == "down":
            yield _link_down(link)
        elif len(devices) > 1 and all(_is_silent(state.device_health.get(d.name)) for d in devices):
            times = [state.device_health[d.name].last_answer_ms for d in devices]
            yield Finding(
                FAULT, "link_silent", link.name, max((t for t in times if t is not None), default=None),
                f"No device on link {link.name} answers. Check cable, power and the settings of {link.address}.",
                f"链路 {link.name} 上没有设备应答。请检查接线、供电以及 {link.address} 的通信参数。",
            )  # fmt: skip
        else:
            for device in devices:
                yield from _device(state, device, now_ms, bad.get(device.name, []))


def _link_down(link: LinkHealth) -> Finding:
    return Finding(
        FAULT, "link_down", link.name, link.since_ms or None,
        f"Link {link.name} ({link.address}) is down{_because(link.last_error)}",
        f"链路 {link.name}（{link.address}）已断开{_because_zh(link.last_error)}",
    )  # fmt: skip


def _is_silent(health: DeviceHealth | None) -> bool:
    return health is not None and health.state == "silent"


def _device(state: PageState, device: DeviceView, now_ms: int, bad: list[Metric]) -> Iterator[Finding]:
    health = state.device_health.get(device.name)
    if health is None or health.state == "waiting":
        return
    since = health.last_answer_ms
    if health.state == "silent":
        yield Finding(
            FAULT, "device_silent", device.name, since,
            f"{device.label_en} does not answer{_because(health.last_error)}",
            f"{device.label_zh}无应答{_because_zh(health.last_error)}",
        )  # fmt: skip
    elif health.state == "refused":
        yield Finding(
            FAULT, "device_refused", device.name, since,
            f"{device.label_en} refuses to answer{_because(health.last_error)}",
            f"{device.label_zh}拒绝应答{_because_zh(health.last_error)}",
        )  # fmt: skip
    elif is_stale(since, device.fastest_s, now_ms):
        yield Finding(
            FAULT, "device_stale", device.name, since,
            f"{device.label_en} has sent nothing new",
            f"{device.label_zh}没有新数据",
        )  # fmt: skip
    elif health.state == "partly":
        yield Finding(
            WARNING, "device_partly", device.name, None,
            f"{device.label_en} answers only in part{_because(health.last_error)}",
            f"{device.label_zh}只有部分应答{_because_zh(health.last_error)}",
        )  # fmt: skip
    elif bad:
        more = len(bad) - NAMED_METRICS
        en, zh = ", ".join(m.en for m in bad[:NAMED_METRICS]), "、".join(m.zh for m in bad[:NAMED_METRICS])
        yield Finding(
            WARNING, "device_values", device.name, None,
            f"{device.label_en} gives no good value for {en}" + (f" and {more} more" if more > 0 else ""),
            f"{device.label_zh}没有有效值：{zh}" + (f"等 {len(bad)} 项" if more > 0 else ""),
        )  # fmt: skip


def _buffer(state: PageState) -> Iterator[Finding]:
    stats = state.buffer.stats()
    full = stats.max_bytes > 0 and stats.bytes_on_disk >= FULL_SHARE * stats.max_bytes
    if full and stats.dropped_records:
        yield Finding(
            FAULT, "buffer_full", "buffer", None,
            f"The buffer is full: the oldest readings are being dropped ({stats.dropped_records} so far).",
            f"缓冲已满：最早的数据正在被丢弃（已丢弃 {stats.dropped_records} 条）。",
        )  # fmt: skip
    elif stats.dropped_records:
        yield Finding(
            WARNING, "buffer_dropped", "buffer", None,
            f"{stats.dropped_records} readings were dropped before they could be sent.",
            f"有 {stats.dropped_records} 条数据未发送即被丢弃。",
        )  # fmt: skip
    elif stats.hours_left is not None and stats.hours_left < HOURS_LEFT_LOW and _backlog(state):
        yield Finding(
            WARNING, "buffer_low", "buffer", None,
            f"The buffer is full in {stats.hours_left:.1f} h unless the sinks take their data.",
            f"若数据无法上传，缓冲将在 {stats.hours_left:.1f} 小时后写满。",
        )  # fmt: skip
    if stats.damaged_records:
        yield Finding(
            WARNING, "buffer_damaged", "buffer", None,
            f"{stats.damaged_records} stored readings were damaged and skipped. Check the disk.",
            f"有 {stats.damaged_records} 条已存数据损坏并被跳过，请检查磁盘。",
        )  # fmt: skip
    for sink in stats.sinks:
        if sink.quarantined:
            yield Finding(
                WARNING, "sink_refused", sink.name, None,
                f"{sink.name} refused {sink.quarantined} readings; they are kept in quarantine.",
                f"{sink.name} 拒收了 {sink.quarantined} 条数据，已隔离保存。",
            )  # fmt: skip


def _backlog(state: PageState) -> bool:
    return any(pump.state == "down" for pump in state.pumps.values())


def _sinks(state: PageState, now_ms: int) -> Iterator[Finding]:
    for pump in state.pumps.values():
        if pump.state == "down" and now_ms - pump.since_ms > SINK_DOWN_AFTER_MS:
            yield Finding(
                WARNING, "sink_down", pump.name, pump.since_ms,
                f"{pump.name} takes no data, the buffer keeps it{_because(pump.last_error)}",
                f"{pump.name} 无法接收数据，数据保存在缓冲中{_because_zh(pump.last_error)}",
            )  # fmt: skip


def _notices(state: PageState) -> Iterator[Finding]:
    for channel in state.notices.health().values() if state.notices is not None else ():
        if channel.state == "down":
            yield Finding(
                WARNING, "notices_down", channel.name, channel.since_ms,
                f"Notices by {channel.name} do not get through, {channel.waiting} alarms wait"
                f"{_because(channel.last_error)}",
                f"通知渠道 {channel.name} 无法送达，{channel.waiting} 条报警待发送{_because_zh(channel.last_error)}",
            )  # fmt: skip


def _settings(state: PageState) -> Iterator[Finding]:
    settings = state.settings
    if settings.refused:
        count, first = len(settings.refused), settings.refused[0]
        yield Finding(
            WARNING, "settings_refused", "site", settings.since_ms,
            f"The changed site file was refused ({count} mistakes), the old settings hold: {first}",
            f"新的站点配置有 {count} 处错误，未被采用，仍按原配置运行：{first}",
        )  # fmt: skip
    if settings.waiting:
        names = ", ".join(settings.waiting)
        yield Finding(
            WARNING, "settings_wait", "site", settings.since_ms,
            f"Changed in the site file, in effect after the next start: {names}",
            f"站点配置已修改，重启后生效：{names}",
        )  # fmt: skip
