"""The stage that samples responses, by whoever `sampling.backend` names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lingualign.config import RunConfig
from lingualign.config.sampling import SamplingConfig
from lingualign.pipeline.bench import Bench, Workbench
from lingualign.pipeline.fingerprints import digest
from lingualign.pipeline.folder import Chunk, ChunkProgress, Compute, Progress, Row, Stage, split_chunks
from lingualign.pipeline.work import compute_with
from lingualign.records import RESPONSES, Response

if TYPE_CHECKING:
    from lingualign.prompts import ChatFormat, ParallelPrompts, Prompt
    from lingualign.sampling import Sampler, ServerSampler


@dataclass(frozen=True)
class Decoding:
    """How responses are drawn.

    Attributes:
        n: Responses a prompt.
        temperature: 0 is greedy.
        top_p: Nucleus mass.
        max_new_tokens: Longer responses are cut.
    """

    n: int
    temperature: float
    top_p: float
    max_new_tokens: int


@dataclass(frozen=True)
class SamplingWork:
    """Samples the responses of a group of chunks, which goes by its first; see `lingualign.pipeline.work`.

    Attributes:
        policy: Folder of the model that answers.
        prompts: What is asked.
        groups: The chunks that are sampled as one.
        decoding: How.
        seed: Of the draw.
        iteration: That trained the policy, 0 for the one a run starts from.
        anywhere: Whether workers of a cluster may sample.
    """

    policy: Path
    prompts: ParallelPrompts
    groups: Sequence[Sequence[Chunk]]
    decoding: Decoding
    seed: int
    iteration: int = 0
    anywhere: bool = True

    def __getstate__(self) -> dict[str, object]:
        """Prompts travel as items, not with the work."""
        return {**self.__dict__, "prompts": None, "groups": ()}

    def items(self, chunks: Sequence[Chunk]) -> Iterator[list[Prompt]]:
        """The prompts of each group."""
        groups = {group[0]: group for group in self.groups}
        for first in chunks:
            yield [prompt for chunk in groups[first] for prompt in self.prompts_of(chunk)]

    def prompts_of(self, chunk: Chunk) -> Sequence[Prompt]:
        """The prompts of one chunk."""
        return self.prompts.by_language[chunk.language][chunk.start : chunk.stop]

    def open(self, bench: Workbench) -> Callable[[Sequence[Prompt], Progress], list[Response]]:
        """Loads the policy."""
        sampler = make_sampler(bench, self.policy, self.iteration)
        decoding = self.decoding

        def sample(prompts: Sequence[Prompt], progress: Progress) -> list[Response]:
            answered = sampler.sample(
                prompts,
                n=decoding.n,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                max_new_tokens=decoding.max_new_tokens,
                seed=self.seed,
                progress=progress,
            )
            return [response for responses in answered for response in responses]

        return sample


def sample_responses(
    bench: Bench,
    stage: Stage,
    policy: Path,
    prompts: ParallelPrompts,
    decoding: Decoding,
    draw: str,
    iteration: int,
) -> Path:
    """Samples responses to every prompt in every language.

    Args:
        bench: The tools.
        stage: The stage.
        policy: Folder of the model that answers.
        prompts: What is asked.
        decoding: How.
        draw: Names the draw; the sampler's seed is made of it and the run's.
        iteration: That trained the policy, 0 for the one the run starts from.

    Returns:
        Folder of RESPONSES parts.
    """
    served = bench.config.sampling.backend == "server"
    groups = sampled_together(bench.config.sampling, prompts, decoding.n)
    chunks = [chunk for group in groups for chunk in group]
    seed = draw_seed(bench.config.seed, draw)
    work = SamplingWork(policy, prompts, groups, decoding, seed, iteration, anywhere=not served)
    if not served:
        return bench.folder.chunks(stage, chunks, RESPONSES, compute_together(work, bench))
    kept = f"{stage.name}.answers"  # a file a chunk, until its part is there
    compute = compute_by_servers(work, bench, stage, bench.folder.folder / kept)
    return bench.folder.chunks(stage, chunks, RESPONSES, compute, scratch=kept)


def sampled_together(settings: SamplingConfig, prompts: ParallelPrompts, n: int) -> list[list[Chunk]]:
    """The chunks of a draw of `n` responses a prompt, those together that are sampled as one.

    A step of decoding costs little more for many rows than for few, so chunks are put together up to as many
    responses as a full one of `sampling.n` has. Groups do not depend on what is missing: a run that goes on
    rounds as an undisturbed one does.
    """
    most = settings.chunk_prompts * max(1, settings.n // n)
    groups: list[list[Chunk]] = []
    room = 0
    for chunk in split_chunks(list(prompts.by_language), len(prompts), settings.chunk_prompts):
        if chunk.size > room:
            groups.append([])
            room = most
        groups[-1].append(chunk)
        room -= chunk.size
    return groups


def compute_together(work: SamplingWork, bench: Bench) -> Compute:
    """Has the chunks of a group sampled as one, here or by the workers of a cluster."""
    compute_groups = compute_with(work, bench)

    def compute(chunks: Sequence[Chunk], progress: ChunkProgress) -> Iterator[tuple[Chunk, Iterable[Row]]]:
        missing = set(chunks)
        groups = {group[0]: group for group in work.groups if missing.intersection(group)}

        def told(first: Chunk, done: int, total: int) -> None:
            for chunk in missing.intersection(groups[first]):
                progress(chunk, done, total)

        for first, rows in compute_groups(list(groups), told):
            responses = iter(rows)
            for chunk in groups[first]:
                own = list(islice(responses, work.decoding.n * chunk.size))
                if chunk in missing:
                    yield chunk, own

    return compute


def compute_by_servers(work: SamplingWork, bench: Bench, stage: Stage, kept: Path) -> Compute:
    """Has servers sample: many chunks at a time, so that no server waits for the last answers of one.

    Args:
        work: What is sampled.
        bench: The tools.
        stage: Of the run, for what the user is told.
        kept: Folder for the answers of chunks that are not complete.
    """

    def compute(chunks: Sequence[Chunk], progress: ChunkProgress) -> Iterator[tuple[Chunk, Iterable[Row]]]:
        from lingualign.sampling.server import Batch

        sampler = server_sampler(bench.config, work.policy, work.iteration, bench.chat)

        def told(number: int, done: int, total: int) -> None:
            progress(chunks[number], done, total)
            while sampler.notes:
                bench.folder.reporter.note(f"{stage.name}: {sampler.notes.pop(0)}")

        answered = sampler.sample_batches(
            (Batch(work.prompts_of(chunk), kept / f"{chunk.filename}.jsonl") for chunk in chunks),
            n=work.decoding.n,
            temperature=work.decoding.temperature,
            top_p=work.decoding.top_p,
            max_new_tokens=work.decoding.max_new_tokens,
            seed=work.seed,
            progress=told,
        )
        for number, rows in answered:
            yield chunks[number], [response for responses in rows for response in responses]
        if sampler.refused:
            bench.folder.reporter.warn(
                f"{stage.name}: {sampler.refused} responses were refused by the servers, or not to be had; "
                "they are recorded as empty and cut (finish_reason length)."
            )

    return compute


def make_sampler(bench: Workbench, policy: Path, iteration: int = 0) -> Sampler:
    """The sampler that `sampling.backend` names, with a policy.

    Args:
        bench: The tools.
        policy: Folder of the model that answers.
        iteration: That trained it, 0 for the one a run starts from.
    """
    from lingualign.sampling import TransformersSampler, VllmSampler

    if bench.config.sampling.backend == "server":
        return server_sampler(bench.config, policy, iteration, bench.chat)
    if bench.config.sampling.backend == "vllm":
        return VllmSampler(bench.models.engine(policy), policy, bench.chat)
    return TransformersSampler(bench.models.get(policy), bench.chat, bench.config.sampling.batch_tokens)


def server_sampler(config: RunConfig, policy: Path, iteration: int, chat: ChatFormat) -> ServerSampler:
    """The servers of `sampling.server`, with a policy under the name that it has there.

    Raises:
        InputError: An address, the key or a setting cannot be used.
    """
    from lingualign.sampling import ServerSampler
    from lingualign.sampling.adapters import adapter_loader, how_to_serve
    from lingualign.servers import ServerPool

    settings = config.sampling.server
    model = settings.model_of(policy, iteration)
    pool = ServerPool(
        settings.urls,
        model,
        api_key_env=settings.api_key_env,
        concurrency=settings.concurrency,
        retries=settings.retries,
        timeout=settings.timeout,
        prepare=adapter_loader(policy, model) if settings.load_adapters else None,
        serve=how_to_serve(policy, model, settings.load_adapters),
    )
    return ServerSampler(pool, chat, settings.extra)


def check_sampler(config: RunConfig) -> None:
    """Checks whoever samples, without loading a model or asking a server.

    Raises:
        InputError: An address or a key cannot be used, or a package is missing.
    """
    from lingualign.sampling.vllm_backend import check_vllm
    from lingualign.servers import ServerPool

    settings = config.sampling.server
    if config.sampling.backend == "server":
        ServerPool(settings.urls, settings.model, api_key_env=settings.api_key_env)
    elif config.sampling.backend == "vllm":
        check_vllm()


def draw_seed(seed: int, draw: str) -> int:
    """A seed of 63 bits for one draw of a run."""
    return int(digest([seed, draw]), 16) >> 1
