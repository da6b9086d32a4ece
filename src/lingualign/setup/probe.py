"""A few seconds of each kind of a run's work: an iteration in miniature, on its own prompts and models.

Sampling, scoring, judging, pairing, the reference's log-probs and a training step are timed as the run will
do them, and no file of the run is touched. What is measured are rates (`Rates`); `estimate.py` multiplies
them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import nnls

from lingualign.config import RunConfig
from lingualign.languages import LanguageIdentifier
from lingualign.pairs import Sources, all_pairs
from lingualign.pairs.base import Side, make_pair
from lingualign.pipeline.bench import Bench
from lingualign.pipeline.folder import RunFolder
from lingualign.pipeline.labelled import labelled_prompts
from lingualign.pipeline.manifest import Manifest
from lingualign.pipeline.measuring import make_judge
from lingualign.pipeline.progress import Silent
from lingualign.pipeline.rewarding import make_reward, needs_fit
from lingualign.pipeline.scoring import candidates
from lingualign.pipeline.tables import by_prompt
from lingualign.pipeline.translating import make_translator
from lingualign.pipeline.validate import CheckedRun
from lingualign.prompts import ParallelPrompts, Prompt
from lingualign.records import Pair, Response, Score
from lingualign.sampling.decode import decode
from lingualign.settings import load_pairing, pairing_reads, part_options
from lingualign.setup.clock import disk_speed, peak_memory, timed
from lingualign.setup.machine import nearest_folder
from lingualign.setup.training_step import numbered, training_seconds
from lingualign.training import reference_logps

if TYPE_CHECKING:
    from lingualign.rewards import Reward

SECONDS = 4.0  # that each kind of work may take, about
PROMPTS = 4  # in every language
FIRST_TOKENS = 8  # of the first response, to see how fast the model is
TRAINING_STEPS = 3  # the first of them is not timed
BACKWARD = 3.0  # a step of training costs about three forward passes


@dataclass
class Rates:
    """What was measured. Seconds, but where something else is said.

    Attributes:
        loading: The policy.
        prompt_token: A token of a prompt, when it is read for sampling.
        step: A step of decoding, whatever the number of responses.
        token: A token of a response, on top of its step.
        lengths: Tokens of the sampled responses.
        unfinished: Which of them the probe cut before the run would have.
        score_token: A token under the run's reward: a prompt's once, and its responses'; None where nothing
            is scored, or the reward is still to be trained.
        judge_token: A token under the judge, likewise; None where it is behind a server.
        pairing: A prompt in all languages; None where it was not tried.
        pairs: Pairs that a prompt gives, in all languages together.
        forward_token: A token of a pair under the frozen reference.
        training_token: A token of a pair, forward, backward and its share of the optimiser.
        trained: Whether that was measured (else it follows from `forward_token`).
        text_bytes: Bytes of a response's text.
        write: Bytes a second on the disk of the run.
        memory: Bytes at the peak of the probe, on the device that computes.
        seconds: Of the whole probe.
    """

    loading: float = 0.0
    prompt_token: float = 0.0
    step: float = 0.0
    token: float = 0.0
    lengths: list[int] = field(default_factory=list)
    unfinished: list[bool] = field(default_factory=list)
    score_token: float | None = None
    judge_token: float | None = None
    pairing: float | None = None
    pairs: float = 0.0
    forward_token: float = 0.0
    training_token: float = 0.0
    trained: bool = False
    text_bytes: float = 0.0
    write: float = 1e8
    memory: float = 0.0
    seconds: float = 0.0


def probe(checked: CheckedRun, may_train: bool = True) -> Rates:
    """Measures the work of a run.

    Args:
        checked: The run.
        may_train: Whether a training step has room in memory.
    """
    start = time.monotonic()
    rates = Rates(write=disk_speed(nearest_folder(checked.config.run_folder)))
    with tempfile.TemporaryDirectory(prefix="lingualign-probe-") as folder:
        run = RunFolder(Path(folder), Manifest(), Silent())
        bench = Bench(checked.config, run, checked.chat)
        _Probe(checked, bench, rates).run(may_train)
    rates.memory = peak_memory()
    rates.seconds = time.monotonic() - start
    return rates


class _Probe:
    """The steps of a probe, which share what they make: prompts, responses, scores, pairs."""

    def __init__(self, checked: CheckedRun, bench: Bench, rates: Rates) -> None:
        self.checked, self.bench, self.rates = checked, bench, rates
        self.config: RunConfig = checked.config
        iteration = checked.plan.iterations[0]
        self.policy = iteration.policy.path
        self.reference = iteration.reward_reference.path
        self.training_reference = iteration.training_reference.path
        every = max(1, len(iteration.prompts) // PROMPTS)
        self.prompts = iteration.prompts.select(iteration.prompts.ids[::every][:PROMPTS])
        self.samples = checked.plan.has(iteration.name("responses"))
        self.responses: list[Response] = []
        self.scores: list[Score] = []
        self.pairs: list[Pair] = []

    def run(self, may_train: bool) -> None:
        """All of them, in the order of a run."""
        with timed() as clock:
            self.bench.models.get(self.policy)
        self.rates.loading = clock.seconds
        self.sample()
        if self.checked.plan.has(self.checked.plan.iterations[0].name("scores")):
            self.score()
        if self.checked.judge != "server":
            judge = make_judge(self.bench, self.policy, self.checked.plan.reference.path, Path(), Path())
            self.rates.judge_token, _ = self._score(judge, one_each=True)
        self.pair()
        self.read_reference()
        self.train(may_train)

    def sample(self) -> None:
        """Decodes batches of growing size, and fits what a step and a token cost."""
        config = self.config
        n = config.sampling.n if self.samples else 1
        limit = (config.sampling if self.samples else config.measures).max_new_tokens
        first = [self.prompts.by_language[code][0] for code in self.prompts.by_language]
        self._decode(first[:1], 1, FIRST_TOKENS)  # what only the first call does is not timed
        alone = self._decode(first[:1], 1, min(limit, FIRST_TOKENS))[0]
        step = alone.seconds / max(1, alone.steps)
        tokens = int(np.clip(SECONDS / 2 / step, FIRST_TOKENS, limit))
        measured = [alone, self._decode(first, n, 1)[0]]
        spent = time.monotonic()
        batch, self.responses = self._decode(first, n, tokens)
        measured.append(batch)
        more = [prompt for prompts in self.prompts.by_language.values() for prompt in prompts[1:]]
        if more and self._time(measured, more, n, tokens) < 2 * SECONDS:
            batch, further = self._decode(more, n, tokens)
            measured.append(batch)
            self.responses += further
        # A batch as large as the run's, if there is time for it.
        chunk = self._chunk(n, limit)
        while chunk and self._time(measured, chunk, n, tokens) + time.monotonic() - spent > 3 * SECONDS:
            chunk = chunk[: len(chunk) // 2]
        if len(chunk) * n > measured[-1].rows:
            measured.append(self._decode(chunk, n, tokens)[0])
        self.rates.prompt_token, self.rates.step, self.rates.token = _fit(measured)
        cut = [answer["finish_reason"] == "length" and tokens < limit for answer in self.responses]
        self.rates.lengths = [
            answer["num_tokens"] + (answer["finish_reason"] == "stop") for answer in self.responses
        ]
        self.rates.unfinished = cut
        self.rates.text_bytes = float(np.mean([len(a["text"].encode()) for a in self.responses]))
        answered_ids = {answer["prompt_id"] for answer in self.responses}
        self.prompts = self.prompts.select([i for i in self.prompts.ids if i in answered_ids])

    def score(self) -> None:
        """Scores the responses by the run's reward."""
        if needs_fit(self.config):
            return  # it is still to be trained
        reward = make_reward(self.bench, self.policy, self.reference)
        self.rates.score_token, self.scores = self._score(reward, one_each=False)

    def _score(self, reward: Reward, one_each: bool) -> tuple[float, list[Score]]:
        """Seconds a token under a reward, and the scores."""
        source = self.config.source_language
        answers = by_prompt([r for r in self.responses if r["index"] == 0 or not one_each])
        batches = [
            [candidates(source, self.prompts, answers, language, i) for i in self.prompts.ids]
            for language in self.prompts.by_language
        ]
        for batch in batches:
            reward.score(batch[:1])  # what only the first call does is not timed
        with timed() as clock:
            scored = [scores for batch in batches for scores in reward.score(batch)]
        chat = self.bench.chat
        tokens = sum(
            len(chat.prompt_ids(asked.source_prompt.messages))
            + sum(response["num_tokens"] for response in asked.responses)
            for batch in batches
            for asked in batch
        )
        return clock.seconds / max(1, tokens), [score for scores in scored for score in scores]

    def pair(self) -> None:
        """Makes pairs as the run does, unless a model would have to translate too much."""
        config, reads, sampled_for = self.config, pairing_reads(self.config), self.prompts
        ranked = "scores" not in reads or self.scores
        slow = config.translation.kind in ("policy", "model", "server") and "translation" in reads
        if ranked and not slow:
            labelled = self._labelled() if "labelled" in reads else []
            sources = Sources(
                self.prompts,
                config.source_language,
                config.pairs,
                LanguageIdentifier(config.languages),
                config.seed,
                responses=self.responses,
                scores=self.scores,
                labelled=labelled,
                translate=make_translator(self.bench, self.policy).translate
                if "translation" in reads
                else None,
            )
            pairing = load_pairing(config).make(part_options(config, "pairs"))
            all_pairs(pairing, sources)
            with timed() as clock:
                self.pairs = all_pairs(pairing, sources).pairs
            self.rates.pairing = clock.seconds / len(self.prompts)
            self.rates.pairs = len(self.pairs) / len(self.prompts)
        if not self.pairs:
            self.pairs = list(_any_pairs(sampled_for, self.responses))
            self.rates.pairs = float(len(self.prompts.by_language))

    def _labelled(self) -> list[Pair]:
        """A few labelled pairs; their prompts take the place of those that were sampled for."""
        iteration = self.checked.plan.iterations[0].prompts
        labelled = labelled_prompts(self.config, iteration)[:PROMPTS]
        self.prompts = iteration.select([pair["prompt_id"] for pair in labelled])
        return labelled

    def read_reference(self) -> None:
        """Computes log-probs of the pairs under the frozen reference."""
        config = self.config
        model = self.bench.models.get(self.training_reference)
        options: dict[str, Any] = {
            "max_length": config.training.max_length,
            "batch_tokens": config.reward.batch_tokens,
        }
        reference_logps(model, self.pairs[:1], self.bench.chat, **options)
        with timed() as clock:
            reference_logps(model, self.pairs, self.bench.chat, **options)
        self.rates.forward_token = clock.seconds / max(1, self._tokens(self.pairs))

    def train(self, may_train: bool) -> None:
        """Takes a few steps of training, of as many pairs as there is time for."""
        settings = self.config.training
        both = 2 if settings.preference_weight > 0 else 1
        guess = BACKWARD * self.rates.forward_token / 2 * both
        a_pair = guess * self._tokens(self.pairs) / len(self.pairs)
        micro = min(settings.micro_batch_pairs, settings.batch_pairs)
        affordable = SECONDS / (TRAINING_STEPS * a_pair) if a_pair else settings.batch_pairs
        size = min(settings.batch_pairs, int(affordable) // micro * micro) or min(micro, int(affordable))
        self.rates.training_token = guess
        if not may_train or not size:
            return
        self.bench.models.keep()
        pairs = [numbered(self.pairs[i % len(self.pairs)], i) for i in range(TRAINING_STEPS * size)]
        update = {
            "batch_pairs": size,
            "micro_batch_pairs": min(micro, size),
            "epochs": 1,
            "report_to": [],
        }
        seconds = training_seconds(
            self.config.model_copy(update={"training": settings.model_copy(update=update)}),
            pairs,
            self.policy,
            self.bench.chat,
            self.bench.folder.folder / "checkpoints",
        )
        if seconds is not None:
            self.rates.training_token = seconds / (self._tokens(pairs) / TRAINING_STEPS)
            self.rates.trained = True

    def _tokens(self, pairs: Sequence[Pair]) -> int:
        """Tokens of pairs: the prompt once, and both responses."""
        chat = self.bench.chat
        return sum(
            len(chat.prompt_ids(pair["prompt"]))
            + sum(len(chat.response_ids(pair[side][-1]["content"], True)) for side in ("chosen", "rejected"))
            for pair in pairs
        )

    def _chunk(self, n: int, limit: int) -> list[Prompt]:
        """Prompts of one language, as many as the run has in a batch."""
        sampling = self.config.sampling
        asked = self.checked.plan.iterations[0].prompts.by_language[self.config.target_languages[0]]
        longest = max(len(self.bench.chat.prompt_ids(prompt.messages)) for prompt in asked[:PROMPTS])
        most = max(1, sampling.batch_tokens // ((longest + limit) * n))
        return asked[: min(sampling.chunk_prompts, most)]

    def _time(self, measured: Sequence[_Batch], prompts: Sequence[Prompt], n: int, tokens: int) -> float:
        """About how long a batch will take, from the batches before."""
        prompt_token, step, token = _fit(measured)
        read = sum(len(self.bench.chat.prompt_ids(prompt.messages)) for prompt in prompts)
        return read * prompt_token + tokens * (step + token * len(prompts) * n)

    def _decode(self, prompts: Sequence[Prompt], n: int, tokens: int) -> tuple[_Batch, list[Response]]:
        """Samples one batch."""
        config, chat = self.config, self.bench.chat
        model = self.bench.models.get(self.policy)
        encoded = [chat.prompt_ids(prompt.messages) for prompt in prompts]
        rows = [place for place in range(len(prompts)) for _ in range(n)]
        draws = np.random.default_rng(config.seed).random((len(rows), tokens))
        stops = chat.stop_ids(getattr(model, "generation_config", None))
        with timed() as clock:
            found = decode(
                model,
                encoded,
                rows,
                torch.from_numpy(draws),
                stop_ids=stops,
                temperature=config.sampling.temperature if self.samples else config.measures.temperature,
                top_p=config.sampling.top_p if self.samples else 1.0,
            )
        responses = []
        for number, (place, ids) in enumerate(zip(rows, found, strict=True)):
            ended = ids[-1] in stops
            kept = ids[:-1] if ended else ids
            responses.append(
                Response(
                    prompt_id=prompts[place].id,
                    language=prompts[place].language,
                    index=number % n,
                    text=chat.decode(kept),
                    finish_reason="stop" if ended else "length",
                    num_tokens=len(kept),
                )
            )
        lengths = [len(ids) for ids in found]
        batch = _Batch(sum(map(len, encoded)), max(lengths), sum(lengths), len(rows), clock.seconds)
        return batch, responses


@dataclass(frozen=True)
class _Batch:
    """A batch that was sampled: what it held, and how long it took."""

    prompt_tokens: int
    steps: int
    tokens: int
    rows: int
    seconds: float


def _fit(batches: Sequence[_Batch]) -> tuple[float, float, float]:
    """Seconds a prompt token, a step and a response token; relative errors are least."""
    work = np.array([[b.prompt_tokens, b.steps, b.tokens] for b in batches], dtype=float)
    seconds = np.array([batch.seconds for batch in batches])
    found, _ = nnls(work / seconds[:, None], np.ones(len(batches)))
    return float(found[0]), float(found[1]), float(found[2])


def _any_pairs(prompts: ParallelPrompts, responses: Sequence[Response]) -> Iterator[Pair]:
    """Pairs of what was sampled, where none can be chosen yet; one response is paired with itself."""
    for (language, prompt_id), answers in by_prompt(responses).items():
        yield make_pair(prompts.get(prompt_id, language), Side.of(answers[0]), Side.of(answers[-1]))
