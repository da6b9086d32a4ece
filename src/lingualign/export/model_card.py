"""The card of a trained model: README.md in its folder, from what the run wrote.

It names no place on this machine and no time, so that the same run writes the same card. Names that come from
settings and data are escaped: they may hold pipes, HTML or anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from lingualign.config import RunConfig
from lingualign.export.base import CONFIG_FILE, as_list, read_run_config
from lingualign.export.card_metadata import NOT_INDEPENDENT, card_data, model_name
from lingualign.export.citations import citations
from lingualign.export.markdown import escape, fence, table
from lingualign.export.repeat import repeat_command, short
from lingualign.languages import LANGUAGES
from lingualign.measures.judges import LABELS
from lingualign.measures.table import FACTS, interval_text
from lingualign.measures.verdict import SHIP
from lingualign.models import is_adapter
from lingualign.pipeline.files import read_json, write_text
from lingualign.pipeline.rewarding import run_reads_reference
from lingualign.settings import list_recipes

CARD = "README.md"
MEASURES = "measures.json"


@dataclass(frozen=True)
class Facts:
    """What a card is made from.

    Attributes:
        config: Of the run.
        iteration: Which of its models.
        measures: Content of `measures.json`.
        measured: Its part on this iteration.
        judge: Kind of the judge, and its label without places on this machine.
        steps: Metrics of every step of training.
        versions: Of the packages.
        model: Folder of the model that the card is of.
        merged: An adapter was merged into it.
    """

    config: RunConfig
    iteration: int
    measures: Mapping[str, Any]
    measured: Mapping[str, Any]
    judge: Mapping[str, str]
    steps: list[Mapping[str, float]]
    versions: Mapping[str, str]
    model: Path
    merged: bool


def write_model_card(run: Path, iteration: int) -> Path:
    """Writes the card of the model that an iteration of a measured run trained.

    A new file takes the place of the old one, so that a folder whose files are hard links to another run's
    leaves that run its own card.

    Args:
        run: The run folder, with `measures.json`.
        iteration: Which.

    Returns:
        The card's path.
    """
    return _write(_facts(run, iteration, run / f"iteration-{iteration}" / "model"))


def write_merged_card(adapter: Path, merged: Path) -> Path | None:
    """Writes the card of a model that an adapter of a measured run was merged into.

    Args:
        adapter: Folder of the adapter.
        merged: Folder of the whole model.

    Returns:
        The card's path; None where the adapter is no run's, or its run has not been measured.
    """
    run, number = adapter.parent.parent, adapter.parent.name.removeprefix("iteration-")
    if not number.isdecimal() or not (run / CONFIG_FILE).is_file() or not (run / MEASURES).is_file():
        return None
    if all(found["iteration"] != int(number) for found in read_json(run / MEASURES)["iterations"]):
        return None
    return _write(_facts(run, int(number), merged, merged=True))


def _facts(run: Path, iteration: int, model: Path, merged: bool = False) -> Facts:
    config, measures = read_run_config(run), read_json(run / MEASURES)
    kind = measures["judge"]["kind"]
    named = {"reward-model": config.measures.reward_model, "server": config.measures.server.model}.get(kind)
    log = run / f"iteration-{iteration}" / "training.json"
    manifest = run / "manifest.json"
    return Facts(
        config,
        iteration,
        measures,
        next(found for found in measures["iterations"] if found["iteration"] == iteration),
        {"kind": kind, "label": LABELS[kind] + (f" ({short(named)})" if named else "")},
        read_json(log)["steps"] if log.is_file() else [],
        read_json(manifest)["versions"] if manifest.is_file() else {},
        model,
        merged,
    )


def _write(facts: Facts) -> Path:
    data = card_data(facts.config, facts.iteration, facts.measured, facts.judge, facts.model)
    command = fence(repeat_command(facts.config), "bash")
    sections = [
        _head(facts),
        _measures(facts),
        _what_was_done(facts),
        _limits(facts),
        _how_to_load(facts),
        f"## How to repeat it\n\n{command}\n\nModels and files are named by the last part of their path.",
        _citations(facts.config),
    ]
    text = "\n\n".join(section for section in sections if section)
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n")
    write_text(facts.model / CARD, str(card))
    return facts.model / CARD


def language_name(code: str) -> str:
    """`German (de)`."""
    return f"{LANGUAGES[code].name} ({code})" if code in LANGUAGES else escape(code)


def _head(facts: Facts) -> str:
    config, verdict = facts.config, facts.measured["verdict"]
    targets = ", ".join(language_name(code) for code in config.target_languages)
    warning = (
        ""
        if verdict["verdict"] == SHIP
        else " **Do not ship this model:** it lost more than the run's settings allow, or gained too little."
    )
    adapter = "A LoRA adapter on " if is_adapter(facts.model) else ""
    merged = " The run's LoRA adapter is merged into the weights." if facts.merged else ""
    return (
        f"# {escape(model_name(config, facts.iteration))}\n\n"
        f"{adapter}{escape(short(config.policy))}, trained by lingualign with the recipe "
        f"{escape(config.recipe)}, to be as good in {targets} as in "
        f"{language_name(config.source_language)}. Iteration {facts.iteration} of {config.iterations}."
        f"{merged}\n\n> {escape(verdict['sentence'])}{warning}"
    )


def _measures(facts: Facts) -> str:
    start, sampled, greedy = facts.measures["start"], facts.measured["sampled"], facts.measured["greedy"]
    in_lab = facts.judge["kind"] == "lab"
    temperature = facts.measures["temperature"]
    rows = []
    for code in facts.measures["languages"]:
        before, after = start["sampled"]["languages"][code], sampled["languages"][code]
        source = ", source" if code == facts.measures["source_language"] else ""
        cells = [
            language_name(code) + source,
            interval_text(after["win_rate"]),
            interval_text(greedy["languages"][code]["win_rate"]),
        ]
        if in_lab:
            cells.append(_change(before["traits"].get(FACTS), after["traits"].get(FACTS), 100, ".1f"))
        rows.append(
            [
                *cells,
                _change(before["right_language"], after["right_language"], 100, ".1f"),
                _change(before["mean_length"], after["mean_length"], 1, ".0f"),
            ]
        )
    means = [interval_text(sampled["target_win_rate"]), interval_text(greedy["target_win_rate"])]
    rows.append(["mean of the targets", *means, *[""] * (len(rows[0]) - 3)])
    headings = ["language", f"wins %, T={temperature:g}", "wins %, greedy"]
    headings += ["right facts %"] if in_lab else []
    headings += ["right language %", "length, characters"]
    judge = escape(facts.judge["label"])
    guards = [
        [
            escape(guard["name"]),
            f"{_mean(guard['value']):.3f}",
            f"{guard['least']:.3f}",
            ("yes" if guard["passed"] else "**no**")
            + {True: ", sure", False: ", not sure", None: ""}[guard["sure"]],
        ]
        for guard in facts.measured["verdict"]["guards"]
    ]
    return (
        f"## Measures\n\nOn {facts.measures['held_out_prompts']} held-out prompts a language, against the "
        f"model that the run started from. Judge: {judge}. Wins count ties half and have "
        f"95 % intervals; `a -> b` is from the start to this model, at temperature {temperature:g}.\n\n"
        f"{table(headings, rows)}\n\n{table(['guard', 'measured', 'least', 'passed'], guards)}\n\n"
        "A guard is sure where its whole 95 % interval is on the same side of the threshold. The thresholds "
        "are settings of the run."
    )


def _mean(value: Any) -> float:
    return float(value["mean"] if isinstance(value, Mapping) else value)


def _change(before: float | None, after: float | None, scale: float, form: str) -> str:
    shown = ["-" if value is None else format(scale * value, form) for value in (before, after)]
    return " -> ".join(shown)


def _what_was_done(facts: Facts) -> str:
    config, training = facts.config, facts.config.training
    summary = {recipe.name: recipe.summary for recipe in list_recipes()}.get(config.recipe, config.recipe)
    points = [f"Method: {escape(summary)}", f"Start of the run: {escape(short(config.policy))}."]
    if run_reads_reference(config):
        points.append(f"Reference model: {escape(short(config.reference))}.")
    held = escape(short(config.prompts))
    points.append(f"Prompts: {held}, parallel in {len(config.languages)} languages.")
    pairs = facts.measured["pairs"]
    if any(found.get("candidates") for found in pairs.values()) and config.reward.kind != "none":
        points.append(
            f"Candidates: {config.sampling.n} a prompt, sampled from the model itself at temperature "
            f"{config.sampling.temperature:g}, at most {config.sampling.max_new_tokens} tokens."
        )
        points.append(f"Reward: {escape(short(config.reward.kind))}{_context(config)}.")
    points.append(f"Pairs: {escape(short(config.pairs.kind))}, by language in the table.")
    terms = []
    if training.preference_weight > 0:
        weight = "" if training.preference_weight == 1 else f"{training.preference_weight:g} times "
        terms.append(f"{weight}{training.objective} with beta {training.beta:g}")
    if training.nll_weight > 0:
        where = " in the target languages" if training.nll_on == "targets" else ""
        terms.append(f"{training.nll_weight:g} times the NLL of the chosen answers{where}")
    points.append(f"Objective: {' plus '.join(terms)}.")
    points.append(_training(facts))
    versions = ", ".join(f"{escape(name)} {escape(version)}" for name, version in facts.versions.items())
    if versions:
        points.append(f"Versions: {versions}.")
    rows = [
        [
            language_name(code),
            str(found["prompts"]),
            str(found["candidates"]),
            str(sum(found["removed"].values())),
            str(sum(found["dropped"].values())),
            str(found["pairs"]),
        ]
        for code, found in pairs.items()
    ]
    headings = ["language", "prompts", "candidates", "candidates removed", "prompts dropped", "pairs"]
    return f"## What was done\n{as_list(points)}\n\n{table(headings, rows)}"


def _context(config: RunConfig) -> str:
    return f", context {config.reward.context}" if config.reward.kind == "implicit" else ""


def _training(facts: Facts) -> str:
    training = facts.config.training
    lora = training.lora
    what = "all weights" if training.train_modules == "all" else "the projections of attention"
    if lora:
        what = f"a LoRA adapter (r {lora.r}, alpha {lora.alpha:g}, dropout {lora.dropout:g})"
    steps = f", {len(facts.steps)} steps" if facts.steps else ""
    loss = ""
    if facts.steps:
        first, last = (facts.steps[place]["loss"] for place in (0, -1))
        loss = f" Loss of the first step {first:.3f}, of the last {last:.3f}."
    return (
        f"Training: {what}, {training.batch_pairs} pairs a step, {training.epochs} epochs{steps}, learning "
        f"rate {training.learning_rate:g} ({training.scheduler}, warm-up {training.warmup:g}), seed "
        f"{facts.config.seed}.{loss}"
    )


def _limits(facts: Facts) -> str:
    config, kind = facts.config, facts.judge["kind"]
    judge = {
        "lab": "The judge is exact, and knows nothing but the lab's small world.",
        NOT_INDEPENDENT: "The judge is the reward that the model was trained on. Its wins say that training "
        "worked, and not that the answers are better: have them judged by somebody else.",
        "reward-model": "The judge is a reward model, and has its own taste; it may be weaker in some of the "
        "languages.",
        "server": "The judge is a language model. It has its own taste, may prefer long answers, and may be "
        "weaker in some of the languages.",
    }[kind]
    source = language_name(config.source_language)
    points = [
        judge,
        f"Alignment has a price elsewhere. Here it was looked for in {source}, in the language of the "
        "answers, and in what the guards name; not in knowledge, reasoning or safety. `lingualign measure "
        "tasks` measures tasks before and after.",
        f"Nothing is known of languages other than {', '.join(map(language_name, config.languages))}.",
        "The intervals are over prompts. They do not hold what another seed of training would change.",
        "The chosen answers are the model's own: what all of them get wrong is not put right."
        if config.reward.kind != "none"
        else "Answers that the translator got wrong were learned as they are.",
    ]
    if config.policy.startswith("lab:"):
        points.insert(0, "A model of lingualign's lab, a made-up small world: of no use outside it.")
    return f"## Limits\n{as_list(points)}"


def _how_to_load(facts: Facts) -> str:
    if is_adapter(facts.model):
        code = """\
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

folder = "path/to/this/folder"  # its adapter_config.json names the base model
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoPeftModelForCausalLM.from_pretrained(folder, dtype="auto")"""
    else:
        code = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "path/to/this/folder"
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")"""
    code += """

prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": "..."}], add_generation_prompt=True, return_tensors="pt", return_dict=True
)
answer = model.generate(**prompt, max_new_tokens=256)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True))"""
    merge = (
        "\n\n`lingualign merge FOLDER --output MERGED` makes whole weights of it."
        if is_adapter(facts.model)
        else ""
    )
    return f"## How to load it\n\n{fence(code, 'python')}{merge}"


def _citations(config: RunConfig) -> str:
    objective = config.training.objective if config.training.preference_weight > 0 else None
    entries = citations(config.recipe, objective)
    return f"## What to cite\n\n{fence(chr(10).join(entries), 'bibtex')}" if entries else ""
