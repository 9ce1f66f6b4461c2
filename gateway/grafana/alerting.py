"""Grafana's alert rules and contact points, made from a site's rules and notices. Pure.

The gateway judges, Grafana passes on: each rule here looks at the level that the gateway wrote for one of its own
rules, so that no limit, window or schedule stands in two places. One thing the gateway cannot tell itself: that it
has fallen silent. That rule is Grafana's own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.alerts.rule import Rule, RuleSet
from gateway.config.notices import NoticeChannel
from gateway.grafana import influxql
from gateway.vocabulary import ALARM_LEVELS, METRICS

FOLDER = "Sitegate"
EVERY_S = 60
SILENT_AFTER_S = 600
"""So long nothing may come from the gateway: ten of its minutes."""
_LEVEL = {en: number for number, (en, _) in ALARM_LEVELS.items()}
_LOOK_BACK_S = 660
"""The gateway tells of a rule that is fine every five minutes."""

Document = dict[str, Any]


class Environment(str):
    """A text in which ``${NAME}`` is meant: Grafana puts its environment's NAME there."""

    __slots__ = ()


def rule_groups(site: str, rules: RuleSet, source_uid: str, receiver: str | None) -> Document:
    """Return the file of alert rules. ``receiver`` is told of a silent gateway; None: who Grafana tells by default."""
    judged = [_rule(site, rule, source_uid) for rule in sorted(rules.rules, key=lambda r: r.name)]
    groups = [_group(f"sitegate {site}", judged)] if judged else []
    return {
        "apiVersion": 1,
        "groups": [*groups, _group(f"sitegate {site} gateway", [_silence(site, source_uid, receiver)])],
    }


def contact_points(site: str, channels: Mapping[str, NoticeChannel]) -> Document:
    """Return the file of contact points; a channel that Grafana has no kind for is left out (see ``untold``)."""
    points = []
    for name, channel in channels.items():
        if made := _receiver(name, channel):
            kind, settings = made
            receiver = {"uid": uid("cp", site, name), "type": kind, "settings": settings}
            points.append({"orgId": 1, "name": contact_name(site, name), "receivers": [receiver]})
    return {"apiVersion": 1, "contactPoints": points}


def contact_name(site: str, channel: str) -> str:
    """Return what a channel is called in Grafana."""
    return f"sitegate {site} {channel}"


def untold(channels: Mapping[str, NoticeChannel]) -> list[str]:
    """Return the channels that Grafana cannot use."""
    return [name for name, channel in channels.items() if _receiver(name, channel) is None]


def secrets_of(document: Any) -> set[str]:
    """Return the names that Grafana's environment must hold for a document."""
    if isinstance(document, Environment):
        return set(re.findall(r"\$\{([A-Z][A-Z0-9_]*)\}", document))
    parts = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    return {name for part in parts for name in secrets_of(part)}


def uid(*parts: str) -> str:
    """Return an id of at most 40 characters that is the same each time."""
    readable = "-".join(("sitegate", *parts))
    if len(readable) <= 40 and re.fullmatch(r"[A-Za-z0-9_-]+", readable):
        return readable
    return f"sitegate-{hashlib.sha256(readable.encode()).hexdigest()[:24]}"


def _group(name: str, rules: list[Document]) -> Document:
    return {"orgId": 1, "name": name, "folder": FOLDER, "interval": f"{EVERY_S}s", "rules": rules}


def _rule(site: str, rule: Rule, source_uid: str) -> Document:
    query = influxql.newest(METRICS["alarm_level"], where=(influxql.of_site(site), influxql.of_rules(rule.name)))
    lowest = _LEVEL["warning" if rule.warn is not None else rule.severity]
    limit = "" if rule.metric is None else f"{rule.direction} {rule.limit:g}; "
    source = rule.source + (f" ({rule.confidence})" if rule.confidence else "")
    return {
        **_common(site, rule.name, rule.title.get("zh") or rule.name),
        "data": _data(source_uid, query, _LOOK_BACK_S, {"type": "gt", "params": [lowest - 0.5]}),
        "noDataState": "OK",  # the rule on silence tells of that, once instead of once per rule
        "execErrState": "KeepLast",
        "for": "0s",  # the gateway has waited already
        "annotations": {
            "summary": f"{rule.title.get('zh') or rule.name} · {rule.title.get('en') or rule.name}: "
            "{{ $labels.device }}",
            "description": f"{limit}{rule.edition} {source}".strip(),
        },
        "labels": {"sitegate": "alarm", "site": site, "rule": rule.name, "severity": rule.severity},
    }


def _silence(site: str, source_uid: str, receiver: str | None) -> Document:
    query = influxql.total(
        METRICS["gateway_uptime_s"], function="count", by=(), where=(influxql.of_site(site),)
    )  # counted, not read: no row at all is the alarm
    made = {
        **_common(site, "gateway_silent", "网关无数据 · gateway silent"),
        "data": _data(source_uid, query, SILENT_AFTER_S, {"type": "lt", "params": [1]}),
        "noDataState": "Alerting",
        "execErrState": "Error",
        "for": "0s",
        "annotations": {
            "summary": f"{site}: 网关 {SILENT_AFTER_S // 60} 分钟无数据 · nothing from the gateway for "
            f"{SILENT_AFTER_S // 60} minutes",
            "description": "Box without power, no network, or the database refuses: look at the gateway's own page. "
            "Readings wait on the box meanwhile.",
        },
        "labels": {"sitegate": "gateway", "site": site, "severity": "critical"},
    }
    if receiver is not None:
        made["notification_settings"] = {"receiver": receiver}
    return made


def _common(site: str, name: str, title: str) -> Document:
    return {"uid": uid("rule", site, name), "title": f"{title} ({name})"[:190], "condition": "over"}


def _data(source_uid: str, query: str, seconds: int, over: Document) -> list[Document]:
    """The query, its newest value for each series, and what about that is an alarm."""
    ours = {
        "query": query, "rawQuery": True, "resultFormat": "time_series", "alias": "",
        "datasource": {"type": "influxdb", "uid": source_uid},
    }  # fmt: skip
    expression = {"datasource": {"type": "__expr__", "uid": "__expr__"}}
    newest = {"type": "reduce", "reducer": "last", "expression": "levels", **expression}
    threshold = {"type": "threshold", "expression": "newest", "conditions": [{"evaluator": over}], **expression}
    steps = (("levels", source_uid, ours), ("newest", "__expr__", newest), ("over", "__expr__", threshold))
    return [
        {
            "refId": name,
            "relativeTimeRange": {"from": seconds, "to": 0},
            "datasourceUid": source,
            "model": {"refId": name, **model},
        }
        for name, source, model in steps
    ]


def _receiver(name: str, channel: NoticeChannel) -> tuple[str, Document] | None:
    """Grafana's kind and settings of an apprise address. Keys stay out: they come from Grafana's environment."""
    key = Environment("${SITEGATE_NOTICE_" + re.sub(r"[^A-Z0-9]", "_", name.upper()) + "}")
    scheme = urlsplit(channel.url).scheme
    if scheme == "wecombot":
        return "wecom", {"url": Environment(f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={key}")}
    if scheme == "dingtalk" and "@" not in channel.url:  # Grafana cannot sign
        return "dingding", {"url": Environment(f"https://oapi.dingtalk.com/robot/send?access_token={key}")}
    if scheme in ("mailto", "mailtos"):
        return "email", {"addresses": key}
    if scheme in ("json", "jsons"):
        return "webhook", {"url": key}
    return None
