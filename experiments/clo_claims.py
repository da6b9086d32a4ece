"""CLO's claims put to the test: from a model that understands four languages and answers in English.

Every method learns from the same English seeds and their exact translations, starts from `lab:biased`, and
is tuned with the same effort: the same grid of learning rates and epochs, at one size and seed, on prompts
of its own; the setting with the highest gold reward, averaged over English and the mean of the targets, is
then run at every size with three seeds on other prompts.

    python experiments/clo_claims.py --work runs/clo-claims --output experiments/results/clo_claims.md

Every training and measurement is kept under `--work`; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import numpy as np

from lingualign.config import PairsConfig, TrainingConfig
from lingualign.lab.judge import judge
from lingualign.lab.preferences import labelled_prompts
from lingualign.lab.prompts import prompts
from lingualign.languages import LanguageIdentifier
from lingualign.measures.comparison.compare import PairedBootstrap
from lingualign.measures.win_rate import outcome
from lingualign.models import load_model, load_tokenizer, resolve_spec
from lingualign.pairs import Sources, Tally, swap, translated
from lingualign.pipeline.files import read_json, write_json
from lingualign.prompts import ChatFormat
from lingualign.records import Pair
from lingualign.sampling import TransformersSampler
from lingualign.training import reference_logps, train
from lingualign.translation import ExactTranslator

LANGUAGES = ["en", "de", "es", "sw", "zh"]
TARGETS = LANGUAGES[1:]
START = "lab:biased"
RATES = (3e-4, 1e-3, 3e-3)
EPOCHS = (2, 6)
SIZES = (50, 100)
TUNED_AT = 50
SEEDS = (1, 2, 3)
TUNING_PROMPTS = (400, 100)  # start, number, of the held-out ones
PROMPTS = (0, 200)


@dataclass(frozen=True)
class Method:
    """A way to learn from the seeds."""

    name: str
    swaps: bool
    settings: Mapping[str, object]
    languages: str = "all"


CLO = {"preference_weight": 0.5, "nll_weight": 0.5, "nll_on": "targets", "group_prompts": True, "beta": 1.0}
SFT = {"preference_weight": 0.0, "nll_weight": 1.0, "group_prompts": True}
CLAIMED = "CLO, attention, beta 1"  # attention alone, as in the paper
METHODS = [
    Method("SFT, targets only", False, SFT, "targets"),
    Method("SFT, English too", False, SFT),
    Method(CLAIMED, True, {**CLO, "train_modules": "attention"}),
    Method("CLO, all weights, beta 1", True, CLO),
    Method("CLO, all weights, English NLL too, beta 1", True, {**CLO, "nll_on": "all"}),
    Method("CLO, attention", True, {**CLO, "train_modules": "attention", "beta": 0.1}),
]


def make_pairs(method: Method, size: int, seed: int) -> list[Pair]:
    """The rows of a method, from the seeds of one draw."""
    asked = prompts("train", size, LANGUAGES, start=1000 * seed)
    sources = Sources(
        asked,
        "en",
        PairsConfig.model_validate({"languages": method.languages}),
        LanguageIdentifier(LANGUAGES),
        labelled=labelled_prompts(asked.ids),
        translate=ExactTranslator().translate,
    )
    tally = Tally(sources)
    if method.swaps:
        return list(swap.swap_pairs(sources, tally))
    return list(translated.translated_pairs(sources, tally, rejected=False))


def run(
    method: Method, rate: float, epochs: int, size: int, seed: int, asked: tuple[int, int], work: Path
) -> dict:
    """Trains and measures once, or reads what was measured."""
    name = f"{method.name}-{rate:g}-{epochs}-{size}-{seed}-{asked[0]}".replace(", ", "-").replace(" ", "-")
    file = work / f"{name}.json"
    if file.exists():
        return read_json(file)
    chat, pairs = ChatFormat(load_tokenizer(START)), make_pairs(method, size, seed)
    config = TrainingConfig.model_validate(
        {
            "learning_rate": rate,
            "epochs": epochs,
            "batch_pairs": 32,
            "micro_batch_pairs": 8,
            "save_steps": 10_000,
        }
        | dict(method.settings)
    )
    rows = None
    if config.preference_weight > 0:
        rows = reference_logps(load_model(START, dtype="float32"), pairs, chat, max_length=config.max_length)
    folder = work / "model"
    rmtree(folder, ignore_errors=True)
    result = train(
        config,
        pairs,
        rows,
        policy=resolve_spec(START),
        chat=chat,
        output=folder,
        seed=seed,
        dtype="float32",
    )
    measured = measure(result.model, asked)
    write_json(file, measured)
    print(f"{name}: {summary(measured)}", flush=True)
    return measured


def measure(model: Path | str, asked: tuple[int, int]) -> dict:
    """Answers at temperature 0.6 and what the judge says, a language at a time."""
    sampler = TransformersSampler(
        load_model(model, dtype="float32"), ChatFormat(load_tokenizer(model)), 65536
    )
    held = prompts("heldout", asked[1], LANGUAGES, start=asked[0])
    measured = {}
    for language in LANGUAGES:
        answers = sampler.sample(held.by_language[language], n=1, temperature=0.6, max_new_tokens=96, seed=0)
        judged = [judge(row["prompt_id"], language, row["text"]) for (row,) in answers]
        measured[language] = {
            "text": [row["text"] for (row,) in answers],
            "gold": [judgement.reward for judgement in judged],
            "language": [float(judgement.traits["language"] or 0) for judgement in judged],
        }
    return measured


def quality(measured: dict) -> float:
    """What settings are chosen by: the gold reward, of English and of the targets' mean alike."""
    gold = {language: float(np.mean(measured[language]["gold"])) for language in LANGUAGES}
    return (gold["en"] + float(np.mean([gold[target] for target in TARGETS]))) / 2


