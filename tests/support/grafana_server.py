"""A scripted Grafana: keeps folders, dashboards and versions as the real one does, and holds every request against
Grafana's own description of its HTTP interface, which must lie beside the checkout (its licence keeps it out of it)."""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.http_stub import Answer, Request

DESCRIPTION = Path(__file__).parents[3] / "shared" / "specs" / "grafana-http-api-swagger2.json"
NOT_DESCRIBED = {("GET", "/frontend/settings")}
"""The version comes from here; the description leaves it out, as it does /health."""
TOKEN = "glsa_of_the_test"


@cache
def description() -> dict[str, Any]:
    """Return the Swagger file; without it skip the test, or fail it in CI."""
    if not DESCRIPTION.exists():
        text = f"{DESCRIPTION.name} is missing beside the checkout: no request can be held against it"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)
    found: dict[str, Any] = json.loads(DESCRIPTION.read_text())
    return found


def check(request: Request) -> None:
    """Fail unless the description knows this method, path, query and body, each key of it too."""
    swagger = description()
    path = request.path.removeprefix(swagger["basePath"])
    if (request.method, path) in NOT_DESCRIBED:
        return
    operation = _operation(swagger, request.method.lower(), path)
    listed = {p["name"] for p in operation.get("parameters", []) if p["in"] == "query"}
    assert set(request.query) <= listed, (path, dict(request.query))
    bodies = [p["schema"] for p in operation.get("parameters", []) if p["in"] == "body"]
    if not bodies:
        assert not request.body, (path, request.body[:200])
        return
    body = json.loads(request.body)
    schema = {**bodies[0], "definitions": swagger["definitions"]}
    jsonschema.Draft4Validator(schema).validate(body)
    known = swagger["definitions"][bodies[0]["$ref"].rpartition("/")[2]]["properties"]
    assert set(body) <= set(known), (path, sorted(body))


def _operation(swagger: dict[str, Any], method: str, path: str) -> dict[str, Any]:
    for template, operations in sorted(swagger["paths"].items(), key=lambda item: item[0].count("{")):
        pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path) and method in operations:
            found: dict[str, Any] = operations[method]
            return found
    raise AssertionError(f"Grafana has no {method.upper()} {path}")


class GrafanaServer:
    """Give ``answer`` to an HttpStub. ``version``, ``may_make_folders`` and the like say what kind of server it is."""

    def __init__(self, version: str = "12.0.0") -> None:
        self.version = version
        self.may_make_folders = True
        self.can_save = True
        self.refuse: str | None = None
        """Uid of a dashboard that is not taken."""
        self.folders: dict[str, str] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        """Uid -> {dashboard, folderUid, versions, provisioned}."""
        self.writes = 0

    def answer(self, request: Request) -> Answer:
        """What the server says; AssertionError for a request that Grafana does not know."""
        check(request)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return say(401, {"message": "Invalid API key"})
        path = request.path.removeprefix("/api")
        self.writes += request.method != "GET"
        if path == "/frontend/settings":
            return say(200, {"buildInfo": {"version": self.version}})
        if request.method == "POST" and path == "/folders":
            return self._make_folder(json.loads(request.body))
        if request.method == "POST":
            return self._save(json.loads(request.body))
        return self._read(path.split("/")[1:])

    def saved_by(self, who: str, uid: str, **changes: Any) -> None:
        """Let a person change a dashboard in the browser."""
        kept = self.dashboards[uid]
        kept["dashboard"] |= changes
        self._add_version(kept, who, "")

    def _read(self, parts: list[str]) -> Answer:
        if parts[0] == "folders":
            found = self.folders.get(parts[1])
            return say(200, {"uid": parts[1], "title": found}) if found else say(404, {"message": "folder not found"})
        kept = self.dashboards.get(parts[2])
        if kept is None:
            return say(404, {"message": "Dashboard not found"})
        if parts[-1] == "versions":
            return say(200, {"versions": kept["versions"]})
        meta = {"folderUid": kept["folderUid"], "canSave": self.can_save, "provisioned": kept.get("provisioned", False)}
        return say(200, {"meta": meta, "dashboard": kept["dashboard"]})

    def _make_folder(self, body: dict[str, Any]) -> Answer:
        if not self.may_make_folders:
            return say(403, {"message": "You'll need additional permissions to perform this action."})
        self.folders[body["uid"]] = body["title"]
        return say(200, body)

    def _save(self, body: dict[str, Any]) -> Answer:
        board = body["dashboard"]
        uid = board["uid"]
        if uid == self.refuse:
            return say(422, {"message": "quota reached"})
        if body["folderUid"] not in self.folders:
            return say(400, {"message": "folder not found"})
        kept = self.dashboards.get(uid)
        if kept is None:
            kept = self.dashboards[uid] = {"versions": []}
        elif not body["overwrite"] and board.get("version") != kept["dashboard"]["version"]:
            return say(412, {"status": "version-mismatch", "message": "someone else saved it"})
        kept |= {"dashboard": {**board, "id": 7, "graphTooltip": 1}, "folderUid": body["folderUid"]}
        self._add_version(kept, "sa-sitegate", body["message"])
        return say(200, {"uid": uid, "status": "success"})

    @staticmethod
    def _add_version(kept: dict[str, Any], who: str, message: str) -> None:
        number = len(kept["versions"]) + 1
        kept["versions"].insert(0, {"version": number, "createdBy": who, "message": message})
        kept["dashboard"]["version"] = number


def say(status: int, body: Any) -> Answer:
    """Return an answer in JSON."""
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})
