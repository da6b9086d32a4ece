"""The stage that samples responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lingualign.pipeline.bench import Bench, Workbench
from lingualign.pipeline.fingerprints import digest
from lingualign.pipeline.folder import Chunk, Progress, Stage, split_chunks
from lingualign.pipeline.work import compute_with
from lingualign.records import RESPONSES, Response

if TYPE_CHECKING:
    from lingualign.prompts import ParallelPrompts, Prompt
    from lingualign.sampling import Sampler


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
    """Samples the responses of a chunk; see `lingualign.pipeline.work`.

    Attributes:
        policy: Folder of the model that answers.
        prompts: What is asked.
        decoding: How.
        seed: Of the draw.
        anywhere: Whether workers of a cluster may sample.
    """

    policy: Path
    prompts: ParallelPrompts
    decoding: Decoding
    seed: int
    anywhere: bool = True

    def __getstate__(self) -> dict[str, object]:
        """Prompts travel as items, not with the work."""
        return {**self.__dict__, "prompts": None}

    def items(self, chunks: Sequence[Chunk]) -> Iterator[Sequence[Prompt]]:
        """The prompts of each chunk."""
        for chunk in chunks:
            yield self.prompts.by_language[chunk.language][chunk.start : chunk.stop]

    def open(self, bench: Workbench) -> Callable[[Sequence[Prompt], Progress], list[Response]]:
        """Loads the policy."""
        sampler = make_sampler(bench, self.policy)
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
) -> Path:
    """Samples responses to every prompt in every language.

    Args:
        bench: The tools.
        stage: The stage.
        policy: Folder of the model that answers.
        prompts: What is asked.
        decoding: How.
        draw: Names the draw; the sampler's seed is made of it and the run's.

    Returns:
        Folder of RESPONSES parts.
    """
    work = SamplingWork(policy, prompts, decoding, draw_seed(bench.config.seed, draw))
    chunks = split_chunks(list(prompts.by_language), len(prompts), bench.config.sampling.chunk_prompts)
    return bench.folder.chunks(stage, chunks, RESPONSES, compute_with(work, bench))


def make_sampler(bench: Workbench, policy: Path) -> Sampler:
    """The sampler that `sampling.backend` names, with a policy."""
    from lingualign.sampling import TransformersSampler

    return TransformersSampler(bench.models.get(policy), bench.chat, bench.config.sampling.batch_tokens)


def draw_seed(seed: int, draw: str) -> int:
    """A seed of 63 bits for one draw of a run."""
    return int(digest([seed, draw]), 16) >> 1
