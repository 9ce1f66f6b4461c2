"""The line: turns, silence, time-outs, and no belief in late answers. Frames here are ``<x>``, any length."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic

import pytest

from drivers.errors import BadFrame, LinkDown, NoAnswer, Refused
from drivers.transport.line import Line
from drivers.transport.loopback import Loopback, pair


def take(buffer: bytearray) -> bytes | None:
    """Return the text between < and >, stepping over what precedes it; ``<!>`` refuses, ``<?>`` is bad."""
    found = re.search(rb"<([^<>]*)>", buffer)
    if found is None:
        return None
    text = found[1]
    del buffer[: found.end()]
    if text == b"!":
        raise Refused("the device says no", 2)
    if text == b"?":
        raise BadFrame("nonsense")
    return text


class Far:
    """The device at the other end. ``hear`` waits for one request."""

    def __init__(self, stream: Loopback) -> None:
        self.stream = stream
        self.tasks: list[asyncio.Task[None]] = []

    async def hear(self) -> bytes:
        while True:
            if data := await self.stream.read(5):
                return data

    def say(self, data: bytes) -> None:
        self.stream.write(data)

    def behave(self, script: Callable[[Far], Awaitable[None]]) -> None:
        async def run() -> None:
            await script(self)

        self.tasks.append(asyncio.create_task(run()))


@pytest.fixture
async def wire() -> AsyncIterator[tuple[Callable[..., Line], Far]]:
    near, far_stream = pair()
    far = Far(far_stream)
    lines: list[Line] = []

    def line(**options: object) -> Line:
        made = Line(near, **{"kind": "serial", "framing": "rtu", **options})  # type: ignore[arg-type]
        made.is_open = True  # a loopback is open from the start; Line.open() would lose what waits
        lines.append(made)
        return made

    yield line, far
    for each in lines:
        await each.close()
    for task in far.tasks:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


Wire = tuple[Callable[..., Line], Far]


async def test_an_answer_comes_back_and_is_counted(wire: Wire) -> None:
    make, far = wire
    line = make()

    async def device(far: Far) -> None:
        assert await far.hear() == b"<ask>"
        far.say(b"<42>")

    far.behave(device)
    assert await line.exchange(b"<ask>", take, 1) == b"42"
    assert (line.bytes_sent, line.bytes_received, line.bytes_discarded) == (5, 4, 0)
    assert tuple(line.last_frames) == (b"<ask>", b"<42>")
    assert 0 < line.busy_s < 1


async def test_slices_of_one_byte_are_put_together(wire: Wire) -> None:
    make, far = wire

    async def device(far: Far) -> None:
        await far.hear()
        for byte in b"..<42>":
            far.say(bytes([byte]))
            await asyncio.sleep(0)

    far.behave(device)
    assert await make().exchange(b"q", take, 1) == b"42"


async def test_two_callers_take_turns(wire: Wire) -> None:
    make, far = wire
    line = make()

    async def device(far: Far) -> None:
        for _ in range(2):
            heard = await far.hear()
            assert len(heard) == 1, "two requests at once on the wire"
            await asyncio.sleep(0.01)
            far.say(b"<" + heard + b">")

    far.behave(device)
    both = await asyncio.gather(line.exchange(b"a", take, 1), line.exchange(b"b", take, 1))
    assert both == [b"a", b"b"]


async def test_silence_is_no_answer(wire: Wire) -> None:
    make, _ = wire
    with pytest.raises(NoAnswer, match=r"no answer within 0\.02 s"):
        await make().exchange(b"q", take, 0.02)


async def test_rubbish_is_a_bad_frame_that_shows_its_bytes(wire: Wire) -> None:
    make, far = wire

    async def device(far: Far) -> None:
        await far.hear()
        far.say(bytes(range(20)))

    far.behave(device)
    with pytest.raises(BadFrame, match=r"20 bytes came .*: 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f$"):
        await make().exchange(b"q", take, 0.02)


async def test_a_wire_that_never_stops_talking_does_not_hold_the_caller(wire: Wire) -> None:
    make, far = wire

    async def chatter(far: Far) -> None:
        while True:
            far.say(b"~")
            await asyncio.sleep(0.002)

    line = make()
    asking = asyncio.create_task(line.exchange(b"q", take, 0.05))
    await far.hear()
    far.behave(chatter)
    with pytest.raises(BadFrame, match="no answer"):
        await asking
    with pytest.raises(BadFrame, match="the wire does not fall quiet"):
        await line.exchange(b"q", take, 0.05)


async def late_then_right(far: Far) -> None:
    """Answer the first request too late and the second one rightly; both answers look alike."""
    await far.hear()
    await asyncio.sleep(0.06)
    far.say(b"<old>")
    await far.hear()
    far.say(b"<new>")


async def test_a_late_answer_is_never_believed(wire: Wire) -> None:
    make, far = wire
    line = make()
    far.behave(late_then_right)
    with pytest.raises(NoAnswer):
        await line.exchange(b"q1", take, 0.05)
    assert await line.exchange(b"q2", take, 0.5) == b"new"
    assert line.bytes_discarded == len(b"<old>")


async def test_the_late_answer_to_a_cancelled_request_is_not_believed_either(wire: Wire) -> None:
    make, far = wire
    line = make(drain_s=0.1)
    far.behave(late_then_right)
    asking = asyncio.create_task(line.exchange(b"q1", take, 5))
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await line.exchange(b"q2", take, 0.5) == b"new"


async def test_after_a_bad_frame_its_tail_is_thrown_away(wire: Wire) -> None:
    make, far = wire
    line = make(drain_s=0.05)

    async def device(far: Far) -> None:
        await far.hear()
        far.say(b"<?>")
        await asyncio.sleep(0.02)
        far.say(b"<tail>")
        await far.hear()
        far.say(b"<right>")

    far.behave(device)
    with pytest.raises(BadFrame, match="nonsense"):
        await line.exchange(b"q1", take, 1)
    assert await line.exchange(b"q2", take, 1) == b"right"


async def test_an_answer_after_the_quiet_time_long_ago_costs_no_wait(wire: Wire) -> None:
    make, far = wire
    line = make(drain_s=0.03)
    with pytest.raises(NoAnswer):
        await line.exchange(b"q1", take, 0.01)
    await far.hear()
    far.say(b"<old>")
    await asyncio.sleep(0.05)

    async def device(far: Far) -> None:
        await far.hear()
        far.say(b"<new>")

    far.behave(device)
    assert await line.exchange(b"q2", take, 1) == b"new"


@pytest.mark.parametrize("ending", ["time-out", "refusal"])
async def test_what_leaves_no_doubt_costs_no_quiet_time(wire: Wire, ending: str) -> None:
    """Numbered answers (TCP) cannot be mistaken, and a refusal is an answer: the next request goes at once."""
    make, far = wire
    line = make(drain_s=5.0)

    async def device(far: Far) -> None:
        await far.hear()
        if ending == "refusal":
            far.say(b"<!>")
        await far.hear()
        far.say(b"<new>")

    far.behave(device)
    if ending == "refusal":
        with pytest.raises(Refused):
            await line.exchange(b"q1", take, 1)
    else:
        with pytest.raises(NoAnswer):
            await line.exchange(b"q1", take, 0.02, matched=True)
    began = monotonic()
    assert await line.exchange(b"q2", take, 1, matched=ending == "time-out") == b"new"
    assert monotonic() - began < 1


async def test_half_a_numbered_frame_is_finished_in_the_next_exchange(wire: Wire) -> None:
    make, far = wire
    line = make()

    def second(buffer: bytearray) -> bytes | None:
        first = take(buffer)
        return take(buffer) if first == b"old" else first

    async def device(far: Far) -> None:
        await far.hear()
        far.say(b"<ol")
        await asyncio.sleep(0.02)
        asking.cancel()
        await far.hear()
        far.say(b"d><new>")

    asking = asyncio.create_task(line.exchange(b"q1", second, 1, matched=True))
    far.behave(device)
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await line.exchange(b"q2", second, 1, matched=True) == b"new"


async def test_the_silence_before_each_request_is_kept(wire: Wire) -> None:
    make, far = wire
    line = make(silence_s=0.03)
    gaps: list[float] = []

    async def device(far: Far) -> None:
        said = None
        for _ in range(4):
            await far.hear()
            if said is not None:
                gaps.append(monotonic() - said)
            said = monotonic()
            far.say(b"<ok>")

    far.behave(device)
    for _ in range(4):
        await line.exchange(b"q", take, 1)
    assert len(gaps) == 3
    assert all(gap >= 0.03 for gap in gaps)


async def test_the_silence_counts_from_the_end_of_a_slow_request(wire: Wire) -> None:
    make, far = wire
    line = make(silence_s=0.02, char_s=0.01, drain_s=0.0)
    began = monotonic()
    with pytest.raises(NoAnswer):
        await line.exchange(b"1234", take, 0.01)
    assert monotonic() - began >= 0.05  # four characters, then the time-out
    await far.hear()


async def test_what_was_said_unasked_is_no_answer(wire: Wire) -> None:
    make, far = wire
    far.say(b"<spoken out of turn>")

    async def device(far: Far) -> None:
        await far.hear()
        far.say(b"<42>")

    line = make(silence_s=0.001)
    far.behave(device)
    assert await line.exchange(b"q", take, 1) == b"42"
    assert line.bytes_discarded == len(b"<spoken out of turn>")


async def test_on_a_slow_wire_an_answer_that_has_begun_may_end(wire: Wire) -> None:
    make, far = wire
    line = make(char_s=0.002)

    async def device(far: Far) -> None:
        await far.hear()
        far.say(b"<4")
        await asyncio.sleep(0.1)
        far.say(b"2>")

    far.behave(device)
    assert await line.exchange(b"q", take, 0.03) == b"42"


@pytest.mark.parametrize("cut", [1, 3, 5])
async def test_our_own_echo_is_removed_by_content(wire: Wire, cut: int) -> None:
    make, far = wire

    async def device(far: Far) -> None:
        heard = await far.hear()
        for part in (heard[:cut], heard[cut:] + b"<4", b"2>"):
            far.say(part)
            await asyncio.sleep(0.001)

    far.behave(device)
    assert await make(echo=True).exchange(b"<ask>", take, 1) == b"42"


async def test_an_adapter_that_does_not_echo_after_all_is_understood(wire: Wire) -> None:
    make, far = wire

    async def device(far: Far) -> None:
        await far.hear()
        far.say(b"<")  # begins like the echo
        await asyncio.sleep(0.001)
        far.say(b"42>")

    far.behave(device)
    assert await make(echo=True).exchange(b"<ask>", take, 1) == b"42"


@pytest.mark.parametrize("echoed", [b"<ask>", b"<as"])
async def test_only_the_echo_is_no_answer(wire: Wire, echoed: bytes) -> None:
    make, far = wire

    async def device(far: Far) -> None:
        await far.hear()
        far.say(echoed)

    far.behave(device)
    with pytest.raises(NoAnswer):
        await make(echo=True).exchange(b"<ask>", take, 0.03)


async def test_without_the_option_an_echo_stays(wire: Wire) -> None:
    make, far = wire

    async def device(far: Far) -> None:
        far.say(await far.hear())

    far.behave(device)
    assert await make().exchange(b"<ask>", take, 0.1) == b"ask"


async def test_a_wire_lost_in_mid_answer_is_down_and_opens_again(wire: Wire) -> None:
    make, far = wire
    line = make(drain_s=0.02)

    async def device(far: Far) -> None:
        await far.hear()
        far.say(b"<4")
        await far.stream.close()

    far.behave(device)
    with pytest.raises(LinkDown, match="connection lost"):
        await line.exchange(b"q", take, 1)
    assert not line.is_open
    with pytest.raises(LinkDown, match="not open"):
        await line.exchange(b"q", take, 1)

    await far.stream.open()
    await line.open()
    assert line.is_open

    async def answers(far: Far) -> None:
        await far.hear()
        far.say(b"<whole>")

    far.behave(answers)
    assert await line.exchange(b"q", take, 1) == b"whole"


async def test_closing_ends_an_exchange(wire: Wire) -> None:
    make, far = wire
    line = make()
    asking = asyncio.create_task(line.exchange(b"q", take, 5))
    await far.hear()
    await line.close()
    with pytest.raises(LinkDown, match="closed by us"):
        await asking
    assert not line.is_open
