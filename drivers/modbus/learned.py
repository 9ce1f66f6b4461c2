"""What a unit turns out to refuse: found by halving a refused block, remembered, asked for again now and then. Pure.

A register that the device does not have spoils the whole block that it lies in. ``search`` finds out which it is, or
that the block was too long, with about two requests per halving. ``Learner`` keeps what was found; time goes in as
monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from drivers.modbus.plan import Block, Limits, Span, Wall
from drivers.modbus.points import BIT_TABLES, Point, Table

ILLEGAL = frozenset({2, 3})
"""Exceptions that speak of the request itself: illegal data address, illegal data value. (Devices mix the two up.)"""
RETRY_FIRST_S, RETRY_CAP_S = 300.0, 86_400.0
"""A refused register is tried again after five minutes, since a module may start slowly, then ever more rarely."""

SILENCES = 3
"""So many questions may get lost on the wire before silence is taken for a refusal."""


@dataclass(frozen=True, slots=True)
class Found:
    """What explains the refusal of one block."""

    refused: tuple[tuple[int, int], ...] = ()
    """Start and end of spans that the device does not give even alone."""
    apart: tuple[tuple[int, int], ...] = ()
    """Neighbours that it gives one by one, but not in one block: what lies between them does not exist."""
    longest: int | None = None
    """The longest block that it gave, when length was the reason."""


def search(spans: Sequence[Span], longest_before: int) -> Generator[tuple[int, int], bool, Found]:
    """Explain why a block of all ``spans`` was refused: yields (start, end) to read, is sent whether that was given.

    ``longest_before``: a block of so many addresses was given earlier, so it is not the length.
    """
    refused: list[tuple[int, int]] = []
    apart: list[tuple[int, int]] = []
    longest: int | None = None
    todo = [(0, len(spans))]
    while todo:
        low, high = todo.pop()
        whole = spans[low].start, spans[high - 1].end
        if high - low == 1:
            refused.append(whole)
            continue
        middle = (low + high) // 2
        left_given = yield spans[low].start, spans[middle - 1].end
        right_given = yield spans[middle].start, spans[high - 1].end
        if not right_given:
            todo.append((middle, high))
        if not left_given:
            todo.append((low, middle))
        if not (left_given and right_given):
            continue  # that a part is refused explains the whole
        seam = spans[middle - 1].start, spans[middle].end
        if high - low == 2 or not (yield seam):
            apart.append(seam)
        elif whole[1] - whole[0] <= longest_before:
            apart.append(whole)
        else:
            longest = yield from _longest_given(spans, low, middle, high)
    return Found(tuple(refused), tuple(apart), longest)


def _longest_given(spans: Sequence[Span], low: int, given: int, refused: int) -> Generator[tuple[int, int], bool, int]:
    """Return the length of the longest block from ``spans[low]`` that is given: to ``given`` is, to ``refused`` not."""
    while refused - given > 1:
        middle = (given + refused) // 2
        if (yield spans[low].start, spans[middle - 1].end):
            given = middle
        else:
            refused = middle
    return spans[given - 1].end - spans[low].start


@dataclass(slots=True)
class _Retry:
    wait_s: float
    due_s: float

    def again(self, now_s: float) -> None:
        self.wait_s = min(2 * self.wait_s, RETRY_CAP_S)
        self.due_s = now_s + self.wait_s


class Learner:
    """What one unit has taught; ``revision`` grows whenever plans should be made anew."""

    def __init__(self) -> None:
        self.revision = 0
        self.news: list[str] = []
        """Sentences for people about what is new and not yet written down; the reader empties it."""
        self._refused: dict[Wall, _Retry] = {}
        self._apart: dict[Wall, _Retry] = {}
        self._longest: dict[Table, int] = {}
        self._longest_retry: dict[Table, _Retry] = {}
        self._reported: set[str] = set()
        self._given: set[tuple[Table, int, int]] = set()
        self._longest_given: dict[Table, int] = {}
        self._search: tuple[Table, Generator[tuple[int, int], bool, Found]] | None = None
        self._question: Wall | None = None
        self._silences = 0

    # --- what plans ask ---

    @property
    def walls(self) -> Collection[Wall]:
        """What no block of several points may contain."""
        return (*self._refused, *self._apart)

    def limits(self, limits: Limits, points: Collection[Point]) -> Limits:
        """Return the limits with the lengths that were found out; each of ``points`` still fits into a request."""
        registers = [n for table, n in self._longest.items() if table not in BIT_TABLES]
        coils = [n for table, n in self._longest.items() if table in BIT_TABLES]
        widest = max((p.width for p in points), default=1)
        return replace(
            limits,
            max_count=min(limits.max_count, max(widest, min(registers, default=limits.max_count))),
            max_coils=min([limits.max_coils, *coils]),
        )

    def withheld(self, points: Mapping[str, Point]) -> dict[str, Wall]:
        """Return those of ``points`` that the device does not give, with what it refused."""
        return {
            name: wall
            for name, point in points.items()
            for wall in self._refused
            if wall.table == point.table and wall.inside(point.address, point.end)
        }

    # --- what the device says ---

    def given(self, table: Table, start: int, count: int) -> None:
        """Note that the device gave this block."""
        key = (table, start, count)
        if key not in self._given:
            self._given.add(key)
            self._longest_given[table] = max(count, self._longest_given.get(table, 0))

    def refused(self, block: Block, spans: Sequence[Span], now_s: float) -> None:
        """Begin to search for the reason, unless one search is under way.

        A block that was given before is refused for another reason than the map: nothing is learned from that.
        """
        if self._search is None and (block.table, block.start, block.count) not in self._given:
            self._search = block.table, search(spans, self._longest_given.get(block.table, 0))
            self._go_on(None, now_s)

    def question(self, now_s: float) -> Wall | None:
        """Return what should be read next to learn more, or None; ``answered`` says what came of it."""
        if self._search is not None:
            return self._question
        for table, retry in list(self._longest_retry.items()):
            if retry.due_s <= now_s and table in self._longest:
                del self._longest[table]  # the next plan tries longer blocks; a refusal is explained again
                self.revision += 1
        every = [*self._refused.items(), *self._apart.items()]
        self._question = next((wall for wall, retry in every if retry.due_s <= now_s), None)
        return self._question

    def answered(self, wall: Wall, given: bool, now_s: float) -> None:
        """Take the answer to a question."""
        self._silences = 0
        if given:
            self.given(wall.table, wall.start, wall.end - wall.start)
        if self._search is not None and wall == self._question:
            self._go_on(given, now_s)
            return
        for kept in (self._refused, self._apart):
            if wall not in kept:
                continue
            if not given:
                kept[wall].again(now_s)
                continue
            del kept[wall]
            self.revision += 1
            self.news.append(f"{_place(wall)} is given now")
            self._reported.discard(_refusal(wall, kept is self._refused))

    def unanswered(self, wall: Wall, now_s: float) -> None:
        """The question got no answer: it stays, but a unit that falls silent time after time means no by it."""
        self._silences += 1
        if self._search is None or self._silences > SILENCES:
            self.answered(wall, False, now_s)

    def _go_on(self, given: bool | None, now_s: float) -> None:
        assert self._search is not None, "only called during a search"
        table, steps = self._search
        try:
            start, end = next(steps) if given is None else steps.send(given)
            self._question = Wall(table, start, end)
        except StopIteration as over:
            self._search = None
            self._take(table, over.value, now_s)

    def _take(self, table: Table, found: Found, now_s: float) -> None:
        self.revision += 1
        for start, end in found.refused:
            self._refused[Wall(table, start, end)] = _Retry(RETRY_FIRST_S, now_s + RETRY_FIRST_S)
        for start, end in found.apart:
            self._apart[Wall(table, start, end)] = _Retry(RETRY_CAP_S, now_s + RETRY_CAP_S)
        if found.longest is not None:
            self._longest[table] = found.longest
            self._longest_retry[table] = _Retry(RETRY_CAP_S, now_s + RETRY_CAP_S)
        for sentence in self._sentences():
            if sentence not in self._reported:
                self._reported.add(sentence)
                self.news.append(sentence)

    def _sentences(self) -> list[str]:
        return [
            *(_refusal(wall, True) for wall in self._refused),
            *(_refusal(wall, False) for wall in self._apart),
            *(f"gives at most {n} {table} addresses in one request" for table, n in self._longest.items()),
        ]

    # --- across restarts ---

    def facts(self) -> dict[str, Any]:
        """Return what was learned, as JSON."""
        return {
            "refused": [[w.table, w.start, w.end] for w in self._refused],
            "apart": [[w.table, w.start, w.end] for w in self._apart],
            "longest": dict(self._longest),
        }

    def remember(self, facts: Any, now_s: float) -> None:
        """Take what ``facts`` returned earlier. Raises ValueError when it is something else."""
        try:
            refused = [_wall(each) for each in facts["refused"]]
            apart = [_wall(each) for each in facts["apart"]]
            longest = {_table(table): _length(n) for table, n in facts["longest"].items()}
        except (AttributeError, KeyError, TypeError) as why:
            raise ValueError(f"not what was learned of a Modbus device: {facts!r:.80}") from why
        self._refused = {wall: _Retry(RETRY_FIRST_S, now_s + RETRY_FIRST_S) for wall in refused}
        self._apart = {wall: _Retry(RETRY_CAP_S, now_s + RETRY_CAP_S) for wall in apart}
        self._longest = longest
        self._longest_retry = {table: _Retry(RETRY_CAP_S, now_s + RETRY_CAP_S) for table in longest}
        self._reported = set(self._sentences())
        self.revision += 1


def _wall(raw: Any) -> Wall:
    table, start, end = raw
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= 0x10000:
        raise ValueError(f"{start!r} to {end!r} are no addresses")
    return Wall(_table(table), start, end)


def _table(raw: Any) -> Table:
    if raw not in ("holding", "input", "coil", "discrete"):
        raise ValueError(f"there is no table {raw!r}")
    table: Table = raw
    return table


def _length(raw: Any) -> int:
    if type(raw) is not int or raw < 1:
        raise ValueError(f"{raw!r} is no number of addresses")
    return raw


def _place(wall: Wall) -> str:
    return f"{wall.table} 0x{wall.start:04x}" + (f"..0x{wall.end - 1:04x}" if wall.end - wall.start > 1 else "")


def _refusal(wall: Wall, alone: bool) -> str:
    return f"refuses {_place(wall)}" + ("" if alone else " in one block, though not in parts")
