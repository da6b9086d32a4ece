"""Measuring the policy of each iteration: its answers to the held-out prompts, judged next to the start's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingualign.config import RunConfig
from lingualign.languages import LanguageIdentifier
from lingualign.measures.judges import judge_kind, judge_label
from lingualign.measures.measure import DecodingMeasure, JudgedAnswers, measure_answers
from lingualign.models import resolve_device
from lingualign.pipeline.bench import Bench
from lingualign.pipeline.folder import Stage
from lingualign.pipeline.plan import DECODINGS, ModelRef, Plan, measure_name
from lingualign.pipeline.rewarding import implicit_reward
from lingualign.pipeline.stages import (
    Decoding,
    by_prompt,
    read_responses,
    read_scores,
    sample_responses,
    score_responses,
)

if TYPE_CHECKING:
    from lingualign.prompts import ParallelPrompts
    from lingualign.rewards import Reward


def measure_policy(bench: Bench, plan: Plan, heldout: ParallelPrompts, number: int) -> None:
    """Samples and judges the answers of the policy after an iteration; 0 is the starting policy."""
    for decoding in DECODINGS:
        answer_and_judge(
            bench,
            plan.stage(measure_name(number, decoding)),
            plan.stage(measure_name(number, f"{decoding}-judged")),
            plan.policies[number].path,
            heldout,
            decoding,
            start=plan.policies[0],
            reference=plan.reference,
        )


def answer_and_judge(
    bench: Bench,
    answering: Stage,
    judging: Stage,
    policy: Path,
    heldout: ParallelPrompts,
    decoding: str,
    start: ModelRef,
    reference: ModelRef,
) -> None:
    """One answer to every held-out prompt, and what the judge says of it.

    The draw is the same in every iteration: a policy that has not changed gives the answers of the start, and
    ties with it.
    """
    measures = bench.config.measures
    temperature = measures.temperature if decoding == "sampled" else 0.0
    drawn = Decoding(n=1, temperature=temperature, top_p=1.0, max_new_tokens=measures.max_new_tokens)
    answers = sample_responses(bench, answering, policy, heldout, drawn, draw="measures")

    def judge() -> Reward:
        return make_judge(bench, start.path, reference.path)

    score_responses(bench, judging, judge, heldout, answers)


def make_judge(bench: Bench, start: Path, reference: Path) -> Reward:
    """Makes the run's judge."""
    kind = judge_kind(bench.config)
    if kind == "lab":
        from lingualign.rewards import GoldReward

        return GoldReward()
    if kind == "implicit":
        return implicit_reward(bench, start, reference)
    from lingualign.rewards.reward_model import RewardModel

    folder = Path(str(bench.config.measures.reward_model)).expanduser()
    device = resolve_device(bench.config.device)
    return RewardModel.load(folder, device, bench.config.reward.batch_tokens)


def read_answers(folder: Path, number: int, decoding: str, heldout: ParallelPrompts) -> JudgedAnswers:
    """The judged answers of one policy in one decoding, in the order of the prompts."""
    responses = by_prompt(read_responses(folder / measure_name(number, decoding)))
    scores = by_prompt(read_scores(folder / measure_name(number, f"{decoding}-judged")))
    return JudgedAnswers(
        {language: [responses[language, i][0] for i in heldout.ids] for language in heldout.by_language},
        {language: [scores[language, i][0] for i in heldout.ids] for language in heldout.by_language},
    )


def measure_all(config: RunConfig, folder: Path, heldout: ParallelPrompts, number: int) -> dict[str, Any]:
    """The measures of one policy, in both decodings, against the start."""
    identifier = LanguageIdentifier(config.languages)
    measured: dict[str, Any] = {}
    for decoding in DECODINGS:
        answers = read_answers(folder, number, decoding, heldout)
        start = read_answers(folder, 0, decoding, heldout) if number else None
        found: DecodingMeasure = measure_answers(
            answers, start, config.source_language, identifier, config.measures.bootstrap, config.seed
        )
        measured[decoding] = found.as_dict()
    return measured


def describe_measures(config: RunConfig, heldout: ParallelPrompts) -> dict[str, Any]:
    """What stands at the head of `measures.json`: how was measured, and on what."""
    return {
        "judge": {"kind": judge_kind(config), "label": judge_label(config)},
        "source_language": config.source_language,
        "languages": config.languages,
        "held_out_prompts": len(heldout),
        "temperature": config.measures.temperature,
    }
