"""Tasks with right answers, through lm-evaluation-harness, on a model before and after training.

The harness asks, scores and counts (https://github.com/EleutherAI/lm-evaluation-harness): its numbers and
standard errors are kept as it gives them. What is added is the way from a language to a task's name, and
what changed between two models on the same items. Local files stand in for the Hub's data with
`lingualign.measures.tasks.task_files`. Written for lm-eval 0.4.13, which is optional:
`pip install 'lingualign[tasks]'`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from lingualign.errors import InputError
from lingualign.languages import resolve
from lingualign.measures.intervals import RESAMPLES, Change, compare_paired
from lingualign.models import load_model, load_tokenizer
from lingualign.yaml_files import parse_yaml


@dataclass(frozen=True)
class TaskResult:
    """What the harness says of one model on one task.

    Attributes:
        task: Its name in the harness.
        numbers: The harness's own, under its own names: `acc,none`, `acc_stderr,none`.
        values: A metric and filter (`acc,none`) -> an item -> its value. An item is named by its subtask's
            place and its document's number (`0/12`), the same in every language.
        documents: An item -> the harness's hash of the document.
    """

    task: str
    numbers: dict[str, float]
    values: dict[str, dict[str, float]]
    documents: dict[str, str]


@dataclass(frozen=True)
class BeforeAndAfter:
    """Two models on the same tasks.

    Attributes:
        before: A label, usually a language -> the first model's result.
        after: The second model's.
        changes: See `compare_tasks`.
    """

    before: dict[str, TaskResult]
    after: dict[str, TaskResult]
    changes: dict[str, dict[str, Change]]


@cache
def task_groups() -> dict[str, dict[str, str]]:
    """The named groups of tasks: a group -> a BCP-47 code -> the harness's name of the task.

    They are belebele, global-mmlu, global-mmlu-lite, mmmlu, xcopa, mgsm, mgsm-cot and xnli.
    """
    text = (resources.files("lingualign.measures.tasks") / "task_groups.yaml").read_text(encoding="utf-8")
    groups: dict[str, dict[str, str]] = {}
    for group, entry in parse_yaml(text).items():
        codes: dict[str, str] = {}
        for language in entry["languages"]:
            codes |= language if isinstance(language, dict) else {language: language}
        groups[group] = {code: entry["task"].format(name) for code, name in codes.items()}
    return groups


def tasks_of(group: str, languages: Sequence[str]) -> dict[str, str]:
    """What the harness calls a group's task in each of some languages.

    Args:
        group: A name from `task_groups`.
        languages: BCP-47 codes.

    Raises:
        InputError: There is no such group, or it lacks one of the languages.

    Example:
        >>> tasks_of("belebele", ["sw", "zh"])
        {'sw': 'belebele_swh_Latn', 'zh': 'belebele_zho_Hans'}
    """
    groups = task_groups()
    if group not in groups:
        raise InputError(f"{group!r} is not a group of tasks.", f"There are {', '.join(groups)}.")
    lacking = [code for code in languages if resolve(code).code not in groups[group]]
    if lacking:
        raise InputError(
            f"{group} has no {', '.join(lacking)}.",
            f"It has {', '.join(groups[group])}: leave out the others.",
        )
    return {code: groups[group][code] for code in languages}


def before_and_after(
    before: str | Path, after: str | Path, tasks: Mapping[str, str], **options: Any
) -> BeforeAndAfter:
    """Runs the same tasks on two models, one after the other, and says what changed.

    Args:
        before: Spec of the policy that training started from; see `lingualign.models.resolve_spec`.
        after: Spec of the trained policy.
        tasks: See `run_tasks`.
        **options: See `run_tasks`.
    """
    first, second = (run_tasks(spec, tasks, **options) for spec in (before, after))
    return BeforeAndAfter(first, second, compare_tasks(second, first))


def run_tasks(
    spec: str | Path,
    tasks: Mapping[str, str],
    *,
    limit: int | None = None,
    batch_size: int = 8,
    num_fewshot: int | None = None,
    chat_template: bool = False,
    device: str = "auto",
    dtype: str = "auto",
) -> dict[str, TaskResult]:
    """Runs tasks of the harness on a model.

    Args:
        spec: Of the model; adapters and the lab's models too. See `lingualign.models.resolve_spec`.
        tasks: A label, usually a language -> a task or group that the harness knows (`tasks_of`), or the path
            of a task's YAML file (see `lingualign.measures.tasks.task_files`).
        limit: First items of each task that are run; None: all.
        batch_size: Rows of a forward pass.
        num_fewshot: Solved examples before each item; None: as the task says.
        chat_template: Put each item into the model's chat template.
        device: See `lingualign.models.load_model`.
        dtype: See `lingualign.models.load_model`.

    Raises:
        InputError: The harness is not installed, does not know a task, or cannot find its data.
    """
    evaluate, adapt, manager = harness()
    for task in tasks.values():
        if not _is_file(task) and task not in manager.task_index:
            raise InputError(
                f"lm-evaluation-harness knows no task {task!r}.",
                "`lm-eval ls tasks` lists those that it knows.",
            )
    model, tokenizer = load_model(spec, device=device, dtype=dtype), load_tokenizer(spec)
    try:
        results = evaluate(
            adapt(pretrained=model, tokenizer=tokenizer, batch_size=batch_size),
            tasks=list(dict.fromkeys(tasks.values())),
            limit=limit,
            num_fewshot=num_fewshot,
            apply_chat_template=chat_template,
            task_manager=manager,
        )
    except OSError as error:  # what is not on this machine and cannot be fetched
        raise InputError(
            f"lm-evaluation-harness cannot read a task's data: {error}",
            "Fetch it where the Hub can be reached, or give local files.",
        ) from error
    return {label: _result(results, task) for label, task in tasks.items()}


@cache  # the index takes seconds: it reads the files of thousands of tasks
def harness() -> tuple[Any, Any, Any]:
    """The harness's evaluation, its adapter of a Transformers model, and its index of tasks.

    Raises:
        InputError: The harness is not installed.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise InputError(
            f"lm-evaluation-harness is not installed ({error}).", "pip install 'lingualign[tasks]'"
        ) from error
    return simple_evaluate, HFLM, TaskManager()


