"""The site file: what one gateway reads, keeps, sends and shows. Strict models; unknown keys are errors.

Defaults live here only. ``configs/site.example.yaml`` shows every key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from gateway.config.alerts import AlertsConfig
from gateway.config.model import HOST, URL, AnyLabel, Duration, FilePath, Model, Name, Secret, TimeZone
from gateway.config.notices import NoticesConfig
from gateway.config.outputs import OutputConfig
from gateway.config.reporting import ReportConfig


class SiteInfo(Model):
    """Who we are."""

    id: Name
    name: AnyLabel
    timezone: TimeZone = "Asia/Shanghai"
    simulated: bool = False
    """True: every number of this site comes from simulators, and says so to the end of every chain."""


class SerialLink(Model):
    """An RS-485 line. Modbus RTU, DL/T 645 and CJ/T 188 devices may share it."""

    kind: Literal["serial"]
    port: str = Field(min_length=1, description="Prefer the stable name under /dev/serial/by-id or by-path.")
    baudrate: Literal[300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200] = 9600
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1
    timeout: Duration = 1.0
    echo: bool = False
    """True: the adapter repeats what we send (some two-wire converters do)."""


class TcpLink(Model):
    """A TCP connection: Modbus TCP, or a serial server (DTU) that passes the bytes of a serial line through."""

    kind: Literal["tcp"]
    host: str = Field(pattern=HOST)
    port: int = Field(ge=1, le=65535)
    framing: Literal["modbus_tcp", "rtu"] = "modbus_tcp"
    """``rtu``: raw serial frames over TCP, as DTUs do. DL/T 645 and CJ/T 188 devices need ``rtu``."""
    timeout: Duration = 1.0


class Tls(Model):
    """Encryption; an empty mapping means the system's certificates."""

    ca_file: FilePath | None = None
    """Certificates to trust instead of the system's."""
    cert_file: FilePath | None = None
    """Our own certificate, for brokers that ask for one; with ``key_file``."""
    key_file: FilePath | None = None


class MqttLink(Model):
    """An MQTT broker on which devices publish."""

    kind: Literal["mqtt"]
    host: str = Field(pattern=HOST)
    port: int = Field(default=1883, ge=1, le=65535)
    version: Literal["3.1.1", "5"] = "5"
    client_id: str | None = Field(default=None, min_length=1, max_length=64)
    username: str | None = None
    password: Secret | None = Field(default=None, repr=False)
    tls: Tls | None = None
    keepalive: Duration = 30.0
    max_payload_kib: int = Field(default=64, ge=1, le=4096)


class Hj212ServerLink(Model):
    """A TCP port of ours, to which HJ 212 stations connect; their MN tells them apart."""

    kind: Literal["hj212_server"]
    host: str = Field(pattern=HOST)
    """Our address to listen on; 0.0.0.0: all networks of this machine. Only the MNs of devices here are let in."""
    port: int = Field(ge=1, le=65535)
    idle: Duration = 300.0
    """A connection that brings no packet for so long is closed; the station connects again by itself."""


class ServerTls(Model):
    """Our certificate, for who connects to us."""

    cert_file: FilePath
    key_file: FilePath


class HttpLink(Model):
    """An HTTP port of ours, to which equipment posts JSON; a token tells the devices apart."""

    kind: Literal["http"]
    host: str = Field(pattern=HOST)
    """Our address to listen on; 0.0.0.0: all networks of this machine."""
    port: int = Field(ge=1, le=65535)
    path: str = Field(default="/push", pattern=r"^/[A-Za-z0-9/._~-]*$")
    max_per_min: int = Field(default=120, ge=1, le=60_000)
    """Messages of one device; more are refused with 429 and counted."""
    max_payload_kib: int = Field(default=64, ge=1, le=4096)
    tls: ServerTls | None = None
    """Without it tokens travel in clear text: for networks that are only ours."""


Link = Annotated[SerialLink | TcpLink | MqttLink | Hj212ServerLink | HttpLink, Field(discriminator="kind")]


class Ratio(Model):
    """Primary over secondary of the measuring transformers, where the meter does not apply it itself."""

    ct: float = Field(default=1.0, gt=0, le=100_000)
    """Current transformers: 40 for 200 A / 5 A."""
    pt: float = Field(default=1.0, gt=0, le=100_000)
    """Voltage transformers: 100 for 10 kV / 100 V."""


