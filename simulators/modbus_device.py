"""Any Modbus device, from its profile alone: numbers of the world become registers by the profile's own points.

``ModbusDevice`` speaks PDUs; the two ears wrap them for RTU lines and for TCP. The framing is written here and not
taken from the driver, so that a mistake in one is found by the other.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import pairwise

from drivers.modbus.plan import Limits
from drivers.modbus.points import BIT_TABLES, Point, Table, encode, pack_payload
from gateway.config.profile import PointRule
from simulators.modbus_writes import WRITES, parse, told_by
from simulators.outputs import Outputs
from simulators.roles import Reader
from simulators.scaling import to_raw

TABLES: dict[int, Table] = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, DEVICE_FAILURE, BUSY, NO_TARGET = 1, 2, 3, 4, 6, 11
_READ = struct.Struct(">BHH")


class ModbusDevice:
    """One unit. Strict where real meters are: only declared registers and short gaps between them exist."""

    def __init__(
        self,
        points: Mapping[str, Point],
        limits: Limits,
        rules: Mapping[str, PointRule],
        read: Reader,
        writes: Collection[str] = (),
        outputs: Outputs | None = None,
    ) -> None:
        """``writes``: the points that may be written; what they are told is kept in ``outputs``."""
        self._read = read
        self._limits = limits
        self._rules = rules
        self._writable = {name: points[name] for name in writes if name in points}
        self._outputs = outputs
        self._points: dict[Table, list[tuple[str, Point, PointRule]]] = {}
        for name, point in points.items():
            self._points.setdefault(point.table, []).append((name, point, rules[name]))
        self._legal = {
            table: _addresses([point for _, point, _ in placed], limits.max_gap, limits.holes)
            for table, placed in self._points.items()
        }

    def answer(self, request: bytes) -> bytes:
        """Answer a request PDU with a reply PDU; what this device cannot do is an exception reply.

        Raises Silent when the device has no power.
        """
        function = request[0]
        if self._outputs is not None:
            self._outputs.heard()
            if function in WRITES:
                return self._write(request, self._outputs)
        table = TABLES.get(function)
        if table is None:
            return _exception(function, ILLEGAL_FUNCTION)
        if len(request) != _READ.size:
            return _exception(function, ILLEGAL_VALUE)
        _, start, count = _READ.unpack(request)
        if not 1 <= count <= (self._limits.max_coils if table in BIT_TABLES else self._limits.max_count):
            return _exception(function, ILLEGAL_VALUE)
        if not self._legal.get(table, frozenset()).issuperset(range(start, start + count)):
            return _exception(function, ILLEGAL_ADDRESS)
        try:
            payload = pack_payload(table, self._content(table, start, count))
        except ValueError:  # the world's number does not fit the register: a real device would fail as well
            return _exception(function, DEVICE_FAILURE)
        return bytes([function, len(payload)]) + payload

    def refuse(self, request: bytes) -> bytes:
        """Say that the device is busy."""
        return _exception(request[0], BUSY)

    def _write(self, request: bytes, outputs: Outputs) -> bytes:
        try:
            write = parse(request)
            told = told_by(write, self._writable)
        except ValueError:
            return _exception(request[0], ILLEGAL_VALUE)
        if not told:
            return _exception(request[0], ILLEGAL_ADDRESS)
        self._read()  # the world moves on to this moment before anything changes
        for point in told:
            outputs.set(point.name, self._rules[point.name].scaled(point.raw), point.hold_s)
        return write.reply

    def _content(self, table: Table, start: int, count: int) -> list[int]:
        values = {**self._read(), **(self._outputs.now() if self._outputs is not None else {})}
        content = [0] * count
        for name, point, rule in self._points[table]:
            if point.end <= start or point.address >= start + count:
                continue
            words = encode(point, to_raw(rule, values.get(name, 0.0)))
            for address, word in enumerate(words, point.address):
                if start <= address < start + count:
                    content[address - start] |= word  # bits of one register are points of their own
        return content


def _addresses(points: list[Point], max_gap: int, holes: tuple[int, ...]) -> frozenset[int]:
    """Every address that may be read: the points', and those in gaps that the profile allows to read across."""
    taken = sorted({address for point in points for address in range(point.address, point.end)})
    between = {a for low, high in pairwise(taken) if high - low - 1 <= max_gap for a in range(low + 1, high)}
    return frozenset(taken) | (between - set(holes))


def _exception(function: int, code: int) -> bytes:
    return bytes([function | 0x80, code])


class RtuEar:
    """Modbus RTU: unit, PDU, CRC; no start mark, so a request is whatever has a good CRC."""

    def __init__(self, devices: Mapping[int, ModbusDevice]) -> None:
        self._devices = devices
        self._heard = bytearray()

    def hear(self, data: bytes, refuses: Callable[[], bool]) -> list[bytes]:
        self._heard += data
        return list(self._replies(refuses))

    def forget(self) -> None:
        self._heard.clear()

    def _replies(self, refuses: Callable[[], bool]) -> Iterator[bytes]:
        while (found := self._next_frame()) is not None:
            unit, request = found
            device = self._devices.get(unit)
            if device is not None:
                body = bytes([unit]) + (device.refuse(request) if refuses() else device.answer(request))
                yield body + crc16(body).to_bytes(2, "little")

    def _next_frame(self) -> tuple[int, bytes] | None:
        """Take the first sound frame out of the buffer, and all that stands before it."""
        heard = self._heard
        for start in range(len(heard) - 7):
            size = _request_size(heard[start:])
            if len(heard) - start < size:
                continue
            frame = bytes(heard[start : start + size])
            if crc16(frame[:-2]) == int.from_bytes(frame[-2:], "little"):
                del heard[: start + size]
                return frame[0], frame[1:-2]
        del heard[:-264]  # no request is longer
        return None


class TcpEar:
    """Modbus TCP: transaction, protocol 0, length, unit, PDU; one connection reaches several units."""

    def __init__(self, devices: Mapping[int, ModbusDevice]) -> None:
        self._devices = devices
        self._heard = bytearray()

    def hear(self, data: bytes, refuses: Callable[[], bool]) -> list[bytes]:
        self._heard += data
        return list(self._replies(refuses))

    def forget(self) -> None:
        """Silence means nothing on TCP."""

    def _replies(self, refuses: Callable[[], bool]) -> Iterator[bytes]:
        heard = self._heard
        while len(heard) >= 8:
            transaction, protocol, length, unit = struct.unpack_from(">HHHB", heard)
            if protocol != 0 or not 2 <= length <= 254:
                heard.clear()  # out of step for good: the client will time out and connect again
                return
            if len(heard) < 6 + length:
                return
            request = bytes(heard[7 : 6 + length])
            del heard[: 6 + length]
            device = self._devices.get(unit)
            if device is None:
                reply = _exception(request[0], NO_TARGET)
            else:
                reply = device.refuse(request) if refuses() else device.answer(request)
            yield struct.pack(">HHHB", transaction, 0, len(reply) + 1, unit) + reply


def _request_size(frame: bytes | bytearray) -> int:
    """Length of an RTU request by its function; writes of several carry a byte count."""
    return 9 + frame[6] if frame[1] in (15, 16) else 8


def crc16(data: bytes) -> int:
    """CRC-16/MODBUS, bit by bit as the specification (Modbus over serial line 1.02, 6.2.2) describes it."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc
