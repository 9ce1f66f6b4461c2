"""``sitegate alerts rules`` and ``alerts test``: which rules there are, and whether each does what its cases say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from gateway.alerts.case_file import cases_beside
from gateway.alerts.presets import SHIPPED, list_rule_files, load_rules
from gateway.alerts.rule import Rule
from gateway.alerts.rule_file import Written, read_rules
from gateway.alerts.scenario import Result, test_rules
from gateway.commands.output import FINE, PROBLEM, complain, complain_all, print_json, print_table, say
from gateway.config.loader import load_site
from gateway.errors import ConfigError
from gateway.vocabulary import METRICS

_COLUMNS = ["policy", "rule", "kind", "looks at", "window", "limit", "warn", "source", "confidence"]


def rules(site: Path | None, *, as_json: bool) -> int:
    """List the rules that a site has chosen; without a site, all shipped ones."""
    try:
        if site is None:
            rows = [_row_of_file(rule) for file in list_rule_files().values() for rule in read_rules(file)]
        else:
            rows = [_row_of_site(rule) for rule in load_rules(load_site(site)).rules]
    except ConfigError as error:
        return complain_all(error)
    if as_json:
        print_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    else:
        print_table(_COLUMNS, rows)
    return FINE


def _row_of_file(rule: Written) -> list[object]:
    keys = rule.keys
    word = "below" if keys.below is not None else "at least" if keys.at_least is not None else "above"
    window = f"{keys.window.length}{' sliding' if keys.window.sliding else ''} {keys.asked}"
    return _row(
        [rule.policy, keys.alert, keys.kind], keys.metric, keys.condition, window, (word, keys.limit, keys.warn),
        keys.source, keys.confidence,
    )  # fmt: skip


def _row_of_site(rule: Rule) -> list[object]:
    word = "below" if rule.direction == "below" else "at least" if rule.inclusive else "above"
    window = f"{rule.window.length}{' sliding' if rule.window.sliding else ''} {rule.statistic}"
    return _row(
        [rule.policy, rule.name, rule.kind], rule.metric, rule.condition, window, (word, rule.limit, rule.warn),
        rule.source, rule.confidence,
    )  # fmt: skip


def _row(
    names: list[object], metric: str | None, condition: str | None, window: str,
    limit: tuple[str, float, float | None], source: str, confidence: str | None,
) -> list[object]:  # fmt: skip
    word, level, warn = limit
    unit = METRICS[metric].unit if metric else ""
    levels = [f"{word} {level:g} {unit}".rstrip(), None if warn is None else f"{warn:g}"] if metric else [None, None]
    return [*names, metric or condition, window if metric else None, *levels, source, confidence]


def test(files: list[Path], *, as_json: bool) -> int:
    """Run the cases of rule files, each named by itself or by its file of cases; without any, the shipped ones."""
    results: list[Result] = []
    broken: list[str] = []
    for file in _once(files or sorted(SHIPPED.glob("*_test.yaml"))):
        try:
            results += test_rules(file)
        except ConfigError as error:
            broken += [str(problem) for problem in error.problems]
    failed = [result for result in results if result.faults]
    if as_json:
        faults = [{"file": r.file, "case": r.case, "rule": r.rule, "faults": list(r.faults)} for r in failed]
        print_json({"cases": len(results), "failed": len(failed), "faults": faults, "problems": broken})
        return PROBLEM if failed or broken else FINE
    for result in results:
        say(f"{'wrong' if result.faults else 'ok   '} {Path(result.file).name}: {result.rule}: {result.case}")
        for fault in result.faults:
            complain(f"      {fault}")
    for problem in broken:
        complain(problem)
    say(f"{len(results) - len(failed)} of {len(results)} cases are right")
    return PROBLEM if failed or broken else FINE


def _once(files: Iterable[Path]) -> list[Path]:
    """A rule file and its file of cases are one test, whichever of them is named."""
    return list({cases_beside(file).absolute(): file for file in files}.values())
