"""The tokens of every stage of a run, from its settings and the number and length of its prompts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from lingualign.config import RunConfig
from lingualign.measures.judges import judge_kind
from lingualign.pipeline.plan import DECODINGS, REWARD, measure_name
from lingualign.pipeline.rewarding import CHECKED_PROMPTS, IMPLICIT, needs_fit, reward_reads_reference
from lingualign.settings import pairing_reads, part_options

# Forward passes over a response and its prompt that a score takes, by reward; of the user's own files, 2.
PASSES = {
    "implicit": 2,  # policy and reference
    "consistency": 1,
    "agreement": 1,
    "reward-model": 1,
    "votes": 0,
    "language": 0,
    "random": 0,
    "lab-judge": 0,
}
JUDGE_PASSES = {"implicit": 2, "reward-model": 1}  # by judge; others take nothing here
TRANSLATING = ("policy", "model")  # kinds of translation that compute here

ROW_BYTES = 60.0  # of a response or a score beside its text, compressed (ours, measured)

Kind = Literal["sample", "read", "train", "host"]
POLICY, REFERENCE = "policy", "reference"  # names of models; policy-2 is what iteration 2 trained


@dataclass(frozen=True)
class Counts:
    """How much there is to do.

    Attributes:
        prompts: Of each iteration, in one language.
        heldout: To measure with, in one language.
        prompt_tokens: Of a prompt with its chat template, mean.
        response_tokens: Of a response, mean.
        measured_tokens: Of an answer to a held-out prompt, mean.
        longest_prompt: In tokens.
        labels: Labelled pairs that the implicit reward is checked on.
        label_tokens: Of a response in them, mean.
        training_labels: Labelled pairs that a reward model is trained on.
    """

    prompts: tuple[int, ...]
    heldout: int
    prompt_tokens: float
    response_tokens: float
    measured_tokens: float
    longest_prompt: float
    labels: int = 0
    label_tokens: float = 0.0
    training_labels: int = 0


@dataclass(frozen=True)
class Work:
    """What one stage computes.

    Attributes:
        stage: Its name, as in the manifest of a run.
        kind: sample: responses are generated. read: prompts and responses go through forward passes. train:
            forward and backward. host: no model.
        prompts: Distinct prompts, in all languages together; each is computed once for its responses.
        n: Responses behind each.
        prompt_tokens: Of a prompt, mean.
        response_tokens: Of a response, mean.
        limit: Longest response that is sampled.
        passes: Forward passes over all that (of training: epochs).
        models: That are in memory meanwhile, beside those of stages before.
        frees: Whether all other models leave the memory first.
        chunk: Prompts in a piece that can be computed apart from the others; 0 where there are no pieces.
        languages: That the prompts are in, equally many in each, if a piece is of one language.
        also: Further work of the same stage.
    """

    stage: str
    kind: Kind
    prompts: int
    n: float
    prompt_tokens: float
    response_tokens: float
    limit: int = 0
    passes: float = 1.0
    models: tuple[str, ...] = ()
    frees: bool = False
    chunk: int = 0
    languages: int = 1
    also: tuple[Work, ...] = ()

    @property
    def sequences(self) -> float:
        """Responses."""
        return self.prompts * self.n

    @property
    def read(self) -> float:
        """Tokens that forward passes read, over all passes."""
        own = self.prompts * self.prompt_tokens
        if self.kind in ("read", "train"):
            own += self.sequences * self.response_tokens
        return own * self.passes + sum(work.read for work in self.also)

    @property
    def scored(self) -> float:
        """Tokens among them that meet the LM head: those of responses."""
        if self.kind not in ("read", "train"):
            return 0.0
        return self.sequences * self.response_tokens * self.passes

    @property
    def generated(self) -> float:
        """Tokens that are sampled."""
        own = self.sequences * self.response_tokens if self.kind == "sample" else 0.0
        return own + sum(work.generated for work in self.also)


def run_work(config: RunConfig, counts: Counts) -> list[Work]:
    """The stages of a run in their order, with the names that they have in its manifest."""
    found = list(_measures(config, counts, 0))
    fits = needs_fit(config) and "scores" in pairing_reads(config)
    for number in range(1, config.iterations + 1):
        found += _iteration(config, counts, number, fits and number == 1)
        found += _measures(config, counts, number)
    return found


def pairs_a_prompt(config: RunConfig) -> float:
    """Pairs that a prompt gives in one language, if no filter removes any (ours where a reward decides)."""
    if config.pairs.kind == "ranked":  # all ordered pairs of K responses
        return config.sampling.n * (config.sampling.n - 1) / 2
    if config.pairs.kind == "disagreement":  # those who disagree with the winning vote: half of them
        return config.sampling.n / 2
    return 1.0


def passes_of_reward(config: RunConfig) -> float:
    """Forward passes a score takes, in passes over a response and its prompt."""
    kind = config.reward.kind
    if kind == "translation":  # each response once behind every response of the source language
        return config.sampling.n
    contexts = 1 + len(getattr(part_options(config, "reward"), "also", ())) if kind == IMPLICIT else 1
    return PASSES.get(kind, 2) * contexts


def _policy(number: int) -> str:
    """The policy after an iteration; 0 is the one that the run starts from."""
    return f"{POLICY}-{number}"


def _measures(config: RunConfig, counts: Counts, number: int) -> Iterator[Work]:
    """Answers to the held-out prompts in both decodings, and the judge's passes over them."""
    languages, judge = len(config.languages), judge_kind(config)
    asked = counts.heldout * languages
    for decoding in DECODINGS:
        yield Work(
            measure_name(number, decoding),
            "sample",
            asked,
            1,
            counts.prompt_tokens,
            counts.measured_tokens,
            limit=config.measures.max_new_tokens,
            models=(_policy(number),),
            chunk=config.sampling.chunk_prompts * config.sampling.n,
        )
        passes = JUDGE_PASSES.get(judge, 0)
        yield Work(
            measure_name(number, f"{decoding}-judged"),
            "read" if passes else "host",
            asked,
            1,
            counts.prompt_tokens,
            counts.measured_tokens,
            passes=passes,
            models={"implicit": (_policy(0), REFERENCE), "reward-model": ("judge",)}.get(judge, ()),
            frees=judge == "implicit",
            chunk=config.reward.chunk_prompts,
            languages=languages,
        )


