"""The only module that builds and connects objects: one site file becomes one running gateway.

Order of the start: ledger and buffer, the open minute from the buffer, page, pumps, and only then the wires, so that
the first reading finds everything in place. The stop is the same backwards: wires first, then what they feed.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from drivers.transport.line import Line
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
from gateway.config.site import Link
from gateway.control.binding import load_outputs, near_air, open_control
from gateway.control.runtime import Control
from gateway.control.sprayed import SPRAYED
from gateway.ledger.outbox import MinuteOutbox
from gateway.ledger.store import Ledger
from gateway.links.listener import ListenerWorker
from gateway.links.notebook import FILE_NAME as LEARNED_NAME
from gateway.links.notebook import Notebook
from gateway.links.wires import address_of, is_polled, make_line, make_listener, polled
from gateway.links.worker import LinkWorker
from gateway.model import DeviceHealth, LinkHealth, Series, SettingsState
from gateway.notices.outlets import check_channels, open_notices
from gateway.notices.runtime import NoticeRuntime
from gateway.pipeline.fanout import Pipeline
from gateway.pipeline.latest import Latest
from gateway.sinks.line_protocol import Encoder
from gateway.sinks.pump import Pump
from gateway.sinks.registry import make_sink
from gateway.supervisor import Supervisor
from gateway.telemetry import Telemetry
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
        notices: NoticeRuntime | None,
        control: Control | None,
    ) -> None:
        """``alarms`` is None without rules, ``notices`` where nobody is told of them, ``control`` without outputs."""
        self.site = site
        self.clock = clock
        self.buffer = buffer
        self.ledger = ledger
        self.outbox = outbox
        self.notices = notices
        self.control = control
        self.settings = SettingsState()
        self.latest = Latest(clock.wall_ms)
        self.supervisor = Supervisor(clock)
        self.links = {name: LinkHealth(name, link.kind, address_of(link)) for name, link in site.config.links.items()}
        self.device_health = {name: DeviceHealth(name) for name in site.devices}
        self.wires: dict[str, Line] = {}
        self.alerts = None if alarms is None else self._alert_runtime(rules, alarms)
        # control before the alarms: what they ask for is decided by this very record
        live = [each.see for each in (control, self.alerts) if each is not None]
        self.pipeline = Pipeline(
            {name: device.rules for name, device in site.devices.items()},
            [self.latest.put, *live, ledger.put],
            {} if control is None else control.marks(),
            buffer.put,
            clock.wall_ms,
        )
        zones = {name: device.config.zone for name, device in site.devices.items()}
        encoder = Encoder(site.config.site.id, zones, site.config.site.simulated)
        self.sinks = {name: make_sink(name, sink, encoder) for name, sink in site.config.sinks.items()}
        self.pumps = {
            name: Pump(sink, buffer, clock, site.config.sinks[name].batch_values) for name, sink in self.sinks.items()
        }
        self.page_state = self._page_state()
        self.page = PageServer(self.page_state, site.config.page.host, site.config.page.port)

    def workers(self) -> Iterator[tuple[str, LinkWorker | ListenerWorker]]:
        """Make one worker per link that has devices."""
        notebook = Notebook(self.site.config.data_dir / LEARNED_NAME)
        for name, link in self.site.config.links.items():
            devices = [d for d in self.site.devices.values() if d.config.link == name]
            if not devices:
                continue
            health = {d.name: self.device_health[d.name] for d in devices}
            if not is_polled(link, devices):
                yield name, self._listener_worker(name, link, devices, health)
            else:
                line = self.wires[name] = make_line(link)
                members = [polled(d, line, link.timeout, notebook) for d in devices]
                yield name, LinkWorker(line, members, self.pipeline, self.clock, self.links[name], health)

    def _listener_worker(
        self, name: str, link: Link, devices: list[LoadedDevice], health: dict[str, DeviceHealth]
    ) -> ListenerWorker:
        return ListenerWorker(
            make_listener(
                link,
                f"sitegate-{self.site.config.site.id}-{name}"[:64],
                devices,
                ZoneInfo(self.site.config.site.timezone),
                self.clock.wall_ms,
            ),
            {d.name: min(rule.every_s for rule in d.rules.values()) for d in devices},
            self.pipeline,
            self.clock,
            self.links[name],
            health,
            {d.name: tuple(d.points) for d in devices},
            store=self.buffer,
        )

    def _alert_runtime(self, rules: RuleSet, store: AlarmStore) -> AlertRuntime:
        named = {name: device.config.name for name, device in self.site.devices.items()}
        return AlertRuntime(
            rules,
            store,
            self.ledger,
            self.clock,
            calendar_of(self.site),
            self.device_health,
            _every_s(self.site),
            self.latest.newest_ms,
            {name: {"en": label.en, "zh": label.zh} for name, label in named.items() if label},
            simulated=self.site.config.site.simulated,
            keep_s=self.site.config.ledger.keep_regulated,
        )

    def telemetry(self) -> Telemetry:
        """Make what tells the sinks of the gateway itself, and of what the alarms judged."""
        telemetry = Telemetry(
            self.buffer.put,
            self.clock,
            self.latest,
            self.links,
            self.device_health,
            self.buffer.stats,
            self.supervisor.restarts,
            self.alerts,
        )
        if self.alerts is not None:
            self.alerts.listen(telemetry.alarm_happened)
            self.alerts.listen_to_verdicts(telemetry.window_judged)
        return telemetry

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
            devices={name: _view(self.site.devices[name], every_s) for name, every_s in _every_s(self.site).items()},
            device_health=self.device_health,
            links=self.links,
            latest=self.latest,
            buffer=self.buffer,
            ledger=self.ledger,
            pumps={name: pump.health for name, pump in self.pumps.items()},
            alarms=self.alerts,
            settings=self.settings,
            notices=self.notices,
            outputs=self.control,
            wires=self.wires,
        )

    def connect_control(self, workers: Mapping[str, LinkWorker | ListenerWorker]) -> None:
        """Let control reach its devices, and hear what the alarms ask for."""
        if self.control is None:
            return
        writers = {name: workers[device.config.link] for name, device in self.site.devices.items()}
        if self.alerts is None:
            self.control.connect(writers)
            return
        self.control.connect(writers, self.alerts.acted, self.alerts.tell)
        self.alerts.listen(self.control.alarm_changed)
        for alarm in self.alerts.alarms():  # those that were open before
            self.control.alarm_changed(None, alarm)


def _view(device: LoadedDevice, every_s: Mapping[str, float]) -> DeviceView:
    label = device.config.name
    thinned = frozenset(metric for metric, rule in device.rules.items() if rule.report is not None)
    return DeviceView(
        name=device.name,
        label_en=label.en if label else device.name,
        label_zh=label.zh if label else device.name,
        zone=device.config.zone,
        profile=device.profile.name,
        title_en=device.profile.title["en"],
        title_zh=device.profile.title["zh"],
        link=device.config.link,
        every_s=every_s,
        thinned=thinned | {SPRAYED} if thinned else thinned,  # that mark goes with what it marks
        address=_shown(device.address),
    )


def _shown(address: Any) -> str:
    """What people may know of an address: secrets are not in its repr either."""
    given = {f.name: getattr(address, f.name) for f in fields(address) if f.repr}
    return ", ".join(f"{name} {value}" for name, value in given.items() if value is not None)


@asynccontextmanager
async def running(site: LoadedSite, clock: Clock | None = None) -> AsyncIterator[Gateway]:
    """Run the gateway of ``site`` for the length of the block.

    Raises ConfigError when its alarm rules or outputs are wrong, StoreBusy when another gateway holds the data
    directory, OSError when it cannot be used, and AddressUnavailable when the page's port is taken.
    """
    clock = clock or SystemClock()
    rules = load_rules(site)
    policies = {rule.name: rule.policy for rule in rules.rules}
    await check_channels(site, policies)
    outputs = load_outputs(site, {rule.name: rule.metric for rule in rules.rules})
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
        notices = None
        if alarms is not None and site.config.notices.channels:
            notices = await open_notices(site.config, policies, alarms, folder, clock)
            stack.push_async_callback(notices.close)
        elif site.config.notices.channels:
            log.warning("nobody will be told of anything: no alarm rules are chosen under alerts.use")
        control = None
        if outputs:
            control = await open_control(site, outputs, folder, clock, calendar_of(site))
            stack.push_async_callback(control.close)
        gateway = Gateway(site, clock, buffer, ledger, rules, alarms, outbox, notices, control)
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
        if gateway.pumps:
            tasks.append(asyncio.create_task(keep("telemetry", gateway.telemetry().run), name="telemetry"))
        tasks.append(asyncio.create_task(keep("minutes", gateway.keep_minutes), name="minutes"))
        if gateway.alerts is not None:
            tasks.append(asyncio.create_task(keep("alarms", gateway.alerts.run), name="alarms"))
        if notices is not None:
            tasks.append(asyncio.create_task(keep("notices", notices.run), name="notices"))
        workers = dict(gateway.workers())
        gateway.connect_control(workers)
        tasks += [asyncio.create_task(keep(f"link {n}", w.run), name=f"link {n}") for n, w in workers.items()]
        if control is not None:
            tasks.append(asyncio.create_task(keep("control", control.run), name="control"))
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
            if control is not None:
                await control.leave()  # while the wires still stand
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
    for name, every_s in near_air(site).items():
        yield Series(name, SPRAYED, every_s)


def _every_s(site: LoadedSite) -> dict[str, dict[str, float]]:
    """Device -> its metrics in their order -> expected seconds between readings."""
    found: dict[str, dict[str, float]] = {name: {} for name in site.devices}
    for series in _series(site):
        found[series.device][series.metric] = series.every_s
    return found


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