def _is_file(task: str) -> bool:
    return task.endswith(".yaml")


def _result(results: Mapping[str, Any], task: str) -> TaskResult:
    name = Path(task).stem if _is_file(task) else task
    numbers = {**results["results"], **results.get("groups", {})}[name]
    values: dict[str, dict[str, float]] = {}
    documents: dict[str, str] = {}
    for place, leaf in enumerate(_leaves(results["group_subtasks"], name)):
        for sample in results["samples"][leaf]:
            item = f"{place}/{sample['doc_id']}"
            documents[item] = sample["doc_hash"]
            for metric in sample["metrics"]:
                if isinstance(sample[metric], int | float):  # others make sense of all items together only
                    values.setdefault(f"{metric},{sample['filter']}", {})[item] = float(sample[metric])
    return TaskResult(
        name,
        {
            key: float(value)
            for key, value in numbers.items()
            if "," in key and isinstance(value, int | float)
        },
        values,
        documents,
    )


def _leaves(subtasks: Mapping[str, Sequence[str]], name: str) -> Iterator[str]:
    """The tasks of a group, of its groups too; a task is its own."""
    if name not in subtasks:
        yield name
    for child in subtasks.get(name, ()):
        yield from _leaves(subtasks, child)


def compare_tasks(
    after: Mapping[str, TaskResult], before: Mapping[str, TaskResult], resamples: int = RESAMPLES
) -> dict[str, dict[str, Change]]:
    """What changed between two models on the same tasks, item by item.

    Items are drawn together across languages by their numbers: in most of these tasks an item's translations
    have the same number, and where they have not, it does no harm.

    Args:
        after: A label, usually a language -> the second model's result.
        before: The first model's.
        resamples: See `lingualign.measures.intervals.compare_paired`.

    Returns:
        For each metric that all results have, a change a label and the mean's under "mean".

    Raises:
        InputError: The two were not given the same items.
    """
    for label in after.keys() | before.keys():
        if label not in before or label not in after or before[label].documents != after[label].documents:
            raise InputError(
                f"{label}: the two models have not answered the same items.",
                "Run both on the same tasks, data and limit.",
            )
    metrics = [
        metric
        for metric in next(iter(after.values())).values
        if all(metric in result.values for results in (after, before) for result in results.values())
    ]
    changes = {}
    for metric in metrics:
        items = {label: list(result.values[metric]) for label, result in after.items()}
        changes[metric] = compare_paired(
            {label: [after[label].values[metric][item] for item in items[label]] for label in items},
            {label: [before[label].values[metric][item] for item in items[label]] for label in items},
            resamples,
            clusters=items,
        )
    return changes