def _iteration(config: RunConfig, counts: Counts, number: int, fits: bool) -> Iterator[Work]:
    """One round: responses, scores, their examination, pairs, reference, training."""
    reads, languages = pairing_reads(config), len(config.languages)
    asked, policy = counts.prompts[number - 1], _policy(number - 1)
    prompt, response = counts.prompt_tokens, counts.response_tokens
    n = config.sampling.n

    def name(stage: str) -> str:
        return f"iteration-{number}/{stage}"

    if "responses" in reads:
        yield Work(
            name("responses"),
            "sample",
            asked * languages,
            n,
            prompt,
            response,
            limit=config.sampling.max_new_tokens,
            models=(policy,),
            chunk=config.sampling.chunk_prompts,
        )
    if fits:
        epochs = float(config.reward.options.get("epochs", 1))
        yield Work(
            REWARD,
            "train",
            counts.training_labels,
            2,
            prompt,
            response,
            passes=epochs,
            models=(policy,),
            frees=True,
        )
    if "scores" in reads:
        passes = passes_of_reward(config)
        initial = config.reward.reference == "initial" or number == 1
        denominator = (
            (REFERENCE if initial else _policy(number - 2),) if reward_reads_reference(config) else ()
        )
        models = (policy, *denominator) if passes else ()
        yield Work(
            name("scores"),
            "read" if passes else "host",
            asked * languages,
            n,
            prompt,
            response,
            passes=passes,
            models=models,
            frees=True,
            chunk=config.reward.chunk_prompts,
            languages=languages,
        )
        yield _health(config, counts, name("health"), asked, models)
    yield _pairs(config, counts, name("pairs"), asked, policy, "translation" in reads)
    pairs = round(asked * languages * pairs_a_prompt(config))
    if config.training.preference_weight > 0:
        frozen = policy if config.training.reference == "policy" else REFERENCE
        yield Work(name("reference"), "read", pairs, 2, prompt, response, models=(frozen,))
    sides = 2 if config.training.preference_weight > 0 else 1
    yield Work(
        name("model"),
        "train",
        pairs,
        sides,
        prompt,
        response,
        passes=config.training.epochs,
        models=(policy,),
        frees=True,
    )


def _health(config: RunConfig, counts: Counts, stage: str, asked: int, models: tuple[str, ...]) -> Work:
    """The second look of the implicit reward: a sample under another context, and labelled pairs."""
    if config.reward.kind != IMPLICIT:
        return Work(stage, "host", asked, config.sampling.n, 0, 0)
    second = Work(
        stage,
        "read",
        min(asked, CHECKED_PROMPTS) * len(config.target_languages),
        config.sampling.n,
        counts.prompt_tokens,
        counts.response_tokens,
        passes=2,
        models=models,
    )
    labels = Work(
        stage,
        "read",
        counts.labels,
        2,
        counts.prompt_tokens,
        counts.label_tokens,
        passes=passes_of_reward(config),
    )
    return replace(second, also=(labels,))


def _pairs(config: RunConfig, counts: Counts, stage: str, asked: int, policy: str, translates: bool) -> Work:
    """Choosing pairs; where a model translates for them, a response of each prompt to each target."""
    host = Work(stage, "host", asked * len(config.languages), config.sampling.n, 0, 0)
    if not (translates and config.translation.kind in TRANSLATING):
        return host
    targets = asked * len(config.target_languages)
    return Work(
        stage,
        "sample",
        targets,
        1,
        counts.response_tokens,  # what is translated is the prompt
        counts.response_tokens,
        limit=config.translation.max_new_tokens,
        models=(policy,),
        also=(host,),
    )
