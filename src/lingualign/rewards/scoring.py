"""A reward on a table of responses: what `lingualign score` does, for prompts and responses in memory."""

from __future__ import annotations

from collections.abc import Iterable

from lingualign.errors import InputError
from lingualign.prompts import ParallelPrompts
from lingualign.records import Response, Score
from lingualign.rewards.base import Candidates, Reward


def score_responses(
    reward: Reward,
    prompts: ParallelPrompts,
    responses: Iterable[Response],
    source_language: str = "en",
) -> list[Score]:
    """Scores responses to parallel prompts.

    The responses to a prompt in all languages are brought together first, because some rewards compare them.
    Order and batches do not matter to a score.

    Args:
        reward: Any reward of the package, or one of your own.
        prompts: What was answered, in the source language and in that of each response.
        responses: In any order and in any of the languages; (`prompt_id`, `language`, `index`) names one.
        source_language: The well-aligned language, whose prompts and responses rewards read.

    Returns:
        A score for each response, in the same order. Its `reward` is None where the reward has nothing to say
        of a response.

    Raises:
        InputError: A response answers none of the prompts or is there twice, or the prompts lack the source
            language.

    Example:
        >>> reward = ImplicitReward(load_model("./policy"), load_model("./sft"), chat)
        >>> scores = score_responses(reward, prompts, responses)
        >>> scores[0]["reward"], scores[0]["components"][0]["name"]
        (0.83, 'policy_logprob')
    """
    rows = list(responses)
    if source_language not in prompts.by_language:
        raise InputError(
            f"The prompts are in {', '.join(prompts.by_language)}, and not in {source_language}.",
            "Read them in the source language too, or name another one as source_language.",
        )
    known = set(prompts.ids)
    groups: dict[tuple[str, str], dict[int, int]] = {}  # (prompt, language) -> index -> place in rows
    for place, row in enumerate(rows):
        prompt_id, language, index = row["prompt_id"], row["language"], row["index"]
        if prompt_id not in known or language not in prompts.by_language:
            raise InputError(f"Response {index} to {prompt_id!r} in {language} answers none of the prompts.")
        group = groups.setdefault((prompt_id, language), {})
        if index in group:
            raise InputError(
                f"Response {index} to {prompt_id!r} in {language} is there twice.",
                "Number the responses to a prompt in a language: 0, 1, 2, ...",
            )
        group[index] = place
    answers = {key: [rows[group[index]] for index in sorted(group)] for key, group in groups.items()}
    batch = [
        Candidates(
            prompt=prompts.get(prompt_id, language),
            source_prompt=prompts.get(prompt_id, source_language),
            responses=found,
            parallel={
                code: answers[prompt_id, code] for code in prompts.by_language if (prompt_id, code) in answers
            },
        )
        for (prompt_id, language), found in answers.items()
    ]
    scores = {
        (score["prompt_id"], score["language"], score["index"]): score
        for scored in reward.score(batch)
        for score in scored
    }
    return [scores[row["prompt_id"], row["language"], row["index"]] for row in rows]
