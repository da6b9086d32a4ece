"""What a format of another trainer is made from, and what each has to provide."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from pydantic import ValidationError

from lingualign.config import RunConfig, TrainingConfig
from lingualign.errors import InputError
from lingualign.models import is_adapter, resolve_spec
from lingualign.pipeline.files import write_text
from lingualign.pipeline.folder import choose_iteration
from lingualign.records import PAIRS, REFERENCE_LOGPS, Message, Pair, read_table
from lingualign.yaml_files import YamlError, parse_yaml

PAIRS_FILE, REFERENCE_FILE, CONFIG_FILE = "pairs.parquet", "reference.parquet", "config.yaml"


@dataclass(frozen=True)
class RunPairs:
    """The pairs of one iteration of a run.

    Attributes:
        iteration: Which.
        config: Of the run.
        policy: The model that the run trained on these pairs: a folder where it is there, else as the run's
            settings name it.
        reference_model: The run's reference, likewise.
        pairs: Those of the languages that were asked for, in the order of the run.
        reference: Log-probs of pairs under the frozen reference of the run's training, by the pair's id: none
            where there was no reference, and none of pairs longer than `training.max_length`.
    """

    iteration: int
    config: RunConfig
    policy: str
    reference_model: str
    pairs: Sequence[Pair]
    reference: Mapping[str, Mapping[str, float]]

    @property
    def languages(self) -> list[str]:
        """Of the pairs, in the order of the run's languages."""
        present = {pair["language"] for pair in self.pairs}
        listed = [code for code in self.config.languages if code in present]
        return listed + sorted(present - set(listed))


@dataclass(frozen=True)
class Exported:
    """What a format has written.

    Attributes:
        pairs: How many there are in the files.
        readme: How the files are loaded in that trainer, as Markdown.
        left_out: Why -> how many pairs the format cannot hold.
    """

    pairs: int
    readme: str
    left_out: Mapping[str, int] = field(default_factory=dict)


class Format(Protocol):
    """A module in `export/formats`."""

    TITLE: str
    """Of the trainer, as its makers write it."""

    def write(self, run: RunPairs, folder: Path) -> Exported:
        """Writes the files, all but README.md, into an empty folder. Paths in them are relative to it."""


def read_run_pairs(run: Path, iteration: int | None = None, languages: Sequence[str] = ()) -> RunPairs:
    """Reads the pairs of a run.

    Args:
        run: The run folder.
        iteration: Which; None is the last that has pairs.
        languages: Only these; none stands for all.

    Raises:
        InputError: It is no run folder, there is no such iteration or language, or a file is damaged.
    """
    config = read_run_config(run)
    number = choose_iteration(run, PAIRS_FILE, "pairs", iteration)
    folder = run / f"iteration-{number}"
    pairs = [cast(Pair, row) for row in read_table(folder / PAIRS_FILE, PAIRS)]
    reference = {}
    if (folder / REFERENCE_FILE).exists():
        rows = read_table(folder / REFERENCE_FILE, REFERENCE_LOGPS)
        reference = {row.pop("id"): row for row in rows}
    present = {pair["language"] for pair in pairs}
    unknown = [code for code in languages if code not in present]
    if unknown:
        raise InputError(
            f"There are no pairs in {', '.join(unknown)}.",
            f"Iteration {number} of {run} has pairs in {', '.join(sorted(present))}.",
        )
    if languages:
        pairs = [pair for pair in pairs if pair["language"] in languages]
    start = run / f"iteration-{number - 1}" / "model" if number > 1 else config.policy
    return RunPairs(number, config, _found(start), _found(config.reference), pairs, reference)


def read_run_config(run: Path) -> RunConfig:
    """The settings of a run, as they stand in its folder.

    Raises:
        InputError: It is no run folder, or another version of lingualign wrote it.
    """
    file = run / CONFIG_FILE
    if not file.is_file():
        raise InputError(
            f"{run} is no run folder: it has no {CONFIG_FILE}.",
            "Give the folder that `lingualign align` wrote into, such as runs/icr.",
        )
    try:
        return RunConfig.model_validate(parse_yaml(file.read_text(encoding="utf-8")))
    except (YamlError, ValidationError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file}: not the settings of a run of this version ({str(error).splitlines()[0]}).",
            "Use the version of lingualign that made the run (manifest.json names it), or run it again.",
        ) from None


def _found(spec: str | Path) -> str:
    """Where a model is, for trainers that start in another folder."""
    try:
        return str(resolve_spec(spec))
    except InputError:  # moved or deleted since: the pairs are as good without it
        return str(spec)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a JSON object a line; line breaks inside texts are escaped, other writing stays readable."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def answer(messages: Sequence[Message]) -> str:
    """The text of a chosen or rejected response."""
    return "\n\n".join(message["content"] for message in messages)


def nll_per_preference(training: TrainingConfig) -> float:
    """Weight of the NLL for a preference term of weight 1, which is how other trainers put it."""
    return training.nll_weight / training.preference_weight


def micro_batches(training: TrainingConfig) -> tuple[int, int]:
    """Pairs a forward and backward pass on one device, and passes an optimiser step."""
    size = min(training.micro_batch_pairs, training.batch_pairs)
    return size, -(-training.batch_pairs // size)


def differences(run: RunPairs, objectives: Iterable[str], nll: str | None) -> list[str]:
    """What the run's own training did otherwise than any trainer given the same pairs will.

    Args:
        run: The run.
        objectives: Those of ours that the trainer has.
        nll: How the trainer averages the NLL of the chosen answers, where it is not a token mean of each
            answer as here.
    """
    training = run.config.training
    unfinished = sum(not (pair["chosen_finished"] and pair["rejected_finished"]) for pair in run.pairs)
    overlong = sum(pair["id"] not in run.reference for pair in run.pairs) if run.reference else 0
    said = {
        "The run trained on the chosen answers alone, by their NLL; the settings here prefer them over the "
        "rejected ones, with the trainer's own defaults.": training.preference_weight == 0,
        f"The run's objective is {training.objective}, which this trainer does not have in the same form: "
        "its default stands instead.": training.preference_weight > 0
        and training.objective not in objectives,
        f"The NLL is {nll}; in the run it is a token mean of each answer.": nll
        and training.preference_weight > 0
        and training.nll_weight > 0,
        "The NLL was on answers in the target languages alone.": training.nll_on == "targets"
        and training.nll_weight > 0,
        f"This iteration started from an adapter, {run.policy}. Put it into full weights and name these "
        f"instead: `lingualign merge {run.policy} --output merged`.": is_adapter(Path(run.policy)),
        "Only the projections of attention were trained.": training.train_modules == "attention",
        "The pairs of a prompt, in all languages, were kept in one optimiser step.": training.group_prompts,
        f"In {unfinished} pairs an answer was cut at the limit of length. The run trained it without an end "
        "token; other trainers put one behind every answer.": unfinished,
        f"{overlong} pairs are longer than {training.max_length} tokens and were left out of the run's "
        "training.": overlong,
    }
    return [sentence for sentence, holds in said.items() if holds]


def as_list(items: Sequence[str]) -> str:
    """Markdown bullets, with an empty line before them; nothing where there are none."""
    return "".join(f"\n- {item}" for item in items)
