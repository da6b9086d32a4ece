"""CALM and CM-Align on the lab's tasks with an answer that can be extracted.

Two questions. Does CALM raise the accuracy of answers and their agreement over languages, and does a higher
`min_vote_share` raise the accuracy of its labels? And is CM-Align's choice of the English reference, by
consistency, better than a random one?

    python experiments/answer_methods.py --work runs/answers --output FILE data.limit=160

One iteration from `lab:aligned`; responses are sampled hot, so that references and votes can be wrong. Runs
are ordinary runs under `--work`; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lingualign.answers import extractor
from lingualign.lab.judge import judge
from lingualign.lab.prompts import prompts
from lingualign.measures.comparison.compare import PairedBootstrap
from lingualign.measures.intervals import exact_share
from lingualign.models import load_model, load_tokenizer
from lingualign.pipeline.files import read_json, write_json
from lingualign.pipeline.folder import read_parts
from lingualign.pipeline.progress import Silent
from lingualign.pipeline.run import align
from lingualign.pipeline.single import sample, score
from lingualign.prompts import ChatFormat
from lingualign.records import PAIRS, RESPONSES, SCORES, read_table
from lingualign.rewards.votes import vote_consistency
from lingualign.sampling import TransformersSampler
from lingualign.settings import load_config

LANGUAGES = ["en", "de", "es", "sw", "zh"]
FAMILIES = {"sum", "price", "compare", "sort"}  # those with an answer
TEMPERATURE = 1.0
COMMON = ["iterations=1", "measures.n=2", "sampling.n=6", "sampling.top_p=1"]
COMMON += [f"sampling.temperature={TEMPERATURE}"]
CONSISTENT, AT_RANDOM = "cm-align", "cm-align, reference at random"
METHODS = {
    "calm": ["calm"],
    "calm, share 0.6": ["calm", "reward.options.min_vote_share=0.6"],
    CONSISTENT: ["cm-align", "reward.options.answers=lab"],
    AT_RANDOM: ["cm-align", "reward.options.answers=lab", "reward.options.reference=random"],
    "random labels": ["random"],
}
SHAKY = ["policy=lab:sft", "sampling.n=2", "sampling.temperature=1.5", "data.limit=400"]
SHARES = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
HELD_OUT = 350  # prompts, of which four families in seven have answers


def right(prompt_id: str, language: str, text: str) -> float:
    """Whether the facts of a response are right, by the judge."""
    return float(judge(prompt_id, language, text).traits["right"] or 0)


def measure(model: Path | str) -> dict[str, Any]:
    """Answers to the held-out prompts that have one: right or not [prompts, languages], their agreement."""
    sampler = TransformersSampler(
        load_model(model, dtype="float32"), ChatFormat(load_tokenizer(model)), 65536
    )
    held = prompts("heldout", HELD_OUT, LANGUAGES)
    held = held.select([i for i in held.ids if i.split(".")[0] in FAMILIES])
    answer = extractor("lab")
    facts, said = [], []
    for code in LANGUAGES:
        rows = sampler.sample(held.by_language[code], n=1, temperature=TEMPERATURE, max_new_tokens=96, seed=0)
        facts.append([right(row["prompt_id"], code, row["text"]) for (row,) in rows])
        said.append([answer(row) for (row,) in rows])
    return {
        "right": np.array(facts).T.tolist(),
        "agreement": [vote_consistency(answers) for answers in zip(*said, strict=True)],
    }


def labels(run: Path) -> list[tuple[str, bool, bool]]:
    """Each pair on a task with an answer: its prompt, is the chosen one right, and the rejected one wrong?"""
    return [
        (
            row["prompt_id"],
            right(row["prompt_id"], row["language"], row["chosen"][0]["content"]) == 1,
            right(row["prompt_id"], row["language"], row["rejected"][0]["content"]) == 0,
        )
        for row in read_table(run / "iteration-1" / "pairs.parquet", PAIRS)
        if row["prompt_id"].split(".")[0] in FAMILIES
    ]


def winners(folder: Path) -> list[tuple[float, float]]:
    """The share of the winning answer of each question, and whether it is right."""
    responses = read_parts(folder / "responses", RESPONSES)
    texts = {(row["prompt_id"], row["language"], row["index"]): row["text"] for row in responses}
    found = []
    for row in read_parts(folder / "scores", SCORES):
        parts = {part["name"]: part["value"] for part in row["components"]}
        if parts.get("explains") == 1:
            text = texts[row["prompt_id"], row["language"], row["index"]]
            found.append((parts["vote_share"], right(row["prompt_id"], row["language"], text)))
    return found


def run_once(name: str, seed: int, work: Path, settings: Sequence[str]) -> dict[str, Any]:
    """Runs a method and measures it, or reads what was measured."""
    run = work / name.replace(", ", "-").replace(" ", "-") / f"seed-{seed}"
    file = run.with_suffix(".json")
    if not file.exists():
        recipe, *own = METHODS[name]
        align(load_config(recipe, [*COMMON, *own, f"output={run}", f"seed={seed}", *settings]))
        write_json(file, measure(run / "iteration-1" / "model"))
    found = {**read_json(file), "labels": labels(run)}
    found["winners"] = winners(run / "iteration-1") if name == "calm" else []
    facts, agreed = 100 * np.mean(found["right"]), 100 * np.mean(found["agreement"])
    print(f"{name}, seed {seed}: right {facts:.1f}, agreement {agreed:.1f}", flush=True)
    return found


def shaky_votes(seed: int, work: Path) -> list[tuple[float, float]]:
    """Winners of votes by few hot samples of the SFT model, which can be wrong."""
    folder = work / "shaky-votes" / f"seed-{seed}"
    config = load_config("calm", [f"output={folder}", f"seed={seed}", *SHAKY])
    responses = sample(config, folder, Silent())
    score(config, responses, folder, Silent())
    return winners(folder)


def difference(first: Sequence[tuple[str, bool]], second: Sequence[tuple[str, bool]]) -> str:
    """A share less another in points, with its 95 % interval by bootstrap over the prompts of both."""
    places = {prompt: i for i, prompt in enumerate(sorted({prompt for prompt, _ in (*first, *second)}))}
    sums, counts = np.zeros((2, 2, len(places)))
    for side, items in enumerate((first, second)):
        for prompt, hit in items:
            sums[side, places[prompt]] += hit
            counts[side, places[prompt]] += 1
    draws = np.random.default_rng(0).multinomial(len(places), [1 / len(places)] * len(places), 5000)
    shares = (draws @ sums.T) / (draws @ counts.T)  # [draws, sides]
    low, high = np.quantile(shares[:, 0] - shares[:, 1], [0.025, 0.975])
    observed = sums.sum(axis=1) / counts.sum(axis=1)
    return f"{100 * (observed[0] - observed[1]):.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def interval(runs: np.ndarray) -> str:
    """Mean in percent with its 95 % interval over seeds and prompts [seeds, prompts]."""
    found = PairedBootstrap(*runs.shape).interval(runs)
    return f"{100 * found.mean:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("settings", nargs="*", help="key=value, for all runs")
    options = parser.parse_args()
    measured = {
        name: [run_once(name, seed, options.work, options.settings) for seed in options.seeds]
        for name in METHODS
    }
    shaky = [winner for seed in options.seeds for winner in shaky_votes(seed, options.work)]
    text = report(measured, measure("lab:aligned"), shaky, options.settings)
    options.output.write_text(text, encoding="utf-8")


def report(
    measured: dict[str, list[dict[str, Any]]],
    start: dict[str, Any],
    shaky: Sequence[tuple[float, float]],
    settings: Sequence[str],
) -> str:
    """The tables."""

    def facts(found: dict[str, Any], columns: slice) -> np.ndarray:
        return np.array(found["right"])[:, columns].mean(axis=1)

    targets, english = slice(1, None), slice(0, 1)
    seeds, n = len(measured[CONSISTENT]), len(start["right"])
    lines = [
        "# CALM and CM-Align on tasks with an answer",
        "",
        f"One iteration from `lab:aligned` with {' '.join(settings)}, {seeds} seeds; measured on {n} "
        f"held-out prompts with an answer at temperature {TEMPERATURE:g}, 95 % intervals over seeds and "
        "prompts. Made by `experiments/answer_methods.py`.",
        "",
        "| method | pairs | right labels % | right answers %, targets | change | right answers %, English | "
        "agreement of languages % | change |",
        "|---|---|---|---|---|---|---|---|",
        f"| start | | | {100 * facts(start, targets).mean():.1f} | | "
        f"{100 * facts(start, english).mean():.1f} | {100 * np.mean(start['agreement']):.1f} | |",
    ]
    for name, runs in measured.items():
        after = np.stack([facts(found, targets) for found in runs])
        agreed = np.array([found["agreement"] for found in runs])
        cells = [
            f"{np.mean([len(found['labels']) for found in runs]):.0f}",
            f"{100 * np.mean([ok and bad for found in runs for _, ok, bad in found['labels']]):.1f}",
            f"{100 * after.mean():.1f}",
            interval(after - facts(start, targets)),
            f"{100 * np.mean([facts(found, english) for found in runs]):.1f}",
            f"{100 * agreed.mean():.1f}",
            interval(agreed - np.array(start["agreement"])),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    by_consistency, by_chance = (
        np.stack([facts(found, targets) for found in measured[name]]) for name in (CONSISTENT, AT_RANDOM)
    )
    lines += [
        "",
        "Reference by consistency less reference at random, right answers in the targets: "
        f"{interval(by_consistency - by_chance)} points.",
    ]
    for what, place in (("right chosen answers", 1), ("right labels (chosen right, rejected wrong)", 2)):
        sides = [
            [(row[0], all(row[1 : place + 1])) for found in measured[name] for row in found["labels"]]
            for name in (CONSISTENT, AT_RANDOM)
        ]
        lines += ["", f"The same of {what} in the pairs: {difference(*sides)} points."]
    lines += [
        "",
        "## The vote",
        "",
        f"By calm's own samples ({len(LANGUAGES)} languages, 6 each), and by few hot ones of the SFT model "
        f"({', '.join(SHAKY)}), whose votes can be wrong. Exact 95 % intervals.",
        "",
        "| least share | questions | winner right % | of few hot samples | winner right % |",
        "|---|---|---|---|---|",
    ]
    own = [winner for found in measured["calm"] for winner in found["winners"]]
    lines += [f"| {share:g} | {vote(own, share)} | {vote(shaky, share)} |" for share in SHARES]
    return "\n".join(lines) + "\n"


def vote(winners: Sequence[tuple[float, float]], least: float) -> str:
    """How many questions have a winner of a share, and how often it is right."""
    kept = [ok for share, ok in winners if share >= least]
    if not kept:
        return "0 | "
    found = exact_share(int(sum(kept)), len(kept))
    return f"{len(kept)} | {100 * found.mean:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


if __name__ == "__main__":
    main()
