"""How it is measured: contenders take turns for time, and each has a process of its own for memory."""

from __future__ import annotations

import gc
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from cases import Workload


class Contender(Protocol):
    """One way to do the work of a part, ready to run: its models are loaded.

    Attributes:
        batches: Batch sizes that it can be given, to choose the best one from.
    """

    @property
    def batches(self) -> Sequence[int]:
        """See above."""

    def __call__(self, batch: int) -> Any:
        """Does all the work once; what it returns is compared between contenders."""


Kind = Callable[["Workload"], Contender]  # makes a contender ready for a workload


@dataclass
class Times:
    """Seconds of each round.

    Attributes:
        wall: On the clock.
        cpu: Of the processor, all threads together: what a busy neighbour distorts least.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, work: Callable[[], Any]) -> Any:
        """Times a call and returns its result."""
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)
        return result

    @property
    def seconds(self) -> float:
        """Median of the rounds, on the clock."""
        return statistics.median(self.wall)

    @property
    def cpu_seconds(self) -> float:
        """Median of the rounds, of the processor."""
        return statistics.median(self.cpu)


def take_turns(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Times]:
    """Times contenders in rounds, each round from another one on.

    A load that comes and goes meets all of them alike; run one after the other, it would meet one.
    """
    times = {name: Times() for name in contenders}
    names = list(contenders)
    for turn in range(rounds):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            times[name].add(contenders[name])
    return times


def best_batch(contender: Contender, rounds: int) -> int:
    """The batch size at which a contender is fastest, by its best of some rounds.

    Sizes are tried in order until one is slower than the best so far.
    """
    best, fastest = contender.batches[0], float("inf")
    if len(contender.batches) > 1:
        for batch in contender.batches:
            seconds = min(take_turns({"": partial(contender, batch)}, rounds)[""].wall)
            if seconds > fastest:
                break
            best, fastest = batch, seconds
    return best


def available_memory() -> int:
    """Bytes that can be allocated without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def peak_memory() -> float:
    """Most memory that this process has held, in MB.

    On Linux a process starts with the `ru_maxrss` of the one that started it, so a small child of a large
    parent would look large; VmHWM in its status starts afresh.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def in_own_process(work: Callable[..., Any], *args: Any) -> Any:
    """Calls a function of a module in a fresh process; None if the process was killed, for memory say."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(work, *args).result()
        except BrokenProcessPool:
            return None


def peak_gflops(side: int = 2048, rounds: int = 5) -> float:
    """The machine's measured peak: a large float32 matrix product, the best of some rounds, in GFLOP/s."""
    left, right, out = (torch.randn(side, side) for _ in range(3))
    times = Times()
    torch.mm(left, right, out=out)
    for _ in range(rounds):
        times.add(lambda: torch.mm(left, right, out=out))
    return 2 * side**3 / min(times.wall) / 1e9


def environment() -> dict[str, Any]:
    """What a number depends on beside the code."""
    names = ("torch", "transformers", "trl")
    return {
        "versions": {name: version(name) for name in names},
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "processor": _processor(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "unknown processor"
