"""Snippets of the documents, and what each kind of them is for.

- ``console``: run as they stand, one session per page; lines after ``$ `` are commands, the others what they say.
- ``yaml``: loaded by what reads such files; ``file=NAME`` writes it for the session, ``append=NAME`` adds to it.
- ``sh``, or no language: commands that need what a test has not (a serial line, a server, root); held against the real
  command line.
- ``text``: drawings and output; no command.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from gateway.cli import app
from tests.support.sitegate import ROOT

FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1``` *$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:sitegate|make) [^`]+)`")
KINDS = {"", "console", "sh", "text", "yaml"}
STAYS = {"demo", "run", "simulate"}
"""Commands that go on until they are stopped."""
PROGRAMS = {"cd", "cp", "curl", "docker", "echo", "export", "git", "journalctl", "mkdir", "pip", "python3", "systemctl"}
"""Programs of others that documents may call; what stands after them is beyond us."""
_USAGE: type[Exception] = typer.BadParameter.__bases__[0]  # click's UsageError; typer brings a click of its own


@dataclass(frozen=True, slots=True)
class Snippet:
    """One fenced block."""

    page: Path
    line: int
    language: str
    options: dict[str, str]
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> Iterator[str]:
        """Command lines; what ends in a backslash goes on in the next line."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        yield from (line for line in map(str.strip, lines) if line and not line.startswith("#"))

    def said(self) -> list[str]:
        """What a console shows of the answers."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in map(str.strip, lines) if line and not line.startswith("$ ") and line != "…"]


def snippets(page: Path) -> Iterator[Snippet]:
    """Every fenced block of a page."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        language, *options = found[2].split() or [""]
        body = re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE)
        yield Snippet(page, text.count("\n", 0, found.start()) + 1, language, dict(o.split("=") for o in options), body)


def mentions(page: Path) -> Iterator[str]:
    """Command lines of ours within sentences; ``a|b`` stands for both."""
    for found in INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if not found.startswith("sitegate <"):  # a text that we write somewhere, not a command
            yield from map(" ".join, product(*(word.split("|") for word in found.split())))


def fault(line: str, *, whole: bool = True) -> str | None:
    """What is wrong with a command line, or None. Not ``whole``: arguments may be missing."""
    for words in _simple_commands(line):
        while words and re.match(r"\w+=", words[0]):
            del words[0]
        if not words:
            continue
        program = Path(words[0]).name
        if program == "sudo":
            program, words = Path(words[1]).name, words[1:]
        if program == "sitegate":
            if why := _ours(words[1:], whole=whole):
                return why
        elif program == "make":
            if why := _make(words[1:]):
                return why
        elif program == "sh":
            if not (ROOT / words[1]).exists():
                return f"no such file: {words[1]}"
        elif program not in PROGRAMS:
            return f"{program}: neither ours nor a program that documents may call"
    return None


def session(page: Path) -> str:
    """The page's console blocks and files as one shell script; what goes on runs beside it, and must end well."""
    steps = []
    for snippet in snippets(page):
        if snippet.language == "console":
            steps += [f"beside {line}" if _stays(line) else line for line in snippet.commands()]
        for option, arrow in (("file", ">"), ("append", ">>")):
            if name := snippet.options.get(option):
                steps.append(f"mkdir -p $(dirname {name}); cat {arrow} {name} <<'END'\n{snippet.text}END")
    return "\n".join([_BESIDE, *steps, "done_with"]) if any("sitegate" in step for step in steps) else ""


_BESIDE = """set -eu
pids=""
beside() {
  log=$(mktemp ./beside.XXXX)
  "$@" >"$log" 2>&1 & pids="$pids $!"
  until [ -s "$log" ]; do kill -0 $! || return 1; sleep 0.05; done  # it speaks once it is ready
}
done_with() {
  for pid in $pids; do kill -TERM $pid; wait $pid; done
  pids=""
}
trap 'status=$?; kill $pids 2>/dev/null || true; cat beside.* >&2 2>/dev/null || true; exit $status' EXIT
set -x"""


def _stays(line: str) -> bool:
    words = shlex.split(line)
    return words[0] == "sitegate" and words[1] in STAYS and "--seconds" not in words


def _simple_commands(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("<>"):
            next(lexer)  # the file that is read or written
        elif set(word) <= set("|&;"):
            yield words
            words = []
        else:
            words.append(word)
    yield words


@cache
def _root() -> Any:
    return get_command(app)


def _ours(words: list[str], *, whole: bool) -> str | None:
    command, path = _root(), "sitegate"
    while hasattr(command, "commands"):
        if not words or words[0].startswith("-") or words[0] == "…":
            return None
        if words[0] not in command.commands:
            return f"{path} has no command {words[0]!r}"
        command, path, words = command.commands[words[0]], f"{path} {words[0]}", words[1:]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-h"}
    for word in words:
        if word.startswith("--") and word.split("=")[0] not in known:
            return f"{path} has no option {word}"
    if whole:
        try:
            command.make_context(path, list(words))
        except _USAGE as why:
            return f"{path}: {why}"
    return None


def _make(words: list[str]) -> str | None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [word for word in words if "=" not in word]
    unknown = [t for t in targets if not re.search(rf"^{re.escape(t)}:", makefile, re.MULTILINE)]
    return f"no make target {unknown[0]}" if unknown else None
