"""The same run in one process, on a local Ray cluster, and there with a worker killed in every stage.

Every file of the three run folders is compared, byte by byte: responses, scores, pairs, reference log-probs,
the trained models, measures. Left out is what tells of time and place: the manifest, the log, the report, the
model cards, and the seconds in `training.json`.

Run with `python experiments/ray_equals_local.py`, in about half an hour; `data.limit=48 measures.n=16
iterations=1` and other settings behind it make it smaller. `--work` keeps the runs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # as in a worker of `ray.cpus=1`: sums depend on it

import psutil

from lingualign.pipeline.progress import Silent, Task
from lingualign.pipeline.run import align
from lingualign.settings import load_config

RESULTS = Path(__file__).parent / "results" / "ray_equals_local.md"
OF_TIME_AND_PLACE = {".lock", ".manifest.copy", "config.yaml", "manifest.json", "run.log", "report.html"}
ON_RAY = ["executor=ray", "ray.workers=2"]
CHUNKED = {"responses", "scores", "sampled", "sampled-judged", "greedy", "greedy-judged"}


class Killer(Silent):
    """Kills one of the two workers in every stage that has any, at a random moment of the stage."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seen: list[str] = []
        self.killed: set[str] = set()

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "chunks", done: int = 0) -> Iterator[Task]:
        """See `Reporter`."""
        self.seen.append(name)
        over = threading.Event()
        thread = threading.Thread(target=self._kill, args=(name, over))
        thread.start()
        try:
            with super().stage(name, total, unit, done) as task:
                yield task
        finally:
            over.set()
            thread.join()

    def _kill(self, name: str, over: threading.Event) -> None:
        moment = self.random.uniform(0, 3)  # seconds after a worker has got its first chunk
        while not over.wait(0.1):
            if working() and not over.wait(moment):
                moment = 0
                if computing := working():
                    self.random.choice(computing).kill()
                    self.killed.add(name)
                    return


def working() -> list[psutil.Process]:
    """The workers that have a chunk."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith("ray::MapWorker(Map(Worker)).submit"):
                found.append(process)
    return found


def run(folder: Path, reporter: Silent, settings: list[str]) -> float:
    """Aligns into a folder; seconds."""
    began = time.monotonic()
    align(load_config("icr", [*settings, f"output={folder}"]), reporter)
    return time.monotonic() - began


def contents(folder: Path) -> dict[str, Any]:
    """What is in the files of a run, by name."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or path.name in OF_TIME_AND_PLACE or name.endswith("model/README.md"):
            continue
        found[name] = path.read_bytes()
        if path.name == "training.json":
            found[name] = without_times(json.loads(found[name]))
    return found


def without_times(value: Any) -> Any:
    """JSON without what is measured in seconds."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if "second" not in key}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def group(name: str) -> str:
    """The row of the table that a file belongs to."""
    parts = Path(name).parts
    if parts[0] == "measures":
        return "answers to held-out prompts" if not parts[2].endswith("judged") else "their judgements"
    return {"responses": "responses", "scores": "scores", "model": "trained model"}.get(
        parts[min(1, len(parts) - 1)], Path(name).name
    )


def row(name: str, one: dict[str, Any], other: dict[str, Any]) -> str:
    """A line of the table: files of a group, and how many differ."""
    names = {path for path in one.keys() | other.keys() if group(path) == name}
    differing = sum(one.get(path) != other.get(path) for path in names)
    return f"{differing} of {len(names)} differ" if differing else f"{len(names)} identical"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", nargs="*", help="key=value, of all three runs")
    parser.add_argument("--work", type=Path, help="folder for the runs")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="ray-equals-local-"))
    killer = Killer(seed=0)
    runs: dict[str, tuple[Silent, list[str]]] = {
        "local": (Silent(), []),
        "ray": (Silent(), ON_RAY),
        "ray, killed": (killer, ON_RAY),
    }
    seconds, found = {}, {}
    for number, (name, (reporter, settings)) in enumerate(runs.items()):
        seconds[name] = run(work / str(number), reporter, [*options.settings, *settings])
        found[name] = contents(work / str(number))
        print(f"{name}: {seconds[name]:.0f} s", file=sys.stderr, flush=True)

    local, *others = found.values()
    same = all(other == local for other in others)
    stages = [name for name in killer.seen if name.split("/")[-1] in CHUNKED]
    command = " ".join(["python", "experiments/ray_equals_local.py", *options.settings])
    lines = [
        "# A run on a Ray cluster gives the bytes of a run in one process",
        "",
        f"`{command}`: {'the same bytes' if same else 'THE BYTES DIFFER'}.",
        "",
        "| files | ray, 2 workers, against local | ray with a worker killed in each stage, against local |",
        "|---|---|---|",
        *(
            f"| {name} | {' | '.join(row(name, local, other) for other in others)} |"
            for name in dict.fromkeys(map(group, local))
        ),
        f"| seconds (local: {seconds['local']:.0f}) | {seconds['ray']:.0f} | {seconds['ray, killed']:.0f} |",
        "",
        f"Killed with SIGKILL, loading or computing: one of the two workers in {len(killer.killed)} of "
        f"{len(stages)} stages that sample, score or judge.",
        "",
    ]
    options.output.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))
    sys.exit(not same or len(killer.killed) < len(stages))


if __name__ == "__main__":
    main()
