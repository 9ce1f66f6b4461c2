"""Modbus frames around requests: built by pymodbus, recognised here.

    RTU   unit | function | data | CRC, low byte first              no length, no number: known by its content
    TCP   number (2) | 0 0 | length (2) | unit | function | data    the number ties the reply to its request

pymodbus's own reply decoding is not used: it takes a late RTU reply for the answer to the next question, loses a
frame that follows noise, and unpacks registers one by one. What a reply to *this* request must look like is known
to the byte, so it is searched for, and everything else is stepped over.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.errors import BadFrame, Refused
from drivers.modbus.points import BIT_TABLES, Table
from drivers.modbus.writes import Command

_PDUS = {
    "coil": ReadCoilsRequest,
    "discrete": ReadDiscreteInputsRequest,
    "holding": ReadHoldingRegistersRequest,
    "input": ReadInputRegistersRequest,
}
_RTU = FramerRTU(DecodePDU(False))
_TCP = FramerSocket(DecodePDU(False))
_MBAP = 6  # bytes of the TCP header before the unit
_LONGEST = 254  # unit and PDU

EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledged, still working on it",
    6: "device busy",
    7: "negative acknowledge",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "device behind the gateway does not answer",
}
"""Modbus Application Protocol 1.1b3, section 7."""


def crc_ok(frame: bytes | bytearray) -> bool:
    """Tell whether the last two bytes are the CRC of the others."""
    return FramerRTU.compute_CRC(bytes(frame[:-2])) == int.from_bytes(frame[-2:], "big")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request: its frame, and what its reply must look like."""

    what: str
    """For people: unit, table and addresses."""
    frame: bytes
    head: bytes
    """How a good reply begins. To a read: unit, function, byte count; to a write: all of it."""
    error_head: bytes
    """How a refusal begins: unit, function with the top bit."""
    payload_bytes: int


def _read(framer: FramerRTU | FramerSocket, unit: int, table: Table, start: int, count: int) -> Exchange:
    pdu = _PDUS[table](address=start, count=count, dev_id=unit)
    payload_bytes = (count + 7) // 8 if table in BIT_TABLES else 2 * count
    function = pdu.function_code
    return Exchange(
        what=f"unit {unit}, {table} 0x{start:04x}..0x{start + count - 1:04x}",
        frame=framer.buildFrame(pdu),
        head=bytes((unit, function, payload_bytes)),
        error_head=bytes((unit, function | 0x80)),
        payload_bytes=payload_bytes,
    )


def rtu_read(unit: int, table: Table, start: int, count: int) -> Exchange:
    """Return the request as it goes over a serial line, CRC included."""
    return _read(_RTU, unit, table, start, count)


def tcp_read(unit: int, table: Table, start: int, count: int) -> Exchange:
    """Return the request as it goes over TCP; its first two bytes, the transaction number, are zero."""
    return _read(_TCP, unit, table, start, count)


def _write(framer: FramerRTU | FramerSocket, unit: int, command: Command) -> Exchange:
    return Exchange(
        what=f"unit {unit}, {command.what}",
        frame=framer.encode(command.request, unit, 0),
        head=bytes((unit,)) + command.reply,
        error_head=bytes((unit, command.request[0] | 0x80)),
        payload_bytes=0,
    )


def rtu_write(unit: int, command: Command) -> Exchange:
    """As ``rtu_read``, for a write. Encoded without pymodbus's PDU: that knows no value but FF00 and 0000."""
    return _write(_RTU, unit, command)


def rtu_loopback(unit: int, number: int) -> Exchange:
    """Return the request to repeat ``number`` (diagnostics, function 08, sub-function 0): it changes nothing."""
    body = struct.pack(">BHH", 8, 0, number)
    return _write(_RTU, unit, Command(f"loopback of 0x{number:04x}", body, reply=body))


def tcp_write(unit: int, command: Command) -> Exchange:
    """As ``tcp_read``, for a write."""
    return _write(_TCP, unit, command)


def rtu_reply(asked: Exchange) -> Callable[[bytearray], bytes | None]:
    """Return the ``take`` of a line: finds the reply's payload (b"" of a write) in what arrived.

    Frames of other units, functions or lengths and noise are stepped over, sound or not. Raises Refused.
    """
    size, error_size = len(asked.head) + asked.payload_bytes + 2, len(asked.error_head) + 3

    def take(buffer: bytearray) -> bytes | None:
        at, waiting = _find(buffer, asked.head, size)
        if at is not None:
            payload = bytes(buffer[at + len(asked.head) : at + size - 2])
            del buffer[: at + size]
            return payload
        at, error_waiting = _find(buffer, asked.error_head, error_size)
        if at is not None:
            code = buffer[at + 2]
            del buffer[: at + error_size]
            raise _refused(asked, code)
        del buffer[: min(waiting, error_waiting)]
        return None

    return take


def _find(buffer: bytearray, head: bytes, size: int) -> tuple[int | None, int]:
    """Return where a sound frame begins, and before which offset nothing can begin any more."""
    at = buffer.find(head)
    while at >= 0:
        if at + size > len(buffer):
            return None, at
        if crc_ok(buffer[at : at + size]):
            return at, at
        at = buffer.find(head, at + 1)
    return None, max(0, len(buffer) - len(head) + 1)


def tcp_reply(asked: Exchange, number: int, buffer: bytearray) -> bytes | None:
    """Return the payload of the reply with this transaction number; late replies are stepped over.

    Raises Refused, and BadFrame when the stream is out of step or the reply is not one to this request.
    """
    while len(buffer) >= _MBAP:
        length = buffer[4] << 8 | buffer[5]
        if buffer[2] or buffer[3] or not 3 <= length <= _LONGEST:
            raise BadFrame(f"no Modbus TCP header: {bytes(buffer[:16]).hex(' ')}")
        if len(buffer) < _MBAP + length:
            return None
        theirs = buffer[0] << 8 | buffer[1]
        body = bytes(buffer[_MBAP : _MBAP + length])
        del buffer[: _MBAP + length]
        if theirs != number or body[0] != asked.head[0]:
            continue
        if body.startswith(asked.head) and length == len(asked.head) + asked.payload_bytes:
            return body[len(asked.head) :]
        if body.startswith(asked.error_head) and length == len(asked.error_head) + 1:
            raise _refused(asked, body[2])
        raise BadFrame(f"the reply does not fit the request: {body[:16].hex(' ')}")
    return None


def _refused(asked: Exchange, code: int) -> Refused:
    unit, block = asked.what.split(", ", 1)
    return Refused(f"{unit}: {EXCEPTIONS.get(code, 'unknown reason')} (exception {code}) for {block}", code)
