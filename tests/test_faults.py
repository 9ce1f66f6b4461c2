"""docs/faults.md against the tests: every fault has its row, and whatever a row names exists."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.support.sitegate import ROOT

FAULTS = range(1, 150)
PAGE = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.*) \|$", re.MULTILINE)


@cache
def names_in(path: str) -> frozenset[str]:
    """Names of the test functions in a file, whatever stands around them."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    functions = (node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(name for name in functions if name.startswith("test_"))


def mistakes(page: str) -> list[str]:
    """What is wrong with such a page, one sentence each."""
    rows = [(int(number), cover) for number, _, _, cover in ROW.findall(page)]
    numbers = [number for number, _ in rows]
    found = [f"fault {number} has no row" for number in FAULTS if number not in numbers]
    if numbers != sorted(set(numbers)) or set(numbers) - set(FAULTS):
        found.append("rows are doubled, out of order, or of no fault")
    for number, cover in rows:
        named = TEST.findall(cover)
        found += [f"fault {number}: {path}::{name} is no test" for path, name in named if name not in names_in(path)]
        told = cover.startswith("not covered, because ")
        if not told and not TEST.match(cover):
            found.append(f"fault {number}: begins neither with a test nor with 'not covered, because '")
        loose = TEST.sub("", cover)
        if "tests/" in loose or "::" in loose:
            found.append(f"fault {number}: a test that is not written as `tests/file.py::test_name`")
    return found


def test_every_fault_has_a_row_that_is_true() -> None:
    assert mistakes(PAGE) == []


@pytest.mark.parametrize(
    ("pattern", "instead", "message"),
    [
        (r"^\| 107 .*\n", "", "fault 107 has no row"),
        (r"^(\| 107 .*\n)", r"\1\1", "rows are doubled, out of order, or of no fault"),
        ("::test_the_rig_sees_a_repeated_value`", "::test_gone`", "test_failed_reads.py::test_gone is no test"),
        ("`tests/gateway/test_failed_reads.py::", "`tests/gateway/test_gone.py::", "is no test"),
        (r"^(\| 107 .* \| ).*( \|)$", r"\1all is well\2", "fault 107: begins neither"),
        (r"^(\| 107 .* \| ).*( \|)$", r"\1\2", "fault 107: begins neither"),
        (r"`(tests/gateway/test_failed_reads.py::\w+)`", r"\1", "a test that is not written as"),
    ],
)
def test_a_page_that_is_wrong_is_found_out(pattern: str, instead: str, message: str) -> None:
    spoilt = re.sub(pattern, instead, PAGE, flags=re.MULTILINE)
    assert spoilt != PAGE
    assert any(message in mistake for mistake in mistakes(spoilt)), mistakes(spoilt)
