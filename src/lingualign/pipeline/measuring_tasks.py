"""Tasks with right answers on two models, and what the difference means for shipping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lingualign.errors import InputError
from lingualign.languages import resolve
from lingualign.measures.intervals import Change, Interval, compare_paired
from lingualign.measures.verdict import Guard, Verdict
from lingualign.models import check_compatible, load_model, load_tokenizer
from lingualign.pipeline.progress import Reporter
from lingualign.prompts.files import language_files

Changes = Mapping[str, Mapping[str, Change]]  # by metric, then by language


def measure_tasks(
    before: str,
    after: str,
    tasks: Mapping[str, str],
    limit: int | None,
    device: str,
    max_loss: float,
    reporter: Reporter,
) -> dict[str, Any]:
    """Runs tasks of lm-evaluation-harness on two models.

    Args:
        before: Spec of the model that training started from.
        after: Spec of the trained model.
        tasks: A language -> the harness's task.
        limit: First items of each; None: all.
        device: Where models run.
        max_loss: Most that the first metric may fall in a language.
        reporter: Who is told of progress.

    Returns:
        Plain values for JSON: `before` and `after` (the harness's own numbers by language), `changes` by
        metric and language, `verdict`.

    Raises:
        InputError: The harness is not installed, or lacks a task or its data.
    """
    from lingualign.measures.tasks.harness import before_and_after

    check_compatible(before, after)
    with reporter.stage("tasks", 1, unit="comparison"):
        found = before_and_after(before, after, tasks, limit=limit, device=device)
    own = {
        side: {code: dict(result.numbers) for code, result in results.items()}
        for side, results in (("before", found.before), ("after", found.after))
    }
    return {
        "models": {"before": before, "after": after},
        "tasks": dict(tasks),
        **own,
        **_changes_and_verdict(found.changes, max_loss),
    }


def measure_questions(
    before: str,
    after: str,
    folder: Path,
    languages: Sequence[str],
    limit: int | None,
    device: str,
    max_loss: float,
    reporter: Reporter,
) -> dict[str, Any]:
    """Asks two models the multiple-choice questions of local files, by the harness's rules.

    Args:
        before: Spec of the model that training started from.
        after: Spec of the trained model.
        folder: Holds `sw.jsonl` and so on; see `lingualign.measures.tasks.multiple_choice.read_questions`.
        languages: BCP-47 codes.
        limit: First questions of each language; None: all.
        device: Where models run.
        max_loss: Most that `acc` may fall in a language.
        reporter: Who is told of progress.

    Returns:
        As `measure_tasks`.

    Raises:
        InputError: A file is missing or wrong, or a question does not fit the model's context.
    """
    from lingualign.measures.tasks.multiple_choice import answer_questions, outcomes, read_questions

    questions = {code: read_questions(_file(folder, code))[:limit] for code in languages}
    check_compatible(before, after)
    values: dict[str, dict[str, dict[str, list[float]]]] = {}  # side, metric, language
    with reporter.stage("questions", 2 * len(questions), unit="languages") as task:
        for place, (side, spec) in enumerate((("before", before), ("after", after))):
            model, tokenizer = load_model(spec, device=device), load_tokenizer(spec)
            values[side] = {}
            for number, (code, asked) in enumerate(questions.items(), 1):
                for metric, right in outcomes(asked, answer_questions(model, tokenizer, asked)).items():
                    values[side].setdefault(metric, {})[code] = right
                task.update(place * len(questions) + number)
    changes = {
        metric: compare_paired(
            own, values["before"][metric], clusters={code: range(len(rows)) for code, rows in own.items()}
        )
        for metric, own in values["after"].items()
    }
    means = {
        side: {
            code: {metric: float(np.mean(by_language[code])) for metric, by_language in by_metric.items()}
            for code in questions
        }
        for side, by_metric in values.items()
    }
    return {
        "models": {"before": before, "after": after},
        "questions": str(folder),
        **means,
        **_changes_and_verdict(changes, max_loss),
    }


def _file(folder: Path, language: str) -> Path:
    resolve(language)
    files = language_files(folder, language)
    if len(files) != 1:
        raise InputError(
            f"{folder} has {len(files)} files of questions in {language}.", f"Give one: {language}.jsonl."
        )
    return files[0]


def _changes_and_verdict(changes: Changes, max_loss: float) -> dict[str, Any]:
    first = next(iter(changes))
    guards = [
        Guard(f"change of {first}, {code}", Interval(**asdict(change.difference)), -max_loss)
        for code, change in changes[first].items()
    ]
    return {
        "changes": {
            metric: {code: asdict(change) for code, change in found.items()}
            for metric, found in changes.items()
        },
        "verdict": Verdict(guards).as_dict(),
    }
