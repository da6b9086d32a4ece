"""Kills a run at random moments, resumes it each time, and compares it with one that nobody disturbed.

    python experiments/kill_and_resume.py > experiments/results/kill_and_resume.md
    python experiments/kill_and_resume.py --kills 3 data.limit=20 measures.n=10    # a quick look

The quickstart (`lingualign align`, with the settings given) runs once undisturbed. Then it runs in a second
folder and is killed (SIGKILL to its process group) at moments drawn uniformly over the first run's wall time.
A moment is a stage and a time into it, so that kills reach late stages too, however much work each of them
costs: the run is killed when it is that far into that stage (or at the stage's end, should it be faster this
time). After each kill the same command starts again.

At the end both folders must hold the same files, every one of which opens, with the same rows in every table,
the same weights, and the same measures. The report goes to stdout, progress to stderr; the exit status is 1
if anything differs or a kill came too late to strike.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from safetensors import safe_open
from safetensors.numpy import load_file

from lingualign.models import load_model, load_tokenizer
from lingualign.settings import load_config

COMMAND = Path(sys.executable).with_name("lingualign")
START_UP = "start-up"  # what a run does before its first stage: imports and checks
MODEL_TEXTS = {".jinja", ".txt", ".md"}  # of a model folder, beside JSON and weights
NO_RESULTS = {".lock", "run.log", "report.html"}  # the report tells how long stages took


@dataclass(frozen=True)
class Moment:
    """A moment of the undisturbed run.

    Attributes:
        at: Seconds from its start.
        stage: What was under way.
        into: Seconds from the start of that stage.
    """

    at: float
    stage: str
    into: float


@dataclass(frozen=True)
class Kill:
    """What a kill struck.

    Attributes:
        moment: When it was meant to strike.
        ran: Seconds from the start of the process.
        running: The stage under way.
        leftovers: Temporary files and unfinished folders that it left.
    """

    moment: Moment
    ran: float
    running: str
    leftovers: int


class Run:
    """One start of the command.

    Args:
        folder: Run folder.
        settings: `key=value` settings of the run.
        log: File that stderr is appended to.
    """

    def __init__(self, folder: Path, settings: list[str], log: Path) -> None:
        self.began = time.monotonic()
        self.stages: list[tuple[float, str]] = [(0.0, START_UP)]  # (seconds, stage), as they begin
        self._over: set[str] = set()
        self._ended = False
        self._changed = threading.Condition()
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [COMMAND, "align", "--json", *settings, f"output={folder}"],
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,  # a process group of its own, to be killed as one
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self.began

    @property
    def running(self) -> str:
        """The stage that began last, as far as the run has told."""
        stage = self.stages[-1][1]
        return f"after {stage}" if stage in self._over and stage != START_UP else stage

    def wait(self) -> None:
        """Waits for its end; a failure of the run ends the experiment."""
        self._reader.join()
        if self.process.wait() not in (0, -signal.SIGKILL):
            raise SystemExit(f"the run ended with status {self.process.returncode}; see its log")

    def kill_at(self, stage: str, into: float, order: list[str]) -> bool:
        """Kills it so many seconds after a stage began, or when that stage ends if it ends before.

        Args:
            stage: The stage.
            into: Seconds.
            order: All stages in order. A stage that was killed between its last file and the note that it is
                done has nothing to tell when it is resumed: then a later one tells that it is over.

        Returns:
            Whether the kill struck: False if the run had ended.
        """
        later = set(order[order.index(stage) + 1 :])
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._began({stage, *later}) is not None)
            begin = self._began({stage, *later})
            if begin is not None:
                left = max(0.0, begin + into - self.seconds)
                self._changed.wait_for(
                    lambda: self._ended or stage in self._over or self._began(later) is not None, left
                )
        if begin is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()
        return self.process.returncode == -signal.SIGKILL

    def _began(self, stages: set[str]) -> float | None:
        """When the first of some stages began or was skipped."""
        return next((at for at, name in self.stages if name in stages), None)

    def _read(self) -> None:
        """Follows what the run tells, to its end."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not line.endswith("\n"):  # cut off by the kill
                break
            event = json.loads(line)
            if event["event"] == "stage":
                with self._changed:
                    self._over.add(START_UP)
                    if event["status"] != "done":
                        self.stages.append((self.seconds, event["name"]))
                    if event["status"] != "started":
                        self._over.add(event["name"])
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def draw_moments(stages: list[tuple[float, str]], wall: float, count: int, seed: int) -> list[Moment]:
    """Moments drawn uniformly over a run, in order."""
    moments, generator = [], random.Random(seed)
    for at in sorted(generator.uniform(0, wall) for _ in range(count)):
        begin, stage = next((b, s) for b, s in reversed(stages) if b <= at)
        moments.append(Moment(at, stage, at - begin))
    return moments


