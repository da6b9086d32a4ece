"""What a run tells: the state behind the screen, the screen at every size, the log, what libraries say."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from lingualign.cli.reporters import JsonReporter, LineReporter
from lingualign.cli.run_state import RunState
from lingualign.cli.screen import ScreenReporter
from lingualign.cli.screen_lines import ASCII, clock, duration, group_lines, rate, screen_lines
from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.pipeline.library_warnings import library_warnings
from lingualign.pipeline.log_file import Logged, open_log, run_log, secrets
from lingualign.pipeline.manifest import StageRecord
from lingualign.pipeline.progress import Reporter, Silent

NAMES = [
    *(f"measures/iteration-0/{name}" for name in ("sampled", "greedy")),
    *(f"iteration-1/{name}" for name in ("responses", "scores", "model")),
    *(f"measures/iteration-1/{name}" for name in ("sampled", "greedy")),
    *(f"iteration-2/{name}" for name in ("responses", "scores", "model")),
    *(f"measures/iteration-2/{name}" for name in ("sampled", "greedy")),
]
SECRET = "sk-very-secret-0123456789"
FAST = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def planned(**done: float) -> RunState:
    return RunState({name: done.get(name) for name in NAMES}, now=0.0)


def ran(state: RunState, name: str, start: float, end: float, total: int = 100) -> None:
    """A stage that runs evenly from one time to another."""
    stage = state.begin(name, total, "prompts", 0, start)
    for step in range(1, 11):
        stage.progress(total * step // 10, None, "", start + (end - start) * step / 10)
    state.end(end)


def text(state: RunState, width: int, height: int, now: float, told: list[str] | None = None) -> list[str]:
    return [line.plain for line in screen_lines("runs/icr", state, told or [], width, height, now)]


# What is known of a run.


def test_nothing_is_foretold_before_anything_is_known() -> None:
    state = planned()
    assert state.left(0.0) == (0.0, len(NAMES))
    assert text(state, 80, 30, 0.0)[-1] == "runs/icr  0 of 12 stages  0:00  left: not known yet"
    stage = state.begin(NAMES[0], 100, "prompts", 0, 5.0)
    assert (stage.speed(), stage.left(9.0, None)) == (None, None)
    stage.progress(20, None, "", 10.0)  # the first step: how long a model loaded before it, nobody knows
    assert (stage.speed(), stage.left(10.0, None)) == (None, None)


def test_speed_and_rest_of_a_stage_leave_the_loading_of_models_out() -> None:
    stage = planned().begin(NAMES[0], 100, "prompts", 0, 0.0)
    stage.progress(10, None, "", 60.0)
    stage.progress(20, None, "", 62.0)
    assert stage.speed() == pytest.approx(5.0)
    assert stage.left(62.0, None) == pytest.approx(16.0)
    assert stage.left(70.0, None) == pytest.approx(8.0)  # it counts down between steps
    assert stage.left(78.1, None) is None  # and says nothing once it should have ended


def test_speed_is_that_of_late_and_done_steps_of_an_earlier_start_do_not_count() -> None:
    stage = planned().begin(NAMES[0], 10_000, "prompts", 5_000, 0.0)
    stage.progress(5_001, None, "", 1.0)
    for second in range(2, 302):
        stage.progress(5_001 + 10 * second, None, "", float(second))
    assert stage.speed() == pytest.approx(10.0)
    for second in range(302, 502):
        stage.progress(8_021 + (second - 302), None, "", float(second))
    assert stage.speed() == pytest.approx(1.0)


def test_a_thousand_updates_a_second_make_a_speed_over_more_than_half_a_minute() -> None:
    stage = planned().begin(NAMES[0], 10**6, "prompts", 0, 0.0)
    for step in range(1, 100_001):
        stage.progress(step if step > 60_000 else 0, None, "", step / 1000)
    assert 500 < (stage.speed() or 0) < 1000.1  # the last 40 s are fast, and the window is longer than 29 s


def test_the_rest_of_a_run_is_what_the_same_stages_took() -> None:
    state = planned()
    ran(state, "measures/iteration-0/sampled", 0, 10)
    ran(state, "measures/iteration-0/greedy", 10, 14)
    seconds, unknown = state.left(14.0)
    assert seconds == pytest.approx(28.0)  # sampled and greedy of two iterations
    assert unknown == 6  # responses, scores and model of both
    ran(state, "iteration-1/responses", 14, 34)
    ran(state, "iteration-1/scores", 34, 39)
    stage = state.begin("iteration-1/model", 50, "steps", 0, 39.0)
    assert state.left(39.0) == (pytest.approx(28 + 25), 2)
    stage.progress(1, None, "loss 0.9", 40.0)
    stage.progress(11, None, "loss 0.6", 50.0)
    assert state.left(50.0) == (pytest.approx(39 + 28 + 25), 1)  # the model of iteration 2 is not yet known
    state.end(89.0)
    assert state.left(89.0) == (pytest.approx(28 + 25 + 50), 0)


def test_stages_of_earlier_starts_are_known_and_resumed_ones_count_whole() -> None:
    state = planned(**{"iteration-1/responses": 30.0})
    assert state.finished() == 1
    assert state.took("responses") == 30.0
    stage = state.begin("iteration-1/model", 100, "steps", 0, 100.0)
    stage.progress(91, None, "", 101.0)  # it goes on from a checkpoint
    stage.progress(100, None, "", 110.0)
    state.end(110.0)
    assert state.stages["iteration-1/model"].seconds == pytest.approx(10)
    assert state.took("model") == pytest.approx(100)  # of 100 steps at one a second


def test_what_comes_after_stages_that_never_ran_shows_that_another_run_had_them() -> None:
    state = planned()
    state.begin("iteration-1/scores", 10, "prompts", 0, 0.0)
    assert [s.status for s in state.stages.values()][:4] == ["done before"] * 3 + ["running"]
    assert state.left(0.0) == (0.0, 9)
    state.end(5.0)
    state.finish()
    assert state.finished() == len(NAMES)


# The screen.


def under_way() -> RunState:
    state = planned()
    ran(state, "measures/iteration-0/sampled", 0, 10)
    ran(state, "measures/iteration-0/greedy", 10, 14)
    ran(state, "iteration-1/responses", 14, 34)
    stage = state.begin("iteration-1/scores", 400, "prompts", 0, 34.0)
    stage.progress(100, None, "", 40.0)
    stage.progress(200, None, "of the reward", 50.0)
    return state


def test_the_screen_shows_all_stages_and_collapses_those_that_are_done() -> None:
    assert text(under_way(), 100, 30, 50.0) == [
        "✓ measures/iteration-0               14.0 s  2 stages",
        "✓ iteration-1/responses              20.0 s  100 prompts",
        "▸ iteration-1/scores                   0:16",
        "  " + "━" * 15 + "─" * 15 + "  200 of 400 prompts  10.0 prompts/s  left 0:20  of the reward",
        "· iteration-1/model",
        "· measures/iteration-1/sampled  about 10.0 s",
        "· measures/iteration-1/greedy   about 4.0 s",
        "· iteration-2/responses         about 20.0 s",
        "· iteration-2/scores",
        "· iteration-2/model",
        "· measures/iteration-2/sampled  about 10.0 s",
        "· measures/iteration-2/greedy   about 4.0 s",
        "runs/icr  3 of 12 stages  0:50  left 1:08 and 3 stages of unknown length",
    ]


@pytest.mark.parametrize("width", [20, 60, 80, 200])
@pytest.mark.parametrize("height", range(1, 31))
def test_the_screen_fits_and_keeps_what_matters_most(width: int, height: int) -> None:
    told = ["one", "two", "three", "four\nwith a second line"]
    lines = text(under_way(), width, height, 50.0, told)
    assert len(lines) <= height
    assert sum(line.startswith("runs/icr") for line in lines) == 1
    assert any("4 warnings" in line for line in lines)
    if height >= 2:
        assert any("200 of 400" in line for line in lines)
    if height >= 4:
        assert lines[-1] == "warning: four"
    if height >= 16:
        assert lines[-3:] == ["warning: two", "warning: three", "warning: four"]
        assert len(lines) == 16  # all stages


def test_a_finished_run_is_a_line_an_iteration() -> None:
    state = under_way()
    state.end(60.0)
    state.finish()
    assert [line.plain for line in group_lines(state, ASCII)] == [
        "+ measures/iteration-0               14.0 s  2 stages",
        "+ iteration-1                        46.0 s  3 stages, 1 done before",
        "+ measures/iteration-1          2 stages, done before",
        "+ iteration-2                   3 stages, done before",
        "+ measures/iteration-2          2 stages, done before",
    ]


def test_times_and_speeds_for_people() -> None:
    assert [clock(s) for s in (0.2, 7, 754, 3723)] == ["0:00", "0:07", "12:34", "1:02:03"]
    assert [duration(s) for s in (4.21, 185, 7800)] == ["4.2 s", "3 min 05 s", "2 h 10 min"]
    assert [rate(s, "steps") for s in (0.2, 0.5, 45.12, 1234.5)] == [
        "12 steps/min",
        "0.5 steps/s",
        "45.1 steps/s",
        "1,234 steps/s",
    ]


class Terminal(io.StringIO):
    """What a terminal gets."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def screen(width: int = 80, height: int = 24) -> tuple[ScreenReporter, Terminal]:
    out = Terminal()
    console = Console(file=out, force_terminal=True, width=width, height=height, highlight=False, _environ={})
    return ScreenReporter(console), out


