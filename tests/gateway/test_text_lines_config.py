"""Instruments that share a line must be told apart by what they print, and speak in the same way."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config.loader import load_site
from gateway.errors import ConfigError

SHIPPED = (Path(__file__).parents[2] / "configs" / "profiles" / "text_dust_noise.yaml").read_text(encoding="utf-8")
SITE = """\
site: {id: lot-2, name: Lot 2}
links:
  line: {kind: serial, port: /dev/ttyS9}
devices:
  one: {link: line, profile: text_dust_noise, address: {id: "01"}}
  two: {link: line, profile: other, address: {id: "02"}}
"""


def load(folder: Path, replaced: str, by: str) -> None:
    assert replaced in SHIPPED
    (folder / "profiles").mkdir()
    other = SHIPPED.replace("profile: text_dust_noise", "profile: other").replace(replaced, by)
    (folder / "profiles" / "other.yaml").write_text(other, encoding="utf-8")
    (folder / "site.yaml").write_text(SITE, encoding="utf-8")
    load_site(folder / "site.yaml")


def test_two_of_a_kind_share_a_line(tmp_path: Path) -> None:
    load(tmp_path, "check: xor", "check: sum")


@pytest.mark.parametrize(
    ("replaced", "by", "words"),
    [
        (r"(?P<id>\d+)", r"\d+", "'one' prints on this line too, and the pattern of 'two' has no group id"),
        ("check: xor", 'check: xor\n  request: "?{id}"', "'one' on this line is asked or ends its lines otherwise"),
        ('end: "\\r\\n"', 'end: ";"', "'one' on this line is asked or ends its lines otherwise"),
    ],
)
def test_who_cannot_be_told_apart_needs_a_line_of_his_own(tmp_path: Path, replaced: str, by: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, replaced, by)
    [problem] = caught.value.problems
    assert (problem.path, words in problem.text) == ("devices.two.link", True)
