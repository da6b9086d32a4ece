"""The implicit reward of a preference-aligned model, across languages.

Preference tuning leaves a reward behind: how much more likely the aligned model finds a response than the
model it was tuned from. Under a source-language instruction this reward, learned from source-language
preferences, ranks responses in other languages too.

    R(x, y) = log p_policy(y | c) - log p_reference(y | c)      [nats]

The sum runs over the tokens of y, the end token among them exactly when y was finished. There is no factor
beta, which would scale all rewards alike, and no division by length, which length control takes care of
(`lingualign.pairs.length_control`). c is the scoring context: the instruction that y is scored under.

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

from lingualign.config import Section
from lingualign.prompts import ChatFormat, with_directive
from lingualign.prompts.directives import DEFAULT
from lingualign.records import Message, Response, Score
from lingualign.rewards.base import Candidates, Tools, score_of
from lingualign.translation import Translator

if TYPE_CHECKING:  # takes seconds to import, and whoever reads a configuration imports this file
    from torch import nn

    from lingualign.logprobs import ScoredSequence

    ModelSource = nn.Module | Callable[[], nn.Module]

Context = Literal["source-directive", "source", "target", "translated"]


class Settings(Section):
    """There is nothing to set but `reward.context` and `reward.reference`."""


def make(settings: Settings, tools: Tools, context: Context | None = None) -> ImplicitReward:
    """Makes the reward under the configured scoring context, or another; see `lingualign.rewards.base`."""
    context = context or tools.config.reward.context
    return ImplicitReward(
        tools.policy,
        tools.reference,
        tools.chat,
        context=context,
        batch_tokens=tools.config.reward.batch_tokens,
        directive_template=tools.directive,
        translator=tools.translator() if context == "translated" else None,
    )


class ImplicitReward:
    """The log-ratio of a policy and its reference, summed over the response.

    Components of a score: `policy_logprob` and `reference_logprob` in nats, and `num_tokens`, the tokens they
    sum over.

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

    Raises:
        ValueError: The context is `translated` and there is no translator.

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
    ) -> None:
        if context == "translated" and translator is None:
            raise ValueError("the context 'translated' needs a translator")
        self._policy_source, self._reference_source = policy, reference
        self.chat = chat
        self.context = context
        self.batch_tokens = batch_tokens
        self.directive_template = directive_template
        self.translator = translator

    @cached_property
    def policy(self) -> nn.Module:
        """The aligned model."""
        return _load(self._policy_source)

    @cached_property
    def reference(self) -> nn.Module:
        """The denominator."""
        return _load(self._reference_source)

    def score(self, batch: Sequence[Candidates]) -> list[list[Score]]:
        """Scores all responses of some prompts; see `lingualign.rewards.Reward`."""
        from lingualign.logprobs import ScoredSequence, sequence_logprobs

        texts = self._texts(batch)
        sequences: list[ScoredSequence] = []
        for candidates in batch:
            prompt_ids = self.chat.prompt_ids(self.messages(candidates))
            for response in candidates.responses:
                text = texts[id(response)]
                if text is not None:
                    finished = response["finish_reason"] == "stop"
                    sequences.append(ScoredSequence(prompt_ids, self.chat.response_ids(text, finished)))
        policy = sequence_logprobs(self.policy, sequences, self.batch_tokens).tolist()
        reference = sequence_logprobs(self.reference, sequences, self.batch_tokens).tolist()
        scored = zip(policy, reference, sequences, strict=True)
        return [
            [
                score_of(response, None)
                if texts[id(response)] is None
                else _log_ratio(response, *next(scored))
                for response in candidates.responses
            ]
            for candidates in batch
        ]

    def messages(self, candidates: Candidates) -> Sequence[Message]:
        """The scoring context of some candidates."""
        prompt, source = candidates.prompt, candidates.source_prompt
        if self.context == "target":
            return prompt.messages
        if self.context == "source-directive":
            return with_directive(source.messages, prompt.language, source.language, self.directive_template)
        return source.messages

    def _texts(self, batch: Sequence[Candidates]) -> dict[int, str | None]:
        """What is scored of each response, by its identity: its text, or the translation; None if it
        failed."""
        texts: dict[int, str | None] = {id(r): r["text"] for c in batch for r in c.responses}
        if self.context == "translated" and self.translator is not None:
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


def _log_ratio(response: Response, policy: float, reference: float, sequence: ScoredSequence) -> Score:
    return score_of(
        response,
        policy - reference,
        policy_logprob=policy,
        reference_logprob=reference,
        num_tokens=len(sequence.response_ids),
    )
