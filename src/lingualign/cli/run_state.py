"""What a screen knows of a run: what is done, how fast the stage under way is, and how long the rest takes.

Times are seconds of a monotonic clock, and are given by the caller. Nothing is foretold from nothing:

- The rest of the stage under way is what it has left to do, at the speed of its last half minute or more.
  Before there is a speed, it is what the same stage took before, if it ran before.
- The rest of the run is that, and for each stage to do what the same stage (the same name, in another
  iteration) took last: in this start, or in an earlier one of this folder. Stages that never ran are counted,
  not guessed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

TO_DO, RUNNING, DONE, BEFORE = "to do", "running", "done", "done before"
SAMPLES = 120  # moments that a speed is taken over
SPACING = 0.25  # seconds between them, at least


class StageState:
    """A stage of a run.

    Attributes:
        name: As in the run folder.
        status: `TO_DO`, `RUNNING`, `DONE`, or `BEFORE`: done by an earlier start or taken from another run.
        total: Steps in all.
        done: Steps done.
        unit: What the steps are.
        detail: The latest, in a few words.
        began: When it began in this start.
        seconds: What it took, in this start or in the one that ended it before.
        whole: What it would have taken had no earlier start done a part of it.

    Args:
        name: Of the stage.
        seconds: What it took in an earlier start that ended it.
    """

    def __init__(self, name: str, seconds: float | None = None) -> None:
        self.name = name
        self.status = TO_DO if seconds is None else BEFORE
        self.total, self.done, self.unit, self.detail = 0, 0, "", ""
        self.began = 0.0
        self.seconds = seconds
        self.whole = seconds
        self._first: tuple[float, int] | None = None
        self._samples: deque[tuple[float, int]] = deque(maxlen=SAMPLES)
        self._last = (0.0, 0)

    @property
    def kind(self) -> str:
        """What the same stage is called in every iteration."""
        return self.name.rpartition("/")[2]

    def begin(self, total: int, unit: str, done: int, now: float) -> None:
        """It starts with so many of its steps done."""
        self.status = RUNNING
        self.total, self.done, self.unit = total, done, unit
        self.began = now

    def update(self, done: int, total: int | None = None, detail: str = "") -> None:
        """So many steps are done now."""
        self.progress(done, total, detail, time.monotonic())

    def progress(self, done: int, total: int | None, detail: str, now: float) -> None:
        """So many steps are done at a time."""
        self.done, self.detail = done, detail
        if total is not None:
            self.total = total
        self._last = (now, done)
        if not self._samples or now - self._samples[-1][0] >= SPACING:
            self._samples.append(self._last)
            self._first = self._first or self._last

    def end(self, now: float) -> None:
        """It is done."""
        self.status = DONE
        self.seconds = now - self.began
        mean = _speed(self._first, self._last)
        self.whole = max(self.seconds, self.total / mean) if mean else self.seconds

    def speed(self) -> float | None:
        """Steps a second lately; None as long as nobody can say.

        Counted from the first step that was told of: what comes before, loading a model, is no work on steps.
        """
        return _speed(self._samples[0], self._last) if self._samples else None

    def left(self, now: float, took_before: float | None) -> float | None:
        """Seconds to its end, if that can be said: not where it should have ended already.

        Args:
            now: The time.
            took_before: Seconds that the same stage took last.
        """
        speed = self.speed()
        if speed:
            rest = (self.total - self.done) / speed - (now - self._last[0])
        elif took_before is not None:
            rest = took_before - (now - self.began)
        else:
            return None
        return rest if rest > 0 else None


class RunState:
    """A run.

    Attributes:
        stages: By name, in the order in which they run.
        running: The stage under way.
        began: When this start began.

    Args:
        stages: All stages in order, with the seconds that those took that are done.
        now: The time.
    """

    def __init__(self, stages: Mapping[str, float | None], now: float) -> None:
        self.stages = {name: StageState(name, seconds) for name, seconds in stages.items()}
        self.running: StageState | None = None
        self.began = now

    def begin(self, name: str, total: int, unit: str, done: int, now: float) -> StageState:
        """A stage starts. Those before it that did not are done: another run had them."""
        stage = self.stages.setdefault(name, StageState(name))
        for earlier in self.stages.values():
            if earlier is stage:
                break
            if earlier.status == TO_DO:
                earlier.status = BEFORE
        stage.begin(total, unit, done, now)
        self.running = stage
        return stage

    def end(self, now: float) -> None:
        """The stage under way is done."""
        if self.running is not None:
            self.running.end(now)
            self.running = None

    def skip(self, name: str) -> None:
        """A stage was done before."""
        stage = self.stages.setdefault(name, StageState(name))
        if stage.status == TO_DO:
            stage.status = BEFORE

    def finish(self) -> None:
        """The run is done, and so are all of its stages."""
        for name in self.stages:
            self.skip(name)

    def finished(self) -> int:
        """How many stages are done, in whatever start."""
        return sum(stage.status in (DONE, BEFORE) for stage in self.stages.values())

    def took(self, kind: str) -> float | None:
        """Seconds that a stage of this kind took last, if one is done."""
        known = [s.whole for s in self.stages.values() if s.kind == kind and s.whole is not None]
        return known[-1] if known else None

    def left(self, now: float) -> tuple[float, int]:
        """How long the rest of the run takes.

        Returns:
            Seconds of all that can be foretold, and the number of stages that cannot.
        """
        seconds, unknown = 0.0, 0
        for stage in self.stages.values():
            if stage.status == RUNNING:
                rest = stage.left(now, self.took(stage.kind))
            elif stage.status == TO_DO:
                rest = self.took(stage.kind)
            else:
                continue
            seconds += rest or 0.0
            unknown += rest is None
        return seconds, unknown


def _speed(start: tuple[float, int] | None, end: tuple[float, int]) -> float | None:
    if start is None or end[0] - start[0] < SPACING or end[1] <= start[1]:
        return None
    return (end[1] - start[1]) / (end[0] - start[0])
