"""Computes the chunks of a stage by the workers of a Ray cluster, as a Ray Data pipeline.

What flows through the pipeline is tickets, a number for each chunk that is missing. Ray Data's own sources
are made whole before it starts, or are read by its tasks, and ours is neither: items come one after the other
out of an iterator of this process, which may be reading a million responses. So a worker with a ticket takes
the next item from a small actor beside the run, the desk, and the run puts one more there for every result it
has got. That bounds how far the items are read ahead. A ticket that comes again, because the worker that had
it died, gets the same item.

Ray Data does the rest: a pool of workers that grows while tickets wait, dead workers made anew, results
streamed back as they are ready. Items, rows and errors travel pickled: numbers stay what they are to the bit.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import socket
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.launching.collector import collect_less_often
from lingualign.pipeline.folder import Chunk, ChunkProgress, Compute, Progress
from lingualign.pipeline.library_warnings import library_warnings
from lingualign.pipeline.ray_cluster import (
    cluster_failed,
    connect,
    most_workers,
    pipelines,
    resources_of_worker,
)

if TYPE_CHECKING:
    from lingualign.pipeline.work import ChunkWork

AHEAD = 2  # items a worker that are read and not finished: the one that it computes, and the next
TRIES = 4  # workers that may die at a chunk before the run gives up
Row = Mapping[str, Any]
Item = tuple[int, bytes]  # (number of the chunk, what it is computed from, pickled)


@dataclass(frozen=True)
class Computed:
    """What a worker sends back of an item.

    Attributes:
        index: Number of the chunk.
        host: Where it was computed.
        rows: Of the chunk, if there is no error.
        error: What computing them raised.
        trace: The traceback of the error.
        warnings: What libraries warned of.
    """

    index: int
    host: str
    rows: list[Row] = field(default_factory=list)
    error: Exception | None = None
    trace: str = ""
    warnings: list[str] = field(default_factory=list)


class Desk:
    """Where workers take their items. An actor whose methods run on one event loop."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[Item] = asyncio.Queue()
        self._taken: dict[int, asyncio.Task[Item]] = {}
        self._times: Counter[int] = Counter()
        self._done: set[int] = set()

    async def put(self, item: Item) -> None:
        """One more item to compute."""
        self._waiting.put_nowait(item)

    async def take(self, ticket: int) -> tuple[Item, int] | None:
        """The item of a ticket as soon as there is one, always the same, and how often it has been taken.

        None if its result is there: a worker may die after it has sent it and before its task has ended, and
        then Ray has another one do the task again.
        """
        if ticket in self._done:
            return None
        if ticket not in self._taken:
            self._taken[ticket] = asyncio.ensure_future(self._waiting.get())
        item = await asyncio.shield(self._taken[ticket])  # a worker that dies waiting does not lose it
        self._times[ticket] += 1
        return item, self._times[ticket]

    async def done(self, ticket: int) -> None:
        """The run has the result of a ticket."""
        self._taken.pop(ticket, None)
        self._done.add(ticket)


