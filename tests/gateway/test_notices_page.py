"""What the page, /metrics and /api/notices say of the notice channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import aiohttp

from gateway.clock import SystemClock
from gateway.model import NoticeEntry, NoticeHealth
from gateway.web.findings import findings
from gateway.web.server import PageServer
from tests.support.alarm_demo import with_alarms

ENTRY = NoticeEntry("office", "sent", 1000, "二标段：新", "…", ("dust@gate@1",))


class Desk:
    """Fulfils the page's NoticeDesk."""

    def __init__(self) -> None:
        self._health = {
            "office": NoticeHealth("office", "up", 1000, sent=3),
            "yard": NoticeHealth("yard", "down", 2000, "error=500", waiting=4, failed=2, expired=7),
        }

    def health(self) -> Mapping[str, NoticeHealth]:
        return self._health

    async def outbox(self) -> Sequence[NoticeEntry]:
        return [ENTRY]


async def test_channels_are_in_metrics_findings_and_the_outbox_in_the_api() -> None:
    demo, _ = with_alarms(SystemClock())
    site = demo.state.site
    open_page = site.model_copy(update={"page": site.page.model_copy(update={"password": None})})
    state = replace(demo.state, site=open_page, notices=Desk())
    (found,) = (f for f in findings(state, 10_000) if f.code == "notices_down")
    assert (found.subject, found.since_ms, found.level) == ("yard", 2000, "warning")
    assert "4" in found.en
    assert "error=500" in found.en
    assert "4 条报警" in found.zh
    server = PageServer(state, "127.0.0.1", 0)
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{server.url}metrics") as answer:
                lines = (await answer.text()).splitlines()
            async with session.get(f"{server.url}api/notices") as answer:
                body = await answer.json()
    finally:
        await server.stop()
    assert 'sitegate_notice_channel_up{channel="office"} 1.0' in lines
    assert 'sitegate_notice_channel_up{channel="yard"} 0.0' in lines
    assert 'sitegate_notices_waiting{channel="yard"} 4.0' in lines
    assert 'sitegate_notices_expired_total{channel="yard"} 7.0' in lines
    assert body["notices"][0]["alarms"] == ["dust@gate@1"]
