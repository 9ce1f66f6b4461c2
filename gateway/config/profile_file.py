"""The YAML form of a profile as strict models: our own keys plus those of the protocol's Point and Limits."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Annotated, Any, Literal, cast, get_type_hints

from pydantic import Field, create_model

from drivers import registry
from gateway.config.model import Duration, Label, Model
from gateway.config.reporting import ReportConfig

Ratio = Literal["ct", "pt", "ct_pt"]
Number = int | float


class WriteKeys(Model):
    """What may be written to a point, and how the device keeps a lost gateway from leaving it on."""

    allow: Annotated[tuple[Number, ...], Field(min_length=1)]
    """In the metric's unit; anything else is refused."""
    confirm_within: Duration = 3.0
    """So long the device may take to show the new value when it is read back."""
    dead_man: Literal["pulse", "module", "none"] = "none"
    """pulse: each write holds for a given time only. module: the device falls back to rest when nobody talks to it,
    after the time in its point output_timeout_s. none: it holds for ever."""


class PointKeys(Model):
    """What every point may say, whatever its protocol."""

    scale: float = 1.0
    """Engineering value = raw * scale + offset, in the unit of the metric's name."""
    offset: float = 0.0
    every: Duration | None = None
    """Time between readings of this point, if not the profile's."""
    sentinel: Number | tuple[Number, ...] = ()
    """Raw numbers that mean "no value"; compared before scale."""
    range: tuple[float, float] | None = None
    """Plausible lowest and highest value in the metric's unit, inside those of the vocabulary."""
    wrap: Annotated[float, Field(gt=0)] | None = None
    """Counters: where the register starts again at zero, in the metric's unit without ratio."""
    max_per_hour: Annotated[float, Field(gt=0)] | None = None
    """Counters: the fastest plausible growth, in the metric's unit without ratio."""
    ratio: Ratio | None = None
    """Transformer ratios that the device does not apply itself; the site file gives the numbers."""
    write: WriteKeys | None = None
    """Without it the point is only ever read."""
    report: ReportConfig | None = None
    """Which readings of this point go to buffer and sinks; comes before what device and site say."""


class Example(Model):
    """The profile's own test: what a device sent, and what it means."""

    raw: Any
    """As the protocol writes it: registers by table and address, data bytes by item, JSON by topic."""
    gives: dict[str, float | None]
    """Every point with its value in the metric's unit; null where the device says "no value"."""


class ProfileFile(Model):
    """One kind of device; the whole file."""

    profile: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    """The same as the file's name."""
    maker: Annotated[str, Field(min_length=1)]
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    title: Label
    driver: str
    verified: Literal["simulated", "bench", "field"]
    """How far this file was tried: against our simulator, on a desk, on a site."""
    source: Annotated[str, Field(min_length=1)]
    """Where the map comes from, with its confidence word."""
    caveats: tuple[str, ...] = ()
    """What the installer must know."""
    every: Duration = 10.0
    """Default time between readings."""
    limits: Any = None
    """What the device tolerates."""
    points: dict[str, Any]
    """Metric of the vocabulary -> where it stands."""
    example: Example


_models: dict[tuple[type[Any], type[Model]], type[Model]] = {}


def model_of(fields_of: type[Any], base: type[Model] = Model) -> type[Model]:
    """Return the strict model with the fields of a driver's dataclass beside those of ``base``; made once each."""
    known = _models.get((fields_of, base))
    if known is None:
        known = _models[fields_of, base] = _make_model(fields_of, base)
    return known


def _make_model(fields_of: type[Any], base: type[Model]) -> type[Model]:
    hints = get_type_hints(fields_of, include_extras=True)
    fields: dict[str, Any] = {}
    for f in dataclasses.fields(fields_of):
        if f.default_factory is not dataclasses.MISSING:
            default: Any = Field(default_factory=f.default_factory)
        else:
            default = ... if f.default is dataclasses.MISSING else f.default
        fields[f.name] = (hints[f.name], default)
    return create_model(f"{_owner(fields_of)}{fields_of.__name__}", __base__=base, __doc__=fields_of.__doc__, **fields)


def build(dataclass: type[Any], model: Model) -> Any:
    """Return the driver's dataclass from its share of a validated model. Raises ValueError if it refuses."""
    return dataclass(**{f.name: getattr(model, f.name) for f in dataclasses.fields(dataclass)})


@lru_cache(maxsize=16)
def model_for(protocol: str) -> type[ProfileFile]:
    """Return the model of a whole profile file of one protocol. Raises KeyError for an unknown one."""
    driver = registry.load(protocol)
    limits, point = model_of(driver.Limits), model_of(driver.Point, PointKeys)
    return create_model(
        f"{_owner(driver.Point)}Profile",
        __base__=ProfileFile,
        __doc__=f"One kind of device that speaks {protocol}; the whole file.",
        driver=(cast(Any, Literal[protocol]), ...),
        limits=(limits, Field(default_factory=limits, description="What the device tolerates.")),
        points=(
            cast(Any, dict[str, point]),  # type: ignore[valid-type]
            Field(min_length=1, description="Metric of the vocabulary -> where it stands."),
        ),
    )


def _owner(dataclass: type[Any]) -> str:
    """``drivers.mqtt_json.codec`` -> ``MqttJson``: keeps the names in the JSON Schema apart."""
    return "".join(part.capitalize() for part in dataclass.__module__.split(".")[1].split("_"))
