"""Guessing passwords: counted per address, over soon, and no nuisance to anybody else."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace

import aiohttp
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.site import PageConfig
from gateway.web import guard
from gateway.web.guard import lets_in
from gateway.web.lockout import FORGET_S, LOCKED_S, MOST_ADDRESSES, TRIES, Lockout
from gateway.web.server import PageServer
from tests.support.clock import ManualClock
from tests.support.page_demo import make_demo

TOKEN = "a-token-for-programs-1"


def guess(lockout: Lockout, address: str, times: int, now_s: float = 0.0) -> list[bool]:
    return [lockout.wrong(address, now_s) for _ in range(times)]


def test_the_tenth_wrong_password_locks_an_address_out_for_a_while() -> None:
    lockout = Lockout()
    assert guess(lockout, "10.0.0.7", TRIES) == [False] * (TRIES - 1) + [True]
    assert lockout.remaining_s("10.0.0.7", 0.0) == LOCKED_S
    assert lockout.remaining_s("10.0.0.8", 0.0) == 0.0
    assert lockout.remaining_s("10.0.0.7", LOCKED_S) == 0.0
    assert guess(lockout, "10.0.0.7", TRIES, LOCKED_S) == [False] * (TRIES - 1) + [True], "and again afterwards"


def test_slips_of_the_thumb_are_forgotten() -> None:
    lockout = Lockout()
    guess(lockout, "10.0.0.7", TRIES - 1)
    lockout.right("10.0.0.7")
    assert not any(guess(lockout, "10.0.0.7", TRIES - 1))
    assert not lockout.wrong("10.0.0.7", FORGET_S + 1)


def test_one_machine_cannot_wander_through_its_own_network() -> None:
    lockout = Lockout()
    assert any(lockout.wrong(f"2001:db8::{n:x}", 0.0) for n in range(TRIES))
    assert lockout.remaining_s("2001:db8::ffff", 0.0) > 0
    assert lockout.remaining_s("2001:db8:0:1::1", 0.0) == 0.0
    guess(lockout, "::ffff:10.0.0.7", TRIES)
    assert lockout.remaining_s("10.0.0.7", 0.0) > 0


@given(st.lists(st.tuples(st.integers(0, 3 * MOST_ADDRESSES), st.floats(0, 1e6)), max_size=300))
def test_memory_is_bounded_whoever_asks(tries: list[tuple[int, float]]) -> None:
    lockout = Lockout()
    for n in range(MOST_ADDRESSES - 5):
        lockout.wrong(f"10.{n >> 8}.{n & 255}.1", 0.0)
    for n, now_s in tries:
        lockout.wrong(f"192.168.{n >> 8}.{n & 255}", now_s)
    assert len(lockout) <= MOST_ADDRESSES


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"any:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "enters"),
    [
        (basic("gate-7"), True),
        (basic("gate-8"), False),
        (basic(""), False),
        ("Basic gate-7", False),
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN} ", True),
        ("Bearer gate-7", False),
        (basic(TOKEN), False),
        (f"Bearer {TOKEN}x", False),
        ("Bearer ", False),
        ("Bearer \udcff", False),
        ("", False),
    ],
)
def test_password_and_token(authorization: str, enters: bool) -> None:
    assert lets_in(authorization, PageConfig(password="gate-7", token=TOKEN)) is enters
    assert not lets_in(authorization, PageConfig())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def page(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PageServer]:
    monkeypatch.setattr(guard, "WRONG_PASSWORD_S", 0.0)
    demo = make_demo(clock)
    site = demo.state.site.model_copy(update={"page": PageConfig(password="gate-7", token=TOKEN)})
    server = PageServer(replace(demo.state, site=site), "0.0.0.0", 0)  # all of 127/8, for two addresses
    await server.start()
    yield server
    await server.stop()


async def ask(page: PageServer, authorization: str, *, source: str = "127.0.0.1") -> tuple[int, str | None]:
    connector = aiohttp.TCPConnector(local_addr=(source, 0))
    async with (
        aiohttp.ClientSession(connector=connector, headers={"Authorization": authorization}) as session,
        session.get(f"http://127.0.0.1:{page.port}/api/site") as answer,
    ):
        return answer.status, answer.headers.get("Retry-After")


async def test_a_guesser_is_locked_out_and_nobody_else(page: PageServer, clock: ManualClock) -> None:
    with structlog.testing.capture_logs() as logged:
        for n in range(TRIES):
            assert await ask(page, basic(f"guess-{n}")) == (401, None)
        assert await asyncio.gather(*[ask(page, basic("gate-7")) for _ in range(5)]) == [(429, str(int(LOCKED_S)))] * 5
        assert (await ask(page, f"Bearer {TOKEN}"))[0] == 429, "waiting is waiting, or guessing would go on"
        assert (await ask(page, basic("gate-7"), source="127.0.0.2"))[0] == 200
    assert [entry["event"] for entry in logged].count("wrong password for the page") == TRIES - 1
    assert len([entry for entry in logged if "locked out" in entry["event"]]) == 1
    assert not [entry for entry in logged if "guess-" in str(entry)], "what was typed is not written down"
    await clock.advance(LOCKED_S)
    assert (await ask(page, basic("gate-7")))[0] == 200


async def test_programs_come_in_with_the_token(page: PageServer) -> None:
    assert (await ask(page, f"Bearer {TOKEN}"))[0] == 200
    assert (await ask(page, "Bearer another"))[0] == 401
