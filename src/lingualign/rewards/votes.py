"""The plural vote of all samples in all languages: CALM's reward.

The final answers of all sampled responses to a question, in every language, are votes; the answer with most
of them wins. A response has reward 1 where it votes for the winner, 0 where it votes for another answer, and
nothing is said of it where no answer can be read.

The languages vote in the order of the run's, the source language last. Of answers with equally many votes the
one that was voted for first wins. One response explains the winner: the last of all that voted for it, which
is one of the source language's where it can be.

References:
    - CALM: Unleashing the Cross-Lingual Self-Aligning Ability of Language Model Question Answering:
      https://arxiv.org/abs/2501.18457
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations

from pydantic import Field

from lingualign.answers import AnswerKind, extractor
from lingualign.config import Section
from lingualign.records import Response, Score
from lingualign.rewards.base import Candidates, Tools, score_of


class Settings(Section):
    """Options of the vote."""

    answers: AnswerKind = "choice"
    """What is voted for: the letter of an option (paper), the last number, what \\boxed{} holds, or the lab's
    answer statement."""

    min_vote_share: float = Field(0, ge=0, le=1)
    """Nothing is said of a question whose winner has a smaller share of the votes (paper: 0). On its data the
    winner is right in .67 of all questions, and in .78 of those with a share of .6 or more."""


def reads_reference(settings: Settings) -> bool:
    """Whether it asks for the reference; see `lingualign.rewards.base`."""
    return False


def make(settings: Settings, tools: Tools) -> VotesReward:
    """Makes the reward; see `lingualign.rewards.base`."""
    return VotesReward(extractor(settings.answers), settings.min_vote_share)


def plural_vote(answers: Sequence[str | None]) -> tuple[str, float] | None:
    """The answer with most votes, the first of equals, and its share of the votes.

    Args:
        answers: Votes in order; None is no vote.

    Returns:
        None where nobody votes.
    """
    votes = Counter(answer for answer in answers if answer is not None)
    if not votes:
        return None
    winner, count = votes.most_common(1)[0]
    return winner, count / votes.total()


def vote_consistency(answers: Sequence[str | None]) -> float:
    """How far the languages agree on a question: the share of agreeing pairs among its answers.

    Args:
        answers: One a language; None is left out.

    Returns:
        In [0, 1]; 0 for fewer than two answers.
    """
    pairs = list(combinations([answer for answer in answers if answer is not None], 2))
    return sum(first == second for first, second in pairs) / len(pairs) if pairs else 0.0


class VotesReward:
    """Whether each response agrees with the vote of all responses in all languages.

    Components of a score: `vote_share` of the winner, and `explains`, 1 for the one response, in whichever
    language, that explains it and 0 for all others. A question that is dropped has neither.

    Args:
        read: Gives the final answer of a response, None where it has none.
        min_vote_share: Least share of the votes that the winner must have.
    """

    name = "votes"
    columns = ("language", "source_responses")

    def __init__(self, read: Callable[[Response], str | None], min_vote_share: float = 0.0) -> None:
        self.read = read
        self.min_vote_share = min_vote_share

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        """Scores all responses of some prompts; see `lingualign.rewards.Reward`."""
        return [self._score(candidates) for candidates in batch]

    def _score(self, candidates: Candidates) -> list[Score]:
        voters = in_voting_order(candidates)
        answers = [self.read(voter) for voter in voters]
        vote = plural_vote(answers)
        if vote is None or vote[1] < self.min_vote_share:
            return [score_of(response, None) for response in candidates.responses]
        winner, share = vote
        last = max(place for place, answer in enumerate(answers) if answer == winner)
        explainer = _key(voters[last])

        def score(response: Response) -> Score:
            answer = self.read(response)
            reward = None if answer is None else float(answer == winner)
            return score_of(response, reward, vote_share=share, explains=_key(response) == explainer)

        return [score(response) for response in candidates.responses]


def in_voting_order(candidates: Candidates) -> list[Response]:
    """All responses to a prompt, a language after the other, the source language last; by index in each."""
    source = candidates.source_prompt.language
    languages = sorted(candidates.parallel, key=lambda language: language == source)
    return [
        response
        for language in languages
        for response in sorted(candidates.parallel[language], key=lambda response: response["index"])
    ]


def _key(response: Response) -> tuple[str, int]:
    return response["language"], response["index"]
