"""From the ``notices:`` section of a site file to channels that are ready, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog

from gateway.clock import Clock
from gateway.config.loader import LoadedSite
from gateway.config.report import Report, unknown
from gateway.config.site import SiteConfig
from gateway.ledger.day import Calendar
from gateway.notices.policy import Quiet, Settings
from gateway.notices.runtime import AlarmEvents, NoticeRuntime, Outlet
from gateway.notices.service import sender, understood
from gateway.notices.store import FILE_NAME, NoticeStore
from gateway.notices.text import About

log = structlog.get_logger()


async def check_channels(site: LoadedSite, policies: Mapping[str, str]) -> None:
    """Raise ConfigError for addresses that apprise does not know and rules that are not in use. Touches no network.

    ``policies`` is rule -> policy of the rules in use.
    """
    channels = site.config.notices.channels
    if not channels:
        return
    report = Report(site.file)
    report.read()
    known = {*policies, *policies.values()}
    for name, channel in channels.items():
        for i, wanted in enumerate(channel.rules):
            if wanted not in known:
                text = unknown("rule or policy in use", wanted, known)
                report.add(("notices", "channels", name, "rules", i), text)
    try:
        fit = await understood([channel.url for channel in channels.values()])
    except (OSError, TimeoutError, ValueError) as why:
        log.warning("addresses of notice channels could not be looked at", reason=str(why))
    else:
        for name in (name for name, fits in zip(channels, fit, strict=True) if not fits):
            text = "apprise does not understand this address: no such service, or a part is missing (docs/notices.md)"
            report.add(("notices", "channels", name, "url"), text)
    report.finish()


def outlets_of(config: SiteConfig, policies: Mapping[str, str]) -> dict[str, Outlet]:
    """Return every channel of a site, ready to send."""
    notices = config.notices
    zone = Calendar(ZoneInfo(config.site.timezone))
    quiet = None
    if notices.quiet is not None:
        quiet = Quiet(notices.quiet.begin, notices.quiet.end, notices.quiet.but, zone)
    found: dict[str, Outlet] = {}
    for name, channel in notices.channels.items():
        chosen = frozenset(rule for rule, policy in policies.items() if {rule, policy} & set(channel.rules))
        settings = Settings(
            severity=channel.severity,
            fold_ms=round(notices.fold * 1000),
            expire_ms=round(notices.expire * 1000),
            most_per_hour=notices.most_per_hour,
            rules=chosen if channel.rules else None,
            remind_ms=None if notices.remind is None else round(notices.remind * 1000),
            quiet=quiet,
        )
        found[name] = Outlet(settings, channel.language or notices.language, sender(channel.url))
    return found


def about_of(config: SiteConfig) -> About:
    """Return what every text says of a site."""
    info = config.site
    names = {"en": info.name.en, "zh": info.name.zh}
    return About(names, ZoneInfo(info.timezone), info.simulated, config.notices.link)


async def open_notices(
    config: SiteConfig, policies: Mapping[str, str], events: AlarmEvents, folder: Path, clock: Clock
) -> NoticeRuntime:
    """Return the runtime of a site with channels. Raises as ``NoticeStore.open`` does."""
    store = await NoticeStore.open(folder / FILE_NAME, list(config.notices.channels), clock.wall_ms())
    try:
        return await NoticeRuntime.open(outlets_of(config, policies), about_of(config), events, store, clock)
    except BaseException:
        await store.close()
        raise
