"""The implicit reward of a preference-aligned model, across languages.

Preference tuning leaves a reward behind: how much more likely the aligned model finds a response than the
model it was tuned from. Under a source-language instruction this reward, learned from source-language
preferences, ranks responses in other languages too.

    R(x, y) = log p_policy(y | c) - log p_reference(y | c)      [nats]

The sum runs over the tokens of y, the end token among them exactly when y was finished. There is no factor
beta, which would scale all rewards alike, and no division by length, which length control takes care of
(`lingualign.pairs.length_control`). c is the scoring context: the instruction that y is scored under.

`reward.options.also` names further contexts to read the reward under. They choose nothing: each is recorded
beside the reward, as the component `log_ratio:<context>` of a score, so that the report can show on which
pairs the contexts disagree.

References:
    - Implicit Cross-Lingual Rewarding for Efficient Multilingual Preference Alignment:
      https://arxiv.org/abs/2503.04647
    - Direct Preference Optimization: https://arxiv.org/abs/2305.18290, equation 5, up to beta and a term
      that all responses to x have in common
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lingualign.config import RunConfig, Section
from lingualign.errors import InputError
from lingualign.prompts import ChatFormat, with_directive
from lingualign.prompts.directives import DEFAULT
from lingualign.records import Message, Response, Score
from lingualign.rewards.base import Candidates, Tools, score_of
from lingualign.translation import Translator

if TYPE_CHECKING:  # takes seconds to import, and whoever reads a configuration imports this file
    from torch import nn

    from lingualign.logprobs import ScoredSequence

    ModelSource = nn.Module | Callable[[], nn.Module]
    Scored = tuple[ScoredSequence, float, float]  # with its log-probs under policy and reference

Context = Literal["source-directive", "source", "target", "translated"]

LOG_RATIO = "log_ratio:"
"""What the components of the contexts in `also` are called, before the context's name."""


READ: dict[Context, tuple[str, ...]] = {
    "source-directive": ("source_prompt", "language"),
    "source": ("source_prompt",),
    "target": (),
    "translated": ("source_prompt", "language"),
}
"""What is read under each context, beside prompt and response."""


READS = "own"


class Settings(Section):
    """Options beside `reward.context` and `reward.reference`."""

    also: list[Context] = Field(default_factory=list)
    """Further contexts that responses are scored under, for the report to show where contexts disagree.
    Nothing is chosen by them. Each costs as much as the reward itself, except in the source language, where
    all contexts are one."""


def check(settings: Settings, config: RunConfig) -> None:
    """Checks a run with this reward; see `lingualign.rewards.base`.

    Raises:
        InputError: A context is listed twice, is the reward's own, or has no translator.
    """
    also = settings.also
    if config.reward.context in also:
        raise InputError(
            f"reward.options.also names {config.reward.context}, which is reward.context already.",
            "Leave it out.",
        )
    if len(set(also)) != len(also):
        raise InputError(f"reward.options.also names a context twice: {', '.join(also)}.")
    if "translated" in also and config.translation.kind == "none":
        raise InputError(
            "reward.options.also: the context translated needs a translator, and translation.kind is none.",
            "Set translation.kind, or leave translated out.",
        )


def make(settings: Settings, tools: Tools, context: Context | None = None) -> ImplicitReward:
    """Makes the reward under the configured scoring context, or another; see `lingualign.rewards.base`."""
    context = context or tools.config.reward.context
    translates = "translated" in (context, *settings.also)
    return ImplicitReward(
        tools.policy,
        tools.reference,
        tools.chat,
        context=context,
        batch_tokens=tools.config.reward.batch_tokens,
        directive_template=tools.directive,
        translator=tools.translator() if translates else None,
        also=settings.also,
    )


