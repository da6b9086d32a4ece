"""A language model that grades answers from 1 to 10, as in MT-Bench's single-answer grading.

The judge explains itself and ends with a rating in double brackets. The answer to a first question is graded
by itself, that to a second one with the whole conversation before it; math, reasoning and coding questions
come with reference answers. A model's score is the mean over turns and questions.

The protocol is that of MT-Bench (https://arxiv.org/abs/2306.05685): its prompts `single-v1`, `single-math-v1`
and their multi-turn forms. The wording is ours. MT-Bench's own `judge_prompts.jsonl` can be read, or that of
a translated MT-Bench, whose judge is asked in the language of the answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lingualign.errors import InputError
from lingualign.judges.asking import Ask, Asker, NoAnswer, Progress
from lingualign.judges.base import Conversation, Grade
from lingualign.judges.template import Template, read_text
from lingualign.servers.chat import ChatServer, Completion

# MT-Bench's `\d+\.?\d*` matches the same, in quadratic time where digits go on and on.
RATING = re.compile(r"\[\[(\d+(?:\.\d*)?)\]\]")
RATING_BACKUP = re.compile(r"\[(\d+(?:\.\d*)?)\]")
LOWEST, HIGHEST = 1.0, 10.0

_TASK = """\
Grade an AI assistant's answer to a user's question. Weigh how helpful, relevant, correct, deep, creative and
detailed it is. {aim}First explain your judgement in a few sentences, and be as objective as you can. Then
end with a rating from 1 (worst) to 10 (best) in exactly this format: "[[rating]]", for example
"Rating: [[5]]"."""
_SECOND = "There are two questions: grade only the answer to the second one, in the light of the first. "
_COMPARE = "Compare with the reference answers, which are right, and look for mistakes before anything else. "
_QUESTION = "\n\n# Question\n{question}"
_REFERENCE = "\n\n# Reference answer\n{ref_answer_1}"
_ANSWER = "\n\n# The assistant's answer\n{answer}"
_QUESTIONS = "\n\n# First question\n{question_1}\n\n# Second question\n{question_2}"
_REFERENCES = (
    "\n\n# Reference answer to the first question\n{ref_answer_1}"
    "\n\n# Reference answer to the second question\n{ref_answer_2}"
)
_ANSWERS = (
    "\n\n# The assistant's answer to the first question\n{answer_1}"
    "\n\n# The assistant's answer to the second question\n{answer_2}"
)

# By the names of MT-Bench, which start with these and go on with a version.
WORDINGS = {
    "single-v1": _TASK.replace("{aim}", "") + _QUESTION + _ANSWER,
    "single-math-v1": _TASK.replace("{aim}", _COMPARE) + _QUESTION + _REFERENCE + _ANSWER,
    "single-v1-multi-turn": _TASK.replace("{aim}", _SECOND) + _QUESTIONS + _ANSWERS,
    "single-math-v1-multi-turn": _TASK.replace("{aim}", _SECOND + _COMPARE)
    + _QUESTIONS
    + _REFERENCES
    + _ANSWERS,
}


def grading_templates(path: Path | None = None) -> dict[str, Template]:
    """The four prompts of the grading judge.

    Args:
        path: A `judge_prompts.jsonl` of MT-Bench: objects with `name`, `system_prompt` and `prompt_template`.
            None takes our wording.

    Returns:
        By the names of MT-Bench: `single-v1`, `single-math-v1` (with reference answers), and both of them
        followed by `-multi-turn`.

    Raises:
        InputError: The file cannot be read, or a prompt or a field of one is missing.
    """
    if path is None:
        return {name: Template.parse(text, _fields(name)) for name, text in WORDINGS.items()}
    found = {}
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            fields = (row[field].strip() for field in ("name", "system_prompt", "prompt_template"))
            name, system, user = fields
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise InputError(
                f"{path}, line {number}: not a JSON object with name, system_prompt and prompt_template.",
                "Give a file in the format of MT-Bench's judge_prompts.jsonl.",
            ) from None
        turns = (("system", system), ("user", user))
        found[name] = Template(turns if system else turns[1:])
    for name in WORDINGS:
        missing = _fields(name) - (found[name].fields if name in found else set())
        if missing:
            what = f"the prompt {name} lacks {', '.join(sorted(missing))}" if name in found else f"no {name}"
            raise InputError(
                f"{path}: {what}.", "The judge needs all four single-answer prompts of MT-Bench."
            )
    return {name: found[name] for name in WORDINGS}


def _fields(name: str) -> set[str]:
    """Fields that a prompt has to have."""
    multi = name.endswith("multi-turn")
    fields = {"question_1", "answer_1", "question_2", "answer_2"} if multi else {"question", "answer"}
    references = {"ref_answer_1", "ref_answer_2"} if multi else {"ref_answer_1"}
    return fields | (references if "math" in name else set())


def parse_grade(text: str) -> float | None:
    """The first rating in double brackets; where there is none, the first in single ones.

    Args:
        text: What the judge wrote.

    Returns:
        None where there is neither.

    Example:
        >>> parse_grade("It is wrong [1]. Rating: [[3.5]]")
        3.5
    """
    match = RATING.search(text) or RATING_BACKUP.search(text)
    return float(match[1]) if match else None


class ServerGradingJudge:
    """Grades answers with a model behind a server.

    Args:
        server: The judge.
        templates: See `grading_templates`; None takes our wording.
        max_tokens: Most tokens of the explanation and the rating (MT-Bench: 2048).
        cache: JSON-lines file of answers; see `Asker`.
        progress: Called after each request; see `Asker`.
        patience: See `Asker`.
    """

    def __init__(
        self,
        server: ChatServer,
        *,
        templates: Mapping[str, Template] | None = None,
        max_tokens: int = 2048,
        cache: Path | None = None,
        progress: Progress | None = None,
        patience: int = 20,
    ) -> None:
        self.server = server
        self.templates = templates or grading_templates()
        self.max_tokens = max_tokens
        self._asker = Asker(server, cache, progress, patience)

    @property
    def name(self) -> str:
        """The model, and what it does."""
        return f"{self.server.model}, grades from 1 to 10"

    def grade(self, items: Sequence[Conversation]) -> list[Grade]:
        """See `GradingJudge.grade`; `Conversation.turns` gives the items of a conversation of two turns.

        Raises:
            InputError: See `Asker.ask`.
        """
        return [read_grade(answer) for answer in self._asker.ask([self._ask(item) for item in items])]

    def _ask(self, item: Conversation) -> Ask:
        turns = len(item.questions)
        name = "single-math-v1" if item.references else "single-v1"
        template = self.templates[f"{name}-multi-turn" if turns == 2 else name]
        values = {"question": item.questions[-1], "answer": item.answers[-1]}
        for turn, (question, answer) in enumerate(zip(item.questions, item.answers, strict=True), 1):
            values |= {f"question_{turn}": question, f"answer_{turn}": answer}
        values |= {f"ref_answer_{turn}": text for turn, text in enumerate(item.references, 1)}
        body = self.server.body(template.messages(**values), temperature=0, max_tokens=self.max_tokens)
        return Ask(f"{item.id}/{item.language}/turn {turns}", body)


def read_grade(answer: Completion | NoAnswer) -> Grade:
    """The grade in a judge's answer; one that is not from 1 to 10 is none (ours: MT-Bench takes any)."""
    if isinstance(answer, NoAnswer):
        return Grade(None, failure=answer.reason)
    score = parse_grade(answer.text)
    if score is None:
        cut = "" if answer.finished else ", and the answer was cut"
        return Grade(None, answer.text, f"there is no rating{cut}")
    if not LOWEST <= score <= HIGHEST:
        return Grade(None, answer.text, f"the rating {score:g} is not from 1 to 10")
    return Grade(score, answer.text)
