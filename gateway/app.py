"""The only module that builds and connects objects: one site file becomes one running gateway.

Order of the start: ledger and buffer, the open minute from the buffer, page, pumps, and only then the wires, so that
the first reading finds everything in place. The stop is the same backwards: wires first, then what they feed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from gateway import __version__
from gateway.buffer.sqlite import SqliteBuffer
from gateway.clock import Clock, SystemClock
from gateway.config.loader import LoadedDevice, LoadedSite
from gateway.config.site import MqttLink
from gateway.ledger.records import as_readings
from gateway.ledger.store import Ledger
from gateway.links.listener import ListenerWorker
from gateway.links.wires import address_of, make_line, polled
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

    def __init__(self, site: LoadedSite, clock: Clock, buffer: SqliteBuffer, ledger: Ledger) -> None:
        self.site = site
        self.clock = clock
        self.buffer = buffer
        self.ledger = ledger
        self.latest = Latest()
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
        from drivers.mqtt_json.driver import Broker, MqttListener

        tls = link.tls
        broker = Broker(
            host=link.host,
            port=link.port,
            version=link.version,
            client_id=link.client_id or f"sitegate-{self.site.config.site.id}-{name}"[:64],
            username=link.username,
            password=link.password,
            tls=tls is not None,
            ca_file=tls.ca_file if tls else None,
            cert_file=tls.cert_file if tls else None,
            key_file=tls.key_file if tls else None,
            keepalive_s=link.keepalive,
            max_payload_bytes=link.max_payload_kib * 1024,
        )
        members = {d.name: (d.address, d.points, d.profile.limits) for d in devices}
        return ListenerWorker(
            MqttListener(broker, members),
            {d.name: min(rule.every_s for rule in d.rules.values()) for d in devices},
            self.pipeline,
            self.clock,
            self.links[name],
            health,
            {d.name: tuple(d.points) for d in devices},
        )

    async def keep_minutes(self) -> None:
        """Close minutes as they end and send them the way of the readings."""
        while True:
            await self.clock.sleep(MINUTES_EVERY_S)
            for minute in as_readings(await self.ledger.close_minutes(self.clock.wall_ms())):
                self.buffer.put(minute)

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

    Raises StoreBusy when another gateway holds the data directory, OSError when the page's port is taken.
    """
    clock = clock or SystemClock()
    folder = Path(site.config.data_dir)
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
            folder / "buffer.sqlite",
            sinks=list(site.config.sinks),
            max_bytes=settings.max_mb * 1_000_000,
            commit_every_s=settings.commit_every,
            commit_rows=settings.commit_rows,
            commit_bytes=settings.commit_kib * 1024,
            keep_s=settings.keep,
            clock=clock,
        )
        stack.push_async_callback(buffer.close)
        await _catch_up(buffer, ledger)
        gateway = Gateway(site, clock, buffer, ledger)
        for sink in gateway.sinks.values():
            stack.push_async_callback(sink.close)
        await gateway.page.start()
        stack.push_async_callback(gateway.page.stop)
        tasks: list[asyncio.Task[None]] = []
        stack.push_async_callback(_stop, tasks)
        keep = gateway.supervisor.keep
        tasks += [asyncio.create_task(keep(f"sink {n}", p.run), name=f"sink {n}") for n, p in gateway.pumps.items()]
        tasks.append(asyncio.create_task(keep("minutes", gateway.keep_minutes), name="minutes"))
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


def _series(site: LoadedSite) -> Iterator[Series]:
    for device in site.devices.values():
        for metric, rule in device.rules.items():
            yield Series(device.name, metric, rule.every_s, rule.wrap)


async def _catch_up(buffer: SqliteBuffer, ledger: Ledger) -> None:
    """After a kill: count the minutes that were not stored again, send the last one that was once more."""
    stored_ms = ledger.last_stored_ms()
    async for record in buffer.replay(stored_ms or 0):
        ledger.replay(record)
    if stored_ms is not None:
        for minute in as_readings(await ledger.stored_since(stored_ms)):
            buffer.put(minute)


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()