def last_screen(written: str) -> list[str]:
    """What stays on an endless terminal: the escape sequences that rich uses, carried out."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", written):
        if part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            column = 0
        elif part.startswith("\x1b"):
            count = int(re.sub(r"\D", "", part) or 1)
            row = row - count if part.endswith("A") else row + count if part.endswith("B") else row
            if part.endswith("K"):
                lines[row] = ""
        else:
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines]


def test_a_run_leaves_its_notes_and_a_short_account(tmp_path: Path) -> None:
    reporter, out = screen()
    with reporter.run(tmp_path, dict.fromkeys(NAMES)):
        for name in NAMES:
            with reporter.stage(name, 3, "prompts") as task:
                reporter.warn("de: correlates with length")
                task.update(3)
            reporter.note(f"{name} was [not] markup")
    left = [line for line in last_screen(out.getvalue()) if line]
    assert left[: len(NAMES)] == [f"{name} was [not] markup" for name in NAMES]
    rest = left[len(NAMES) :]
    assert [line.split()[1] for line in rest[:5]] == [
        f"{m}iteration-{i}"
        for m, i in (("measures/", 0), ("", 1), ("measures/", 1), ("", 2), ("measures/", 2))
    ]
    assert rest[5] == "warning: de: correlates with length"  # once
    assert rest[6].startswith(f"✓ {tmp_path}: 12 of 12 stages done, ")
    assert rest[6].endswith(f"Log: {tmp_path / 'run.log'}")
    assert len(rest) == 7


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError("no"), RuntimeError("defect")])
def test_a_run_that_is_stopped_says_where_and_gives_the_terminal_back(
    tmp_path: Path, error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter, out = screen()
    stderr = sys.stderr
    shown = warnings.showwarning
    with (
        pytest.raises(error if isinstance(error, type) else type(error)),
        reporter.run(tmp_path, dict.fromkeys(NAMES)),
        reporter.stage(NAMES[0], 3, "prompts"),
    ):
        raise error
    left = [line for line in last_screen(out.getvalue()) if line]
    assert f"✗ {tmp_path}: stopped in {NAMES[0]} after" in left[-1]
    assert "0 of 12 stages done" in left[-1]
    assert sys.stderr is stderr
    assert warnings.showwarning is shown
    assert "\x1b[?25h" in out.getvalue().rpartition("\x1b[?25l")[2]  # the cursor is shown
    assert not any("▸" in line for line in left)


def test_libraries_speak_on_the_screen_and_not_across_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    reporter, out = screen()
    with detached_logger() as library, reporter.run(tmp_path, dict.fromkeys(NAMES)):
        library.warning("the %s is odd", "mask")
        warnings.warn("old name", UserWarning, stacklevel=1)
        logging.getLogger("other").error("worse")
        library.info("nobody wants to know")
    left = "\n".join(last_screen(out.getvalue()))
    assert "warning: somelib: the mask is odd" in left
    assert "old name" in left
    assert "worse" in left
    assert "nobody" not in left
    assert capfd.readouterr() == ("", "")


def test_a_stage_outside_a_run_leaves_a_line() -> None:
    reporter, out = screen()
    with reporter.stage("judgements", 10, "pairs") as task:
        task.update(10)
    reporter.skip("responses")
    left = [line for line in last_screen(out.getvalue()) if line]
    assert re.fullmatch(r"✓ judgements  \d+\.\d s", left[0])
    assert left[1] == "✓ responses  done before"


def test_a_narrower_terminal_that_wraps_lines_is_cleaned(tmp_path: Path) -> None:
    from lingualign.cli.screen import _Live, _Picture

    out = Terminal()
    console = Console(file=out, force_terminal=True, width=80, height=24, highlight=False, _environ={})
    console.print("what was there before")
    live = _Live(_Picture("runs/icr", under_way(), [], ASCII), console)
    live.auto_refresh = False
    with live:
        live.refresh()
        drawn = last_screen(out.getvalue())
        # The terminal breaks the lines at 40 columns; the cursor stays behind the last character.
        out.seek(0), out.truncate()
        wrapped = [line[i : i + 40] for line in drawn for i in range(0, max(1, len(line)), 40)]
        out.write("\n".join(wrapped))
        console.width = 40
        live.refresh()
        left = [line for line in last_screen(out.getvalue()) if line]
    assert left[0] == "what was there before"
    assert sum("iteration-1/scores" in line for line in left) == 1
    assert sum(line.startswith("runs/icr") for line in left) == 1


def test_updates_cost_microseconds() -> None:
    stage = planned().begin(NAMES[0], 10**6, "prompts", 0, 0.0)
    start = time.perf_counter()
    for step in range(20_000):
        stage.update(step, None, "loss 0.61")
    assert (time.perf_counter() - start) / 20_000 < 50e-6


# Lines and JSON.


def test_json_tells_the_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    reporter = JsonReporter()
    with reporter.run(tmp_path, {"a": 1.5, "b": None}), reporter.stage("b", 2, "pairs") as task:
        task.update(2)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0] == {"event": "plan", "folder": str(tmp_path), "stages": ["a", "b"], "done": ["a"]}
    assert [(event["event"], event.get("status")) for event in events[1:]] == [
        ("stage", "started"),
        ("stage", "done"),
    ]


def test_lines_tell_stages_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    reporter = LineReporter()
    with reporter.run(tmp_path, {"a": 1.5, "b": None}), reporter.stage("b", 2, "pairs", done=1):
        pass
    assert re.fullmatch(r"b: 2 pairs \(1 of them done before\) in 0\.\d s\n", capsys.readouterr().err)


# The log.


class Recorded(Silent):
    """A reporter that remembers its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@contextmanager
