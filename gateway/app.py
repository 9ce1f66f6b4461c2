"""The only module that builds and connects objects: one site file becomes one running gateway.

Order of the start: ledger and buffer, the open minute from the buffer, page, pumps, and only then the wires, so that
the first reading finds everything in place. The stop is the same backwards: wires first, then what they feed.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from gateway import __version__
from gateway.alerts.presets import calendar_of, load_rules
from gateway.alerts.rule import RuleSet
from gateway.alerts.runtime import AlertRuntime
from gateway.alerts.store import FILE_NAME as ALARMS_NAME
from gateway.alerts.store import AlarmStore
from gateway.buffer import FILE_NAME
from gateway.buffer.sqlite import SqliteBuffer
from gateway.clock import Clock, SystemClock
from gateway.config.loader import LoadedDevice, LoadedSite
from gateway.config.site import MqttLink
from gateway.ledger.outbox import MinuteOutbox
from gateway.ledger.store import Ledger
from gateway.links.listener import ListenerWorker
from gateway.links.wires import address_of, make_line, make_listener, polled
from gateway.links.worker import LinkWorker
from gateway.model import DeviceHealth, LinkHealth, Series
from gateway.pipeline.fanout import Pipeline
from gateway.pipeline.latest import Latest
from gateway.sinks.line_protocol import Encoder
from gateway.sinks.pump import Pump
from gateway.sinks.registry import make_sink
from gateway.supervisor import Supervisor
from gateway.web.server import PageServer
from gateway.web.state import DeviceView, PageState

log = structlog.get_logger()

MINUTES_EVERY_S = 1.0


class Gateway:
    """A running gateway: what a test, the demo or the page may look at."""

    def __init__(
        self,
        site: LoadedSite,
        clock: Clock,
        buffer: SqliteBuffer,
        ledger: Ledger,
        rules: RuleSet,
        alarms: AlarmStore | None,
        outbox: MinuteOutbox,
    ) -> None:
        """``alarms`` is None on a site without rules."""
        self.site = site
        self.clock = clock
        self.buffer = buffer
        self.ledger = ledger
        self.outbox = outbox
        self.latest = Latest(clock.wall_ms)
        self.supervisor = Supervisor(clock)
        self.links = {name: LinkHealth(name, link.kind, address_of(link)) for name, link in site.config.links.items()}
        self.device_health = {name: DeviceHealth(name) for name in site.devices}
        self.pipeline = Pipeline(
            {name: device.rules for name, device in site.devices.items()},
            [self.latest.put, buffer.put, ledger.put],
        )
        zones = {name: device.config.zone for name, device in site.devices.items()}
        encoder = Encoder(site.config.site.id, zones, site.config.site.simulated)
        self.sinks = {name: make_sink(name, sink, encoder) for name, sink in site.config.sinks.items()}
        self.pumps = {
            name: Pump(sink, buffer, clock, site.config.sinks[name].batch_values) for name, sink in self.sinks.items()
        }
        self.alerts = None if alarms is None else self._alert_runtime(rules, alarms)
        self.page = PageServer(self._page_state(), site.config.page.host, site.config.page.port)

    def workers(self) -> Iterator[tuple[str, LinkWorker | ListenerWorker]]:
        """Make one worker per link that has devices."""
        for name, link in self.site.config.links.items():
            devices = [d for d in self.site.devices.values() if d.config.link == name]
            if not devices:
                continue
            health = {d.name: self.device_health[d.name] for d in devices}
            if isinstance(link, MqttLink):
                yield name, self._listener_worker(name, link, devices, health)
            else:
                line = make_line(link)
                members = [polled(d, line, link.timeout) for d in devices]
                yield name, LinkWorker(line, members, self.pipeline, self.clock, self.links[name], health)

    def _listener_worker(
        self, name: str, link: MqttLink, devices: list[LoadedDevice], health: dict[str, DeviceHealth]
    ) -> ListenerWorker:
        return ListenerWorker(
            make_listener(link, f"sitegate-{self.site.config.site.id}-{name}"[:64], devices),
            {d.name: min(rule.every_s for rule in d.rules.values()) for d in devices},
            self.pipeline,
            self.clock,
            self.links[name],
            health,
            {d.name: tuple(d.points) for d in devices},
        )

    def _alert_runtime(self, rules: RuleSet, store: AlarmStore) -> AlertRuntime:
        devices = self.site.devices
        named = {name: device.config.name for name, device in devices.items()}
        return AlertRuntime(
            rules,
            store,
            self.ledger,
            self.clock,
            calendar_of(self.site),
            self.device_health,
            {name: device.points for name, device in devices.items()},
            self.latest.newest_ms,
            {name: {"en": label.en, "zh": label.zh} for name, label in named.items() if label},
            simulated=self.site.config.site.simulated,
            keep_s=self.site.config.ledger.keep_regulated,
        )

    async def keep_minutes(self) -> None:
        """Close minutes as they end, send them the way of the readings and let the alarms judge them."""
        while True:
            await self.clock.sleep(MINUTES_EVERY_S)
            await _finished(self._close_minutes())

    async def _close_minutes(self) -> None:
        minutes = await self.outbox.close_minutes()
        if self.alerts is not None:
            self.alerts.feed(minutes)

    def _page_state(self) -> PageState:
        return PageState(
            site=self.site.config,
            version=__version__,
            started_ms=self.clock.wall_ms(),
            clock=self.clock,
            devices={name: _view(device) for name, device in self.site.devices.items()},
            device_health=self.device_health,
            links=self.links,
            latest=self.latest,
            buffer=self.buffer,
            ledger=self.ledger,
            pumps={name: pump.health for name, pump in self.pumps.items()},
            alarms=self.alerts,
        )


def _view(device: LoadedDevice) -> DeviceView:
    label = device.config.name
    return DeviceView(
        name=device.name,
        label_en=label.en if label else device.name,
        label_zh=label.zh if label else device.name,
        zone=device.config.zone,
        profile=device.profile.name,
        title_en=device.profile.title["en"],
        title_zh=device.profile.title["zh"],
        link=device.config.link,
        every_s={name: rule.every_s for name, rule in device.rules.items()},
    )


@asynccontextmanager
async def running(site: LoadedSite, clock: Clock | None = None) -> AsyncIterator[Gateway]:
    """Run the gateway of ``site`` for the length of the block.

    Raises ConfigError when its alarm rules are wrong, StoreBusy when another gateway holds the data directory,
    OSError when it cannot be used, and AddressUnavailable when the page's port is taken.
    """
    clock = clock or SystemClock()
    rules = load_rules(site)
    folder = _data_folder(site.config.data_dir)
    async with contextlib.AsyncExitStack() as stack:
        ledger = await Ledger.open(
            folder / "ledger.sqlite",
            list(_series(site)),
            keep_regulated_s=site.config.ledger.keep_regulated,
            keep_other_s=site.config.ledger.keep_other,
            clock=clock,
        )
        stack.push_async_callback(ledger.close)
        settings = site.config.buffer
        buffer = await SqliteBuffer.open(
            folder / FILE_NAME,
            sinks=list(site.config.sinks),
            max_bytes=settings.max_mb * 1_000_000,
            commit_every_s=settings.commit_every,
            commit_rows=settings.commit_rows,
            commit_bytes=settings.commit_kib * 1024,
            keep_s=settings.keep,
            clock=clock,
        )
        stack.push_async_callback(buffer.close)
        outbox = MinuteOutbox(buffer, ledger, clock)
        stack.push_async_callback(outbox.close)
        await outbox.catch_up()
        alarms = None
        if rules.rules or (folder / ALARMS_NAME).exists():  # what is open stays to be answered
            alarms = await AlarmStore.open(folder / ALARMS_NAME)
            stack.push_async_callback(alarms.close)
        gateway = Gateway(site, clock, buffer, ledger, rules, alarms, outbox)
        if gateway.alerts is not None:
            stack.push_async_callback(gateway.alerts.close)
        for sink in gateway.sinks.values():
            stack.push_async_callback(sink.close)
        await gateway.page.start()
        stack.push_async_callback(gateway.page.stop)
        tasks: list[asyncio.Task[None]] = []
        stack.push_async_callback(_stop, tasks)
        keep = gateway.supervisor.keep
        tasks += [asyncio.create_task(keep(f"sink {n}", p.run), name=f"sink {n}") for n, p in gateway.pumps.items()]
        tasks.append(asyncio.create_task(keep("minutes", gateway.keep_minutes), name="minutes"))
        if gateway.alerts is not None:
            tasks.append(asyncio.create_task(keep("alarms", gateway.alerts.run), name="alarms"))
        tasks += [asyncio.create_task(keep(f"link {n}", w.run), name=f"link {n}") for n, w in gateway.workers()]
        log.info(
            "gateway runs",
            site=site.config.site.id,
            version=__version__,
            devices=len(site.devices),
            page=gateway.page.url,
        )
        try:
            yield gateway
        finally:
            log.info("gateway stops")
            await _stop(tasks)


def _data_folder(folder: Path) -> Path:
    """Make sure that we may write there. Raises OSError with a sentence that says what to do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as why:
        advice = "make it a folder that this user may write to, or name another data_dir in the site file"
        raise OSError(f"data_dir {folder} cannot be used ({why.strerror}): {advice}") from None


def _series(site: LoadedSite) -> Iterator[Series]:
    for device in site.devices.values():
        for metric, rule in device.rules.items():
            yield Series(device.name, metric, rule.every_s, rule.wrap)


async def _finished(work: Coroutine[Any, Any, None]) -> None:
    """Await ``work`` to its end even when cancelled: what is half-way between ledger and buffer would be lost."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: a library may turn a cancel into an error of its own that asks for another try."""
    while tasks:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=1.0)
        tasks[:] = [task for task in tasks if not task.done()]
