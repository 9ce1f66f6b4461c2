"""Causes in Chinese: the sentences that drivers really raise lose their English, and nothing is lost on the way."""

from __future__ import annotations

import errno
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import DriverError
from drivers.hj212.accept import listening
from drivers.modbus.frames import EXCEPTIONS
from drivers.transport.line import Line
from drivers.transport.loopback import pair
from drivers.transport.serial import SerialStream, open_failure
from drivers.transport.tcp import TcpStream
from gateway.web.reasons import in_chinese, reason
from tests.support.machine import free_port

PORT = "/dev/serial/by-id/meters"
OURS = re.compile(r"/\S+|127\.0\.0\.1|ls\b|fuser|dialout|DNS|\bEIO\b")
"""What stays as it is: paths, addresses, commands."""


def english(text: str) -> str:
    """Letters that are left over."""
    return "".join(re.findall(r"[A-Za-z]{2,}", OURS.sub("", text)))


@pytest.mark.parametrize(
    "code", [errno.ENOENT, errno.EIO, errno.EACCES, errno.EBUSY, errno.ENOTTY, None], ids=lambda c: str(c)
)
def test_why_a_port_does_not_open(code: int | None) -> None:
    text = in_chinese(open_failure(PORT, code, "EIO"))
    assert english(text) == ""
    assert PORT in text


async def test_a_port_that_is_not_there() -> None:
    with pytest.raises(DriverError) as caught:
        await SerialStream(PORT, 9600).open()
    assert in_chinese(str(caught.value)).startswith(f"没有串口 {PORT}：请插好转换器")


async def test_a_refused_connection_and_a_silent_device() -> None:
    port = free_port()
    with pytest.raises(DriverError) as caught:
        await TcpStream("127.0.0.1", port).open()
    assert in_chinese(str(caught.value)) == f"127.0.0.1:{port} 拒绝连接：该端口没有服务，或已被其他客户端占用"

    ours, theirs = pair()
    line = Line(ours, kind="serial", framing="rtu")
    await line.open()
    with pytest.raises(DriverError) as caught:
        await line.exchange(b"?", lambda _: None, 0.01)
    assert in_chinese(str(caught.value)) == "0.01 秒内无应答"
    await line.close()
    with pytest.raises(DriverError) as caught:
        await line.exchange(b"?", lambda _: None, 0.01)
    assert in_chinese(str(caught.value)) == "线路未打开"
    await theirs.close()


async def test_a_port_of_ours_that_is_taken() -> None:
    port = free_port()
    async with listening("127.0.0.1", port, lambda *_: None):
        with pytest.raises(DriverError) as caught:
            async with listening("127.0.0.1", port, lambda *_: None):
                pass
    text = in_chinese(str(caught.value))
    assert text.startswith(f"无法监听 127.0.0.1:{port}：")
    assert text.endswith("：请使用本机地址和未被占用的端口")


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 6, 10, 11])
def test_what_a_modbus_device_says(code: int) -> None:
    text = in_chinese(f"unit 3: {EXCEPTIONS[code]} (exception {code}) for holding 0 to 9")
    assert text.startswith("站号 3: ")
    assert english(text) == "holdingto"


def test_nothing_stays_nothing_and_both_languages_are_given() -> None:
    assert reason(None) is None
    assert reason("unit 2: no answer within 1 s") == {
        "en": "unit 2: no answer within 1 s",
        "zh": "站号 2: 1 秒内无应答",
    }


@given(st.text(max_size=60))
def test_a_server_s_own_words_never_break_it(text: str) -> None:
    assert in_chinese(text) or not text
