"""What the documents say is true: links lead somewhere, snippets load, commands run (tests/support/snippets.py)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.alerts.rule_file import read_rules
from gateway.commands.check import check
from gateway.commands.schema import metrics_table
from gateway.config.profiles import read_profile
from gateway.config.profiles import test_profile as profile_faults
from gateway.config.report import Report
from gateway.vocabulary import METRICS
from tests.support.machine import free_port
from tests.support.sitegate import ROOT, environment
from tests.support.snippets import KINDS, Snippet, fault, mentions, session, snippets

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "tests/data/frames/README.md"])
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
BASE = ROOT / "tests/data/docs/site.yaml"
SECRETS = re.compile(r"/run/secrets/([\w-]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_inside_the_tree_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_in_the_documents_is_one(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", "any")  # the documents export it first
    faults = [f"`{line}`: {why}" for line in mentions(page) if (why := fault(line, whole=False))]
    for snippet in snippets(page):
        if snippet.language in {"", "sh"} and not _is_drawing(snippet):
            faults += [f"{snippet.where}: {line}: {why}" for line in snippet.commands() if (why := fault(line))]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_snippet_goes_unrun(page: Path) -> None:
    for snippet in snippets(page):
        assert snippet.language in KINDS, f"{snippet.where}: no test runs {snippet.language}"
        if snippet.language == "text" or _is_drawing(snippet):
            assert "sitegate " not in snippet.text, f"{snippet.where}: nobody runs this: call it console or sh"
        if snippet.language == "console":
            assert any(snippet.commands()), f"{snippet.where}: a console without a line after $"


def _is_drawing(snippet: Snippet) -> bool:
    return any(letter in snippet.text for letter in "─│▼")


@pytest.mark.parametrize("page", [p for p in PAGES if session(p)], ids=lambda p: str(p.relative_to(ROOT)))
def test_sessions_run_as_they_stand(page: Path, tmp_path: Path) -> None:
    script = session(page)
    for port in ("8080", "15020"):  # the reader's ports may be taken here
        script = script.replace(port, str(free_port()))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment(PATH=path, PYTHONUNBUFFERED="1"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    for snippet in snippets(page):
        if snippet.language == "console":
            for said in snippet.said():
                assert said in done.stdout + done.stderr, f"{snippet.where}: it does not say: {said}"


YAML = [snippet for page in PAGES for snippet in snippets(page) if snippet.language == "yaml"]


@pytest.mark.parametrize("snippet", YAML, ids=lambda s: s.where)
def test_yaml_snippets_are_right(
    snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in re.findall(r"\$\{(\w+)\}", snippet.text):
        monkeypatch.setenv(name, "a-secret-of-some-length")
    for name in SECRETS.findall(snippet.text):
        (tmp_path / name).write_text("json://192.0.2.30/alarms")
    text = SECRETS.sub(rf"{tmp_path}/\1", snippet.text)
    file = tmp_path / "snippet.yaml"
    file.write_text(text, encoding="utf-8")
    data = _read(file)
    if isinstance(data, list):
        assert read_rules(file)
    elif "cases" in data:
        assert (snippet.page.parent / data["rules"]).exists() or data["rules"] in snippet.page.read_text("utf-8")
    elif "protocol" in data:
        assert profile_faults(read_profile(file)) == []
    else:
        if "site" not in data:
            file.write_text(json.dumps(_merged(_read(BASE), data)))
        assert check(file, as_json=False) == 0, capsys.readouterr().out


def _read(file: Path) -> Any:
    return Report(file).read().data()  # our dialect of YAML: 22:00 is a text


def _merged(base: Any, part: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(part, dict)):
        return part
    return base | {key: _merged(base.get(key), value) for key, value in part.items()}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("sitegate chek site.yaml", "no command 'chek'"),
        ("sitegate check --jason site.yaml", "no option --jason"),
        ("sitegate check", "Missing parameter"),
        ("make demoo", "no make target demoo"),
        ("cd x && frobnicate", "neither ours"),
    ],
)
def test_wrong_commands_are_found(line: str, why: str) -> None:
    assert why in (fault(line) or "")


def test_the_chinese_guide_quotes_the_page_word_for_word() -> None:
    page = "".join(p.read_text("utf-8") for p in ROOT.glob("gateway/web/static/i18n*.js"))
    guide = (ROOT / "docs/zh/site-manager.md").read_text(encoding="utf-8")
    quoted = set(re.findall("“([^”]+)”", guide))
    assert len(quoted) > 20
    assert [text for text in quoted if text not in page] == []


def test_metrics_named_in_the_documents_are_in_the_vocabulary() -> None:
    for page in PAGES:
        for name in re.findall(
            r"`([a-z0-9_]+_(?:ug_m3|db|kwh|w|v|a|pct|m_s))(?::\w+)?`", page.read_text(encoding="utf-8")
        ):
            assert name in METRICS, f"{page.name}: {name}"


def test_the_table_of_metrics_is_up_to_date() -> None:
    shipped = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert shipped == metrics_table(), "docs/metrics.md is stale: make schemas writes it anew"


def test_lock_files_carry_hashes_and_no_addresses() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text
        assert "--index-url" not in text
