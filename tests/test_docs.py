"""What the documents say is true: links lead somewhere, snippets load, commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.commands.schema import metrics_table
from gateway.config.loader import load_site
from gateway.vocabulary import METRICS
from tests.support.sitegate import ROOT, sitegate

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "tests/data/frames/README.md"])
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
FENCED = re.compile(r"```yaml\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_inside_the_tree_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_site_file_in_the_readme_is_right(tmp_path: Path) -> None:
    (snippet,) = FENCED.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    file = tmp_path / "site.yaml"
    file.write_text(snippet, encoding="utf-8")
    assert len(load_site(file).devices) == 2


def test_the_commands_in_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`sitegate ([a-z]+)", text))
    assert {"demo", "run", "check", "probe", "decode", "profiles", "buffer", "schema"} <= named
    known = sitegate("--help").stdout
    assert all(command in known for command in named)


def test_the_make_targets_in_the_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"`make ([a-z]+)`", page.read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page.name}: make {target}"


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
