"""A run as the lines of a screen: a pure function of what is known, the time, and the room there is.

Stages that are done collapse into one line an iteration, and so do those to do where there is little room;
what is left in the end is the stage under way and the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.text import Text

from lingualign.cli.run_state import BEFORE, DONE, RUNNING, TO_DO, RunState, StageState

BAR = 30  # columns, at most
SHORTEST_BAR = 5
TIME = 11  # columns of a duration
MINUTE = 60

# What is shown, the most first: which stages, and how many of the last warnings.
LAYOUTS = (("all", 3), ("all", 1), ("group", 3), ("group", 1), ("running", 3), ("running", 1), ("running", 0))


@dataclass(frozen=True)
class Symbols:
    """How stages are marked, and what bars are made of.

    Attributes:
        done: A stage that is done.
        running: One under way.
        to_do: One to do.
        full: The part of a bar that is done.
        empty: The rest.
        failed: A run that was stopped.
    """

    done: str = "✓"
    running: str = "▸"
    to_do: str = "·"
    full: str = "━"
    empty: str = "─"
    failed: str = "✗"


ASCII = Symbols("+", ">", ".", "#", "-", "x")


def screen_lines(
    title: str,
    state: RunState,
    warnings: Sequence[str],
    width: int,
    height: int,
    now: float,
    symbols: Symbols = Symbols(),
) -> list[Text]:
    """The lines of a run under way, as many as fit.

    Args:
        title: Of the run; empty for a stage that stands alone, which has no line for the run.
        state: What is known of it.
        warnings: All so far.
        width: Columns of the terminal.
        height: Lines that may be used, 1 at least.
        now: The time, on the clock of `state`.
        symbols: What the terminal can show.
    """
    for stages, count in LAYOUTS:
        lines = _stage_lines(state, stages, width, now, symbols)
        if title:
            lines.append(_run_line(title, state, warnings, now))
        lines += [_warning(text) for text in warnings[len(warnings) - min(count, len(warnings)) :]]
        if len(lines) <= height:
            return lines
    return lines[-height:] if title and height < 3 else lines[:height]


def group_lines(state: RunState, symbols: Symbols) -> list[Text]:
    """What was done, a line for the stages of each iteration."""
    return [_group_line(name, stages, state, symbols) for name, stages in _groups(state)]


def _stage_lines(state: RunState, shown: str, width: int, now: float, symbols: Symbols) -> list[Text]:
    running = state.running
    current = next((stage for stage in state.stages.values() if stage.status in (RUNNING, TO_DO)), None)
    if shown == "running":
        return [] if running is None else _running_lines(running, running.name, state, width, now, symbols)
    lines = []
    for name, stages in _groups(state):
        over = all(stage.status in (DONE, BEFORE) for stage in stages)
        if len(stages) > 1 and (over or (shown == "group" and current not in stages)):
            lines.append(_group_line(name, stages, state, symbols))
            continue
        for stage in stages:
            if stage is running:
                label = stage.name.ljust(_name_width(state))
                lines += _running_lines(stage, label, state, width, now, symbols)
            else:
                lines.append(_stage_line(stage, state, symbols))
    return lines


def _groups(state: RunState) -> list[tuple[str, list[StageState]]]:
    """Stages that follow each other in one folder."""
    grouped = groupby(state.stages.values(), key=lambda stage: stage.name.rpartition("/")[0])
    return [(name, list(stages)) for name, stages in grouped]


def _stage_line(stage: StageState, state: RunState, symbols: Symbols) -> Text:
    name = stage.name.ljust(_name_width(state))
    if stage.status == TO_DO:
        took = state.took(stage.kind)
        about = "" if took is None else f"  about {duration(took)}"
        return Text(f"{symbols.to_do} {name if about else stage.name}{about}", "dim")
    if stage.status == BEFORE:
        return Text.assemble((f"{symbols.done} ", "green"), name, ("  done before", "dim"))
    work = f"{duration(stage.seconds or 0):>{TIME}}  {stage.total} {stage.unit}"
    return Text.assemble((f"{symbols.done} ", "green"), name, f"  {work}")


def _group_line(name: str, stages: Sequence[StageState], state: RunState, symbols: Symbols) -> Text:
    label = (name or stages[0].name).ljust(_name_width(state))
    count = f"{len(stages)} stage{'s' if len(stages) > 1 else ''}"
    if not all(stage.status in (DONE, BEFORE) for stage in stages):
        left = sum(stage.status not in (DONE, BEFORE) for stage in stages)
        return Text(f"{symbols.to_do} {label}  {left} of {count} to do", "dim")
    if all(stage.status == BEFORE for stage in stages):
        return Text.assemble((f"{symbols.done} ", "green"), label, (f"  {count}, done before", "dim"))
    before = sum(stage.status == BEFORE for stage in stages)
    took = duration(sum(stage.seconds or 0 for stage in stages if stage.status == DONE))
    more = f", {before} done before" if before else ""
    return Text.assemble((f"{symbols.done} ", "green"), label, f"  {took:>{TIME}}  {count}{more}")


def _running_lines(
    stage: StageState, label: str, state: RunState, width: int, now: float, symbols: Symbols
) -> list[Text]:
    head = Text(f"{symbols.running} {label}  {clock(now - stage.began):>{TIME}}", "bold")
    parts = [f"{stage.done} of {stage.total} {stage.unit}"]
    speed = stage.speed()
    if speed:
        parts.append(rate(speed, stage.unit))
    rest = stage.left(now, state.took(stage.kind))
    if rest is not None:
        parts.append(f"left {clock(rest)}")
    if stage.detail:
        parts.append(stage.detail)
    text = "  ".join(parts)
    room = min(BAR, width - len(text) - 5)
    if room < SHORTEST_BAR or stage.total <= 1:
        return [head, Text(f"  {text}")]
    full = round(room * min(1.0, stage.done / stage.total))
    bar = (symbols.full * full, "green"), (symbols.empty * (room - full), "dim")
    return [head, Text.assemble("  ", *bar, f"  {text}")]


def _run_line(title: str, state: RunState, warnings: Sequence[str], now: float) -> Text:
    seconds, unknown = state.left(now)
    stages = f"{unknown} stage{'s' if unknown > 1 else ''}"
    if state.finished() == len(state.stages):
        left = "gathering the results"
    elif not unknown:
        left = f"left about {clock(seconds)}"
    elif seconds:
        left = f"left {clock(seconds)} and {stages} of unknown length"
    else:
        left = "left: not known yet"
    parts = [f"{state.finished()} of {len(state.stages)} stages", clock(now - state.began), left]
    if warnings:
        parts.append(f"{len(warnings)} warning{'s' if len(warnings) > 1 else ''}")
    return Text.assemble((title, "bold"), "  ", "  ".join(parts))


def _warning(text: str) -> Text:
    return Text(f"warning: {text.splitlines()[0] if text else ''}", "yellow")


def _name_width(state: RunState) -> int:
    return max(map(len, state.stages), default=0)


def clock(seconds: float) -> str:
    """A time that counts: `0:07`, `12:34`, `1:02:03`."""
    minutes, rest = divmod(int(seconds + 0.5), MINUTE)
    hours, minutes = divmod(minutes, MINUTE)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def duration(seconds: float) -> str:
    """A duration for people: `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), MINUTE)
    if minutes < MINUTE:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // MINUTE} h {minutes % MINUTE:02d} min"


def rate(speed: float, unit: str) -> str:
    """A speed for people: `45.1 prompts/s`, `12 steps/min` where it is slower than one in two seconds."""
    if speed < 0.5:
        return f"{speed * MINUTE:.2g} {unit}/min"
    return f"{speed:.1f} {unit}/s" if speed < 100 else f"{speed:,.0f} {unit}/s"
