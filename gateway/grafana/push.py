"""Dashboards to a running Grafana: look at everything first, then write; twice the same is nothing.

Each version that Grafana keeps of a dashboard carries the message of who saved it. Ours is ``sitegate <hash of what we
pushed>``: when the newest version says so nobody has saved anything since, and when the hash is that of today's
dashboard there is nothing to do. (A hash of what Grafana gives back would not do: it rewrites what it stores.) A
dashboard whose newest version is somebody else's is left alone, unless it is forced.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import niquests
from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException

from gateway.grafana.provision import FOLDERS

OLDEST = 10
"""The first major version whose dashboards and folders we speak (from memory; only its API's description is tested)."""
TIMEOUT_S = 10.0
_OURS = "sitegate "
_NO_GRAFANA = "{} answers, but not as Grafana: give the address of its first page, with its sub-path if it has one"
Json = dict[str, Any]


class Refused(Exception):
    """Grafana cannot be reached or does not let us; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done with one dashboard."""

    name: str
    """``en/overview.json``"""
    what: Literal["new", "changed", "same", "theirs", "fixed"]
    """theirs: people saved it after us; fixed: Grafana reads it from files and takes no other."""
    board: Json
    there: Json | None
    """As the server has it."""
    version: int | None
    folder_uid: str
    by: str = ""
    """theirs: who saved it last."""

    def diff(self) -> Iterator[str]:
        """Yield the lines that differ."""
        old = _lines(self.there) if self.there else []
        yield from difflib.unified_diff(old, _lines(self.board), "grafana", self.name, lineterm="", n=1)


class Grafana:
    """A server and a token for it: ``with Grafana(url, token) as grafana``."""

    def __init__(self, url: str, token: str) -> None:
        """Touches no network. ValueError: ``url`` is none."""
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no address of a Grafana: write http://host:3000")
        self._url = url.rstrip("/")
        self._api = GrafanaApi.from_url(
            self._url if self._url.count("/") == 2 else f"{self._url}/", credential=token, timeout=TIMEOUT_S
        )

    def __enter__(self) -> Grafana:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.client.s.close()

    def look(self, files: dict[str, str]) -> list[Change]:
        """Compare dashboards with the server; changes nothing. Raises Refused."""
        with _sentences(self._url):
            self._check_version()
            return [self._compare(name, json.loads(text)) for name, text in sorted(files.items())]

    def push(self, changes: list[Change], *, force: bool) -> int:
        """Write what is new or changed; return how many. Raises Refused, before anything is written if it can be."""
        wanted = {"new", "changed", "theirs"} if force else {"new", "changed"}
        todo = [change for change in changes if change.what in wanted]
        with _sentences(self._url):
            for uid in sorted({change.folder_uid for change in todo if change.there is None}):
                self._make_folder(uid)
            for done, change in enumerate(todo):
                try:
                    self._api.dashboard.update_dashboard(_command(change, force=force))
                except GrafanaClientError as error:
                    raise Refused(
                        f"Grafana did not take {change.name}: {_said(error)}; {done} of {len(todo)} were pushed before "
                        "it. Push again when that is mended: what is there already is left as it is"
                    ) from None
        return len(todo)

    def _check_version(self) -> None:
        try:
            version = str(self._api.health.check()["version"])
        except (AttributeError, KeyError, TypeError):  # some other server's page
            raise Refused(_NO_GRAFANA.format(self._url)) from None
        major = version.partition(".")[0]
        if not major.isdigit():
            raise Refused(_NO_GRAFANA.format(self._url))
        if int(major) < OLDEST:
            raise Refused(f"Grafana {version} is too old for these dashboards: update it to {OLDEST} or newer")

    def _compare(self, name: str, board: Json) -> Change:
        folder_uid = FOLDERS[name.partition("/")[0]][1]
        found = _or_none(lambda: self._api.dashboard.get_dashboard(board["uid"]))
        if found is None:
            return Change(name, "new", board, None, None, folder_uid)
        meta, there = found["meta"], found["dashboard"]
        if not meta.get("canSave", True):
            raise Refused(
                f"the token may not change the dashboard {there.get('title')!r}: give its service account the role "
                "Editor, or the right to edit in that folder"
            )
        folder_uid = meta.get("folderUid") or ""  # people may have moved it
        version = int(there.get("version", 0))
        if meta.get("provisioned"):
            return Change(name, "fixed", board, there, version, folder_uid)
        newest = self._newest_version(board["uid"])
        message = str(newest.get("message", ""))
        if message == _OURS + _hash(board):
            return Change(name, "same", board, there, version, folder_uid)
        if message.startswith(_OURS):
            return Change(name, "changed", board, there, version, folder_uid)
        return Change(name, "theirs", board, there, version, folder_uid, str(newest.get("createdBy", "")))

    def _newest_version(self, uid: str) -> Json:
        found = self._api.dashboard_versions.get_dashboard_versions_by_uid(uid)
        versions: list[Json] = found["versions"] if isinstance(found, dict) else found  # a list before Grafana 12
        return max(versions, key=lambda version: int(version.get("version", 0)), default={})

    def _make_folder(self, uid: str) -> None:
        title = next(title for title, known in FOLDERS.values() if known == uid)
        if _or_none(lambda: self._api.folder.get_folder(uid)) is None:
            try:
                self._api.folder.create_folder(title, uid)
            except GrafanaClientError as error:
                if error.status_code == 403:
                    raise Refused(
                        f"the token may not make the folder {title!r}: give its service account the role Editor, or "
                        f"let an administrator make a folder with the uid {uid}. Nothing was pushed"
                    ) from None
                raise


def _command(change: Change, *, force: bool) -> Json:
    """As SaveDashboardCommand; without force Grafana itself refuses what was saved since we looked."""
    body = {**change.board, "version": change.version} if change.version is not None else change.board
    return {
        "dashboard": body,
        "folderUid": change.folder_uid,
        "message": _OURS + _hash(change.board),
        "overwrite": force,
    }


def _hash(board: Json) -> str:
    return hashlib.sha256(json.dumps(board, sort_keys=True).encode()).hexdigest()[:16]


def _lines(board: Json) -> list[str]:
    shown = {key: value for key, value in board.items() if key not in ("id", "version")}
    return json.dumps(shown, ensure_ascii=False, sort_keys=True, indent=1).splitlines()


def _or_none(ask: Callable[[], Any]) -> Any:
    """Return what is there; None for what Grafana does not have."""
    try:
        return ask()
    except GrafanaClientError as error:
        if error.status_code == 404:
            return None
        raise


def _said(error: GrafanaException) -> str:
    said = error.response.get("message") if isinstance(error.response, dict) else None
    return f"{said or 'no reason given'} (status {error.status_code})"


@contextmanager
def _sentences(url: str) -> Iterator[None]:
    """Turn what goes wrong on the way into one sentence each."""
    try:
        yield
    except GrafanaClientError as error:
        if error.status_code == 401:
            text = "Grafana does not know this token: make one under Administration, Service accounts (role Editor)"
        elif error.status_code == 403:
            text = f"the token may not do that: {_said(error)}; its service account needs the role Editor"
        elif error.status_code == 404:
            text = _NO_GRAFANA.format(url)
        else:
            text = f"Grafana refuses: {_said(error)}"
        raise Refused(text) from None
    except GrafanaException as error:
        raise Refused(f"{url} does not answer as it should: {_said(error)}; try again when it is well") from None
    except niquests.exceptions.RequestException as error:
        if isinstance(error, niquests.exceptions.JSONDecodeError):
            raise Refused(_NO_GRAFANA.format(url)) from None
        raise Refused(f"no Grafana is reached at {url}: is the address right, and does it run?") from None
