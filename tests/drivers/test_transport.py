"""Every byte stream keeps the same promises; then what is special to serial ports and TCP."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import termios
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

import pytest
import uvloop

from drivers.errors import LinkDown
from drivers.transport import ByteStream
from drivers.transport.inbox import MAX_UNREAD_BYTES, Inbox
from drivers.transport.loopback import pair
from drivers.transport.serial import SerialStream, character_s, modbus_silence_s, open_failure
from drivers.transport.tcp import TcpStream
from tests.support.pty import PtyWire


class Far(Protocol):
    """The other end of a stream under test."""

    @property
    def stream(self) -> ByteStream: ...

    def write(self, data: bytes) -> None: ...
    async def read(self, count: int) -> bytes: ...
    def forget(self) -> None: ...
    async def hang_up(self) -> None: ...
    async def stop(self) -> None: ...


class FarLoopback:
    def __init__(self) -> None:
        self.stream, self.far = pair()

    def write(self, data: bytes) -> None:
        self.far.write(data)

    async def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += await self.far.read(5)
        return data

    def forget(self) -> None:
        """Nothing of the old connection is left to forget."""

    async def hang_up(self) -> None:
        await self.far.close()

    async def stop(self) -> None:
        await self.far.close()


class FarTcp:
    def __init__(self) -> None:
        self.accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
        self.writers: list[asyncio.StreamWriter] = []
        self.current: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def start(self) -> FarTcp:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.writers.append(writer)
            await self.accepted.put((reader, writer))

        self.server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self.stream = TcpStream("127.0.0.1", self.port)
        return self

    def write(self, data: bytes) -> None:
        assert self.writers, "nothing connected yet"
        self.writers[-1].write(data)

    async def read(self, count: int) -> bytes:
        if self.current is None:
            self.current = await self.accepted.get()
        return await self.current[0].readexactly(count)

    def forget(self) -> None:
        self.current = None

    async def hang_up(self) -> None:
        self.writers[-1].close()
        await self.writers[-1].wait_closed()
        self.current = None

    async def stop(self) -> None:
        for writer in self.writers:
            writer.close()
        self.server.close()
        await self.server.wait_closed()


class FarPty(PtyWire):
    def __init__(self) -> None:
        super().__init__()
        self.stream = SerialStream(self.port, 9600)

    def forget(self) -> None:
        """A port has no connections."""

    async def hang_up(self) -> None:
        self.unplug()

    async def stop(self) -> None:
        self.unplug()


_FARS: dict[str, Callable[[], Far]] = {"loopback": FarLoopback, "serial": FarPty}


@pytest.fixture(params=["loopback", "tcp", "serial"])
async def far(request: pytest.FixtureRequest) -> AsyncIterator[Far]:
    end: Far = await FarTcp().start() if request.param == "tcp" else _FARS[request.param]()
    await end.stream.open()
    yield end
    await end.stream.close()
    await end.stop()


async def test_bytes_go_both_ways(far: Far) -> None:
    far.stream.write(b"\x00\x03\x0a\x0d\x11\x13\xff")  # what a tty that is not raw would change
    assert await far.read(7) == b"\x00\x03\x0a\x0d\x11\x13\xff"
    far.write(b"\x00\x03\x0a\x0d\x11\x13\xff")
    got = b""
    while len(got) < 7:
        got += await far.stream.read(5)
    assert got == b"\x00\x03\x0a\x0d\x11\x13\xff"


async def test_silence_is_an_empty_answer(far: Far) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await far.stream.read(0.03) == b""
    assert 0.02 < loop.time() - began < 1
    assert await far.stream.read(0) == b""


async def test_pending_takes_what_is_there_and_never_waits(far: Far) -> None:
    assert far.stream.pending() == b""
    far.stream.write(b"hello")
    await far.read(5)
    far.write(b"ab")
    first = await far.stream.read(5)
    assert first + far.stream.pending() in (b"a", b"ab")


async def test_the_end_is_told_and_stays(far: Far) -> None:
    far.stream.write(b"x")
    await far.read(1)
    far.write(b"last")
    assert await far.stream.read(5) == b"last"  # read first: a tty that hangs up throws away what is unread
    await far.hang_up()
    with pytest.raises(LinkDown, match="connection lost"):
        await far.stream.read(5)
    with pytest.raises(LinkDown):
        far.stream.write(b"too late")


async def test_closing_ends_a_read_that_waits_and_may_be_done_twice(far: Far) -> None:
    reading = asyncio.create_task(far.stream.read(20))
    await asyncio.sleep(0)
    await far.stream.close()
    with pytest.raises(LinkDown, match="closed by us"):
        await reading
    await far.stream.close()
    with pytest.raises(LinkDown):
        far.stream.write(b"x")
    with pytest.raises(LinkDown):
        await far.stream.read(1)


async def test_it_opens_again_with_nothing_old_in_it(far: Far) -> None:
    far.stream.write(b"x")
    await far.read(1)
    await far.stream.close()
    await far.stream.open()
    far.forget()
    assert far.stream.pending() == b""
    far.stream.write(b"new")
    assert await far.read(3) == b"new"


async def test_a_cancelled_read_loses_nothing(far: Far) -> None:
    reading = asyncio.create_task(far.stream.read(20))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    far.stream.write(b"x")
    await far.read(1)
    far.write(b"z")
    assert await far.stream.read(5) == b"z"


async def test_unread_input_is_bounded_and_the_loss_is_counted() -> None:
    inbox = Inbox()
    inbox.put(b"a" * (MAX_UNREAD_BYTES - 1))
    inbox.put(b"bcd")
    assert inbox.dropped_bytes == 2
    data = inbox.take()
    assert len(data) == MAX_UNREAD_BYTES
    assert data.endswith(b"ab")


async def test_what_came_before_the_end_is_read_first() -> None:
    inbox = Inbox()
    inbox.put(b"last")
    inbox.end("gone")
    assert await inbox.read(1) == b"last"
    with pytest.raises(LinkDown, match="gone"):
        await inbox.read(1)


async def test_a_stream_that_never_opened_closes_and_says_so() -> None:
    for stream in (TcpStream("127.0.0.1", 9), SerialStream("/dev/none", 9600)):
        await stream.close()
        assert stream.pending() == b""
        with pytest.raises(LinkDown, match="is not open"):
            stream.write(b"x")
        with pytest.raises(LinkDown, match="is not open"):
            await stream.read(1)


# --- TCP -------------------------------------------------------------------------------------------------------


async def test_a_refused_connection_names_the_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(LinkDown, match=f"127.0.0.1:{port} refuses the connection"):
            await TcpStream("127.0.0.1", port).open()


async def test_an_unknown_name_is_told() -> None:
    with pytest.raises(LinkDown, match=r"no-such-host\.invalid:502: the name is not known"):
        await TcpStream("no-such-host.invalid", 502).open()


async def test_a_host_that_does_not_accept_is_given_up() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        with pytest.raises(LinkDown, match=r"does not answer within 0\.1 s"):
            await TcpStream("127.0.0.1", port, connect_timeout_s=0.1).open()
        for filler in fillers:
            filler.close()


async def test_the_socket_sends_at_once_and_notices_a_dead_peer() -> None:
    far = await FarTcp().start()
    await far.stream.open()
    assert far.stream._transport is not None
    sock = far.stream._transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    await far.stream.close()
    await far.stop()


# --- serial ----------------------------------------------------------------------------------------------------


async def test_a_second_program_is_told_that_the_port_is_in_use() -> None:
    wire = PtyWire()
    first, second = SerialStream(wire.port, 9600), SerialStream(wire.port, 9600)
    await first.open()
    with pytest.raises(LinkDown, match=f"{wire.port} is in use by another program: stop that one"):
        await second.open()
    await first.close()
    await second.open()
    await second.close()
    wire.unplug()


async def test_a_missing_port_is_told(tmp_path: Path) -> None:
    with pytest.raises(LinkDown, match=r"there is no serial port .*/none: plug the adapter in"):
        await SerialStream(f"{tmp_path}/none", 9600).open()


async def test_a_plain_file_is_no_port(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(LinkDown, match="is not a serial port"):
        await SerialStream(str(path), 9600).open()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EACCES, "no permission to open /dev/ttyUSB0: add this user to the group dialout"),
        (errno.EBUSY, "in use by another program"),
        (errno.ENXIO, "the adapter behind this port is gone"),
        (None, "does not open: strange"),
    ],
)
def test_each_failure_has_its_sentence(code: int | None, words: str) -> None:
    assert words in open_failure("/dev/ttyUSB0", code, "strange")


async def test_unplugging_ends_the_stream_without_a_busy_loop() -> None:
    wire = PtyWire()
    stream = SerialStream(wire.port, 9600, parity="even", stop_bits=2)
    await stream.open()
    wire.unplug()
    with pytest.raises(LinkDown, match="connection lost"):
        await stream.read(5)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    await asyncio.sleep(0.2)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 0.1
    await stream.close()
    with pytest.raises(LinkDown):
        await stream.open()


def test_uvloop_carries_serial_and_tcp() -> None:
    async def both() -> None:
        for end in (FarPty(), await FarTcp().start()):
            await end.stream.open()
            end.stream.write(b"ask")
            assert await end.read(3) == b"ask"
            end.write(b"answer")
            got = b""
            while len(got) < 6:
                got += await end.stream.read(5)
            assert got == b"answer"
            await end.hang_up()
            with pytest.raises(LinkDown):
                await end.stream.read(5)
            await end.stream.close()
            await end.stop()

    uvloop.run(both())


def test_times_of_a_serial_wire() -> None:
    assert character_s(9600, "none", 1) == pytest.approx(10 / 9600)
    assert character_s(2400, "even", 1) == pytest.approx(11 / 2400)
    assert modbus_silence_s(9600, character_s(9600, "even", 1)) == pytest.approx(0.00401, abs=1e-5)
    assert modbus_silence_s(115200, character_s(115200, "even", 1)) == 0.00175


async def test_settings_that_the_port_does_not_keep_are_told() -> None:
    """A pty takes seven data bits without a word and goes on with eight, as some adapters do with parity."""
    wire = PtyWire()
    stream = SerialStream(wire.port, 9600, bytesize=7)
    with pytest.raises(LinkDown, match="does not do 9600 baud, 7 data bits"):
        await stream.open()
    other = SerialStream(wire.port, 19200)
    await other.open()
    await other.close()
    wire.unplug()


@pytest.mark.parametrize("kept", [termios.B4800, termios.B38400])
async def test_a_speed_that_the_port_does_not_keep_is_told(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = PtyWire()
    real = termios.tcgetattr
    monkeypatch.setattr(termios, "tcgetattr", lambda fd: [*real(fd)[:4], kept, kept, real(fd)[6]])
    with pytest.raises(LinkDown, match="does not do 9600 baud"):
        await SerialStream(wire.port, 9600).open()
    wire.unplug()


async def test_an_adapter_that_comes_back_under_another_name_is_found_by_its_stable_one(tmp_path: Path) -> None:
    """Fault 81: /dev/serial/by-id points to ttyUSB0 today and to ttyUSB1 after the next plug."""
    by_id = tmp_path / "usb-adapter-if00"
    first, second = PtyWire(), PtyWire()
    by_id.symlink_to(first.port)
    named, fixed = SerialStream(str(by_id), 9600), SerialStream(first.port, 9600)
    await named.open()
    first.unplug()
    with pytest.raises(LinkDown, match="connection lost"):
        await named.read(5)
    by_id.unlink()
    with pytest.raises(LinkDown, match="there is no serial port"):
        await named.open()
    by_id.symlink_to(second.port)
    await named.open()
    named.write(b"ask")
    assert await second.read(3) == b"ask"
    with pytest.raises(LinkDown):
        await fixed.open()
    await named.close()
    second.unplug()
