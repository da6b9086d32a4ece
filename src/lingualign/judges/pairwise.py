"""A language model that says which of two responses is better, by AlpacaEval's protocol.

The two responses are shown as "m" and "M", and the judge names the better one in a single token. Its
preference is not that token but the share of the two tokens' probabilities, read from the five likeliest.
Which response is shown first is drawn for each instruction.

The protocol is that of AlpacaEval 2 (https://arxiv.org/abs/2404.04475), `weighted_alpaca_eval_gpt4_turbo`
there. The sentence on the language is X-AlpacaEval's, of the evaluation in https://arxiv.org/abs/2503.04647.
The rest of the wording is ours; alpaca_eval's own templates can be read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from lingualign.judges.asking import Ask, Asker, NoAnswer, Progress
from lingualign.judges.base import Judgement, Pair
from lingualign.judges.template import Template
from lingualign.measures.answers.preferences import DRAW, is_switched, preference_of_logprobs, unswitched
from lingualign.servers.chat import ChatServer, Completion

FIELDS = ("instruction", "output_1", "output_2")
SAME_LANGUAGE = (
    "A good output should be in the same language as the instruction, except when the instruction explicitly "
    "requests the output in a different language."
)
WORDING = """\
Two language models were given the same instruction. Decide which of them gave the better output, as a careful
person who reads both would. {same_language}

# Instruction
{instruction}

# Output of model m
{output_1}

# Output of model M
{output_2}

# Your task
Name the model with the better output. Answer with its identifier alone, m or M: no quotes, no spaces, no
other word."""


class ServerPairwiseJudge:
    """Judges pairs with a model behind a server.

    Equal responses are a draw, and nobody is asked, as in alpaca_eval. Where the server gives no
    log-probabilities, the token that the judge wrote decides alone, which the judgement says.

    Args:
        server: The judge.
        template: File of the prompt, with `{instruction}`, `{output_1}` (shown first, "m") and `{output_2}`
            ("M"); see `Template.parse`. None takes ours.
        same_language: `{same_language}` in the template is X-AlpacaEval's sentence, and else nothing.
        both_orders: Each pair is judged in both orders, and the preference is their mean; no order is drawn.
        seed: Of the order; see `is_switched`.
        logprobs: Ask for log-probabilities. False for a server that refuses such requests.
        cache: JSON-lines file of answers; see `Asker`.
        progress: Called after each request; see `Asker`.
        patience: See `Asker`.

    Raises:
        InputError: The template cannot be read, or a field is missing.
    """

    def __init__(
        self,
        server: ChatServer,
        *,
        template: Path | None = None,
        same_language: bool = True,
        both_orders: bool = False,
        seed: int = 0,
        logprobs: bool = True,
        cache: Path | None = None,
        progress: Progress | None = None,
        patience: int = 20,
    ) -> None:
        self.server = server
        self.template = Template.read(template, FIELDS) if template else Template.parse(WORDING, FIELDS)
        self.same_language = same_language
        self.both_orders = both_orders
        self.seed = seed
        self.options = {"temperature": 0, "max_tokens": 1}
        if logprobs:
            self.options |= {"logprobs": True, "top_logprobs": 5}
        self._asker = Asker(server, cache, progress, patience)

    @property
    def name(self) -> str:
        """The model, and the order in which it sees the responses."""
        order = "both orders" if self.both_orders else f"order drawn with seed {self.seed}"
        return f"{self.server.model}, pairwise, {order}"

    def compare(self, items: Sequence[Pair]) -> list[Judgement]:
        """See `PairwiseJudge.compare`.

        Raises:
            InputError: See `Asker.ask`.
        """
        asked = [
            (place, switched)
            for place, item in enumerate(items)
            if item.output_1 != item.output_2
            for switched in self._orders(item)
        ]
        answers = self._asker.ask([self._ask(items[place], switched) for place, switched in asked])
        orders: dict[int, list[Judgement]] = {}
        for (place, switched), answer in zip(asked, answers, strict=True):
            orders.setdefault(place, []).append(read_preference(answer, switched))
        return [_mean(orders[place]) if place in orders else Judgement(DRAW) for place in range(len(items))]

    def _orders(self, item: Pair) -> list[bool]:
        return [False, True] if self.both_orders else [is_switched(item.instruction, self.seed)]

    def _ask(self, item: Pair, switched: bool) -> Ask:
        first, second = item.output_1, item.output_2
        messages = self.template.messages(
            instruction=item.instruction,
            output_1=second if switched else first,
            output_2=first if switched else second,
            same_language=SAME_LANGUAGE if self.same_language else "",
        )
        name = f"{item.id}/{item.language}" + ("/switched" if switched else "")
        return Ask(name, self.server.body(messages, **self.options))


def read_preference(answer: Completion | NoAnswer, switched: bool) -> Judgement:
    """What a judge's answer says of a pair.

    Args:
        answer: To one order.
        switched: The model's response was the one shown first.
    """
    if isinstance(answer, NoAnswer):
        return Judgement(None, failure=answer.reason)
    if answer.top_logprobs is not None:
        preference = preference_of_logprobs(answer.top_logprobs)
        failure = "neither m nor M is among the likeliest tokens"
    else:
        preference = {"m": 1.0, "M": 2.0}.get(answer.text.strip(), math.nan)
        failure = "the answer is neither m nor M" if answer.text else "the answer is empty"
    from_logprobs = answer.top_logprobs is not None
    if math.isnan(preference):
        return Judgement(None, answer.text, failure, from_logprobs)
    return Judgement(unswitched(preference, switched), answer.text, None, from_logprobs)


def _mean(judgements: Sequence[Judgement]) -> Judgement:
    """One judgement of all orders of a pair; it fails where one of them does."""
    preferences = [judgement.preference for judgement in judgements if judgement.preference is not None]
    failures = [judgement.failure for judgement in judgements if judgement.failure is not None]
    return Judgement(
        None if failures else sum(preferences) / len(preferences),
        "\n".join(judgement.raw for judgement in judgements),
        failures[0] if failures else None,
        all(judgement.from_logprobs for judgement in judgements),
    )
