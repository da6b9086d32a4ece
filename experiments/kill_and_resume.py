"""Kills runs at random moments, resumes them each time, and compares each with one that nobody disturbed.

    python experiments/kill_and_resume.py > experiments/results/kill_and_resume.md
    python experiments/kill_and_resume.py --kills 10 --work /tmp/kills      # a quick look

A small run of the lab with two iterations is made once undisturbed. Then it is made again, round by round:
each round starts in an empty folder, is killed (SIGKILL to its process group) up to nine times, the same
command starting again after each kill, and goes on to its end. A kill is aimed at a stage, or at what comes
before the first stage or after the last, and strikes at a moment drawn uniformly over the time that it took
in the undisturbed run. All stages are dealt out over the rounds before any has its next turn, so the short
ones are struck as often as the long ones. Rounds go on until as many kills have struck as were asked for.

After each round its folder must hold the same files as the undisturbed one, byte for byte, but for what tells
the time: `run.log`, `report.html`, and in the manifest when and for how long stages ran. The report goes to
stdout, progress to stderr. A round that is done is written into `rounds.jsonl`; the same command goes on with
the next one. The exit status is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SETTINGS = ["data.limit=24", "measures.n=16", "iterations=2", "training.save_steps=1", "device=cpu"]
COMMAND = Path(sys.executable).with_name("lingualign")
# Sums of floats depend on the number of threads, and the lab's models gain nothing from more than one.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
START = "start-up"  # imports and checks, before the first stage
END = "end"  # measures, model cards and the report, after the last stage
KILLS_A_ROUND = 9
TELLS_THE_TIME = {".lock", "run.log", "report.html", "manifest.json", ".manifest.copy"}


@dataclass(frozen=True)
class Kill:
    """A kill that struck.

    Attributes:
        aimed: Stage that it was meant for.
        struck: What was under way; "after" a stage where that was over already.
        into: Seconds since that began.
        done: Stages that the manifest calls done.
        files: Files on disk, temporary ones not counted.
        unfinished: Names of temporary files and of training checkpoints.
    """

    aimed: str
    struck: str
    into: float
    done: int
    files: int
    unfinished: list[str]


@dataclass(frozen=True)
class Round:
    """A run through its kills to its end.

    Attributes:
        kills: In order.
        seconds: Of all its starts.
        compared: Files compared with the undisturbed run's.
        differing: What is not the same.
    """

    kills: list[Kill]
    seconds: float
    compared: int
    differing: list[str]


class Run:
    """One start of the command.

    Args:
        folder: Run folder.
        settings: `key=value` settings of the run.
    """

    def __init__(self, folder: Path, settings: list[str]) -> None:
        self.began = time.monotonic()
        self.stages: list[tuple[float, str]] = [(0.0, START)]  # (seconds, stage), as they begin
        self.over: dict[str, float] = {}  # stage -> seconds
        self._ended = False
        self._changed = threading.Condition()
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                # From its parent folder: so all runs have the same configuration.
                [COMMAND, "align", "--json", *settings, f"output={folder.name}"],
                cwd=folder.parent,
                env=ENVIRONMENT,
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

    def running(self) -> tuple[str, float]:
        """What is under way, as far as the run has told, and for how many seconds."""
        begin, stage = self.stages[-1]
        if stage in self.over and stage != START:
            return f"after {stage}", self.seconds - self.over[stage]
        return stage, self.seconds - begin

    def wait(self) -> None:
        """Waits for its end; a failure of the run ends the experiment."""
        self._reader.join()
        if self.process.wait() not in (0, -signal.SIGKILL):
            raise SystemExit(f"the run ended with status {self.process.returncode}; see its stderr")

    def kill_at(self, aim: str, into: float, order: list[str]) -> tuple[str, float] | None:
        """Kills it so many seconds after a stage began, or when that stage ends if it ends before.

        Args:
            aim: The stage, `START` or `END`.
            into: Seconds.
            order: All stages in order. A stage that was killed between its last file and the note that it is
                done has nothing to tell when it is resumed: then a later one tells that it is over.

        Returns:
            What was struck, and for how long it had been under way; None if the run had ended before.
        """
        last = aim == END
        stage = order[-1] if last else aim
        later = set(order[order.index(stage) + 1 :]) if stage in order else set(order)
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._ended or (stage in self.over if last else self._began({stage, *later}) is not None)
                )
            )
            if not self._ended:
                begin = self.over[stage] if last else self._began({stage, *later}) or 0.0
                self._changed.wait_for(
                    lambda: (
                        self._ended or (not last and (stage in self.over or self._began(later) is not None))
                    ),
                    max(0.0, begin + into - self.seconds),
                )
            struck = self.running()
            if not self._ended:
                os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()
        return struck if self.process.returncode == -signal.SIGKILL else None

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
                    self.over.setdefault(START, self.seconds)
                    if event["status"] != "done":
                        self.stages.append((self.seconds, event["name"]))
                    if event["status"] != "started":
                        self.over[event["name"]] = self.seconds
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


def undisturbed(folder: Path, settings: list[str]) -> dict[str, float]:
    """Makes the run that all others are compared with, unless it is there.

    Returns:
        Seconds of the start-up, of each stage and of the end, in order.
    """
    kept = folder.with_name("undisturbed.json")
    if kept.exists():
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["settings"] != settings:
            raise SystemExit(f"{folder} was made with {found['settings']}: choose another --work")
        return dict(found["seconds"])
    shutil.rmtree(folder, ignore_errors=True)
    run = Run(folder, settings)
    run.wait()
    seconds = {stage: run.over[stage] - begin for begin, stage in run.stages}
    seconds[END] = run.seconds - max(run.over.values())
    kept.write_text(json.dumps({"settings": settings, "seconds": seconds}), encoding="utf-8")
    return seconds


def deal(stages: list[str], seed: int) -> Iterator[list[str]]:
    """The stages to be struck in each round, in order: all of them before any comes again."""
    generator = random.Random(seed)
    while True:
        deck = generator.sample(stages, len(stages))
        for start in range(0, len(deck), KILLS_A_ROUND):
            yield sorted(deck[start : start + KILLS_A_ROUND], key=stages.index)


def disturb(
    folder: Path, settings: list[str], aims: list[str], took: dict[str, float], generator: random.Random
) -> tuple[list[Kill], float]:
    """Makes a run through a kill at each of some stages to its end.

    Returns:
        The kills that struck, and the seconds of all starts together.
    """
    kills: list[Kill] = []
    seconds, order = 0.0, [stage for stage in took if stage not in (START, END)]
    for aim in aims:
        run = Run(folder, settings)
        struck = run.kill_at(aim, generator.uniform(0, took[aim]), order)
        seconds += run.seconds
        if struck is None:
            say(f"  aimed at {aim}: the run had ended")
            break
        kills.append(Kill(aim, struck[0], round(struck[1], 2), *on_disk(folder)))
        say(f"  {kills[-1]}")
    run = Run(folder, settings)
    run.wait()
    return kills, seconds + run.seconds


def on_disk(folder: Path) -> tuple[int, int, list[str]]:
    """Stages done, files, and what is unfinished in a folder."""
    manifest = folder / "manifest.json"
    stages = json.loads(manifest.read_text(encoding="utf-8"))["stages"] if manifest.exists() else {}
    unfinished = [*folder.rglob(".*.tmp"), *folder.rglob("checkpoint-*")]
    whole = [path for path in folder.rglob("*") if path.is_file() and not under(path, unfinished)]
    return (
        sum(record["status"] == "done" for record in stages.values()),
        len(whole),
        sorted(str(path.relative_to(folder)) for path in unfinished),
    )


def under(path: Path, others: list[Path]) -> bool:
    """Whether a path is one of some others, or below one."""
    return any(other in (path, *path.parents) for other in others)


def compare(one: Path, other: Path) -> tuple[int, list[str]]:
    """Compares two run folders: how many files, and which differ."""
    names = [
        {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        for folder in (one, other)
    ]
    differing = [f"{name} is in one only" for name in sorted(names[0] ^ names[1])]
    same = sorted(name for name in names[0] & names[1] if Path(name).name not in TELLS_THE_TIME)
    differing += [name for name in same if (one / name).read_bytes() != (other / name).read_bytes()]
    if manifest_without_times(one) != manifest_without_times(other):
        differing.append("manifest.json")
    return len(same) + 1, differing


def manifest_without_times(folder: Path) -> dict[str, Any]:
    """The content of a manifest, but for when and how long stages ran."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    del manifest["checksum"]
    for record in manifest["stages"].values():
        for name in ("started", "finished", "seconds"):
            del record[name]
    return manifest


