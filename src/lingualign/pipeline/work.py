"""What a chunked stage computes, apart from where: in this process, or by the workers of a cluster.

A stage says what a chunk is computed from (`items`) and how (`open`). Whoever runs it, the rows are the same,
and the run folder writes them in this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from lingualign.pipeline.folder import Chunk, ChunkProgress, Compute, Progress

if TYPE_CHECKING:
    from lingualign.pipeline.bench import Workbench

Row = Mapping[str, Any]


class ChunkWork(Protocol):
    """The work of a chunked stage. It can be pickled: it names models by their folders."""

    @property
    def anywhere(self) -> bool:
        """Whether workers may do it. Not if it needs files of the run folder, or asks a server, where nothing
        is gained."""

    def items(self, chunks: Sequence[Chunk]) -> Iterator[Any]:
        """What each chunk is computed from, in order, one after the other as they are asked for: plain values
        that can be pickled. Called in the process of the run."""

    def open(self, bench: Workbench) -> Callable[[Any, Progress], Iterable[Row]]:
        """Makes what computes the rows of an item: loads models. Called once in each process that computes,
        when there is something to compute."""


def compute_with(work: ChunkWork, bench: Workbench) -> Compute:
    """Who computes the chunks of a stage, as `executor` says."""
    if bench.config.executor == "ray" and work.anywhere:
        from lingualign.pipeline.ray_executor import compute_on_ray

        bench.models.keep()  # the memory is the workers' now
        return compute_on_ray(work, bench.config)
    return compute_here(work, bench)


def compute_here(work: ChunkWork, bench: Workbench) -> Compute:
    """Computes chunks one after the other in this process."""

    def compute(chunks: Sequence[Chunk], progress: ChunkProgress) -> Iterator[tuple[Chunk, Iterable[Row]]]:
        do: Callable[[Any, Progress], Iterable[Row]] | None = None
        for chunk, item in zip(chunks, work.items(chunks), strict=True):
            if do is None:
                do = work.open(bench)
            yield chunk, do(item, partial(progress, chunk))

    return compute
