"""JSON Schemas for editors, made from the models: ``configs/schema/site.schema.json`` and ``profile.schema.json``.

In a YAML file: ``# yaml-language-server: $schema=…/site.schema.json``.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Union, cast

from pydantic import Field, TypeAdapter

from drivers import registry
from gateway.config.profile_file import model_for, model_of
from gateway.config.site import SiteConfig
from gateway.vocabulary import METRICS

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def site_schema() -> dict[str, Any]:
    """Return the schema of a site file; a device's address is that of any protocol."""
    schema = SiteConfig.model_json_schema()
    addresses = [model_of(registry.load(name).Address).model_json_schema() for name in registry.PROTOCOLS]
    address = schema["$defs"]["DeviceConfig"]["properties"]["address"]
    schema["$defs"]["DeviceConfig"]["properties"]["address"] = {
        "description": address["description"],
        "anyOf": addresses,
    }
    return {"$schema": _DIALECT, **schema, "title": "Sitegate site file"}


def profile_schema() -> dict[str, Any]:
    """Return the schema of a profile file; which points and limits it may hold depends on its driver."""
    models = tuple(model_for(name) for name in registry.PROTOCOLS)
    any_profile = cast(Any, Annotated[cast(Any, Union)[models], Field(discriminator="driver")])
    schema = TypeAdapter(any_profile).json_schema()
    for model in models:
        points = schema["$defs"][model.__name__]["properties"]["points"]
        points["propertyNames"] = {"enum": sorted(METRICS)}
    return {"$schema": _DIALECT, **schema, "title": "Sitegate device profile"}


def as_text(schema: dict[str, Any]) -> str:
    """Return a schema as the text of its file."""
    return json.dumps(_for_people(schema), indent=2, ensure_ascii=False) + "\n"


def _for_people(part: Any) -> Any:
    """Drop the titles that only repeat the key, and write default durations as a site file would."""
    if isinstance(part, list):
        return [_for_people(item) for item in part]
    if not isinstance(part, dict):
        return part
    clean = {key: _for_people(value) for key, value in part.items()}
    for prop in clean.get("properties", {}).values():
        prop.pop("title", None)
        if prop.get("type") == "string" and isinstance(prop.get("default"), float):
            prop["default"] = f"{prop['default']:g}s"
    return clean


SCHEMAS = {"site.schema.json": site_schema, "profile.schema.json": profile_schema}
"""File name under configs/schema -> what makes it."""