def detached_logger() -> Iterator[logging.Logger]:
    """A logger as that of transformers: with a handler of its own, and kept from the root."""
    logger = logging.getLogger("somelib")
    handler = logging.StreamHandler()
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield logger
        assert logger.handlers == [handler]
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


@contextmanager
def logged(folder: Path, reporter: Reporter | None = None, **settings: Any) -> Iterator[Reporter]:
    """A run in a folder with a log, of which no stage is real."""
    iteration = SimpleNamespace(name=lambda stage: f"iteration-1/{stage}")
    fingerprints: Mapping[str, Any] = {name: {} for name in ["reward", *NAMES]}
    plan = SimpleNamespace(
        fingerprints=fingerprints, iterations=[iteration], has=lambda name: name in fingerprints
    )
    record = StageRecord(fingerprint={}, status="done", started="", seconds=12.0)
    run: Any = SimpleNamespace(
        folder=folder,
        reporter=reporter or Silent(),
        manifest=SimpleNamespace(stages={NAMES[0]: record}, versions={"torch": "9.9"}),
    )
    checked: Any = SimpleNamespace(
        plan=plan, config=RunConfig(**settings), corrupt=[folder / "damaged.parquet"]
    )
    before = run.reporter
    try:
        with run_log(run, checked):
            yield run.reporter
    finally:
        assert run.reporter is before


