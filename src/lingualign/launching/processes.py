"""Work in several processes of this machine, started by `accelerate launch` and watched from here.

The workers' standard input is a pipe whose other end this process holds: it ends when this process ends,
however it ends, and they stop at once. What they have to tell comes as lines of JSON on their standard
output; whatever else is written goes into the run's log. `lingualign.launching.worker` is their side.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from lingualign.config import LaunchConfig, TrainingConfig
from lingualign.errors import InputError
from lingualign.models import resolve_device
from lingualign.yaml_files import YamlError, parse_yaml

CONFIGS = Path(__file__).parent / "configs"
LOCK = ".workers"
KEPT = 200  # lines of the workers' output that are looked through, and shown, when they fail
SHOWN = 30
KILLED = re.compile(  # in torch's report
    r"Root Cause.*Signal \d+ \((?P<signal>SIG\w+)\) received by PID (?P<process>\d+)", re.DOTALL
)

# What workers write is for run.log, which listens to it, and not for the screen.
logger = logging.getLogger("lingualign.workers")
logger.propagate = False
logger.addHandler(logging.NullHandler())

OnEvent = Callable[[str, Any], None]  # (kind, value)


class WorkersFailed(RuntimeError):
    """One of the processes ended before its work was done.

    Args:
        reason: In a sentence.
        output: Its traceback, or what was written last.
        killed: It did not end by an exception.
    """

    def __init__(self, reason: str, output: str, killed: bool) -> None:
        super().__init__(f"{reason}\n{output}")
        self.reason = reason
        self.killed = killed


def is_launched(settings: LaunchConfig) -> bool:
    """Whether training is for processes of its own."""
    return settings.processes > 1 or settings.config is not None


def launch_file(name: str | None) -> Path:
    """The file for `accelerate launch --config_file`: the package's of that name, or the user's own.

    Raises:
        InputError: There is none.
    """
    shipped = {path.stem: path for path in CONFIGS.glob("*.yaml")}
    if (name or "ddp") in shipped:
        return shipped[name or "ddp"]
    file = Path(str(name)).expanduser()
    if not file.is_file():
        raise InputError(
            f"training.launch.config: {name} is neither a file nor one of {', '.join(sorted(shipped))}.",
            "Give one of these, or a file that `accelerate config` wrote.",
        )
    return file


def check_launch(config: TrainingConfig, device: str) -> None:
    """Checks what can be known of a launch before anything runs.

    Args:
        config: Settings of training.
        device: Of the run.

    Raises:
        InputError: The configuration is missing or not for this machine, or there are too few GPUs.
    """
    settings = config.launch
    if not is_launched(settings):
        return
    processes = settings.processes
    if config.batch_pairs % processes:
        raise InputError(
            f"training.batch_pairs: {config.batch_pairs} cannot be shared by {processes} processes.",
            "Make it a multiple of training.launch.processes.",
        )
    file = launch_file(settings.config)
    try:
        options = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YamlError) as error:
        raise InputError(f"training.launch.config: {file} cannot be read: {error}") from None
    if not isinstance(options, dict) or "distributed_type" not in options:
        raise InputError(f"{file}: no configuration of `accelerate launch`: it has no distributed_type.")
    if options.get("num_machines", 1) != 1:
        raise InputError(
            f"{file}: num_machines is {options['num_machines']}, and training has one machine.",
            "Set it to 1, and choose a machine with as many GPUs as the model needs.",
        )
    place, kind = resolve_device(device), options["distributed_type"]
    if place.type == "cpu" and kind in ("FSDP", "DEEPSPEED"):
        raise InputError(
            f"training.launch.config: {file.stem} spreads weights over GPUs, and device is cpu.",
            "Choose training.launch.config=ddp.",
        )
    if kind == "DEEPSPEED" and find_spec("deepspeed") is None:
        raise InputError(
            f"training.launch.config: {file.stem} needs the package deepspeed, which is not installed.",
            "Run `pip install deepspeed`, or choose training.launch.config=fsdp2.",
        )
    if place.type == "cuda":
        import torch

        if place.index is not None and processes > 1:
            raise InputError(
                f"device: {device} is one GPU, and training.launch.processes is {processes}.",
                "Give device=cuda; CUDA_VISIBLE_DEVICES chooses among the GPUs of a machine.",
            )
        if processes > torch.cuda.device_count():
            raise InputError(
                f"training.launch.processes: {processes}, and this machine has {torch.cuda.device_count()} "
                "GPUs.",
                "Give no more processes than GPUs.",
            )


def launch(
    module: str,
    arguments: list[str],
    settings: LaunchConfig,
    *,
    cpu: bool,
    lock: Path,
    on_event: OnEvent,
    on_restart: Callable[[str], None],
) -> None:
    """Runs a module in several processes, and again, while that is allowed, if one of them dies.

    Args:
        module: Its work is done in `lingualign.launching.worker.working`.
        arguments: Of its command line, the same in all processes.
        settings: How many processes, how they share the work, and how often they may be started anew.
        cpu: Use no GPU.
        lock: See `wait_for_workers`; the processes hold it.
        on_event: Called with the kind and value of what the processes tell.
        on_restart: Called with a sentence before they are started anew.

    Raises:
        InputError: A process found something wrong that the user gave, or was killed more often than it may.
        WorkersFailed: One failed more often than it may.
    """
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--config_file", str(launch_file(settings.config))),
        *("--num_processes", str(settings.processes), "--num_machines", "1"),
        *("--main_process_port", "0"),  # any that is free: another run may train on this machine
        *("--num_cpu_threads_per_process", str(_threads(settings.processes))),
        *("--module", module, *arguments),
    ]
    # A folder of the user's, such as one called datasets, must not be taken for a package.
    environment = os.environ | {"PYTHONSAFEPATH": "1", "ACCELERATE_USE_CPU": str(cpu)}
    for left in range(settings.restarts, -1, -1):
        wait_for_workers(lock)
        try:
            _launch_once(command, environment, on_event)
            return
        except WorkersFailed as error:
            if left > 0:
                on_restart(f"{error.reason} They go on from the last checkpoint; restarts left: {left - 1}.")
            elif error.killed:
                raise InputError(
                    error.reason,
                    "If memory ran out, lower training.micro_batch_pairs or share the weights "
                    "(docs/several-gpus.md). The same command goes on from the last checkpoint.",
                ) from error
            else:
                raise


def wait_for_workers(lock: Path) -> None:
    """Waits until no worker of an earlier start is left, whose main process may have died a moment ago.

    Args:
        lock: A file that all workers hold a shared lock on, as long as they live.
    """
    if lock.exists():
        with lock.open("rb+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)


def _threads(processes: int) -> int:
    import torch

    return max(1, torch.get_num_threads() // processes)


def _launch_once(command: list[str], environment: dict[str, str], on_event: OnEvent) -> None:
    """Starts the processes and listens to them until they end.

    Raises:
        InputError, WorkersFailed: See `launch`.
    """
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,  # Ctrl-C is for this process, which ends them
    )
    assert process.stdin and process.stdout and process.stderr
    words: deque[str] = deque(maxlen=KEPT)
    listener = threading.Thread(target=_write_log, args=(process.stderr, words), daemon=True)
    listener.start()
    errors: list[dict[str, str]] = []
    try:
        for line in process.stdout:
            kind, value = _event(line)
            if kind == "error":
                errors.append(value)
            elif kind:
                on_event(kind, value)
            else:
                words.append(line.rstrip())
                logger.warning("%s", line.rstrip())
        status = process.wait()
    finally:
        with suppress(OSError):
            process.stdin.close()
        process.kill()
        process.wait()
        listener.join(timeout=5)
    for error in errors:
        if error["kind"] == InputError.__name__:
            raise InputError(error["message"], error["remedy"])
    if status:
        raise _failure(errors, words)


def _failure(errors: list[dict[str, str]], words: Iterable[str]) -> WorkersFailed:
    """Why the processes failed. Where one was killed, the others fail for want of it."""
    output = "\n".join(words)
    killed = KILLED.search(output)  # of the others, torch says that it ended them itself
    if killed or not errors:
        how = f"({killed['process']}) was killed by {killed['signal']}" if killed else "ended without a word"
        last = "\n".join(output.splitlines()[-SHOWN:])
        return WorkersFailed(f"training: a process {how}.", last, killed=True)
    first = errors[0]
    reason = f"training: a process failed with {first['kind']}: {first['message']}"
    return WorkersFailed(reason, first["traceback"], killed=False)


def _event(line: str) -> tuple[str, Any]:
    """Kind and value of a line that a worker wrote; no kind if it is something else."""
    try:
        found = json.loads(line)
        return str(found["event"]), found["value"]
    except (ValueError, KeyError, TypeError):
        return "", None


def _write_log(stream: IO[str], words: deque[str]) -> None:
    for line in stream:
        if line.strip():
            words.append(line.rstrip())
            logger.warning("%s", line.rstrip())
