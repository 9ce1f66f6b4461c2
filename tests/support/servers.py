"""Real time-series servers as child processes on free loopback ports, with a data directory that goes with them.

``with influxdb1() as server:`` works in any test or fixture. A missing program skips the test, but fails it in CI.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.support.machine import free_port, need

_START_S = 20.0

INFLUXD_CONF = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
  dir = "{dir}/meta"
[data]
  dir = "{dir}/data"
  wal-dir = "{dir}/wal"
[http]
  bind-address = "127.0.0.1:{port}"
  max-body-size = {max_body_bytes}
  auth-enabled = {auth}
"""


class ServerProcess:
    """A child process that can be killed and started again on the same port with the same data."""

    def __init__(self, command: list[str], port: int, ready_path: str, log: Path) -> None:
        self._command = command
        self._ready = f"http://127.0.0.1:{port}{ready_path}"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def start(self) -> None:
        """Start and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        give_up = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > give_up:
                text = self._log.read_text(errors="replace")[-2000:]
                self.kill()
                raise RuntimeError(f"{self._command[0]} did not come up: {text}")
            time.sleep(0.02)  # another process: there is no event to wait for

    def kill(self) -> None:
        """SIGKILL, as a power cut would. May be called twice."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def get(self, path: str, **query: str) -> str:
        """GET and return the text; an HTTP error status raises."""
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    def post(self, path: str, body: bytes = b"", **query: str) -> tuple[int, str]:
        """POST and return status and text, whatever they are.

        The text is read to its end even when nobody wants it: InfluxDB says 200 before it runs a statement.
        """
        url = f"{self.url}{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body), timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self._ready, timeout=5):
                return True
        except OSError:
            return False


_S = TypeVar("_S", bound=ServerProcess)


class Influx1(ServerProcess):
    """InfluxDB 1.x."""

    def create_database(self, name: str) -> None:
        self.manage(f'CREATE DATABASE "{name}"')

    def manage(self, text: str, **credentials: str) -> None:
        """Run one statement that changes something; fails the test when the server refuses it."""
        status, answer = self.post("/query", q=text, **credentials)
        assert status == 200, answer
        assert "error" not in json.loads(answer)["results"][0], answer

    def query(self, database: str, text: str) -> list[dict[str, Any]]:
        """Run one InfluxQL statement; return its series (``name tags columns values``), times in milliseconds."""
        answer = json.loads(self.get("/query", db=database, epoch="ms", q=text))
        result = answer["results"][0]
        assert "error" not in result, result
        series: list[dict[str, Any]] = result.get("series", [])
        return series


class Victoria(ServerProcess):
    """VictoriaMetrics: takes v1 and v2 writes. Believes anything: a 204 from it proves nothing about a line."""

    def export(self) -> list[dict[str, Any]]:
        """Return every series: ``{"metric": {"__name__", labels}, "values": [], "timestamps": []}``."""
        self.get("/internal/force_flush")
        text = self.get("/api/v1/export", **{"match[]": '{__name__!=""}'})
        return [json.loads(line) for line in text.splitlines()]


@contextmanager
def influxdb1(*, max_body_bytes: int = 25_000_000, auth: bool = False) -> Iterator[Influx1]:
    """A running InfluxDB 1.x, empty."""
    program = need("influxd", "influxdb")

    def make(folder: Path, port: int) -> Influx1:
        conf = folder / "influxdb.conf"
        conf.write_text(
            INFLUXD_CONF.format(
                dir=folder,
                port=port,
                rpc_port=free_port(),
                max_body_bytes=max_body_bytes,
                auth=str(auth).lower(),
            )
        )
        return Influx1([program, "-config", str(conf)], port, "/ping", folder / "log")

    yield from _running(make)


@contextmanager
def victoria() -> Iterator[Victoria]:
    """A running VictoriaMetrics, empty."""
    program = need("victoria-metrics", "victoria-metrics")

    def make(folder: Path, port: int) -> Victoria:
        command = [
            program,
            f"-httpListenAddr=127.0.0.1:{port}",
            f"-storageDataPath={folder}",
            "-retentionPeriod=100y",
            "-search.latencyOffset=0s",
            "-dedup.minScrapeInterval=1ms",
        ]
        return Victoria(command, port, "/health", folder / "log")

    yield from _running(make)


def _running(make: Callable[[Path, int], _S]) -> Iterator[_S]:
    with tempfile.TemporaryDirectory(prefix="sitegate-test-") as folder:
        server = make(Path(folder), free_port())
        server.start()
        try:
            yield server
        finally:
            server.kill()
