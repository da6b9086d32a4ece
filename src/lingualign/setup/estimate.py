"""What a run will cost: rates of a probe, times the work that its plan has."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.pipeline.labelled import load_labelled, training_labels
from lingualign.pipeline.plan import DECODINGS, REWARD, Iteration, measure_name
from lingualign.pipeline.rewarding import CHECKED_PROMPTS, IMPLICIT, needs_fit
from lingualign.pipeline.sampling import sampled_together
from lingualign.pipeline.validate import CheckedRun
from lingualign.planning.counting import PromptTokens
from lingualign.planning.work import ROW_BYTES
from lingualign.prompts import ParallelPrompts
from lingualign.setup.machine import look_at_machine
from lingualign.setup.memory import checkpoint_bytes, footprint, training_bytes
from lingualign.setup.probe import Rates, probe
from lingualign.setup.shape import read_shape, run_shapes, trained_parameters
from lingualign.setup.suggest import room_of

LEAST, MOST = 0.7, 1.5  # of what the rates give; docs/configure.md compares estimates with runs


@dataclass(frozen=True)
class StageCost:
    """Seconds that a stage may take, from and to."""

    name: str
    low: float
    high: float


@dataclass(frozen=True)
class Estimate:
    """What a run will cost.

    Attributes:
        stages: Those that are still to do, in their order.
        memory_low: Bytes at the peak, with responses as long as in the probe.
        memory_high: With the longest that there may be.
        disk_low: Bytes in the run folder at the end, with responses as in the probe.
        disk_high: With the longest, and while a checkpoint is replaced by the next.
        checkpoints: Of them, bytes that are removed when a training ends.
        assumptions: What this rests on, as phrases.
        probe_seconds: How long the probe took.
    """

    stages: list[StageCost]
    memory_low: float
    memory_high: float
    disk_low: float
    disk_high: float
    checkpoints: float
    assumptions: list[str] = field(default_factory=list)
    probe_seconds: float = 0.0

    @property
    def low(self) -> float:
        """Least seconds of all stages."""
        return sum(stage.low for stage in self.stages)

    @property
    def high(self) -> float:
        """Most seconds of all stages."""
        return sum(stage.high for stage in self.stages)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "seconds_low": self.low, "seconds_high": self.high}


def estimate_run(checked: CheckedRun) -> Estimate:
    """Probes a run, and estimates what is still to do of it.

    Raises:
        InputError: The probe ran out of memory, as the run would.
    """
    config = checked.config
    policy = read_shape(config.policy)
    room = room_of(look_at_machine(), config.device, config.dtype)
    may_train = training_bytes(config, policy, room.width, config.sampling.max_new_tokens) < room.free
    try:
        rates = probe(checked, may_train)
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise InputError(
            f"The probe ran out of memory, and so would the run: {str(error).splitlines()[0]}",
            "Lower sampling.batch_tokens, reward.batch_tokens and training.micro_batch_pairs.",
        ) from error
    return estimate_from(checked, rates)


def estimate_from(checked: CheckedRun, rates: Rates) -> Estimate:
    """The estimate that follows from measured rates."""
    config = checked.config
    limit = config.sampling.max_new_tokens
    low, high = _lengths(rates, limit)
    tokens = PromptTokens(checked.chat)
    seconds = [_Work(checked, rates, lengths, tokens).stages() for lengths in (low, high)]
    stages = [
        StageCost(name, LEAST * seconds[0][name], MOST * seconds[1][name])
        for name in checked.plan.fingerprints
        if name not in checked.done and name in seconds[0]
    ]
    policy, reference = run_shapes(config)
    room = room_of(look_at_machine(), config.device, config.dtype)
    prompt = max(tokens.longest(prompts) for prompts in checked.prompts.iterations)
    needs = [
        footprint(config, policy, reference, room.width, room.cpu, int(prompt + length)).peak
        for length in (float(low.mean()), limit)
    ]
    kept, checkpoints = _disk(checked, rates, float(low.mean()))
    most, _ = _disk(checked, rates, float(limit))
    return Estimate(
        stages,
        memory_low=max(rates.memory, min(needs)),
        memory_high=max(rates.memory, *needs),
        disk_low=kept,
        disk_high=most + checkpoints,
        checkpoints=checkpoints,
        assumptions=_assumptions(checked, rates, low),
        probe_seconds=rates.seconds,
    )


def expected_longest(lengths: np.ndarray, count: int) -> float:
    """The expected maximum of some draws from observed lengths."""
    values, times = np.unique(lengths, return_counts=True)
    below = np.cumsum(times) / times.sum()
    chance = np.diff(np.concatenate([[0.0], below**count]))
    return float((values * chance).sum())


def _lengths(rates: Rates, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Lengths of responses: as the probe saw them, and with those that it cut as long as they may become."""
    seen = np.array(rates.lengths, dtype=float)
    return seen, np.where(np.array(rates.unfinished), float(limit), seen)