def disturb(
    folder: Path, settings: list[str], log: Path, moments: list[Moment], order: list[str]
) -> tuple[list[Kill], float]:
    """Runs a folder to its end through a kill at each moment.

    Args:
        folder: Run folder.
        settings: Of the run.
        log: For its stderr.
        moments: In order.
        order: All stages in order.

    Returns:
        The kills that struck, and the seconds of all starts together.
    """
    kills: list[Kill] = []
    seconds = 0.0
    before: Moment | None = None
    for number, moment in enumerate(moments, start=1):
        # A stage goes on where it was killed, the start-up begins anew.
        resumed = before is not None and before.stage == moment.stage != START_UP
        into = moment.into - before.into if resumed and before is not None else moment.into
        run = Run(folder, settings, log)
        struck = run.kill_at(moment.stage, into, order)
        seconds += run.seconds
        if struck:
            kills.append(Kill(moment, run.seconds, run.running, len(leftovers(folder))))
            say(f"kill {number} of {len(moments)}: {run.running}, after {run.seconds:.1f} s")
        else:
            say(f"kill {number} of {len(moments)}: the run had ended")
        before = moment
    run = Run(folder, settings, log)
    run.wait()
    return kills, seconds + run.seconds


def leftovers(folder: Path) -> list[Path]:
    """What a kill leaves behind and a finished run must not have."""
    return [*folder.rglob(".*.tmp"), *folder.rglob("checkpoint-*")]


def differences(one: Path, other: Path) -> list[tuple[str, int, list[str]]]:
    """Compares two run folders.

    Returns:
        What was compared, how many of it, and where the two differ, a comparison a row.
    """
    names = [{str(path.relative_to(folder)) for path in files(folder)} for folder in (one, other)]
    tables = sorted(name for name in names[0] & names[1] if name.endswith(".parquet"))
    pairs = [name for name in tables if name.endswith("/pairs.parquet")]
    others = [name for name in tables if name not in pairs]
    weights = sorted(name for name in names[0] & names[1] if name.endswith(".safetensors"))

    def compare(what: str, chosen: list[str], read: Callable[[Path], Any]) -> tuple[str, int, list[str]]:
        differing = [name for name in chosen if read(one / name) != read(other / name)]
        return what, len(chosen), differing or ([] if chosen else ["there is none"])

    return [
        ("names of files", len(names[0]), sorted(names[0] ^ names[1])),
        compare("pairs, row by row", pairs, lambda path: pq.read_table(path).to_pylist()),
        compare("measures", ["measures.json"], lambda path: json.loads(path.read_text(encoding="utf-8"))),
        compare("all other tables, row by row", others, lambda path: pq.read_table(path).to_pylist()),
        compare("trained weights, bit by bit", weights, weight_bytes),
    ]


def weight_bytes(path: Path) -> dict[str, bytes]:
    """The tensors of a file as bytes: NaN equals itself, and a different zero is a difference."""
    return {name: tensor.tobytes() for name, tensor in load_file(path).items()}