def summary(measured: dict) -> str:
    """One measurement in a line."""
    share = " ".join(f"{code} {100 * np.mean(measured[code]['language']):.0f}" for code in LANGUAGES)
    return f"right language {share}; quality {quality(measured):.3f}"


def wins(ours: dict, theirs: dict, languages: Sequence[str]) -> np.ndarray:
    """Wins, ties half, of one measurement against another [languages, prompts]."""
    return np.array(
        [
            [
                outcome(*row)
                for row in zip(
                    ours[code]["gold"],
                    theirs[code]["gold"],
                    ours[code]["text"],
                    theirs[code]["text"],
                    strict=True,
                )
            ]
            for code in languages
        ]
    )


def interval(runs: Sequence[np.ndarray]) -> str:
    """Mean in percent with its 95 % interval over seeds and prompts; each run is [languages, prompts]."""
    stacked = np.stack(runs).mean(axis=1)  # [seeds, prompts]
    found = PairedBootstrap(*stacked.shape).interval(stacked)
    return f"{100 * found.mean:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)

    tuned, tuning = {}, []
    for method in METHODS:
        tried = {
            (rate, epochs): run(method, rate, epochs, TUNED_AT, 0, TUNING_PROMPTS, options.work)
            for rate in RATES
            for epochs in EPOCHS
        }
        tuned[method.name] = max(tried, key=lambda setting: quality(tried[setting]))
        tuning += [
            f"| {method.name} | {rate:g} | {epochs} | {quality(found):.3f} | "
            f"{100 * np.mean([found[t]['language'] for t in TARGETS]):.1f} | "
            f"{100 * np.mean(found['en']['language']):.1f} |"
            for (rate, epochs), found in tried.items()
        ]
    measured = {
        (method.name, size): [
            run(method, *tuned[method.name], size, seed, PROMPTS, options.work) for seed in options.seeds
        ]
        for method in METHODS
        for size in SIZES
    }
    start = measure(START, PROMPTS)
    options.output.write_text(report(tuned, tuning, measured, start, len(options.seeds)), encoding="utf-8")
    print(json.dumps(tuned))