def messages(folder: Path) -> list[str]:
    """The lines of a log without their times, which are checked."""
    lines = (folder / "run.log").read_text(encoding="utf-8").splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ "
    return [re.sub(stamp, "", line, count=1) for line in lines if re.match(stamp, line)]


def test_the_log_has_starts_stages_notes_warnings_and_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/lingualign", "align", "output=a b"])
    for _ in range(2):
        with logged(tmp_path) as reporter:
            reporter.skip(NAMES[0])
            with reporter.stage("iteration-1/model", 1, "steps", done=0) as task:
                task.update(7, 8, "loss 0.610")
            with reporter.stage("iteration-1/scores", 8, "prompts", done=3):
                pass
            reporter.note("all is well")
            reporter.warn("de: too long")
            logging.getLogger("lingualign.models").warning("half the batch")
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn("old name", FutureWarning, stacklevel=1)
    lines = messages(tmp_path)
    once = lines[: len(lines) // 2]
    assert once[0] == "INFO run: start: lingualign align 'output=a b'"
    assert "Python 3." in once[1]
    assert once[1].endswith("torch 9.9")
    assert once[3] == "INFO run: stages: 13, 1 of them done before"
    assert once[4].startswith("WARNING run: ")
    assert once[4].endswith("damaged.parquet was damaged and will be made again")
    assert once[5] == f"INFO run: {NAMES[0]}: done before"
    assert once[6] == "INFO run: iteration-1/model: started"
    assert re.fullmatch(r"INFO run: iteration-1/model: done in 0\.\d s, 7 of 8 steps, loss 0\.610", once[7])
    assert once[8] == "INFO run: iteration-1/scores: started, 3 of 8 prompts done before"
    assert once[10:13] == [
        "INFO run: all is well",
        "WARNING run: de: too long",
        "WARNING lingualign.models: half the batch",
    ]
    assert "WARNING py.warnings: FutureWarning: old name" in once[13]
    assert once[14].startswith("INFO run: end: after 0.")
    assert len(lines) == 2 * len(once)


def test_a_reward_that_is_trained_stands_where_it_is_needed(tmp_path: Path) -> None:
    told: dict[str, float | None] = {}

    class Planned(Silent):
        @contextmanager
        def run(self, folder: Path, stages: Mapping[str, float | None]) -> Iterator[None]:
            told.update(stages)
            yield

    with logged(tmp_path, Planned()):
        pass
    assert list(told)[2:5] == ["iteration-1/responses", "reward", "iteration-1/scores"]
    assert told[NAMES[0]] == 12.0
    assert told[NAMES[1]] is None


def test_a_defect_is_logged_with_its_traceback_and_says_where(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError) as caught,
        logged(tmp_path) as reporter,
        reporter.stage("iteration-1/model", 5, "steps"),
    ):
        print(1 / 0)
    assert caught.value.__notes__ == [f"The log of the run: {tmp_path / 'run.log'}"]
    log = (tmp_path / "run.log").read_text()
    assert "WARNING run: iteration-1/model: stopped at 0 of 5 steps" in log
    assert "ERROR run: ended by ZeroDivisionError" in log
    assert "print(1 / 0)" in log


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("de.jsonl: empty.", "Fill it."), "ERROR run: de.jsonl: empty."),
        (KeyboardInterrupt(), "WARNING run: interrupted after"),
    ],
)
def test_what_a_user_causes_is_logged_without_traceback(tmp_path: Path, error: Any, line: str) -> None:
    with pytest.raises(type(error)), logged(tmp_path):
        raise error
    assert messages(tmp_path)[-1].startswith(line)
    assert "Traceback" not in (tmp_path / "run.log").read_text()
    assert not hasattr(error, "__notes__")