class Worker:
    """Computes items, one after the other, with models of its own.

    They are loaded for the first item, so that a worker which dies in loading them is one that died at it.

    Args:
        work: Of the stage.
        config: Of the run.
        desk: Handle of the desk.
        folder: In which the run was started: where relative paths of the configuration begin.
        threads: That torch computes with.
    """

    def __init__(self, work: ChunkWork, config: RunConfig, desk: Any, folder: str, threads: int) -> None:
        self._work, self._config, self._desk = work, config, desk
        self._folder, self._threads = folder, threads
        self._compute: Callable[[Any, Progress], Iterable[Row]] | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A ticket to `Computed`, pickled; empty if its result is there already."""
        import ray

        taken = ray.get(self._desk.take.remote(row["ticket"]))
        return {"ticket": row["ticket"], "result": b"" if taken is None else pickle.dumps(self._do(*taken))}

    def _do(self, numbered: Item, times: int) -> Computed:
        (index, item), host = numbered, socket.gethostname()
        told = [f"computes chunk {index} again, as {times - 1} died at it"] if times > 1 else []
        try:
            if times > TRIES:
                raise InputError(
                    f"{TRIES} Ray workers died, one after the other, at the same chunk.",
                    "They may be out of memory: lower sampling.batch_tokens or reward.batch_tokens, or give "
                    "them more. What is finished is kept.",
                )
            with library_warnings(lambda record: told.append(record.getMessage())):
                if self._compute is None:
                    self._compute = self._open()
                rows = list(self._compute(pickle.loads(item), lambda done, total: None))
            return Computed(index, host, rows, warnings=told)
        except Exception as error:  # to be raised where the user is
            return Computed(index, host, error=_portable(error), trace=traceback.format_exc(), warnings=told)

    def _open(self) -> Callable[[Any, Progress], Iterable[Row]]:
        collect_less_often()
        import torch

        from lingualign.pipeline.bench import Workbench

        torch.set_num_threads(self._threads)  # sums depend on it
        if os.path.isdir(self._folder):
            os.chdir(self._folder)
        return self._work.open(Workbench(self._config))


def compute_on_ray(work: ChunkWork, config: RunConfig) -> Compute:
    """Computes chunks by the workers of a cluster, as `ray` in the configuration says.

    Args:
        work: Of the stage.
        config: Of the run.
    """

    def compute(chunks: Sequence[Chunk], progress: ChunkProgress) -> Iterator[tuple[Chunk, Iterable[Row]]]:
        if not chunks:
            return
        connect(config)
        items = zip(range(len(chunks)), work.items(chunks), strict=True)
        with cluster_failed(), closing(_pipeline(work, config, items, len(chunks))) as results:
            pipelines.add(results)
            for computed in results:
                yield chunks[computed.index], _rows(computed)

    return compute


def _pipeline(
    work: ChunkWork, config: RunConfig, items: Iterator[tuple[int, Any]], count: int
) -> Generator[Computed, None, None]:
    """What workers make of numbered items, as it is ready."""
    import ray.data
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    desk = ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote()

    def read(most: int) -> None:
        for index, item in islice(items, most):
            desk.put.remote((index, pickle.dumps(item)))

    try:
        read(AHEAD * most_workers(config))
        with quiet_console(), closing(_batches(work, config, desk, count)) as batches:
            for batch in batches:
                for row in batch.to_pylist():
                    if row["result"]:
                        desk.done.remote(row["ticket"])
                        read(1)
                        yield pickle.loads(row["result"])
    finally:
        if ray.is_initialized():  # else the desk is gone with the cluster
            ray.kill(desk)


@contextmanager
def quiet_console() -> Iterator[None]:
    """Keeps Ray Data off the terminal, which is the run's; Ray's own log file has it all.

    An application may listen to Ray Data too: its handlers are left alone.
    """
    console = [handler for handler in logging.getLogger("ray.data").handlers if handler.name == "console"]
    before = [handler.level for handler in console]
    for handler in console:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for handler, level in zip(console, before, strict=True):
            handler.setLevel(level)


def _batches(work: ChunkWork, config: RunConfig, desk: Any, count: int) -> Generator[Any, None, None]:
    """The pipeline: Arrow tables of tickets and results, one row each."""
    import ray.data

    threads = max(1, int(config.ray.cpus))
    most = min(most_workers(config), count)
    least = min(config.ray.workers, most)
    tickets = ray.data.from_items([{"ticket": number} for number in range(count)], override_num_blocks=count)
    context = tickets.context
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1  # a chunk of a large model may take longer than half an hour
    results = tickets.map(
        Worker,
        fn_constructor_args=(work, config, desk, os.getcwd(), threads),
        compute=ray.data.ActorPoolStrategy(
            min_size=least,
            max_size=most,
            # A second ticket in the hands of a worker says that more workers would be of use, and is in the
            # wrong hands when the last chunks are shared out.
            max_tasks_in_flight_per_actor=1 if least == most else 2,
        ),
        **resources_of_worker(config),
        runtime_env={"env_vars": {"OMP_NUM_THREADS": str(threads)}},  # before a library reads it
    )
    # Each block as it comes.
    return iter(results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))


def _rows(computed: Computed) -> list[Row]:
    """The rows of a chunk, or its error, raised as if it had been computed here."""
    error = computed.error
    for text in computed.warnings:
        logging.getLogger(__name__).warning("a worker on %s: %s", computed.host, text)
    if error is None:
        return computed.rows
    if isinstance(error, InputError):
        where = "" if computed.host == socket.gethostname() else f"On {computed.host}: "
        raise InputError(where + error.message, error.remedy)
    error.add_note(f"It was raised by a Ray worker on {computed.host}:\n{computed.trace}")
    raise error


def _portable(error: Exception) -> Exception:
    """The error if it can travel, else one that says the same."""
    try:
        copy = pickle.loads(pickle.dumps(error))
        return error if type(copy) is type(error) else copy
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
