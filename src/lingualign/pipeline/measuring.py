"""Measuring the policy of each iteration: its answers to the held-out prompts, judged next to the start's."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lingualign.config import RunConfig
from lingualign.measures.judges import judge_kind, judge_label
from lingualign.measures.measure import DecodingMeasure, JudgedAnswers, measure_answers
from lingualign.measures.verdict import run_verdict
from lingualign.pipeline.bench import Bench, Workbench
from lingualign.pipeline.folder import Stage
from lingualign.pipeline.judging import JUDGE_CACHE, PreferenceOverStart, make_reader, scoring_judge
from lingualign.pipeline.plan import DECODINGS, ModelRef, Plan, measure_name
from lingualign.pipeline.rewarding import implicit_reward
from lingualign.pipeline.sampling import Decoding, sample_responses
from lingualign.pipeline.scoring import score_responses
from lingualign.pipeline.tables import by_prompt, read_responses, read_scores

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
            number,
            start=plan.policies[0],
            reference=plan.reference,
            starting=bench.folder.folder / measure_name(0, decoding),
        )


def answer_and_judge(
    bench: Bench,
    answering: Stage,
    judging: Stage,
    policy: Path,
    heldout: ParallelPrompts,
    decoding: str,
    iteration: int,
    start: ModelRef,
    reference: ModelRef,
    starting: Path,
) -> None:
    """One answer to every held-out prompt, and what the judge says of it.

    The draw is the same in every iteration: a policy that has not changed gives the answers of the start, and
    ties with it.
    """
    measures = bench.config.measures
    temperature = measures.temperature if decoding == "sampled" else 0.0
    drawn = Decoding(n=1, temperature=temperature, top_p=1.0, max_new_tokens=measures.max_new_tokens)
    answers = sample_responses(bench, answering, policy, heldout, drawn, draw="measures", iteration=iteration)
    cache = bench.folder.folder / JUDGE_CACHE
    judge = partial(make_judge, start=start.path, reference=reference.path, starting=starting, cache=cache)
    anywhere = judge_kind(bench.config) != "server"  # which keeps its answers in the run folder
    score_responses(bench, judging, judge, heldout, answers, anywhere)


def make_judge(bench: Workbench, start: Path, reference: Path, starting: Path, cache: Path) -> Reward:
    """Makes the run's judge.

    Args:
        bench: The tools.
        start: Folder of the starting policy.
        reference: Folder of the reference model.
        starting: The start's answers in the same decoding, for a judge of pairs.
        cache: File of the answers of a judge behind a server.
    """
    kind = judge_kind(bench.config)
    if kind == "server":
        return PreferenceOverStart(bench.config.measures, read_responses(starting), cache)
    if kind == "implicit":
        return implicit_reward(bench, start, reference)
    return scoring_judge(bench.config, kind)


def read_answers(
    folder: Path, number: int, decoding: str, heldout: ParallelPrompts, pairwise: bool = False
) -> JudgedAnswers:
    """The judged answers of one policy in one decoding, in the order of the prompts."""
    responses = by_prompt(read_responses(folder / measure_name(number, decoding)))
    scores = by_prompt(read_scores(folder / measure_name(number, f"{decoding}-judged")))
    return JudgedAnswers(
        {language: [responses[language, i][0] for i in heldout.ids] for language in heldout.by_language},
        {language: [scores[language, i][0] for i in heldout.ids] for language in heldout.by_language},
        pairwise,
    )


def measure_all(config: RunConfig, folder: Path, heldout: ParallelPrompts, number: int) -> dict[str, Any]:
    """The measures of one policy, in both decodings, against the start."""
    reader = make_reader(config, config.languages)
    pairwise = judge_kind(config) == "server"
    measured: dict[str, Any] = {}
    for decoding in DECODINGS:
        answers = read_answers(folder, number, decoding, heldout, pairwise)
        start = read_answers(folder, 0, decoding, heldout, pairwise) if number else None
        found: DecodingMeasure = measure_answers(
            answers, start, config.source_language, reader, config.measures.bootstrap, config.seed
        )
        measured[decoding] = found.as_dict()
    return measured


def measure_against_start(
    config: RunConfig, folder: Path, heldout: ParallelPrompts, number: int, start: dict[str, Any]
) -> dict[str, Any]:
    """The measures of one trained policy, and the verdict on it."""
    measured = measure_all(config, folder, heldout, number)
    verdict = run_verdict(config.measures.retention, config.source_language, start, measured)
    return {**measured, "verdict": verdict.as_dict()}


def describe_measures(config: RunConfig, heldout: ParallelPrompts) -> dict[str, Any]:
    """What stands at the head of `measures.json`: how was measured, and on what."""
    return {
        "judge": {"kind": judge_kind(config), "label": judge_label(config)},
        "source_language": config.source_language,
        "languages": config.languages,
        "held_out_prompts": len(heldout),
        "temperature": config.measures.temperature,
    }