def test_no_key_reaches_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_ACCESS", SECRET)
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    monkeypatch.setenv("MY_KEY", "short")
    server = {"url": "http://me:pa55w0rd@host/v1", "model": "m", "api_key_env": "JUDGE_ACCESS"}
    with pytest.raises(RuntimeError), logged(tmp_path, measures={"server": server}) as reporter:
        reporter.warn(f"the server said: key {SECRET} is unknown; short")
        logging.getLogger("transformers").error("Authorization: Bearer hf_0123456789")
        raise RuntimeError(f"http://me:pa55w0rd@host/v1 refused {SECRET}")
    log = (tmp_path / "run.log").read_text()
    assert "key *** is unknown; short" in log
    assert "Bearer ***" in log
    assert "http://***@host/v1 refused ***" in log
    assert not any(hidden in log for hidden in (SECRET, "hf_0123456789", "pa55w0rd"))
    assert secrets(RunConfig()) >= {"hf_0123456789"}


@pytest.mark.parametrize("kind", ["a folder", "a full disk"])
def test_a_log_that_cannot_be_written_is_no_reason_to_end(tmp_path: Path, kind: str) -> None:
    log = tmp_path / "run.log"
    log.mkdir() if kind == "a folder" else log.symlink_to("/dev/full")
    reporter = Recorded()
    done = False
    with logged(tmp_path, reporter) as told:
        told.note("one")
        told.warn("two")
        done = True
    assert done
    assert [text for text in reporter.warnings if "run.log cannot be written" in text] == reporter.warnings[
        :1
    ]
    assert reporter.warnings[1:] == ["two"]
    assert "No space left" in reporter.warnings[0] or kind == "a folder"
    with pytest.raises(ZeroDivisionError), logged(tmp_path, reporter):
        print(1 / 0)


