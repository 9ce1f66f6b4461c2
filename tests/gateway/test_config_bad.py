"""Every rule has a broken file; whatever the input, the only exception is ConfigError."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import configs
from gateway.config import yaml_tree
from gateway.config.check import check_site
from gateway.config.loader import load_site
from gateway.config.profiles import read_profile
from gateway.config.schema import SCHEMAS, as_text
from gateway.errors import ConfigError

BAD = Path(__file__).parent.parent / "data" / "bad_config"
GOOD = (configs.path("site.example.yaml")).read_text(encoding="utf-8")


def problems_of(file: Path) -> list[str]:
    load: Any = read_profile if file.stem.startswith("profile_") else load_site
    with pytest.raises(ConfigError) as caught:
        load(file)
    return [str(p).removeprefix(f"{file}:") for p in caught.value.problems]


@pytest.mark.parametrize("file", sorted(BAD.glob("[sp]*_*.yaml")), ids=lambda f: f.stem)
def test_the_first_line_is_the_message(file: Path) -> None:
    expected = file.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    assert problems_of(file) == [expected]


def test_eight_mistakes_are_named_at_once_in_order() -> None:
    file = BAD / "eight_mistakes.yaml"
    expected = [
        (number, line.split("# <- ")[1])
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if "# <- " in line
    ]
    found = check_site(file)
    assert [p.line for p in found] == [line for line, _ in expected]
    for problem, (_, piece) in zip(found, expected, strict=True):
        assert piece in problem.text
        assert str(problem).startswith(f"{file}:{problem.line}:{problem.column}: {problem.path}: ")
    assert len(found) == 8


def test_files_that_are_no_text(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_bytes("site:\n  name: 河畔\n".encode("gbk"))
    assert problems_of(file) == ["2:1: file: not UTF-8 (GBK?); save the file as UTF-8"]
    file.write_bytes(b"# " + b"x" * yaml_tree.MAX_BYTES)
    assert "larger than 1 MiB" in problems_of(file)[0]
    file.unlink()
    assert problems_of(file) == ["1:1: file: cannot be read: No such file or directory"]
    assert "cannot be read" in problems_of(tmp_path)[0]
    file.write_bytes(b"\xef\xbb\xbf" + (BAD / "site_unknown_link.yaml").read_bytes())
    assert problems_of(file) == problems_of(BAD / "site_unknown_link.yaml"), "a byte order mark changes nothing"


def test_an_alias_bomb_is_refused_at_the_first_anchor(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    file.write_text("\n".join(lines))
    assert "anchors and aliases" in "\n".join(problems_of(file))


def test_both_parsers_of_pyyaml_give_the_same_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    def tree() -> yaml_tree.Node:
        return yaml_tree.parse(GOOD, lambda path, node, text: None)

    fast = tree()
    monkeypatch.setattr(yaml_tree, "_LOADER", yaml.SafeLoader)
    assert tree() == fast


@pytest.mark.parametrize(
    ("written", "value"),
    [("no", "no"), ("on", "on"), ("1:30", "1:30"), ("true", True), ("0x10", 16), ("0o17", 15), ("-7", -7),
     ("1e3", 1000.0), (".5", 0.5), ("~", None), ("2026-11-22", "2026-11-22"), ("1_000", "1_000"),
     ("'12'", "12"), ("=", "=")],
)  # fmt: skip
def test_plain_values_follow_yaml_1_2(written: str, value: object) -> None:
    data = yaml_tree.parse(f"k: {written}", lambda path, node, text: None).data()
    assert data == {"k": value}
    assert type(data["k"]) is type(value)


def loads_or_reports(file: Path) -> None:
    for load in (load_site, read_profile):
        problems = []
        try:
            load(file)
        except ConfigError as error:
            problems = error.problems
        assert problems == sorted(problems)
        assert all(p.line >= 1 and p.column >= 1 and p.text for p in problems)


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(raw=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace"))))
def test_no_bytes_raise_anything_else(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "any.yaml").write_bytes(raw)
    loads_or_reports(tmp_path / "any.yaml")


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["${HOME}", "${", "file:x", "5s", "tcp", "meters", "eastron_sdm630", "\ud800", "\0", "a\nb",
                     "9" * 400 + "d"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(SCALARS, v, max_size=3), max_leaves=6
)


def paths_of(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(p for key, value in inner for p in paths_of(value, (*path, key)))]


SITE = yaml.safe_load(GOOD)
PROFILE = yaml.safe_load(configs.path("profiles", "renke_dust_station.yaml").read_text(encoding="utf-8"))


@FUZZ
@given(data=st.data())
@pytest.mark.parametrize("document", [SITE, PROFILE], ids=["site", "profile"])
def test_any_value_in_any_place_raises_nothing_else(document: Any, data: st.DataObject, tmp_path: Path) -> None:
    def with_value(part: Any, path: tuple[Any, ...], value: Any) -> Any:
        if not path:
            return value
        copy: Any = dict(part) if isinstance(part, dict) else list(part)
        copy[path[0]] = with_value(part[path[0]], path[1:], value)
        return copy

    path = data.draw(st.sampled_from(paths_of(document)))
    broken = with_value(document, path, data.draw(VALUES))
    text = yaml.safe_dump(broken, allow_unicode=True)
    (tmp_path / "any.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    loads_or_reports(tmp_path / "any.yaml")


def test_schemas_are_up_to_date() -> None:
    for name, make in SCHEMAS.items():
        shipped = configs.path("schema", name).read_text(encoding="utf-8")
        assert shipped == as_text(make()), f"configs/schema/{name} is stale: sitegate schema writes it anew"
