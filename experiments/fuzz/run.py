"""Fuzzes all that reads what others wrote: `python experiments/fuzz/run.py --minutes 60`.

Each target of `targets/` has the same share of the time, which is time of a processor, so that a busy machine
takes longer and does not do less, and a process of its own. Hypothesis draws the inputs
and atheris (libFuzzer) leads the draws by the coverage of the package's Python code. A finding is anything
but a value that keeps what the target promises, or an `InputError`: another exception, more than ten seconds,
a write outside the case's folder, a program that is run, a crash of the interpreter. It is saved as the bytes
it was drawn from, and as text with the input itself; `--replay FILE` does it again.

atheris is a tool, not a dependency of the package: `pip install atheris`.
"""

from __future__ import annotations

import argparse
import re
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "fuzz.md"
HEAD = struct.Struct("<QdI")  # of the worker's account: inputs, seconds of computing, bytes of the last input
PACKAGES = (
    "lingualign",
    "atheris",
    "hypothesis",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "py3langid",
)
_PROGRESS = re.compile(r"^#\d+\s.*?cov: (\d+).*? corp: (\d+)/", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What became of a target.

    Attributes:
        target: Its name.
        executions: Inputs tried.
        coverage: Branches of the package's code seen, as libFuzzer counts them.
        corpus: Inputs that showed something new.
        seconds: Of computing.
        findings: Files of what was found.
    """

    target: str
    executions: int
    coverage: int
    corpus: int
    seconds: float
    findings: tuple[Path, ...]


def names() -> list[str]:
    """The targets: the files in `targets/`."""
    return sorted(path.stem for path in (HERE / "targets").glob("[a-z]*.py"))


def fuzz(target: str, seconds: int, seed: int, findings: Path) -> Outcome:
    """Fuzzes one target for some seconds of computing, or until its first finding."""
    before = set(findings.glob(f"{target}-*"))
    log, account = findings / f"{target}.log", findings / f"{target}.account"
    account.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="lingualign-corpus-") as corpus, log.open("wb") as handle:
        command = _command(target, findings, Path(corpus), f"--seconds={seconds}", f"--seed={seed}")
        code = subprocess.call(command, stdout=handle, stderr=subprocess.STDOUT)
    content = account.read_bytes() if account.exists() else bytes(HEAD.size)
    inputs, computed, length = HEAD.unpack(content[: HEAD.size])
    found = set(findings.glob(f"{target}-*")) - before
    if code != 0 and not found:  # ended from outside of Python
        found.add(findings / f"{target}-crash-{int(time.time())}")
        min(found).write_bytes(content[HEAD.size : HEAD.size + length])
    progress = _PROGRESS.findall(log.read_text(encoding="utf-8", errors="replace"))
    coverage, kept = progress[-1] if progress else ("0", "0")
    return Outcome(target, inputs, int(coverage), int(kept), computed, tuple(sorted(found)))


def _command(target: str, findings: Path, corpus: Path, *further: str) -> list[str]:
    return [
        sys.executable, str(HERE / "worker.py"), target, f"--findings={findings}", f"--corpus={corpus}",
        *further,
    ]  # fmt: skip


def replay(file: Path) -> int:
    """Does a finding again, from the file of its bytes; its name begins with the target's."""
    target = max((name for name in names() if file.name.startswith(f"{name}-")), key=len, default=None)
    if target is None or file.suffix == ".txt":
        print(f"{file}: give the file of bytes; its name begins with a target: {', '.join(names())}.")
        return 2
    with tempfile.TemporaryDirectory(prefix="lingualign-replay-") as folder:
        return subprocess.call(_command(target, Path(folder), Path(folder) / "corpus", f"--replay={file}"))


def table(outcomes: Sequence[Outcome], minutes: float, seed: int) -> str:
    """The results as Markdown."""
    executions = sum(one.executions for one in outcomes)
    seconds = sum(one.seconds for one in outcomes)
    found = sum(bool(one.findings) for one in outcomes)
    lines = [
        "# Fuzzing",
        "",
        f"`python experiments/fuzz/run.py --minutes {minutes:g} --seed {seed}`, ended "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        "",
        f"{executions:,} inputs in {seconds / 60:.1f} minutes of computing over {len(outcomes)} targets: "
        f"**{found or 'no'} finding{'s' if found > 1 else ''}**. A finding is anything but a value that "
        "keeps what the target promises, or an `InputError`.",
        "",
        "| target | inputs | coverage | corpus | seconds | findings |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {one.target} | {one.executions:,} | {one.coverage:,} | {one.corpus:,} | {one.seconds:.0f} | "
            f"{1 if one.findings else 0} |"
            for one in outcomes
        ),
        "",
        "Inputs: cases drawn, each of one or several files and texts. Coverage: edges of the package's "
        "Python code, as libFuzzer counts them. Corpus: inputs that showed a new one.",
        "",
        f"Versions: Python {sys.version.split()[0]}, "
        + ", ".join(f"{package} {version(package)}" for package in PACKAGES)
        + ".",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Reads the options, runs the targets in turn, and writes the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="of computing, over all targets")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", nargs="*", choices=names(), default=names(), metavar="TARGET")
    parser.add_argument("--findings", type=Path, default=Path(tempfile.gettempdir()) / "lingualign-findings")
    parser.add_argument(
        "--output",
        type=Path,
        help="file of the results; `results`: experiments/results/fuzz.md",
    )
    parser.add_argument("--replay", type=Path, help="a finding to do again")
    given = parser.parse_args()
    if given.replay is not None:
        return replay(given.replay)
    given.findings.mkdir(parents=True, exist_ok=True)
    seconds = max(1, round(60 * given.minutes / len(given.targets)))
    outcomes = []
    with ThreadPoolExecutor(given.jobs) as pool:
        for one in pool.map(lambda name: fuzz(name, seconds, given.seed, given.findings), given.targets):
            outcomes.append(one)
            found = f"FOUND {', '.join(path.name for path in one.findings)}" if one.findings else "no finding"
            print(
                f"{one.target:<14} {one.executions:>9,} inputs  coverage {one.coverage:>6,}  "
                f"corpus {one.corpus:>5,}  {one.seconds:>5.0f} s  {found}",
                flush=True,
            )
    if given.output is not None:
        path = RESULTS if str(given.output) == "results" else given.output
        path.write_text(table(outcomes, given.minutes, given.seed), encoding="utf-8")
        print(f"Results: {path}")
    return 1 if any(one.findings for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
