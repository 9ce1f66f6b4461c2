"""What the page says, without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from drivers.hj212 import points
from drivers.http_push import codec
from gateway import app
from gateway.model import NoticeEntry, NoticeHealth, SinkStats
from gateway.vocabulary import METRICS
from gateway.web import views
from gateway.web.findings import findings
from tests.support.clock import ManualClock
from tests.support.page_demo import Demo, make_demo, stats


@pytest.fixture
def demo() -> Demo:
    return make_demo(ManualClock())


NOW = ManualClock().wall_ms()


def codes(demo: Demo, now_ms: int = NOW) -> list[tuple[str, str]]:
    return [(f.code, f.subject) for f in findings(demo.state, now_ms)]


def entry(demo: Demo, device: str, metric: str, now_ms: int = NOW) -> dict[str, Any]:
    return next(v for v in views.latest(demo.state, now_ms, device) if v["metric"] == metric)


def test_a_site_in_order_has_nothing_to_report(demo: Demo) -> None:
    body = views.site(demo.state, NOW)
    assert (body["status"], body["findings"]) == ("ok", [])
    assert body["name"] == {"en": "Changsha Binjiang pilot site", "zh": "长沙滨江试点工地"}
    assert body["simulated"] is True
    assert (body["devices"], body["links"], body["links_up"]) == (8, 4, 4)
    assert body["readings"]["bad"] == 0 < body["readings"]["good"]
    assert body["buffer"]["pending"] == {"influx": 3}
    assert body["sinks"][0]["state"] == "up"


def test_every_body_is_json_without_nan(demo: Demo) -> None:
    demo.trouble(NOW)
    for body in (
        views.site(demo.state, NOW),
        views.devices(demo.state, NOW),
        views.latest(demo.state, NOW),
        views.links(demo.state),
        views.health(demo.state, NOW),
        views.vocabulary(),
    ):
        json.dumps(body, allow_nan=False)


def test_latest_gives_what_people_need_to_read_a_value(demo: Demo) -> None:
    noise = entry(demo, "noise-1", "noise_la_db", NOW + 4000)
    assert noise["unit"] == "dB(A)"
    assert noise["label"] == {"en": "Noise level", "zh": "噪声 A 声级"}
    assert (noise["domain"], noise["decimals"], noise["mark"]) == ("noise", 1, "N")
    assert (noise["age_s"], noise["stale"]) == (4.0, False)
    running = entry(demo, "crane-1", "running")
    assert running["state_label"] == {"en": "on", "zh": "开"}
    assert "state_label" not in noise


@pytest.mark.parametrize(("age_ms", "stale"), [(8_000, False), (8_001, True)])
def test_stale_is_three_rounds_and_five_seconds(demo: Demo, age_ms: int, stale: bool) -> None:
    assert entry(demo, "noise-1", "noise_la_db", NOW + age_ms)["stale"] is stale
    device = next(d for d in views.devices(demo.state, NOW + age_ms) if d["name"] == "noise-1")
    assert device["stale"] is stale
    assert device["good"] == (0 if stale else 2)


def test_a_bad_reading_is_null_and_remembers_when_it_was_good(demo: Demo) -> None:
    demo.fail("noise-1", "T", NOW + 1000)
    noise = entry(demo, "noise-1", "noise_la_db", NOW + 1000)
    assert (noise["value"], noise["mark"], noise["last_good_ms"]) == (None, "T", NOW)


def test_a_series_never_read_is_listed_as_missing(demo: Demo) -> None:
    state = replace(demo.state, latest=type(demo.latest)())
    values = views.latest(state, NOW)
    assert len(values) == sum(len(d.every_s) for d in state.devices.values())
    assert {(v["value"], v["mark"], v["time_ms"], v["stale"]) for v in values} == {(None, "B", None, True)}


def test_a_device_clock_ahead_of_ours_gives_no_negative_age(demo: Demo) -> None:
    assert entry(demo, "noise-1", "noise_la_db", NOW - 5000)["age_s"] == 0


def test_changes_gives_each_reading_once(demo: Demo) -> None:
    seen: dict[tuple[str, str], int] = {}
    first = views.changes(demo.latest.values(), seen)
    assert len(first) == len(views.latest(demo.state, NOW))
    assert views.changes(demo.latest.values(), seen) == []
    demo.fail("noise-1", "D", NOW + 1000)
    assert views.changes(demo.latest.values(), seen) == [
        {"device": "noise-1", "metric": m, "value": None, "mark": "D", "time_ms": NOW + 1000, "last_good_ms": NOW}
        for m in ("noise_la_db", "noise_laeq_db")
    ]  # fmt: skip


def test_one_cause_gives_one_finding(demo: Demo) -> None:
    demo.trouble(NOW)
    assert codes(demo) == [
        ("link_down", "zones"),  # and not its two meters
        ("device_silent", "noise-1"),
        ("device_values", "cannon-1"),
        ("sink_down", "influx"),
    ]
    assert views.site(demo.state, NOW)["status"] == "fault"
    by_code = {f.code: f for f in findings(demo.state, NOW)}
    assert "10.0.4.20:502 refuses the connection" in by_code["link_down"].en
    assert "10.0.4.20:502 拒绝连接" in by_code["link_down"].zh
    assert by_code["device_values"].zh == "1 号雾炮没有有效值：水箱液位"
    assert by_code["device_silent"].since_ms == NOW - 95_000


def test_a_link_on_which_everyone_is_silent_is_one_finding(demo: Demo) -> None:
    for name in ("dust-1", "noise-1"):
        demo.health[name].state = "silent"
    assert codes(demo) == [("link_silent", "environment")]
    assert views.health(demo.state, NOW)["status"] == "failing"


def test_a_device_that_simply_stopped_sending_is_found(demo: Demo) -> None:
    late = NOW + 20_001 + 1000
    demo.poll(late, everything=True)
    demo.health["dust-1"].last_answer_ms = NOW + 1000
    assert codes(demo, late) == [("device_stale", "dust-1")]


@pytest.mark.parametrize(
    ("change", "code", "healthy"),
    [
        ({"dropped_records": 7}, "buffer_dropped", True),
        ({"dropped_records": 7, "bytes_on_disk": 510 * 1024 * 1024}, "buffer_full", False),
        ({"damaged_records": 1}, "buffer_damaged", True),
        ({"sinks": (SinkStats("influx", 0, None, 4),)}, "sink_refused", True),
    ],
)
def test_buffer_findings(demo: Demo, change: dict[str, Any], code: str, healthy: bool) -> None:
    demo.buffer.now = replace(stats(), **change)
    assert [c for c, _ in codes(demo)] == [code]
    assert views.health(demo.state, NOW)["status"] == ("ok" if healthy else "failing")


def test_few_hours_left_matter_only_while_a_sink_is_down(demo: Demo) -> None:
    demo.buffer.now = replace(stats(), hours_left=2.0)
    assert codes(demo) == []
    demo.pump.state, demo.pump.since_ms = "down", NOW
    assert codes(demo) == [("buffer_low", "buffer")]


def test_a_sink_down_is_a_warning_after_five_minutes_and_never_unhealthy(demo: Demo) -> None:
    demo.pump.state, demo.pump.since_ms = "down", NOW
    assert codes(demo, NOW + 1000) == []
    body = views.health(demo.state, NOW + 301_000)
    assert not [reason for reason in body["reasons"] if "influx" in reason]
    assert [w for w in body["warnings"] if w.startswith("influx takes no data")]


def test_a_silent_device_is_shown_but_not_unhealthy(demo: Demo) -> None:
    demo.health["noise-1"].state = "silent"
    body = views.health(demo.state, NOW)
    assert (body["status"], body["reasons"]) == ("ok", [])
    assert body["warnings"] == ["Noise, north gate does not answer"]


def test_vocabulary_lists_every_metric() -> None:
    listed = {m["name"]: m for m in views.vocabulary()}
    assert set(listed) == set(METRICS)
    assert listed["running"]["states"] == {"0": {"en": "off", "zh": "关"}, "1": {"en": "on", "zh": "开"}}
    assert listed["pm10_ug_m3"]["hj212"] == "a34002"


class Notices:
    """Fulfils gateway.web.state.NoticeDesk as far as findings ask."""

    def __init__(self, health: NoticeHealth) -> None:
        self._health = health

    def health(self) -> Mapping[str, NoticeHealth]:
        return {self._health.name: self._health}

    async def outbox(self) -> Sequence[NoticeEntry]:
        return []


def test_notices_that_do_not_get_through_are_said(demo: Demo) -> None:
    channel = NoticeHealth("wecom", "up", NOW - 5_000, None, 4)
    demo.state = replace(demo.state, notices=Notices(channel))
    assert codes(demo) == []
    channel.state, channel.last_error = "down", "the service refused the connection"
    assert codes(demo) == [("notices_down", "wecom")]
    text = findings(demo.state, NOW)[0].en
    assert text == "Notices by wecom do not get through, 4 alarms wait: the service refused the connection"
    assert views.health(demo.state, NOW)["reasons"] == [], "starting the gateway anew would not help"


def test_a_link_tells_who_is_on_it_what_went_over_it_and_why_it_is_lost(demo: Demo) -> None:
    demo.trouble(NOW)
    by_name = {link["name"]: link for link in views.links(demo.state)}
    assert by_name["zones"]["devices"] == ["workshop-meter", "crane-meter"]
    assert by_name["zones"]["reason"]["zh"] == "10.0.4.20:502 拒绝连接：该端口没有服务，或已被其他客户端占用"
    assert by_name["meters"]["reason"] is None
    assert by_name["meters"]["last_frames"] == {
        "sent": "01 03 00 00 00 02 c4 0b",
        "received": "01 03 04 43 66 99 9a 5a 04",
    }
    assert by_name["equipment"]["last_frames"] is None, "there devices speak first"
    noise = next(device for device in views.devices(demo.state, NOW) if device["name"] == "noise-1")
    assert (noise["address"], noise["reason"]["zh"]) == ("unit 6", "站号 2: 1 秒内无应答")


def test_an_address_on_the_page_holds_no_secret() -> None:
    station = points.Address(mn="12345678901234567890ABCD", password="geheim")
    assert app._shown(station) == "mn 12345678901234567890ABCD, edition 2017"
    assert app._shown(codec.Address(token="0123456789abcdef0123456789abcdef")) == ""
