"""What the watch over training sees: recipes that should be left alone, and trainings that fall apart.

Every recipe trains as it does in the lab, on fewer prompts: none of these should be warned of. Then the pairs
of ICR are trained on with ever larger steps and without the NLL, and with pairs that prefer English answers
to prompts in other languages, each with `training.guard.action` warn, stop and roll-back. The lab's exact
judge compares greedy answers to held-out prompts with the start's.

    python experiments/collapse.py --work runs/collapse --output experiments/results/collapse.md

What is done is kept under `--work`; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from statistics import fmean
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from lingualign.config import TrainingConfig
from lingualign.lab.judge import judge
from lingualign.lab.prompts import prompts
from lingualign.languages import LanguageIdentifier
from lingualign.measures.win_rate import outcome
from lingualign.models import load_model, load_tokenizer, resolve_spec
from lingualign.pipeline.files import read_json, write_json
from lingualign.pipeline.run import align
from lingualign.pipeline.training import read_pairs
from lingualign.prompts import ChatFormat
from lingualign.records import Pair
from lingualign.sampling import TransformersSampler
from lingualign.settings import list_recipes, load_config
from lingualign.training import reference_logps, train

LANGUAGES = ["en", "de", "es", "sw", "zh"]
START = "lab:aligned"
PROMPTS = 24  # of a recipe
ICR_PROMPTS = 40  # of ICR, whose pairs are trained on further
HELD_OUT = 32  # prompts a language, of the final policies
EVERY = 5  # steps between answers, and between checkpoints, of trainings of some thirty steps
ACTIONS = ("warn", "stop", "roll-back")


@dataclass(frozen=True)
class Training:
    """A training on ICR's pairs.

    Attributes:
        name: In the table.
        settings: Beside the lab's own.
        english: The chosen responses are English, whatever the language of the prompt.
    """

    name: str
    settings: Mapping[str, Any]
    english: bool = False


UNDISTURBED = Training("undisturbed", {})
BROKEN = [
    Training("learning rate x 20", {"learning_rate": 2.8e-4}),
    Training("x 100, no NLL, beta 0.05", {"learning_rate": 1.4e-3, "nll_weight": 0.0, "beta": 0.05}),
    Training("x 300, no NLL", {"learning_rate": 4.2e-3, "nll_weight": 0.0}),
    Training("x 20, English preferred", {"learning_rate": 2.8e-4, "nll_weight": 0.5}, english=True),
]


def train_recipe(recipe: str, work: Path) -> dict[str, Any]:
    """Runs a recipe in the lab, with the watch as it is set, and reads what it said."""
    folder = work / recipe
    if not (folder / "measures.json").exists():
        limit = ICR_PROMPTS if recipe == "icr" else PROMPTS
        settings = [f"data.limit={limit}", "iterations=1", "measures.n=8", f"output={folder}"]
        align(load_config(recipe, settings))
    return read_json(folder / "iteration-1/training.json")


def english_preferred(pairs: Sequence[Pair]) -> list[Pair]:
    """The chosen responses rejected, and the answers to the English prompt chosen in their place."""
    english = {pair["prompt_id"]: pair for pair in pairs if pair["language"] == "en"}
    return [
        {
            **pair,
            "chosen": english[pair["prompt_id"]]["chosen"],
            "chosen_finished": english[pair["prompt_id"]]["chosen_finished"],
            "rejected": pair["chosen"],
            "rejected_finished": pair["chosen_finished"],
        }
        for pair in pairs
        if pair["language"] != "en" and pair["prompt_id"] in english
    ]


def run(training: Training, action: str, pairs: list[Pair], chat: ChatFormat, work: Path) -> dict[str, Any]:
    """Trains and measures once, or reads what was measured."""
    file = work / f"{training.name.replace(', ', '-').replace(' ', '-')}-{action}.json"
    if file.exists():
        return read_json(file)
    lab = load_config("icr", []).training.model_dump()
    watched = {"save_steps": EVERY, "guard": {"action": action, "language_steps": EVERY}}
    config = TrainingConfig.model_validate(lab | dict(training.settings) | watched)
    if training.english:
        pairs = english_preferred(pairs)
    rows = reference_logps(load_model(START, dtype="float32"), pairs, chat, max_length=config.max_length)
    folder, logs = work / "training", list[dict[str, Any]]()
    rmtree(folder, ignore_errors=True)
    result = train(
        config,
        pairs,
        rows,
        policy=resolve_spec(START),
        chat=chat,
        output=folder,
        seed=0,
        dtype="float32",
        on_log=logs.append,
    )
    write_json(file, {"log": logs[0], "measures": measure(result.model, chat, work)})
    return read_json(file)


def measure(model: Path, chat: ChatFormat, work: Path) -> dict[str, float]:
    """Of greedy answers in the targets: wins over the start's, and the share in the prompt's language."""
    start, now = answers(START, chat, work / "start.json"), answers(model, chat, None)
    identifier, wins, right = LanguageIdentifier(LANGUAGES), [], []
    for language in LANGUAGES[1:]:
        for prompt_id, after in now[language].items():
            before = start[language][prompt_id]
            rewards = [judge(prompt_id, language, text).reward for text in (after, before)]
            wins.append(outcome(rewards[0], rewards[1], after, before))
            right.append(identifier.identify(after) == language)
    return {"win_rate": sum(wins) / len(wins), "right_language": sum(right) / len(right)}


def answers(model: str | Path, chat: ChatFormat, file: Path | None) -> dict[str, dict[str, str]]:
    """Greedy answers to the held-out prompts, by language and prompt; kept in a file, if one is given."""
    if file is not None and file.exists():
        return read_json(file)
    sampler, found = TransformersSampler(load_model(model, dtype="float32"), chat), {}
    for language, asked in prompts("heldout", HELD_OUT, LANGUAGES).by_language.items():
        rows = sampler.sample(asked, n=1, temperature=0, max_new_tokens=96, seed=0)
        found[language] = {row["prompt_id"]: row["text"] for (row,) in rows}
    if file is not None:
        write_json(file, found)
    return found


def signs(log: Mapping[str, Any]) -> str:
    """The signs of a training and their steps, for a cell."""
    return ", ".join(f"{sign['sign']} at {sign['step']}" for sign in log["guard"]["signs"]) or "none"


def extremes(log: Mapping[str, Any], config: TrainingConfig) -> list[str]:
    """What came nearest to each threshold: fall, preference loss, margin times beta, loss of a language."""
    steps, window = log["steps"], config.guard.window

    def means(name: str) -> list[float]:
        values = [step[name] for step in steps if name in step]
        width = min(window, len(values))
        return [fmean(values[end - width : end]) for end in range(width, len(values) + 1)] if values else []

    ratio, nll = means("chosen_ratio"), means("nll")
    fall = steps[0]["chosen_ratio"] - min(ratio) if ratio else max(nll) - steps[0]["nll"]
    loss, margin = means(config.objective), means("margin")
    shares = log["guard"]["right_language"]
    lost = max(shares[0][code] - now[code] for now in shares for code in shares[0] if code != "step")
    return [
        f"{fall:.3f}",
        f"{min(loss):.4f}" if loss else "",
        f"{config.beta * max(margin):.2f}" if margin else "",
        f"{100 * lost:.0f}",
    ]


HEAD = ["chosen fall", "least preference loss", "largest margin x beta", "language lost %"]


def report(work: Path) -> str:
    """All trainings, as the page that is committed."""
    recipes = []
    for recipe in list_recipes():
        log, config = (
            train_recipe(recipe.name, work),
            load_config(str(work / recipe.name / "config.yaml"), []),
        )
        recipes.append([recipe.name, str(len(log["steps"])), signs(log), *extremes(log, config.training)])
        print(*recipes[-1], flush=True)
    chat = ChatFormat(load_tokenizer(START))
    pairs = read_pairs(work / "icr/iteration-1/pairs.parquet")
    trainings = []
    for training in [UNDISTURBED, *BROKEN]:
        for action in ACTIONS if training in BROKEN else ACTIONS[:1]:
            found = run(training, action, pairs, chat, work)
            log, measured = found["log"], found["measures"]
            settings = {**load_config("icr", []).training.model_dump(), **training.settings}
            trainings.append(
                [
                    training.name,
                    action,
                    signs(log),
                    str(len(log["steps"])),
                    "" if log["guard"]["rolled_back_to"] is None else str(log["guard"]["rolled_back_to"]),
                    *extremes(log, TrainingConfig.model_validate(settings)),
                    f"{100 * measured['win_rate']:.1f}",
                    f"{100 * measured['right_language']:.1f}",
                ]
            )
            print(*trainings[-1], flush=True)
    return f"""# What the watch over training sees

Made by `experiments/collapse.py` in the lab; thresholds are the defaults of `training.guard`. Four columns
are what came nearest to a threshold: nats a token that the chosen responses lost, the preference term and the
margin times beta (means over {TrainingConfig().guard.window} steps, or all where there are fewer), and how
much the share of answers in the right language fell, in the language that lost most.

## Recipes, which should be left alone

One iteration of each recipe as it is in the lab, with data.limit={PROMPTS} (icr: {ICR_PROMPTS}).

{table(["recipe", "steps", "signs", *HEAD], recipes)}

## Trainings that fall apart

On the pairs of ICR above, with the lab's settings and what the name says, and answers and a checkpoint every
{EVERY} steps. Wins over the start (ties half) and answers in the right language: greedy answers to {HELD_OUT}
held-out prompts in each target language, by the exact judge.

{table(["training", "action", "signs", "steps", "back to", *HEAD, "wins %", "right language %"], trainings)}
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/collapse"))
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.output.write_text(report(arguments.work), encoding="utf-8")
