"""A real mosquitto as a child process on a free loopback port, with a throw-away certificate authority for TLS."""

from __future__ import annotations

import asyncio
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.machine import free_port, need


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of a certificate authority and of a server for 127.0.0.1 and localhost."""

    ca_file: Path
    cert_file: Path
    key_file: Path


def make_certificates(folder: Path) -> Certificates:
    """Make a new authority and let it sign a server certificate."""
    openssl = need("openssl", "openssl")
    names = folder / "names"
    names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = {name: folder / name for name in ("ca.key", "ca.crt", "server.key", "server.csr", "server.crt")}
    ca, server = ["-keyout", files["ca.key"]], ["-keyout", files["server.key"]]
    signed_by = ["-CA", files["ca.crt"], "-CAkey", files["ca.key"], "-CAcreateserial"]
    for command in (
        ["req", "-x509", *key, *ca, "-subj", "/CN=test authority", "-days", "2", "-out", files["ca.crt"]],
        ["req", *key, *server, "-subj", "/CN=127.0.0.1", "-out", files["server.csr"]],
        ["x509", "-req", "-in", files["server.csr"], *signed_by, "-extfile", names, "-out", files["server.crt"]],
    ):
        subprocess.run([openssl, *map(str, command)], check=True, capture_output=True)
    return Certificates(files["ca.crt"], files["server.crt"], files["server.key"])


class Mosquitto:
    """``async with Mosquitto(folder) as broker``; ``stop`` and ``start`` in between keep the port and the store."""

    def __init__(
        self, folder: Path, *, users: dict[str, str] | None = None, certificates: Certificates | None = None
    ) -> None:
        self.port = free_port()
        self._program = need("mosquitto", "mosquitto")
        self._config = folder / "mosquitto.conf"
        self._log = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {'false' if users else 'true'}",
            "max_queued_messages 0",  # the default of 1000 drops what comes beyond it
            "message_size_limit 0",
            "persistence true",
            f"persistence_location {folder}/",
            f"log_dest file {self._log}",
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # else it changes user and cannot read the temporary folder
        if users:
            passwords = folder / "passwords"
            passwords.write_text("".join(f"{name}:{word}\n" for name, word in users.items()))
            passwords.chmod(0o600)
            subprocess.run([need("mosquitto_passwd", "mosquitto"), "-U", str(passwords)], check=True)
            lines.append(f"password_file {passwords}")
        if certificates:
            lines += [f"certfile {certificates.cert_file}", f"keyfile {certificates.key_file}"]
        self._config.write_text("\n".join(lines) + "\n")

    async def start(self) -> None:
        """Start and wait until it accepts connections."""
        self._process = subprocess.Popen([self._program, "-c", str(self._config)], stderr=subprocess.DEVNULL)
        for _ in range(500):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                assert self._process.poll() is None, self._log.read_text() if self._log.exists() else "mosquitto ended"
                await asyncio.sleep(0.01)
            else:
                writer.close()
                await writer.wait_closed()
                return
        raise AssertionError("mosquitto does not accept connections")

    async def stop(self) -> None:
        """End it; it writes its store first."""
        if self._process is not None:
            self._process.terminate()
            await asyncio.to_thread(self._process.wait, 10)
            self._process = None

    async def __aenter__(self) -> Mosquitto:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