def report(tuned: dict, tuning: list[str], measured: dict, start: dict, seeds: int) -> str:
    """The tables."""

    def share(runs: Sequence[dict], codes: Sequence[str], key: str) -> str:
        return interval([np.array([run[code][key] for code in codes]) for run in runs])

    lines = [
        "# CLO's claims in the lab",
        "",
        f"From `{START}`, which answers in English. {seeds} seeds, {PROMPTS[1]} held-out prompts a language, "
        "temperature 0.6, 95 % intervals over seeds and prompts. Gold is the judge's reward in percent. Made "
        "by `experiments/clo_claims.py`, which says how methods are tuned.",
        "",
        "| method | learning rate | epochs | seeds of data | right language, targets | lowest target | "
        "right language, English | gold, targets | gold, English |",
        "|---|---|---|---|---|---|---|---|---|",
    ]

    def row(head: str, runs: Sequence[dict]) -> None:
        lowest = min(100 * np.mean([run[target]["language"] for run in runs]) for target in TARGETS)
        cells = [
            share(runs, TARGETS, "language"),
            f"{lowest:.1f}",
            share(runs, ["en"], "language"),
            share(runs, TARGETS, "gold"),
            share(runs, ["en"], "gold"),
        ]
        lines.append(f"| {head} | {' | '.join(cells)} |")

    row("start | | |", [start])
    for (name, size), runs in measured.items():
        rate, epochs = tuned[name]
        row(f"{name} | {rate:g} | {epochs} | {size}", runs)
    lines += [
        "",
        "## Claims, as wins of the first over the second (50 = even)",
        "",
        "| claim | targets | English |",
        "|---|---|---|",
    ]

    def claim(
        text: str, ours: tuple[str, int], theirs: tuple[str, int], codes: Sequence[str] = TARGETS
    ) -> None:
        pairs = list(zip(measured[ours], measured[theirs], strict=True))
        lines.append(
            f"| {text} | {interval([wins(a, b, codes) for a, b in pairs])} | "
            f"{interval([wins(a, b, ['en']) for a, b in pairs])} |"
        )

    for size in SIZES:
        claim(f"CLO against SFT on targets, {size} seeds", (CLAIMED, size), ("SFT, targets only", size))
        claim(f"CLO against SFT on both, {size} seeds", (CLAIMED, size), ("SFT, English too", size))
    half, whole = SIZES
    claim(
        f"CLO with {half} seeds against SFT on targets with {whole}",
        (CLAIMED, half),
        ("SFT, targets only", whole),
    )
    claim(
        f"CLO with {half} seeds against SFT on both with {whole}",
        (CLAIMED, half),
        ("SFT, English too", whole),
    )
    for size in SIZES:
        claim(
            f"English NLL too against target NLL only (all weights), {size} seeds",
            ("CLO, all weights, English NLL too, beta 1", size),
            ("CLO, all weights, beta 1", size),
        )
        claim(
            f"attention alone against all weights, {size} seeds",
            (CLAIMED, size),
            ("CLO, all weights, beta 1", size),
        )
        claim(f"beta 1 against beta 0.1, {size} seeds", (CLAIMED, size), ("CLO, attention", size))
    for target in TARGETS:
        claim(
            f"attention alone against all weights, {target}, {whole} seeds",
            (CLAIMED, whole),
            ("CLO, all weights, beta 1", whole),
            [target],
        )
    lines += ["", "## English answers, as wins over the start's", "", "| method | English |", "|---|---|"]
    for method in METHODS:
        kept = [wins(run, start, ["en"]) for run in measured[method.name, whole]]
        lines.append(f"| {method.name}, {whole} seeds | {interval(kept)} |")
    lines.append("")
    lines += ["## Tuning", "", f"{TUNED_AT} seeds, {TUNING_PROMPTS[1]} other held-out prompts.", ""]
    lines += [
        "| method | learning rate | epochs | quality | right language, targets | right language, English |",
        "|---|---|---|---|---|---|",
        *tuning,
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