class ImplicitReward:
    """The log-ratio of a policy and its reference, summed over the response.

    Components of a score: `policy_logprob` and `reference_logprob` in nats, and `num_tokens`, the tokens they
    sum over; and for each further context its log-ratio in nats, `log_ratio:target` for example, which is not
    there where the translation failed.

    Args:
        policy: The aligned model in eval mode, or a function that loads it, called when it is first needed.
        reference: The denominator, likewise: what the policy was before preference tuning (`initial`), or the
            policy of an iteration before (`previous`). Which of them is only a matter of what is given here.
        chat: The policy's chat format. Both models read the same tokens.
        context: The instruction that responses are scored under.

            - `source-directive`: the source-language instruction behind a sentence that asks for the target
              language. ICR's own ("crosslingual rewarding").
            - `source`: the source-language instruction alone.
            - `target`: the instruction that was answered ("multilingual rewarding").
            - `translated`: the source-language instruction, and the response translated to that language.
        batch_tokens: Most tokens in one forward pass.
        directive_template: Sentence with `{language}` in it, for `source-directive`.
        translator: For `translated`.
        also: Further contexts, which are recorded and decide nothing.

    Raises:
        ValueError: A context is `translated` and there is no translator.

    Example:
        >>> reward = ImplicitReward(policy, reference, ChatFormat(tokenizer))
        >>> scores = reward.score([Candidates(prompt, source_prompt, responses)])
    """

    name = "implicit"

    def __init__(
        self,
        policy: ModelSource,
        reference: ModelSource,
        chat: ChatFormat,
        context: Context = "source-directive",
        batch_tokens: int = 16384,
        directive_template: str = DEFAULT,
        translator: Translator | None = None,
        also: Sequence[Context] = (),
    ) -> None:
        if "translated" in (context, *also) and translator is None:
            raise ValueError("the context 'translated' needs a translator")
        self._policy_source, self._reference_source = policy, reference
        self.chat = chat
        self.context = context
        self.batch_tokens = batch_tokens
        self.directive_template = directive_template
        self.translator = translator
        self.also = tuple(also)

    @property
    def columns(self) -> tuple[str, ...]:
        """What it reads beside prompt and response; see `lingualign.rewards.Reward`."""
        read = {column for context in (self.context, *self.also) for column in READ[context]}
        return tuple(sorted(read, reverse=True))

    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an answer of the policy."""
        return frozenset(self.chat.stop_ids(getattr(self.policy, "generation_config", None)))

    @cached_property
    def policy(self) -> nn.Module:
        """The aligned model."""
        return _load(self._policy_source)

    @cached_property
    def reference(self) -> nn.Module:
        """The denominator."""
        return _load(self._reference_source)

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        """Scores all responses of some prompts; see `lingualign.rewards.Reward`.

        Raises:
            InputError: A log-probability is not finite.
        """
        from lingualign.logprobs import sequence_logprobs
        from lingualign.logprobs.finite import require_finite

        # All contexts in one call: the passes are filled up, and what is the same is computed once.
        contexts = {context: self._sequences(batch, context) for context in (self.context, *self.also)}
        flat = [sequence for own in contexts.values() for sequence in own if sequence is not None]
        policy = sequence_logprobs(self.policy, flat, self.batch_tokens).tolist()
        reference = sequence_logprobs(self.reference, flat, self.batch_tokens).tolist()
        responses = [response for candidates in batch for response in candidates.responses]
        names = [
            f"response {response['index']} to prompt {response['prompt_id']} in {response['language']}"
            for own in contexts.values()
            for response, sequence in zip(responses, own, strict=True)
            if sequence is not None
        ]
        require_finite(policy, names, "The policy", self.policy)
        require_finite(reference, names, "The reference", self.reference)
        sums = iter(zip(policy, reference, strict=True))
        scored = {
            context: [None if sequence is None else (sequence, *next(sums)) for sequence in own]
            for context, own in contexts.items()
        }
        rows = iter(zip(*scored.values(), strict=True))
        return [[self._score(response, *next(rows)) for response in c.responses] for c in batch]

    def _score(self, response: Response, main: Scored | None, *also: Scored | None) -> Score:
        """One score, out of what was computed under the reward's own context and the further ones."""
        if main is None:
            return score_of(response, None)
        sequence, policy, reference = main
        others = {
            LOG_RATIO + context: found[1] - found[2]
            for context, found in zip(self.also, also, strict=True)
            if found is not None
        }
        return score_of(
            response,
            policy - reference,
            policy_logprob=policy,
            reference_logprob=reference,
            num_tokens=len(sequence.response_ids),
            **others,
        )

    def messages(self, candidates: Candidates, context: Context | None = None) -> Sequence[Message]:
        """What some candidates are scored under: the reward's own context, or another."""
        context = context or self.context
        prompt, source = candidates.prompt, candidates.source_prompt
        if context == "target":
            return prompt.messages
        if context == "source-directive":
            return with_directive(source.messages, prompt.language, source.language, self.directive_template)
        return source.messages

    def _sequences(self, batch: Sequence[Candidates], context: Context) -> list[ScoredSequence | None]:
        """What is scored of each response under a context; None where its translation failed."""
        from lingualign.logprobs import ScoredSequence

        texts = self._texts(batch, context)
        sequences: list[ScoredSequence | None] = []
        for candidates in batch:
            prompt_ids = self.chat.prompt_ids(self.messages(candidates, context))
            for response in candidates.responses:
                text, finished = texts[id(response)], response["finish_reason"] == "stop"
                sequences.append(
                    None
                    if text is None
                    else ScoredSequence(prompt_ids, self.chat.response_ids(text, finished))
                )
        return sequences

    def _texts(self, batch: Sequence[Candidates], context: Context) -> dict[int, str | None]:
        """What is scored of each response, by its identity: its text, or the translation; None if it
        failed."""
        texts: dict[int, str | None] = {id(r): r["text"] for c in batch for r in c.responses}
        if context == "translated" and self.translator is not None:
            for candidates in batch:
                target, source = candidates.prompt.language, candidates.source_prompt.language
                if target != source:
                    said = [response["text"] for response in candidates.responses]
                    translated = self.translator.translate(said, target, source)
                    texts |= zip(map(id, candidates.responses), translated, strict=True)
        return texts


def _load(source: ModelSource) -> nn.Module:
    from torch import nn

    return source if isinstance(source, nn.Module) else source()
