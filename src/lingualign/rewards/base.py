"""What a reward is: candidates in, one score a candidate out; and what one is made from.

A new reward is one file in this folder, whose name is its `reward.kind`, with

- `Settings`, a `Section` with its own options (`reward.options`), and
- `make(settings, tools)`, which gives the reward;
- `reads_reference(settings)`, if it may not ask for `tools.reference`: where nothing does, a run
  needs none;
- `READS`, which other responses to a prompt it reads beside those that it scores: "own" (none), "source"
  (those in the source language and in the prompt's), or "all", if it does not say; it is given no others;
- `check(settings, config)`, if anything can be wrong beyond the options: it raises an `InputError` before the
  run starts;
- `needs_fit(settings)` and `fit(settings, tools, pairs, output, on_step)`, if it is trained on labelled pairs
  first: `make` finds in `tools.fitted` what `fit` has left at `output`.

A file of your own works like one of these: `reward.kind=./my_reward.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import Component, Message, Pair, Response, Score

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lingualign.config import RunConfig
    from lingualign.translation import Likelihood, Translator


Reads = Literal["own", "source", "all"]


@dataclass(frozen=True)
class Candidates:
    """The responses to one prompt.

    Attributes:
        prompt: The prompt that they were sampled for, in the target language.
        source_prompt: The same prompt in the source language; the same object where that is the target.
        responses: One or more, in any order.
        parallel: Responses to the same prompt in every language of the run, by language in the order of
            `languages`; those of the prompt's own language among them. Empty where nobody knows them, or the
            reward does not read them.
    """

    prompt: Prompt
    source_prompt: Prompt
    responses: Sequence[Response]
    parallel: Mapping[str, Sequence[Response]] = field(default_factory=dict)

    @property
    def source_responses(self) -> Sequence[Response]:
        """Responses to the same prompt in the source language; none where nobody knows them."""
        return self.parallel.get(self.source_prompt.language, ())


@dataclass(frozen=True)
class Tools:
    """What a reward can be made from. Models load when they are first asked for.

    Attributes:
        config: Of the run.
        chat: Chat format of the policy.
        policy: Gives the policy of the iteration, in eval mode.
        reference: Gives the denominator of its log-ratio (`reward.reference`).
        translator: Gives the run's translator.
        likelihood: Gives the run's translator as one that says how likely a translation is.
        directive: Template of the language directive that the policy understands.
        fitted: Folder that the reward's `fit` wrote; None where it has none.
    """

    config: RunConfig
    chat: ChatFormat
    policy: Callable[[], PreTrainedModel]
    reference: Callable[[], PreTrainedModel]
    translator: Callable[[], Translator]
    likelihood: Callable[[], Likelihood]
    directive: str
    fitted: Path | None = None


class Reward(Protocol):
    """Scores responses.

    A reward may say more of itself, which `lingualign.rewards.trl` asks for: `columns`, what it reads beside
    prompt and response (of `language`, `source_prompt`, `prompt_id`, `source_responses`; nothing if it does
    not say); and `alone`, whether it is defined for a response on its own: "always" (if it does not say),
    "targets" (except in the source language) or "never".
    """

    @property
    def name(self) -> str:
        """Short name, for tables."""

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        """Scores all responses of some prompts; what else is in the batch must not matter to a score.

        Returns:
            One list a prompt, one score a response, in the order given.
        """


def score_of(response: Response, reward: float | None, **components: float) -> Score:
    """The score of one response, with named parts of it; None where the reward has nothing to say of it."""
    return Score(
        prompt_id=response["prompt_id"],
        language=response["language"],
        index=response["index"],
        reward=None if reward is None else float(reward),
        components=[Component(name=name, value=float(value)) for name, value in components.items()],
    )


def pair_rewards(
    reward: Reward, pairs: Sequence[Pair], source_prompts: Mapping[str, Prompt] | None = None
) -> list[tuple[float | None, float | None]]:
    """Rewards of the chosen and the rejected response of preference pairs.

    Args:
        reward: Any reward or judge of the package.
        pairs: In any languages; the last message of `chosen` and of `rejected` is the response.
        source_prompts: A pair's `prompt_id` -> its prompt in the source language, for rewards that read it
            (the implicit reward under a source context). None: the pair's own prompt stands in.

    Returns:
        (chosen, rejected) a pair, in order; None where the reward has nothing to say.
    """
    batch = []
    for pair in pairs:
        prompt = Prompt(pair["prompt_id"], pair["language"], tuple(pair["prompt"]))
        source = prompt if source_prompts is None else source_prompts[prompt.id]
        responses = [
            _response(pair, 0, pair["chosen"], pair["chosen_finished"]),
            _response(pair, 1, pair["rejected"], pair["rejected_finished"]),
        ]
        batch.append(Candidates(prompt, source, responses))
    return [(better["reward"], worse["reward"]) for better, worse in reward.score(batch)]


def _response(pair: Pair, index: int, messages: Sequence[Message], finished: bool) -> Response:
    return Response(
        prompt_id=pair["prompt_id"],
        language=pair["language"],
        index=index,
        text=messages[-1]["content"],
        finish_reason="stop" if finished else "length",
        num_tokens=0,  # nobody sampled it
    )