class _Work:
    """Seconds of each stage, with responses of some lengths."""

    def __init__(self, checked: CheckedRun, rates: Rates, lengths: np.ndarray, tokens: PromptTokens) -> None:
        self.tokens = tokens
        self.checked, self.rates, self.lengths = checked, rates, lengths
        self.config: RunConfig = checked.config
        self.shape = read_shape(checked.config.policy)
        self.mean = float(lengths.mean())
        self.loading = rates.loading

    def stages(self) -> dict[str, float]:
        """Seconds by the name of the stage; a judge behind a server is left out, nobody can tell."""
        plan, found = self.checked.plan, dict[str, float]()
        if plan.has(REWARD):
            found[REWARD] = self.reward_training()
        found |= self.measures(0)
        for iteration in plan.iterations:
            found |= {
                iteration.name(name): seconds
                for name, seconds in self.iteration(iteration).items()
                if plan.has(iteration.name(name))
            }
            found |= self.measures(iteration.number)
        return found

    def measures(self, number: int) -> dict[str, float]:
        """Answers of a policy in both decodings, and the judge's work on them."""
        heldout, found = self.checked.prompts.heldout, dict[str, float]()
        for decoding in DECODINGS:
            seconds = self.sampling(heldout, 1, self.config.measures.max_new_tokens)
            found[measure_name(number, decoding)] = seconds + (self.loading if decoding == "sampled" else 0)
            if self.rates.judge_token is not None:
                judged = self.rates.judge_token * self.scored_tokens(heldout, len(heldout), 1)
                found[measure_name(number, f"{decoding}-judged")] = judged
        return found

    def iteration(self, iteration: Iteration) -> dict[str, float]:
        """All stages of an iteration, those that it does not have too."""
        rates, config, prompts = self.rates, self.config, iteration.prompts
        sampling, training = config.sampling, config.training
        score = rates.score_token if rates.score_token is not None else rates.forward_token
        tokens = self.pair_tokens(prompts)
        pairs = rates.pairs * len(prompts)
        steps = math.ceil(pairs / training.batch_pairs) * training.epochs
        pairing = rates.pairing
        if pairing is None:  # a translation of a response in every target language
            pairing = self.mean * rates.token * len(config.target_languages)
            pairing += self.mean * rates.step * len(config.target_languages) / sampling.chunk_prompts
        return {
            "responses": self.loading + self.sampling(prompts, sampling.n, sampling.max_new_tokens),
            "scores": self.loading + score * self.scored_tokens(prompts, len(prompts), sampling.n),
            "health": self.health(prompts),
            "pairs": pairing * len(prompts),
            "reference": self.loading + rates.forward_token * tokens,
            "model": self.loading
            + rates.training_token * tokens * training.epochs
            + checkpoint_bytes(self.shape, training) * (1 + steps // training.save_steps) / rates.write,
        }

    def sampling(self, prompts: ParallelPrompts, n: int, limit: int) -> float:
        """Responses to prompts, batch by batch as the sampler cuts them."""
        sampling, rates, seconds = self.config.sampling, self.rates, 0.0
        lengths = np.minimum(self.lengths, limit)
        for group in sampled_together(sampling, prompts, n):
            asked = sum(chunk.size for chunk in group)
            read = sum(chunk.size * self.tokens.mean(prompts, chunk.language) for chunk in group) / asked
            rows = max(1, int(sampling.batch_tokens // (read + limit)))
            batches = math.ceil(asked * n / rows)
            longest = expected_longest(lengths, min(asked * n, rows))
            seconds += rates.prompt_token * read * asked + rates.step * batches * longest
            seconds += rates.token * asked * n * float(lengths.mean())
        return seconds

    def scored_tokens(self, prompts: ParallelPrompts, count: int, n: int) -> float:
        """Tokens of some prompts in every language, each once, and of their responses."""
        read = self.tokens.mean(prompts, self.config.source_language)
        return count * len(prompts.by_language) * (read + n * self.mean)

    def health(self, prompts: ParallelPrompts) -> float:
        """A second look of the implicit reward: another context, and labelled pairs."""
        config, score = self.config, self.rates.score_token
        if config.reward.kind != IMPLICIT or score is None:
            return 0.0
        share = len(config.target_languages) / len(config.languages)
        second = self.scored_tokens(prompts, min(CHECKED_PROMPTS, len(prompts)), config.sampling.n) * share
        read = self.tokens.mean(prompts, config.source_language)
        return score * (second + len(load_labelled(config)) * (read + 2 * self.mean))

    def pair_tokens(self, prompts: ParallelPrompts) -> float:
        """Tokens of the pairs of an iteration, a prompt once and both responses."""
        read = np.mean([self.tokens.mean(prompts, code) for code in prompts.by_language])
        return self.rates.pairs * len(prompts) * (float(read) + 2 * self.mean)

    def reward_training(self) -> float:
        """The training of a reward model: as that of the policy, a token."""
        labels = len(training_labels(self.config))
        epochs = int(self.config.reward.options.get("epochs", 1))
        read = self.tokens.mean(self.checked.prompts.iterations[0], self.config.source_language)
        return self.loading + labels * epochs * 2 * (read + self.mean) * self.rates.training_token


def _disk(checked: CheckedRun, rates: Rates, length: float) -> tuple[float, float]:
    """Bytes that stay in the run folder, and those of checkpoints: two, while one follows the other."""
    config = checked.config
    shape = read_shape(config.policy)
    text = rates.text_bytes * length / max(1.0, float(np.mean(rates.lengths)))
    languages, total = len(config.languages), 0.0
    for iteration in checked.plan.iterations:
        rows = len(iteration.prompts) * languages * config.sampling.n
        if checked.plan.has(iteration.name("responses")):
            total += rows * (text + 2 * ROW_BYTES)
        total += rates.pairs * len(iteration.prompts) * (2 * text + ROW_BYTES)
        trained = trained_parameters(shape, config.training)
        total += 4 * trained if config.training.lora is not None else shape.stored * shape.parameters
    held = len(checked.prompts.heldout) * languages * len(DECODINGS) * (config.iterations + 1)
    return total + held * (text + 2 * ROW_BYTES), 2 * checkpoint_bytes(shape, config.training)


def _assumptions(checked: CheckedRun, rates: Rates, lengths: np.ndarray) -> list[str]:
    """What the estimate rests on."""
    config = checked.config
    said = [
        f"responses as in the probe of {rates.seconds:.0f} s: {len(rates.lengths)} of them, "
        f"{lengths.mean():.0f} tokens on average"
        + (f", {sum(rates.unfinished)} cut before their end" if any(rates.unfinished) else ""),
        "a machine as busy as now",
        f"{rates.pairs:.3g} pairs a prompt, in {len(config.languages)} languages",
    ]
    if not rates.trained:
        said.append("a training step of three forward passes: none was tried")
    if rates.pairing is None:
        said.append("one translation a prompt and target language, as long as a response")
    if config.sampling.backend != "transformers":
        who = "vLLM" if config.sampling.backend == "vllm" else "the servers"
        said.append(f"sampling in this process, as {who} may be many times faster")
    if rates.judge_token is None:
        said.append("the judge's server left out")
    if needs_fit(config):
        said.append("a reward model that is trained and scores as the policy does")
    return said
