"""The ``notices:`` section of a site file: who is told of alarms, how, and when not."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from gateway.config.alerts import ClockTime
from gateway.config.model import NOTICE_URL, URL, Duration, Model, Name, Secret

Language = Literal["zh", "en"]
Severity = Literal["info", "warning", "alarm", "critical"]


class QuietHours(Model):
    """Every night, in the site's time: what happens then is told as one summary when they end."""

    begin: ClockTime = Field(alias="from")
    end: ClockTime = Field(alias="to")
    but: Severity = "critical"
    """From this severity on, a beginning alarm is told at any hour."""

    @model_validator(mode="after")
    def _last(self) -> QuietHours:
        if self.begin == self.end:
            raise ValueError("from and to are the same time; without quiet hours leave quiet out")
        return self


class NoticeChannel(Model):
    """One way to tell people: a group robot, a mailbox, a web hook."""

    url: Secret = Field(pattern=NOTICE_URL, repr=False)
    """An apprise address, such as ``wecombot://KEY``, ``dingtalk://…``, ``feishu://…``, ``mailtos://…`` or
    ``json://host/path``; best as ``${NAME}`` or ``file:PATH``, for it holds the key."""
    severity: Severity = "warning"
    """Alarms below this are not told here."""
    rules: tuple[str, ...] = ()
    """Only alarms of these rules or policies; empty: all."""
    language: Language | None = None


class NoticesConfig(Model):
    """Who is told of alarms. Without channels nobody is; the page shows them all the same."""

    link: str | None = Field(default=None, pattern=URL)
    """Address of the page as people reach it: each alarm is then told with a link to where it can be answered."""
    language: Language = "zh"
    quiet: QuietHours | None = None
    fold: Duration = 30.0
    """So long a message waits for others to join it, and at least so far are two apart. A first critical alarm goes at
    once."""
    expire: Duration = 12 * 3600.0
    """What is over for longer than this when it could be told at last is only counted."""
    remind: Duration | None = None
    """How often an alarm that nobody answers is told again; without it: never."""
    most_per_hour: int = Field(default=12, ge=1, le=3600)
    """Messages per channel; the last quarter of them is kept for critical alarms."""
    channels: dict[Name, NoticeChannel] = Field(default_factory=dict)
