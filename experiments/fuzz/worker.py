"""One target in a process of its own, its inputs led by coverage. `run.py` starts it."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import faulthandler
import hashlib
import mmap
import os
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import atheris

LONGEST = 8192  # bytes that an input is drawn from; what is drawn may be far longer
MEMORY = 4 << 30  # bytes of addresses, for a file that says it is a terabyte; a target may have its own
WATCHDOG = 900.0  # seconds until code in C that never ends, or waits for ever, is stopped
SEEDS = 64
HEAD = struct.Struct("<QdI")  # inputs done, seconds of computing, bytes of the input under way


class Account:
    """What has been done and the input under way, in a file that outlives the process whatever ends it."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(HEAD.size + LONGEST))
        with path.open("r+b") as handle:
            self._map = mmap.mmap(handle.fileno(), HEAD.size + LONGEST)
        self._inputs, self._began = 0, time.process_time()

    def keep(self, data: bytes) -> float:
        """Writes an input down before it is tried, and gives the seconds of computing so far."""
        seconds = time.process_time() - self._began
        self._map[: HEAD.size + len(data)] = HEAD.pack(self._inputs, seconds, len(data)) + data
        self._inputs += 1
        return seconds


def seeds(folder: Path, name: str, seed: int) -> None:
    """Random bytes to start from: Hypothesis draws a valid case out of any that are enough."""
    draw = random.Random(f"{name}{seed}")
    for number in range(SEEDS):
        (folder / f"seed-{number}").write_bytes(draw.randbytes(draw.choice((256, 1024, 4096, LONGEST))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60, help="of computing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--replay", type=Path)
    given = parser.parse_args()
    given.findings.mkdir(parents=True, exist_ok=True)
    given.corpus.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(Path(__file__).parent))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"

    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # no disk is worn out, or waited for
    tempfile.tempdir = tempfile.mkdtemp(prefix=f"lingualign-fuzz-{given.target}-", dir=memory)
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)
    with atheris.instrument_imports(include=["lingualign"]):
        target = import_module(f"targets.{given.target}")
    with contextlib.suppress(ImportError):
        import_module("pandas")  # pyarrow imports it with the first table, which takes longer than any case
    from hypothesis import HealthCheck, Phase, settings
    from hypothesis import given as over
    from sandbox import case_folder

    resource.setrlimit(resource.RLIMIT_AS, (getattr(target, "MEMORY", MEMORY),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    @settings(
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        print_blob=False,
    )
    @over(target.CASES)
    def checked(case: Any) -> None:
        try:
            with case_folder() as folder:
                target.check(case, folder)
        except BaseException as error:
            told = "".join(traceback.format_exception(error))
            text = f"target: {given.target}\ncase: {case!r}\n\n{told}"
            name = hashlib.sha256(told.splitlines()[-1].encode("utf-8", "replace")).hexdigest()[:8]
            (given.findings / f"{given.target}-{name}.txt").write_text(
                text, encoding="utf-8", errors="backslashreplace"
            )
            raise

    fuzz = checked.hypothesis.fuzz_one_input
    if given.replay is not None:
        data = given.replay.read_bytes()
        fuzz(data)
        print("no finding")
        return
    seeds(given.corpus, given.target, given.seed)
    account = Account(given.findings / f"{given.target}.account")

    def one(data: bytes) -> None:
        data = data[:LONGEST]
        if account.keep(data) > given.seconds:
            shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
            sys.stderr.flush()
            os._exit(0)  # libFuzzer ends by the clock on the wall alone
        faulthandler.dump_traceback_later(WATCHDOG, exit=True)
        try:
            fuzz(data)
        finally:
            faulthandler.cancel_dump_traceback_later()

    atheris.Setup(
        [
            sys.argv[0],
            str(given.corpus),
            f"-max_len={LONGEST}",
            f"-seed={given.seed + 1}",
            f"-artifact_prefix={given.findings}/{given.target}-",
            "-timeout=3600",  # `case_folder` and the watchdog have their own
            "-rss_limit_mb=0",
            "-len_control=0",
            "-reload=0",
        ],
        one,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
