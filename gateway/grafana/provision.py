"""The files that a Grafana reads at its start: data source, folders, dashboards, alert rules, contact points. Pure.

In provisioning files Grafana replaces ``$NAME`` by its environment, so every ``$`` that is meant is written ``$$``;
in dashboards nothing is replaced. No secret stands in any file: tokens and keys come from Grafana's environment.
"""

from __future__ import annotations

from typing import Any

import yaml

from gateway.alerts.rule import RuleSet
from gateway.config.loader import LoadedSite
from gateway.config.site import InfluxSink
from gateway.errors import NotNow
from gateway.grafana.alerting import (
    FOLDER,
    Document,
    Environment,
    contact_points,
    rule_groups,
    secrets_of,
    uid,
    untold,
)

BOARDS = "boards"
"""Where the dashboards lie below the folder of all files."""
FOLDERS = {"en": (FOLDER, "sitegate-en"), "zh": (f"{FOLDER} 中文", "sitegate-zh")}
"""Language -> title and uid of the folder of its dashboards."""
SECRET = "SITEGATE_INFLUX_SECRET"  # noqa: S105  # the name of a variable


def files(site: LoadedSite, rules: RuleSet, boards: dict[str, str], found_at: str) -> dict[str, str]:
    """Return file name -> content; ``found_at`` is where Grafana finds the folder of these files.

    Raises NotNow when the site writes to no InfluxDB.
    """
    return {
        **{name: _yaml(document) for name, document in _documents(site, rules, found_at).items()},
        **{f"{BOARDS}/{name}": text for name, text in boards.items()},
    }


def secrets(site: LoadedSite, rules: RuleSet) -> list[str]:
    """Return the names that Grafana's environment must hold."""
    return sorted({n for document in _documents(site, rules, "").values() for n in secrets_of(document)})


def left_out(site: LoadedSite) -> list[str]:
    """Return the notice channels that Grafana cannot use."""
    return untold(site.config.notices.channels)


def _documents(site: LoadedSite, rules: RuleSet, found_at: str) -> dict[str, Document]:
    sinks = {name: s for name, s in site.config.sinks.items() if isinstance(s, InfluxSink)}
    if not sinks:
        raise NotNow("this site writes to no InfluxDB, so that dashboards would show nothing: add a sink under sinks:")
    name, channels = site.config.site.id, site.config.notices.channels
    points = contact_points(name, channels)
    first = next((point["name"] for point in points["contactPoints"]), None)
    sources = [_source(name, sink, of) for sink, of in sinks.items()]
    found: dict[str, Document] = {
        "datasources/sitegate.yaml": {"apiVersion": 1, "datasources": sources},
        "dashboards/sitegate.yaml": {
            "apiVersion": 1,
            "providers": [_provider(language, found_at) for language in FOLDERS],
        },
        "alerting/sitegate-rules.yaml": rule_groups(name, rules, sources[0]["uid"], first),
    }
    if first is not None:
        found["alerting/sitegate-contact-points.yaml"] = points
    return found


def _source(site: str, name: str, sink: InfluxSink) -> Document:
    """InfluxQL over the v1 interface, which 1.x, 2.x and 3 Core all have; a bucket is its own database there."""
    made: Document = {
        "name": f"{FOLDER} {site} {name}",
        "uid": uid("influx", site, name),
        "type": "influxdb",
        "access": "proxy",
        "url": sink.url,
        "editable": False,
        "jsonData": {"dbName": sink.database or sink.bucket, "httpMode": "POST", "timeInterval": "60s"},
    }
    if sink.token:
        made["jsonData"]["httpHeaderName1"] = "Authorization"
        made["secureJsonData"] = {"httpHeaderValue1": Environment(f"Token ${{{SECRET}}}")}
    elif sink.username:
        made["user"] = sink.username
        made["secureJsonData"] = {"password": Environment(f"${{{SECRET}}}")}
    return made


def _provider(language: str, found_at: str) -> Document:
    title, folder_uid = FOLDERS[language]
    return {
        "name": folder_uid,
        "orgId": 1,
        "folder": title,
        "folderUid": folder_uid,
        "type": "file",
        "allowUiUpdates": False,
        "updateIntervalSeconds": 60,
        "options": {"path": f"{found_at.rstrip('/')}/{BOARDS}/{language}"},
    }


def _yaml(document: Document) -> str:
    head = "# Written by sitegate dashboards provision; changes here are lost with the next one.\n"
    return head + yaml.safe_dump(_literal(document), allow_unicode=True, sort_keys=False, width=120)


def _literal(part: Any) -> Any:
    """Double each ``$`` that is not meant for the environment."""
    if isinstance(part, Environment):
        return str(part)
    if isinstance(part, str):
        return part.replace("$", "$$")
    if isinstance(part, dict):
        return {key: _literal(value) for key, value in part.items()}
    return [_literal(each) for each in part] if isinstance(part, list) else part
