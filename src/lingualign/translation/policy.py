"""A causal language model as translator: it is asked in a prompt. LIDR has the policy translate itself."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lingualign.logprobs import ScoredSequence, sequence_logprobs
from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import Message
from lingualign.sampling import TransformersSampler
from lingualign.translation.template import TAGGED, Template


class PolicyTranslator:
    """Translates by prompt and greedy decoding, and scores translations behind the same prompt.

    Args:
        model: A causal language model in eval mode.
        chat: Its chat format.
        template: Prompt with `{language}` and `{text}`. With <translated> in it, the assistant's turn begins
            with that tag, as in LIDR (https://arxiv.org/abs/2410.08964), and the translation ends at
            </translated>; otherwise the translation is the whole answer.
        max_new_tokens: Most tokens of an answer; a translation that does not end within them has failed.
            LIDR's is 4096.
        batch_tokens: Most tokens in one batch of decoding, and in one forward pass of scoring.

    Example:
        >>> translator = PolicyTranslator(model, ChatFormat(tokenizer))
        >>> translator.translate(["The answer is 42."], "en", "de")
        ['Die Antwort ist 42.']
    """

    name = "policy"

    def __init__(
        self,
        model: nn.Module,
        chat: ChatFormat,
        template: str = TAGGED,
        max_new_tokens: int = 1024,
        batch_tokens: int = 16384,
    ) -> None:
        self.template = Template(template)
        self.max_new_tokens = max_new_tokens
        self.sampler = TransformersSampler(model, _PrimedChat(chat, self.template.opening), batch_tokens)

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | None]:
        """See `Translator.translate`. The source language is the model's to see."""
        prompts = [
            Prompt(str(place), target, self.template.messages(text, target))
            for place, text in enumerate(texts)
        ]
        answers = self.sampler.sample(  # greedy: the seed decides nothing
            prompts, n=1, temperature=0.0, max_new_tokens=self.max_new_tokens, seed=0
        )
        return [
            self.template.read(self.template.opening + row["text"], row["finish_reason"] == "stop")
            for (row,) in answers
        ]

    def likelihoods(
        self, pairs: Sequence[tuple[str, str]], source: str, target: str
    ) -> list[tuple[float, int]]:
        """See `Likelihood.likelihoods`.

        With <translated> tags, the opening one belongs to the prompt, and the closing one is what ends the
        translation: its tokens are scored in place of the end token.
        """
        chat, closing = self.sampler.chat, self.template.closing
        sequences = [
            ScoredSequence(
                chat.prompt_ids(self.template.messages(text, target)),
                chat.response_ids(translation + closing, finished=not closing),
            )
            for text, translation in pairs
        ]
        logprobs = sequence_logprobs(self.sampler.model, sequences, self.sampler.batch_tokens).tolist()
        return [
            (logprob, len(sequence.response_ids))
            for logprob, sequence in zip(logprobs, sequences, strict=True)
        ]


class _PrimedChat(ChatFormat):
    """A chat format in which every answer begins with a given text."""

    def __init__(self, chat: ChatFormat, opening: str) -> None:
        # Whether a model without a template may be used was decided when `chat` was made.
        super().__init__(chat.tokenizer, base_model_prompts=True)
        self._opening = self.response_ids(opening, finished=False)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        return [*super().prompt_ids(messages), *self._opening]