def report(settings: list[str], took: dict[str, float], rounds: list[Round], wanted: int) -> bool:
    """Prints the report; whether all is well."""
    kills = [kill for done in rounds for kill in done.kills]
    well = [len(done.kills) for done in rounds if not done.differing]
    print("# Killing a run and resuming it\n")
    print(
        f"`OMP_NUM_THREADS=1 lingualign align {' '.join(settings)}`, undisturbed: {sum(took.values()):.0f} s."
    )
    print(
        f"Made {len(rounds)} times more, with {len(kills)} kills (SIGKILL) and as many resumptions: "
        f"{sum(done.seconds for done in rounds):.0f} s."
    )
    print("[The script](../kill_and_resume.py) says how moments are drawn, and what is compared.\n")
    print(f"**{sum(well)} of {wanted} resumed to the same result.**\n")
    print("## By stage\n")
    print('Struck "after" a stage: between its end and the next one\'s beginning, or a moment too late.\n')
    print("| stage | s undisturbed | kills aimed at it | that struck within | that struck after it |")
    print("|---|---|---|---|---|")
    aimed, struck = Counter(kill.aimed for kill in kills), Counter(kill.struck for kill in kills)
    for stage, seconds in took.items():
        row = (aimed[stage], struck[stage], struck[f"after {stage}"])
        print(f"| {stage} | {seconds:.2f} | {row[0]} | {row[1]} | {row[2]} |")
    print("\n## By round\n")
    print("| round | kills | files compared | result |")
    print("|---|---|---|---|")
    for number, done in enumerate(rounds, start=1):
        told = "differ: " + ", ".join(done.differing) if done.differing else "identical"
        print(f"| {number} | {len(done.kills)} | {done.compared} | {told} |")
    print("\n## Each kill\n")
    print("On disk at that moment: stages done, whole files, and what was unfinished.\n")
    print("| kill | round | struck | s into it | stages | files | unfinished |")
    print("|---|---|---|---|---|---|---|")
    numbered = ((number, kill) for number, done in enumerate(rounds, start=1) for kill in done.kills)
    for count, (number, kill) in enumerate(numbered, start=1):
        left = ", ".join(kill.unfinished)
        print(f"| {count} | {number} | {kill.struck} | {kill.into} | {kill.done} | {kill.files} | {left} |")
    return sum(well) == wanted


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Runs the experiment, or goes on with it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", default=SETTINGS, help="key=value settings of the run")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--work", type=Path, default=Path("runs/kill_and_resume"), help="folder of the runs")
    options = parser.parse_intermixed_args()
    work = options.work.absolute()
    calm, kept = work / "undisturbed" / "run", work / "rounds.jsonl"
    took = undisturbed(calm, options.settings)
    say(f"undisturbed: {sum(took.values()):.1f} s")
    rounds: list[Round] = []
    if kept.exists():
        for line in kept.read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            rounds.append(Round(**{**found, "kills": [Kill(**kill) for kill in found["kills"]]}))
    dealt = deal(list(took), options.seed)
    for _ in rounds:
        next(dealt)
    while (left := options.kills - sum(len(done.kills) for done in rounds)) > 0:
        number = len(rounds) + 1
        folder = work / f"round-{number}" / "run"
        shutil.rmtree(folder.parent, ignore_errors=True)  # of a start of this script that was stopped
        say(f"round {number}, {options.kills - left} kills before it")
        generator = random.Random(f"{options.seed} {number}")
        kills, seconds = disturb(folder, options.settings, next(dealt)[:left], took, generator)
        compared, differing = compare(calm, folder)
        rounds.append(Round(kills, round(seconds, 1), compared, differing))
        with kept.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(asdict(rounds[-1])) + "\n")
        say(f"  {compared} files compared; {'; '.join(differing) or 'identical'}")
        if not differing:
            shutil.rmtree(folder.parent)
    raise SystemExit(0 if report(options.settings, took, rounds, options.kills) else 1)


if __name__ == "__main__":
    main()
