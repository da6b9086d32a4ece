"""The stage that scores responses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lingualign.errors import InputError
from lingualign.pairs.sources import SLICE
from lingualign.pipeline.bench import Bench, Workbench
from lingualign.pipeline.folder import Chunk, Progress, Stage, split_chunks
from lingualign.pipeline.tables import Key, Table
from lingualign.pipeline.work import compute_with
from lingualign.records import RESPONSES, SCORES, Response, Score

if TYPE_CHECKING:
    from lingualign.prompts import ParallelPrompts
    from lingualign.rewards import Candidates, Reward
    from lingualign.rewards.base import Reads

MakeReward = Callable[[Workbench], "Reward"]


@dataclass(frozen=True)
class ScoringWork:
    """Scores the responses of a chunk; see `lingualign.pipeline.work`.

    Attributes:
        make_reward: Makes the reward; can be pickled where `anywhere` is set.
        prompts: What was asked.
        source_language: Of the run.
        responses: RESPONSES, a file or a folder of parts.
        anywhere: Whether workers of a cluster may score.
        reads: Which other responses the reward reads.
    """

    make_reward: MakeReward
    prompts: ParallelPrompts
    source_language: str
    responses: Path
    anywhere: bool = True
    reads: Reads = "all"

    def __getstate__(self) -> dict[str, object]:
        """Prompts travel as items, not with the work."""
        return {**self.__dict__, "prompts": None}

    def items(self, chunks: Sequence[Chunk]) -> Iterator[list[Candidates]]:
        """The candidates of each chunk.

        A slice of prompts is read in all languages at once, and kept while chunks of it are asked for.
        """
        table: Table[Response] = Table(self.responses, RESPONSES, self.prompts)
        slices: dict[int, dict[Key, list[Response]]] = {}
        for chunk in chunks:
            needed = range(chunk.start // SLICE, -(-chunk.stop // SLICE))
            slices = {number: slices.get(number) or self._slice(table, number) for number in needed}
            answers = {key: rows for part in slices.values() for key, rows in part.items()}
            ids = self.prompts.ids[chunk.start : chunk.stop]
            yield [
                candidates(self.source_language, self.prompts, answers, chunk.language, prompt_id, self.reads)
                for prompt_id in ids
            ]

    def _slice(self, table: Table[Response], number: int) -> dict[Key, list[Response]]:
        """The responses to a slice of prompts in all languages."""
        ids = self.prompts.ids[number * SLICE : (number + 1) * SLICE]
        return {
            (language, prompt_id): rows
            for language in self.prompts.by_language
            for prompt_id, rows in table.read(language, ids).items()
        }

    def open(self, bench: Workbench) -> Callable[[list[Candidates], Progress], list[Score]]:
        """Makes the reward."""
        reward = self.make_reward(bench)
        return lambda batch, progress: [score for scores in reward.score(batch) for score in scores]


def score_responses(
    bench: Bench,
    stage: Stage,
    make_reward: MakeReward,
    prompts: ParallelPrompts,
    responses: Path,
    anywhere: bool = True,
    reads: Reads = "all",
) -> Path:
    """Scores the responses to every prompt.

    Args:
        bench: The tools.
        stage: The stage.
        make_reward: Makes the reward; called only if something is left to score.
        prompts: What was asked.
        responses: RESPONSES, a file or a folder of parts.
        anywhere: Whether workers of a cluster may score; `make_reward` then can be pickled.
        reads: Which other responses the reward reads.

    Returns:
        Folder of SCORES parts.
    """
    work = ScoringWork(make_reward, prompts, bench.config.source_language, responses, anywhere, reads)
    chunks = split_chunks(list(prompts.by_language), len(prompts), bench.config.reward.chunk_prompts)
    return bench.folder.chunks(stage, chunks, SCORES, compute_with(work, bench))


def candidates(
    source_language: str,
    prompts: ParallelPrompts,
    answers: Mapping[Key, Sequence[Response]],
    language: str,
    prompt_id: str,
    reads: Reads = "all",
) -> Candidates:
    """The responses to one prompt with what they are scored against.

    Raises:
        InputError: There are no responses to the prompt.
    """
    from lingualign.rewards import Candidates

    found = answers.get((language, prompt_id))
    if not found:
        raise InputError(f"There are no responses to prompt {prompt_id} in {language}.")
    compared = {"own": [], "source": [language, source_language], "all": list(prompts.by_language)}[reads]
    return Candidates(
        prompt=prompts.get(prompt_id, language),
        source_prompt=prompts.get(prompt_id, source_language),
        responses=list(found),
        parallel={
            code: rows
            for code in prompts.by_language
            if code in compared and (rows := answers.get((code, prompt_id)))
        },
    )
