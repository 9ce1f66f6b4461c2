"""Our client against pymodbus's own servers: TCP, RTU over TCP, and RTU on a serial port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal, cast

import pytest
from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.errors import LinkDown, NoAnswer, Refused
from drivers.modbus.driver import Address, Limits, ModbusDevice, Point, open_device
from drivers.transport.line import Line
from drivers.transport.serial import SerialStream
from drivers.transport.tcp import TcpStream
from tests.support.pty import joined_ports

REGISTERS = [
    SimData(0, values=[230.5, 1.25, -5000.0], datatype=DataType.FLOAT32),
    SimData(6, values=[2305, 65535, 17], datatype=DataType.REGISTERS),
    SimData(9, values=[-123456], datatype=DataType.INT32),
    SimData(11, values=[1234567890123], datatype=DataType.INT64),
    SimData(15, count=200, values=7, datatype=DataType.REGISTERS),
]
POINTS = {
    "v": Point("holding", 0, "f32"),
    "i": Point("holding", 2, "f32"),
    "p": Point("holding", 4, "f32"),
    "u": Point("holding", 6),
    "s": Point("holding", 7, "s16"),
    "bit0": Point("holding", 8, "bit", bit=0),
    "bit1": Point("holding", 8, "bit", bit=1),
    "n": Point("holding", 9, "s32"),
    "e": Point("holding", 11, "s64"),
    "far": Point("holding", 200),
}
GIVES = {
    "v": 230.5,
    "i": 1.25,
    "p": -5000.0,
    "u": 2305,
    "s": -1,
    "bit0": 1,
    "bit1": 0,
    "n": -123456,
    "e": 1234567890123,
    "far": 7,
}


class Slowness:
    """What the server's device does before it answers."""

    def __init__(self) -> None:
        self.delays_s: list[float] = []
        self.busy = False

    async def act(
        self,
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        new: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        if self.delays_s:
            await asyncio.sleep(self.delays_s.pop(0))
        return ExcCodes.DEVICE_BUSY if self.busy else None


def port_of(server: ModbusTcpServer) -> int:
    """The free port that the system gave."""
    return cast(asyncio.Server, server.transport).sockets[0].getsockname()[1]  # type: ignore[no-any-return]


class Setup:
    def __init__(self, line: Line, slowness: Slowness) -> None:
        self.line = line
        self.slowness = slowness

    def device(self, unit: int = 3, timeout_s: float = 2.0, **points: Point) -> ModbusDevice:
        return open_device(self.line, Address(unit), points or POINTS, Limits(), timeout_s)


@asynccontextmanager
async def line_to(device: SimDevice, wire: str) -> AsyncIterator[Line]:
    """Serve the device by pymodbus and connect to it: tcp, rtu_over_tcp or serial."""
    async with AsyncExitStack() as stack:
        if wire == "serial":
            ours, theirs = stack.enter_context(joined_ports())
            serial_server = ModbusSerialServer(device, port=theirs, framer=FramerType.RTU, baudrate=19200)
            await serial_server.serve_forever(background=True)
            stack.push_async_callback(serial_server.shutdown)
            line = Line(SerialStream(ours, 19200), kind="serial", framing="rtu", char_s=0.0005, silence_s=0.002)
        else:
            framer = FramerType.SOCKET if wire == "tcp" else FramerType.RTU
            server = ModbusTcpServer(device, framer=framer, address=("127.0.0.1", 0))
            await server.serve_forever(background=True)
            stack.push_async_callback(server.shutdown)
            framing: Literal["rtu", "modbus_tcp"] = "modbus_tcp" if wire == "tcp" else "rtu"
            line = Line(TcpStream("127.0.0.1", port_of(server)), kind="tcp", framing=framing, drain_s=0.1)
        await line.open()
        stack.push_async_callback(line.close)
        yield line


WIRES = ["tcp", "rtu_over_tcp", "serial"]


@pytest.fixture(params=WIRES)
async def setup(request: pytest.FixtureRequest) -> AsyncIterator[Setup]:
    slowness = Slowness()
    async with line_to(SimDevice(id=3, simdata=REGISTERS, action=slowness.act), request.param) as line:
        yield Setup(line, slowness)


async def read_all(device: ModbusDevice, names: list[str]) -> dict[str, float | int | None]:
    values: dict[str, float | int | None] = {}
    for request in device.plan(names):
        values |= zip(request.points, await device.ask(request), strict=True)
    return values


async def test_every_type_comes_as_the_server_holds_it(setup: Setup) -> None:
    device = setup.device()
    assert len(device.plan(list(POINTS))) == 2
    assert await read_all(device, list(POINTS)) == GIVES
    assert await read_all(device, list(POINTS)) == GIVES


async def test_input_registers_and_the_longest_block(setup: Setup) -> None:
    points = {f"r{i}": Point("input", 15 + i) for i in range(125)}
    device = open_device(setup.line, Address(3), points, Limits(max_count=125), 2.0)
    (request,) = device.plan(list(points))
    assert await device.ask(request) == (7,) * 125


async def test_an_address_that_is_not_there_is_refused_and_the_next_read_goes_on(setup: Setup) -> None:
    device = setup.device(bad=Point("holding", 60000))
    (request,) = device.plan(["bad"])
    with pytest.raises(Refused, match=r"unit 3: illegal data address \(exception 2\) for holding 0xea60") as told:
        await device.ask(request)
    assert told.value.code == 2
    assert await read_all(setup.device(), ["v"]) == {"v": 230.5}


async def test_a_busy_device_is_a_refusal_with_its_code(setup: Setup) -> None:
    setup.slowness.busy = True
    device = setup.device()
    with pytest.raises(Refused, match="device busy") as told:
        await device.ask(device.plan(["v"])[0])
    assert told.value.code == 6


@pytest.mark.parametrize("setup", ["rtu_over_tcp", "serial"], indirect=True)
async def test_a_late_answer_is_not_taken_for_the_next(setup: Setup) -> None:
    """Two reads of one length: the first answer comes 10 ms after its time-out (pymodbus's client believes it).

    Not over Modbus TCP: pymodbus's server sends a late answer under the number of the newest request, so there it is
    wrong on the wire already. test_modbus.py plays that case with a server that keeps its numbers.
    """
    device = setup.device(timeout_s=0.15)
    first, second = device.plan(["v"])[0], device.plan(["p"])[0]
    setup.slowness.delays_s = [0.16]
    with pytest.raises(NoAnswer):
        await device.ask(first)
    assert await device.ask(second) == (-5000.0,)


async def test_coils_and_discrete_inputs() -> None:
    bits = [True, False, True, True, False, False, False, True, True, False, True]
    device = SimDevice(
        id=3,
        simdata=(
            [SimData(10, values=bits, datatype=DataType.BITS)],
            [SimData(20, values=bits, datatype=DataType.BITS)],
            [SimData(0, values=1, datatype=DataType.REGISTERS)],
            [SimData(0, values=2, datatype=DataType.REGISTERS)],
        ),
    )
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    port = port_of(server)
    line = Line(TcpStream("127.0.0.1", port), kind="tcp", framing="modbus_tcp")
    await line.open()
    points = {f"c{i}": Point("coil", 10 + i) for i in range(11)} | {
        f"d{i}": Point("discrete", 20 + i) for i in (0, 1, 10)
    }
    opened = open_device(line, Address(3), points, Limits(), 2.0)
    values = await read_all(opened, list(points))
    assert [values[f"c{i}"] for i in range(11)] == [int(b) for b in bits]
    assert [values[f"d{i}"] for i in (0, 1, 10)] == [1, 0, 1]
    await line.close()
    await server.shutdown()


@pytest.mark.parametrize("wire", WIRES)
async def test_what_we_write_is_what_the_server_then_holds(wire: str) -> None:
    device = SimDevice(
        id=3,
        simdata=(
            [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
            [SimData(0, values=[False] * 16, datatype=DataType.BITS)],
            [SimData(0, count=20, values=0, datatype=DataType.REGISTERS)],
            [SimData(0, values=0, datatype=DataType.REGISTERS)],
        ),
    )
    points = {
        "c5": Point("coil", 5),
        "c6": Point("coil", 6, write_function=0x0F),
        "c7": Point("coil", 7),
        "u": Point("holding", 1),
        "s": Point("holding", 2, "s16", write_function=0x10),
        "f": Point("holding", 4, "f32", word_order="low_first"),
        "far": Point("holding", 60000),
    }
    here = [name for name in points if name != "far"]
    async with line_to(device, wire) as line:
        opened = open_device(line, Address(3), points, Limits(), 2.0)
        for name, raw in {"c5": 1, "c6": 1, "c7": 1, "u": 65535, "s": -7, "f": 230.5}.items():
            await opened.write(name, raw)
        assert await read_all(opened, here) == {"c5": 1, "c6": 1, "c7": 1, "u": 65535, "s": -7, "f": 230.5}
        for name in ("c5", "c6"):
            await opened.write(name, 0)
        assert await read_all(opened, ["c5", "c6", "c7"]) == {"c5": 0, "c6": 0, "c7": 1}
        with pytest.raises(Refused, match=r"unit 3: illegal data address \(exception 2\) for holding 0xea60 = 1"):
            await opened.write("far", 1)
        nobody = open_device(line, Address(4), points, Limits(), 0.1)
        with pytest.raises((NoAnswer, Refused)):
            await nobody.write("c5", 1)
        assert await read_all(opened, ["c5"]) == {"c5": 0}


async def test_a_server_that_goes_and_comes_back() -> None:
    device = SimDevice(id=3, simdata=REGISTERS)
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    port = port_of(server)
    line = Line(TcpStream("127.0.0.1", port), kind="tcp", framing="modbus_tcp")
    await line.open()
    opened = open_device(line, Address(3), POINTS, Limits(), 2.0)
    assert await read_all(opened, ["v"]) == {"v": 230.5}
    await server.shutdown()
    with pytest.raises(LinkDown):
        await read_all(opened, ["v"])
    with pytest.raises(LinkDown, match="refuses the connection"):
        await line.open()
    again = ModbusTcpServer(device, address=("127.0.0.1", port))
    await again.serve_forever(background=True)
    await line.open()
    assert await read_all(opened, ["v"]) == {"v": 230.5}
    await line.close()
    await again.shutdown()