def test_an_application_keeps_its_own_logging(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    handlers, level = list(logging.root.handlers), logging.root.level
    with logged(tmp_path) as reporter:
        reporter.warn("of the run")
        logging.getLogger("lib").warning("of a library")
    assert [record.getMessage() for record in caplog.records] == ["of a library"]
    assert (logging.root.handlers, logging.root.level) == (handlers, level)


def test_listening_does_not_silence_what_nobody_set_up() -> None:
    code = (
        "import logging, warnings\n"
        "from lingualign.pipeline.library_warnings import library_warnings\n"
        "with library_warnings(lambda record: print('heard', record.getMessage())):\n"
        "    logging.getLogger('lib').warning('hm')\n"
        "    warnings.warn('old')\n"
        "logging.getLogger('lib').warning('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "heard hm"
    assert done.stderr.splitlines()[0] == "hm"
    assert "UserWarning: old" in done.stderr
    assert done.stderr.splitlines()[-1] == "after"


def test_a_library_that_logs_wrong_arguments_does_not_end_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "handlers", [])  # those of pytest let such an error through
    with open_log(tmp_path / "run.log", set(), Silent()) as log, library_warnings(log.handle):
        logging.getLogger("lib").warning("%d", "no number")
        Logged(Silent(), log).note("goes on")
    assert messages(tmp_path) == ["INFO run: goes on"]


# On a real terminal.


def on_terminal(
    code: str, until: Callable[[str], bool], then: signal.Signals | None = None
) -> tuple[int, str]:
    """Runs Python code on a pseudo-terminal of 80 by 24.

    Returns:
        The exit status, and all that the terminal got.
    """
    import fcntl
    import struct
    import termios

    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        [sys.executable, "-c", FAST + code], stdin=other, stdout=other, stderr=other, env=environment
    ) as process:
        os.close(other)
        written, sent, deadline = "", False, time.monotonic() + 60
        while time.monotonic() < deadline:
            if select.select([main], [], [], 0.1)[0]:
                try:
                    part = os.read(main, 65536)
                except OSError:  # the other end is closed
                    break
                written += part.decode(errors="replace")
            if then is not None and not sent and until(written):
                process.send_signal(then)
                sent = True
        else:
            process.kill()
        status = process.wait(timeout=60)
    os.close(main)
    return status, written


RUN = """
import sys, time
from pathlib import Path
from lingualign.cli.reporters import make_reporter
reporter = make_reporter(False)
assert type(reporter).__name__ == "ScreenReporter"
try:
    with reporter.run(Path("runs/x"), {"iteration-1/responses": None, "iteration-1/scores": None}):
        for name in ("iteration-1/responses", "iteration-1/scores"):
            with reporter.stage(name, 600, "prompts") as task:
                for step in range(600):
                    task.update(step + 1)
                    time.sleep(PAUSE)
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    sys.exit(130)
"""


def test_on_a_terminal_a_run_is_drawn_a_few_times_a_second() -> None:
    start = time.monotonic()
    status, written = on_terminal(RUN.replace("PAUSE", "0.002"), lambda text: False)
    seconds = time.monotonic() - start
    assert status == 0
    assert 3 <= written.count("of 2 stages  ") <= 4 * seconds + 6
    assert "prompts/s" in written
    assert "2 of 2 stages done" in [line for line in last_screen(written) if line][-1]


def test_ctrl_c_on_a_terminal_leaves_the_message_and_a_cursor() -> None:
    status, written = on_terminal(
        RUN.replace("PAUSE", "0.05"), lambda text: "of 600 prompts" in text, signal.SIGINT
    )
    assert status == 130
    left = [line for line in last_screen(written) if line]
    assert left[-1] == "interrupted"
    assert "runs/x: stopped in iteration-1/responses" in left[-2]
    assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l")


def test_a_killed_run_leaves_a_cursor_and_its_last_picture() -> None:
    status, written = on_terminal(
        RUN.replace("PAUSE", "0.05"), lambda text: text.count("of 2 stages  ") > 1, signal.SIGKILL
    )
    assert status == -signal.SIGKILL
    assert written.rfind("\x1b[?25h") > written.rfind("\x1b[?25l")
    assert any(line.startswith("runs/x  0 of 2 stages") for line in last_screen(written))
