"""A message in words, Chinese or English: what, where, since when, how bad, and where to answer. Pure.

Short enough for every service: group robots cut at 2,048 bytes, and a Chinese character is three of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from gateway.notices.line import Line, is_verdict

BODY_BYTES = 1600
TITLE_LETTERS = 80
SENTENCE_LETTERS = 200
_TITLES_OF_REST = 4

Words = Mapping[str, str]
_EN: Words = {
    "simulated": "[SIMULATED] ", "no real event": "Simulated site: nothing of this is real.",
    "colon": ": ", "stop": "; ", "comma": ", ", "many": "{count} notices ({holding} still hold)",
    "limit": "limit {limit} {unit}", "peak": "worst {peak} {unit}",
    "no data": "{label}: no data for {title}", "plain": "{label}: {title}", "since": "since {began}",
    "over": "{began} to {ended} ({lasted})", "stated": "stated {began}", "times": "{count} times, first {began}",
    "rest": "… and {count} more: {titles}", "rest item": "{title} {count}", "others": "others",
    "expired": "{count} older notices could not be sent in time and are left out.",
    "answer": "See and answer: {link}", "headline": "{what}, {where} ({severity})",
    "began": "NEW", "worse": "WORSE", "unanswered": "STILL UNANSWERED", "ended": "OVER", "came and went": "WAS",
    "info": "for information", "warning": "warning", "alarm": "alarm", "critical": "critical",
    "open": "not acknowledged", "acknowledged": "acknowledged", "acted": "acted on", "closed": "closed",
    "test title": "test message",
    "test": "This is a test of the notice channel {channel}. Whoever reads it will be told of this site's alarms.",
}  # fmt: skip
_ZH: Words = {
    "simulated": "【模拟】", "no real event": "模拟工地：以下均非真实事件。",
    "colon": "：", "stop": "；", "comma": "、", "many": "{count} 条报警信息（{holding} 条未解除）",
    "limit": "限值 {limit} {unit}", "peak": "最不利值 {peak} {unit}",
    "no data": "{label}：{title}无数据", "plain": "{label}：{title}", "since": "{began} 起",
    "over": "{began} 至 {ended}（{lasted}）", "stated": "判定于 {began}", "times": "共 {count} 次，首次 {began}",
    "rest": "……另有 {count} 条：{titles}", "rest item": "{title} {count} 条", "others": "其他",
    "expired": "另有 {count} 条较早的通知已超过时限，不再发送。",
    "answer": "查看和处理：{link}", "headline": "{what}，{where}（{severity}）",
    "began": "新", "worse": "加重", "unanswered": "仍未确认", "ended": "已解除", "came and went": "已发生并解除",
    "info": "提示", "warning": "预警", "alarm": "报警", "critical": "紧急",
    "open": "未确认", "acknowledged": "已确认", "acted": "已处置", "closed": "已关闭",
    "test title": "测试消息",
    "test": "这是通知渠道 {channel} 的测试消息。收到此消息的人将收到本工地的报警通知。",
}  # fmt: skip
_WORDS: Mapping[str, Words] = {"en": _EN, "zh": _ZH}
_UNITS = {"en": (" s", " min", " h", " d"), "zh": (" 秒", " 分钟", " 小时", " 天")}


@dataclass(frozen=True, slots=True)
class About:
    """What every text says of the site."""

    names: Mapping[str, str]
    """Language -> what people call it."""
    zone: ZoneInfo
    simulated: bool = False
    link: str | None = None
    """Address of the page."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent. ``alarms`` are the ids it speaks of."""

    title: str
    body: str
    alarms: tuple[str, ...] = ()


def compose(lines: Sequence[Line], about: About, language: str, expired: int, now_ms: int) -> Message:
    """Put lines into one message, in their order. ``expired`` is how many older ones are not told any more."""
    words = _WORDS[language]
    clock = _clock(about.zone, now_ms)
    groups = list(_grouped(lines))
    blocks = [_block(group, words, clock, language, about.link if len(groups) > 1 else None) for group in groups]
    tail = [words["expired"].format(count=expired)] if expired else []
    if about.link is not None:
        link = _link(about.link, lines[0]) if len(groups) == 1 else about.link
        tail.append(words["answer"].format(link=link))
    head = [words["no real event"]] if about.simulated else []
    room = BODY_BYTES - _size([*head, *tail])
    shown = _fitting(blocks, room)
    if shown < len(blocks):
        rest = _rest(groups, words, language)
        shown = _fitting(blocks, room - _size([rest(0)]))
        tail.insert(0, rest(shown))
    title = _headline(lines, words, language) if len(groups) == 1 else _count(lines, words)
    return Message(
        _title(about, language, words["colon"] + title),
        "\n".join([*head, *blocks[:shown], *tail]),
        tuple(line.alarm for line in lines),
    )


def test_message(about: About, language: str, channel: str) -> Message:
    """Return what ``sitegate notices test`` sends."""
    words = _WORDS[language]
    body = words["test"].format(channel=channel)
    return Message(
        _title(about, language, words["colon"] + words["test title"]),
        f"{words['no real event']}\n{body}" if about.simulated else body,
    )