def files(folder: Path) -> list[Path]:
    """All files of a run folder but the lock, which says who holds it, and the log, which has times in it."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in NO_RESULTS)


def unreadable(folder: Path) -> list[str]:
    """The files of a run folder that do not open as what they are, and the models that do not load."""
    problems = [f"{path}: left behind" for path in leftovers(folder)]
    for path in files(folder):
        try:
            open_file(path)
        except Exception as error:  # whatever a reader raises, the file does not open
            problems.append(f"{path}: {error}")
    for model in sorted(folder.glob("iteration-*/model")):
        try:
            load_model(model)
            load_tokenizer(model)
        except Exception as error:
            problems.append(f"{model}: {error}")
    return problems


def open_file(path: Path) -> None:
    """Reads a file as what its name says."""
    if path.suffix == ".parquet":
        pq.read_table(path, page_checksum_verification=True).validate(full=True)
    elif path.suffix == ".safetensors":
        with safe_open(path, framework="np") as weights:
            for name in weights.keys():  # noqa: SIM118 (not a dictionary)
                weights.get_tensor(name)
    elif path.suffix == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".yaml":
        load_config(str(path), [])
    elif path.suffix in MODEL_TEXTS:
        path.read_text(encoding="utf-8")
    else:
        raise ValueError("not a file that a run makes")


def report(
    settings: list[str], wall: float, resumed: float, kills: list[Kill], wanted: int, folders: list[Path]
) -> bool:
    """Prints the report; whether all is well."""
    print("# Killing a run and resuming it\n")
    print(f"`{' '.join(['lingualign align', *settings])}`, undisturbed: {wall:.0f} s.")
    print(f"Killed {len(kills)} times and resumed each time: {resumed:.0f} s over {len(kills) + 1} starts.\n")
    print("| kill | drawn: second of the undisturbed run | and stage | struck after | during | left behind |")
    print("|---|---|---|---|---|---|")
    for number, kill in enumerate(kills, start=1):
        moment = kill.moment
        print(
            f"| {number} | {moment.at:.1f} | {moment.stage} + {moment.into:.1f} s | {kill.ran:.1f} s "
            f"| {kill.running} | {kill.leftovers} |"
        )
    print("\n'Left behind' counts temporary files and training checkpoints; both are gone at the end.\n")
    print("| compared | number | result |")
    print("|---|---|---|")
    well = len(kills) == wanted
    for what, number, differing in differences(*folders):
        print(f"| {what} | {number} | {'differ: ' + ', '.join(differing) if differing else 'identical'} |")
        well &= not differing
    for name, folder in zip(("undisturbed", "killed"), folders, strict=True):
        problems = unreadable(folder)
        print(
            f"| files of the {name} run that open | {len(files(folder))} | {'; '.join(problems) or 'all'} |"
        )
        well &= not problems
    if len(kills) < wanted:
        print(f"\n{wanted - len(kills)} kills came after the run had ended: choose another --seed.")
    print(f"\n**{'No difference.' if well else 'FAILED.'}**")
    return well


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", help="key=value settings of the run")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--work", type=Path, default=Path("runs/kill_and_resume"), help="folder, made new")
    options = parser.parse_intermixed_args()
    if options.work.exists():
        parser.error(f"{options.work} exists: remove it, or choose another --work")
    options.work.mkdir(parents=True)
    folders = [options.work / "undisturbed", options.work / "killed"]

    run = Run(folders[0], options.settings, options.work / "undisturbed.log")
    run.wait()
    wall = run.seconds
    say(f"undisturbed: {wall:.1f} s")
    moments = draw_moments(run.stages, wall, options.kills, options.seed)
    order = [stage for _, stage in run.stages]
    kills, resumed = disturb(folders[1], options.settings, options.work / "killed.log", moments, order)
    well = report(options.settings, wall, resumed, kills, options.kills, folders)
    raise SystemExit(0 if well else 1)


if __name__ == "__main__":
    main()
