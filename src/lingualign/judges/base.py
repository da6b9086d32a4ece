"""What is judged, and what a judge says of it.

A judgement that could not be made or not be read has no value and says why. It is counted, and never guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Pair:
    """Two responses to one instruction.

    Attributes:
        instruction: What was asked.
        output_1: The baseline's response.
        output_2: The model's response.
        language: BCP-47 code of the instruction.
        id: Of the prompt, for people: what is judged goes by its texts.
    """

    instruction: str
    output_1: str
    output_2: str
    language: str
    id: str


@dataclass(frozen=True)
class Judgement:
    """Which response of a pair is better.

    Attributes:
        preference: In [1, 2]: 1 where the baseline's response is surely better, 2 where the model's is, 1.5
            for a draw. None where there is no judgement.
        raw: What the judge wrote; of two orders a line each.
        failure: Why there is no judgement; None where there is one.
        from_logprobs: The preference comes from the probabilities of the answers. False: the judge wrote one
            answer, and that alone decides; or nobody was asked, the responses being equal.
    """

    preference: float | None
    raw: str = ""
    failure: str | None = None
    from_logprobs: bool = False


@dataclass(frozen=True)
class Conversation:
    """Questions and a model's answers, of which the last is graded.

    Attributes:
        questions: One or two.
        answers: As many.
        language: BCP-47 code.
        id: Of the prompt, for people.
        references: Answers that are known to be right, as many; none where there are none.

    Raises:
        ValueError: Their numbers do not agree.
    """

    questions: tuple[str, ...]
    answers: tuple[str, ...]
    language: str
    id: str
    references: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        turns = len(self.questions)
        if turns not in (1, 2) or len(self.answers) != turns or len(self.references) not in (0, turns):
            raise ValueError(
                "a conversation has one or two questions, as many answers, and no references or as many"
            )

    def turns(self) -> list[Conversation]:
        """The conversation up to each of its answers, which are then graded one by one."""
        return [
            Conversation(
                self.questions[:end], self.answers[:end], self.language, self.id, self.references[:end]
            )
            for end in range(1, len(self.questions) + 1)
        ]


@dataclass(frozen=True)
class Grade:
    """How good an answer is.

    Attributes:
        score: 1 (worst) to 10; None where there is no grade.
        raw: What the judge wrote.
        failure: Why there is no grade; None where there is one.
    """

    score: float | None
    raw: str = ""
    failure: str | None = None


class PairwiseJudge(Protocol):
    """Says which of two responses is better."""

    @property
    def name(self) -> str:
        """Who judges and how, in words, to stand next to every number."""

    def compare(self, items: Sequence[Pair]) -> list[Judgement]:
        """Judges pairs.

        Args:
            items: Any number.

        Returns:
            A judgement a pair, in order.
        """


class GradingJudge(Protocol):
    """Says how good an answer is by itself."""

    @property
    def name(self) -> str:
        """Who judges and how, in words, to stand next to every number."""

    def grade(self, items: Sequence[Conversation]) -> list[Grade]:
        """Grades the last answer of each conversation.

        Args:
            items: Any number.

        Returns:
            A grade a conversation, in order.
        """