def sentence(line: Line, language: str) -> str:
    """Return what is the matter, in one sentence."""
    words = _WORDS[language]
    title, label = _titled(line, language), _label(line, language)
    if line.cause == "no_data":
        return words["no data"].format(label=label, title=title)
    text = _in(line.details.get("text"), language, "") or words["plain"].format(label=label, title=title)
    return text[:SENTENCE_LETTERS]


def _title(about: About, language: str, what: str) -> str:
    words = _WORDS[language]
    mark = words["simulated"] if about.simulated else ""
    text = f"{mark}{about.names.get(language, '')}{what}"
    return text if len(text) <= TITLE_LETTERS else f"{text[: TITLE_LETTERS - 1]}…"


def _headline(lines: Sequence[Line], words: Words, language: str) -> str:
    line = lines[0]
    where = words["plain"].format(label=_label(line, language), title=_titled(line, language))
    severity = words.get(line.severity, line.severity)
    return words["headline"].format(what=_what(line, words), where=where, severity=severity)


def _count(lines: Sequence[Line], words: Words) -> str:
    return words["many"].format(count=len(lines), holding=sum(line.ended_ms is None for line in lines))


def _grouped(lines: Iterable[Line]) -> Iterable[list[Line]]:
    """One rule at one place that came and went again and again is one paragraph."""
    groups: dict[tuple[str, str, str], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.rule, line.subject, line.cause), []).append(line)
    return groups.values()


def _block(group: Sequence[Line], words: Words, clock: Callable[[int], str], language: str, link: str | None) -> str:
    """The first of a group speaks for it: the worst, one that still holds before one that is over."""
    line = group[0]
    began = clock(line.began_ms)
    if is_verdict(line):
        when = words["stated"].format(began=began)
    elif line.ended_ms is None:
        when = words["since"].format(began=began)
    else:
        lasted = _duration(line.ended_ms - line.began_ms, language)
        when = words["over"].format(began=began, ended=clock(line.ended_ms), lasted=lasted)
    facts = [words.get(line.severity, line.severity), when, *_figures(line, words), words[line.answer]]
    if len(group) > 1:
        first = clock(min(each.began_ms for each in group))
        facts.append(words["times"].format(count=len(group), began=first))
    text = f"[{_what(line, words)}] {sentence(line, language)}\n{words['stop'].join(facts)}"
    return text if link is None or line.ended_ms is not None else f"{text}\n{_link(link, line)}"


def _what(line: Line, words: Words) -> str:
    if line.ended_ms is not None and not is_verdict(line):
        return words["ended" if line.told_ms is not None else "came and went"]
    return words[next((kind for kind in ("began", "worse", "unanswered") if kind in line.news), "began")]


def _figures(line: Line, words: Words) -> Iterable[str]:
    unit = line.details.get("unit", "")
    for key in ("limit", "peak"):
        value = line.details.get(key)
        if isinstance(value, int | float):
            yield words[key].format(**{key: f"{value:g}" if key == "limit" else f"{value:.4g}", "unit": unit}).rstrip()


def _rest(groups: Sequence[Sequence[Line]], words: Words, language: str) -> Callable[[int], str]:
    """Say what is left out when only so many paragraphs fit."""

    def left_out(shown: int) -> str:
        titles = Counter(_titled(line, language)[:40] for group in groups[shown:] for line in group)
        named = titles.most_common(_TITLES_OF_REST)
        others = titles.total() - sum(count for _, count in named)
        items = [*named, *([(words["others"], others)] if others else [])]
        text = words["comma"].join(words["rest item"].format(title=title, count=count) for title, count in items)
        return words["rest"].format(count=titles.total(), titles=text)

    return left_out


def _fitting(blocks: Sequence[str], room: int) -> int:
    """How many paragraphs fit; one always does, for a message must say something."""
    shown = 0
    for block in blocks:
        room -= _size([block])
        if room < 0:
            break
        shown += 1
    return max(1, shown)


def _size(texts: Iterable[str]) -> int:
    return sum(len(text.encode()) + 1 for text in texts)


def _clock(zone: ZoneInfo, now_ms: int) -> Callable[[int], str]:
    today = datetime.fromtimestamp(now_ms / 1000, zone).date()

    def show(ms: int) -> str:
        moment = datetime.fromtimestamp(ms / 1000, zone)
        return moment.strftime("%H:%M" if moment.date() == today else "%m-%d %H:%M")

    return show


def _duration(ms: int, language: str) -> str:
    second, minute, hour, day = _UNITS[language]
    s = max(0, ms) // 1000
    if s < 120:
        return f"{s}{second}"
    if s < 7200:
        return f"{s // 60}{minute}"
    return f"{s / 3600:.1f}{hour}" if s < 172_800 else f"{s / 86_400:.1f}{day}"


def _label(line: Line, language: str) -> str:
    return _in(line.details.get("label"), language, line.subject)


def _titled(line: Line, language: str) -> str:
    return _in(line.details.get("title"), language, line.rule)


def _in(texts: Any, language: str, otherwise: str) -> str:
    """One of the texts per language that alarms carry, on one line."""
    text = texts.get(language) if isinstance(texts, Mapping) else None
    return " ".join(str(text or otherwise).split())


def _link(base: str, line: Line) -> str:
    return f"{base.rstrip('/')}/#alarm={quote(line.alarm, safe='@')}"
