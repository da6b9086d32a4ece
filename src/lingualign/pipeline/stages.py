"""What each stage does: read tables, compute a chunk, write tables.

Each leaves skipping, resuming and writing to `RunFolder`. None knows which iteration it is in, nor what comes
before or after it: the one-stage commands call them on files from elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from lingualign.errors import InputError
from lingualign.pipeline.bench import Bench
from lingualign.pipeline.fingerprints import digest
from lingualign.pipeline.folder import Chunk, Progress, Stage, read_parts, split_chunks
from lingualign.records import RESPONSES, SCORES, Response, Score

if TYPE_CHECKING:
    from lingualign.prompts import ParallelPrompts
    from lingualign.rewards import Candidates, Reward

Key = tuple[str, str]  # (language, prompt id)
Row = TypeVar("Row", Response, Score)


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
    from lingualign.sampling import TransformersSampler

    settings = bench.config.sampling

    def compute(chunk: Chunk, progress: Progress) -> list[Response]:
        sampler = TransformersSampler(bench.models.get(policy), bench.chat, settings.batch_tokens)
        asked = prompts.by_language[chunk.language][chunk.start : chunk.stop]
        answered = sampler.sample(
            asked,
            n=decoding.n,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            max_new_tokens=decoding.max_new_tokens,
            seed=draw_seed(bench.config.seed, draw),
            progress=progress,
        )
        return [response for responses in answered for response in responses]

    chunks = split_chunks(list(prompts.by_language), len(prompts), settings.chunk_prompts)
    return bench.folder.chunks(stage, chunks, RESPONSES, compute)


def draw_seed(seed: int, draw: str) -> int:
    """A seed of 63 bits for one draw of a run."""
    return int(digest([seed, draw]), 16) >> 1


def score_responses(
    bench: Bench,
    stage: Stage,
    make_reward: Callable[[], Reward],
    prompts: ParallelPrompts,
    responses: Path,
) -> Path:
    """Scores the responses to every prompt.

    Args:
        bench: The tools.
        stage: The stage.
        make_reward: Makes the reward; called only if something is left to score.
        prompts: What was asked.
        responses: RESPONSES, a file or a folder of parts.

    Returns:
        Folder of SCORES parts.
    """
    made: list[Any] = []  # the reward and the responses, once they are needed

    def compute(chunk: Chunk, progress: Progress) -> list[Score]:
        if not made:
            made.extend([make_reward(), by_prompt(read_responses(responses))])
        reward, answers = made
        ids = prompts.ids[chunk.start : chunk.stop]
        batch = [candidates(bench, prompts, answers, chunk.language, prompt_id) for prompt_id in ids]
        return [score for scores in reward.score(batch) for score in scores]

    size = bench.config.reward.chunk_prompts
    chunks = split_chunks(list(prompts.by_language), len(prompts), size)
    return bench.folder.chunks(stage, chunks, SCORES, compute)


def candidates(
    bench: Bench,
    prompts: ParallelPrompts,
    answers: Mapping[Key, Sequence[Response]],
    language: str,
    prompt_id: str,
) -> Candidates:
    """The responses to one prompt with what they are scored against.

    Raises:
        InputError: There are no responses to the prompt.
    """
    from lingualign.rewards import Candidates

    found = answers.get((language, prompt_id))
    if not found:
        raise InputError(f"There are no responses to prompt {prompt_id} in {language}.")
    return Candidates(
        prompt=prompts.get(prompt_id, language),
        source_prompt=prompts.get(prompt_id, bench.config.source_language),
        responses=list(found),
        parallel={code: rows for code in prompts.by_language if (rows := answers.get((code, prompt_id)))},
    )


def read_responses(path: Path) -> list[Response]:
    """Reads RESPONSES from a file or a folder of parts."""
    return [cast(Response, row) for row in read_parts(path, RESPONSES)]


def read_scores(path: Path) -> list[Score]:
    """Reads SCORES from a file or a folder of parts."""
    return [cast(Score, row) for row in read_parts(path, SCORES)]


def by_prompt(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    """Groups rows by language and prompt id, in order of index.

    Raises:
        InputError: An index occurs twice.
    """
    groups: dict[Key, list[Row]] = {}
    for row in rows:
        groups.setdefault((row["language"], row["prompt_id"]), []).append(row)
    for (language, prompt_id), group in groups.items():
        group.sort(key=lambda row: row["index"])
        if any(a["index"] == b["index"] for a, b in pairwise(group)):
            raise InputError(f"Prompt {prompt_id} in {language} has two rows with the same index.")
    return groups
