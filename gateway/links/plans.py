"""What to ask one device: planned once for all points that come due together, and anew when its driver has learned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from drivers.api import Device, LearningDevice, Request
from gateway.links import Intake, Take
from gateway.links.schedule import Rhythm


@dataclass(frozen=True, slots=True)
class Step:
    """A planned request with the pipeline's entry for its answer."""

    request: Request
    take: Take


class Plans:
    """The plans of one device."""

    def __init__(self, name: str, device: Device, intake: Intake) -> None:
        self._name = name
        self._device = device
        self._intake = intake
        self._learning = device if isinstance(device, LearningDevice) else None
        self._revision = self._learning.revision if self._learning else 0
        self._steps: dict[tuple[str, ...], list[Step]] = {}
        self._rides: dict[tuple[tuple[str, ...], tuple[str, ...]], bool] = {}

    def steps(self, points: tuple[str, ...]) -> list[Step]:
        """Return the requests that read these points."""
        self._renew()
        steps = self._steps.get(points)
        if steps is None:
            requests = self._device.plan(points)
            steps = self._steps[points] = [Step(r, self._intake.prepare(self._name, r.points)) for r in requests]
        return steps

    def joined(self, points: tuple[str, ...], soon: Iterable[Rhythm]) -> tuple[tuple[str, ...], list[Rhythm]]:
        """Return what to read when ``points`` are due, and those of ``soon`` that ride along since that is cheaper."""
        riding = []
        if self._learning is not None:
            self._renew()
            for rhythm in soon:
                key = points, rhythm.points
                if key not in self._rides:
                    self._rides[key] = self._learning.rides(*key)
                if self._rides[key]:
                    points += rhythm.points
                    riding.append(rhythm)
        return points, riding

    def question(self) -> Request | None:
        """Return what the driver wants to know of its device, or None."""
        return self._learning.question() if self._learning else None

    def _renew(self) -> None:
        """Forget what was planned before the device taught something new."""
        if self._learning is not None and self._learning.revision != self._revision:
            self._revision = self._learning.revision
            self._steps.clear()
            self._rides.clear()