class DeviceConfig(Model):
    """One device. ``address`` is checked against the protocol of its profile (drivers/<protocol>: Address)."""

    link: Name
    profile: str = Field(min_length=1)
    address: dict[str, Any]
    """Modbus: ``{unit: 3}`` · DL/T 645, CJ/T 188: ``{meter: "000000123456"}`` (quoted!) · MQTT: ``{id: tc-01}`` ·
    HJ 212: ``{mn: "010000A8900016F000169DC0"}`` · HTTP: ``{token: "${CRANE_TOKEN}"}`` · lines of text: ``{}``."""
    zone: Name = "site"
    name: AnyLabel | None = None
    every: Duration | None = None
    """Time between readings; replaces the profile's. Points that the profile reads more rarely stay as they are."""
    ratio: Ratio = Ratio()
    """Only for profiles whose points name a ratio (dtsu666, dtsd1352, DL/T 645 meters)."""
    report: ReportConfig | None = None
    """Which readings of this device go to buffer and sinks; what its profile says of a point comes first."""
    without: tuple[str, ...] = ()
    """Points of the profile that this device does not have: modules that are not fitted."""
    role: str | None = None
    """What a simulator plays here (simulators/roles.py). On a site that is not simulated, what such a device says never
    moves an output; otherwise the gateway ignores it."""


def _two_minutes(value: float) -> float:
    if value < 120:
        raise ValueError("must be at least 2min: after a kill the open minute is counted again from what was kept")
    return value


class BufferConfig(Model):
    """The durable buffer (docs/architecture.md, "what is kept when")."""

    max_mb: int = Field(default=512, ge=1, le=1_000_000)
    commit_every: Duration = 1.0
    commit_rows: int = Field(default=500, ge=1, le=100_000)
    commit_kib: int = Field(default=64, ge=1, le=16_384)
    keep: Annotated[Duration, AfterValidator(_two_minutes)] = 900.0
    """Delivered readings stay this long: for the page's fine charts and to rebuild the open minute."""


class LedgerConfig(Model):
    """The minute ledger: the embedded store behind page, windows and reports."""

    keep_regulated: Duration = 400 * 86400.0
    keep_other: Duration = 100 * 86400.0


class InfluxSink(Model):
    """InfluxDB. ``v1``: /write of 1.x (also on 2.x and 3 Core) · ``v2``: /api/v2/write of 2.x and 3 Core."""

    kind: Literal["influxdb"]
    url: str = Field(pattern=URL)
    api: Literal["v1", "v2"] = "v2"
    database: str | None = None
    retention_policy: str | None = None
    username: str | None = None
    password: Secret | None = Field(default=None, repr=False)
    org: str | None = None
    bucket: str | None = None
    token: Secret | None = Field(default=None, repr=False)
    minutes: bool = True
    """Also write the minute statistics (measurement ``<domain>_1m``)."""
    gzip: bool = False
    timeout: Duration = 10.0
    batch_values: int = Field(default=20_000, ge=1, le=500_000)


def _long(value: str) -> str:
    if len(value) < 16:
        raise ValueError("too short for a token: write at least 16 characters, such as those of `openssl rand -hex 24`")
    return value


class PageConfig(Model):
    """The local page and HTTP API."""

    host: str = "127.0.0.1"
    """Any address but this machine's own (127.0.0.1) needs a password."""
    port: int = Field(default=8080, ge=0, le=65535)
    password: Secret | None = Field(default=None, repr=False)
    """Browsers ask for it; the user name does not matter. /healthz stays open."""
    token: Annotated[Secret, AfterValidator(_long)] | None = Field(default=None, repr=False)
    """For programs, which send it as ``Authorization: Bearer …``; may do all that the password may."""
    protects: Literal["everything", "answers"] = "everything"
    """What needs the password. ``answers``: everybody on this machine may look, only answering alarms and switching
    outputs needs it."""

    @property
    def locked(self) -> bool:
        """There is a password or a token; without one nothing can be changed from outside."""
        return self.password is not None or self.token is not None


class SiteConfig(Model):
    """A whole site file."""

    site: SiteInfo
    data_dir: FilePath = Path("data")
    """Where buffer and ledger live; relative to the site file."""
    links: dict[Name, Link] = Field(min_length=1)
    devices: dict[Name, DeviceConfig] = Field(min_length=1)
    sinks: dict[Name, InfluxSink] = Field(default_factory=dict)
    report: ReportConfig | None = None
    """Which readings go to buffer and sinks, where neither profile nor device says it. Without it: all."""
    buffer: BufferConfig = BufferConfig()
    ledger: LedgerConfig = LedgerConfig()
    alerts: AlertsConfig = AlertsConfig()
    outputs: dict[Name, OutputConfig] = Field(default_factory=dict)
    notices: NoticesConfig = NoticesConfig()
    page: PageConfig = PageConfig()
