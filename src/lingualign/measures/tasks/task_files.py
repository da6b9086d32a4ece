"""Local files as tasks: for machines that do not reach the Hub.

`local_task` gives one of lm-evaluation-harness's own tasks a local file for its data, `local_questions` makes
a task of questions with choices, and both write a YAML file that `run_tasks` takes, as `lm-eval` does.
XCOPA's and MGSM's files are read as their authors publish them. Without the harness, questions with choices
go to `lingualign.measures.tasks.multiple_choice`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lingualign.errors import InputError
from lingualign.measures.tasks.harness import harness
from lingualign.measures.tasks.multiple_choice import METRICS, Question, read_questions, text_field
from lingualign.pipeline.files import write_text
from lingualign.prompts.files import Row, read_rows, read_text
from lingualign.yaml_files import dump_yaml

# What joins premise and choice in XCOPA, for a cause and for an effect, as the harness has it.
XCOPA_CONNECTORS = {
    "et": ("sest", "seetõttu"),
    "ht": ("poukisa", "donk sa"),
    "id": ("karena", "maka"),
    "it": ("perché", "quindi"),
    "qu": ("imataq", "chaymi"),
    "sw": ("kwa sababu", "kwa hiyo"),
    "ta": ("காரணமாக", "எனவே"),
    "th": ("เพราะ", "ดังนั้น"),
    "tr": ("çünkü", "bu yüzden"),
    "vi": ("bởi vì", "vì vậy"),
    "zh": ("因为", "所以"),
}


def local_task(task: str, data: Path, folder: Path) -> str:
    """A task of the harness, its prompts and metrics unchanged, on rows of a local file.

    Args:
        task: Its name in the harness, not that of a group.
        data: JSON or JSON lines with the columns that the task's data has on the Hub.
        folder: Where to write the YAML file that describes the task; also for `lm-eval --include_path`.

    Returns:
        The path of that file, for `run_tasks`. The task is called `<task>_local`.

    Raises:
        InputError: The harness is not installed, does not know the task, or the file cannot be read.
    """
    known = harness()[2].task_index.get(task)
    if known is None or known.yaml_path is None:
        raise InputError(f"lm-evaluation-harness knows no task {task!r}, or keeps no file of it.")
    read_rows(data)
    return _write_task(folder, f"{task}_local", data, {"include": str(known.yaml_path)})


def local_questions(data: Path, folder: Path) -> str:
    """A task of the harness made of a local file of questions with choices.

    Args:
        data: JSON or JSON lines as `lingualign.measures.tasks.multiple_choice.read_questions` takes them.
        folder: Where to write the YAML file that describes the task.

    Returns:
        The path of that file, for `run_tasks`. The task is called as the file, `<stem>_local`.

    Raises:
        InputError: The file is wrong.
    """
    read_questions(data)
    config = {
        "output_type": "multiple_choice",
        # The harness takes a string that is a column's name for the column.
        "doc_to_text": text_field(read_rows(data)[0]),
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "fewshot_config": {"sampler": "first_n"},
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in METRICS
        ],
        "metadata": {"version": 1.0},
    }
    return _write_task(folder, f"{data.stem}_local", data, config)


def _write_task(folder: Path, name: str, data: Path, config: Mapping[str, Any]) -> str:
    source = {
        "task": name,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"test": str(data.absolute())}},
        "training_split": None,
        "validation_split": None,
        "test_split": "test",
        "fewshot_split": "test",
    }
    path = folder.absolute() / f"{name}.yaml"
    write_text(path, dump_yaml({**config, **source}))
    return str(path)


def convert_mgsm(path: Path, output: Path) -> Path:
    """MGSM's own file as the rows that the harness's `mgsm_*` tasks read.

    Args:
        path: A question, a tab and its integer answer a line, as google-research/url-nlp has them.
        output: JSON lines to write.

    Returns:
        `output`.

    Raises:
        InputError: A line is not a question, a tab and a number.
    """
    lines = []
    for number, line in enumerate(read_text(path).removesuffix("\n").split("\n"), 1):
        try:
            question, answer = line.split("\t")
            row = {"question": question, "answer": None, "answer_number": int(answer.replace(",", ""))}
        except ValueError:
            raise InputError(
                f"{path}, line {number}: not a question, a tab and a whole number.",
                "Give MGSM's own file.",
            ) from None
        lines.append(json.dumps(row, ensure_ascii=False))
    write_text(output, "\n".join(lines) + "\n")
    return output


def read_xcopa(path: Path, language: str) -> list[Question]:
    """XCOPA's own file as questions, in the harness's words.

    The premise loses its last character, usually its full stop, and gets the connector; choices begin with a
    small letter.

    Args:
        path: JSON lines with `premise`, `choice1`, `choice2`, `question` (cause or effect) and `label`.
        language: BCP-47 code.

    Raises:
        InputError: XCOPA has no such language, or a row lacks a field.
    """
    if language not in XCOPA_CONNECTORS:
        raise InputError(f"XCOPA has no {language!r}.", f"It has {', '.join(XCOPA_CONNECTORS)}.")
    return [_xcopa_question(row, language) for row in read_rows(path)]


def _xcopa_question(row: Row, language: str) -> Question:
    try:
        cause, effect = XCOPA_CONNECTORS[language]
        connector = {"cause": cause, "effect": effect}[row.fields["question"]]
        choices = [row.fields[name] for name in ("choice1", "choice2")]
        label = int(row.fields["label"])
        if label not in (0, 1):
            raise ValueError(f"label {label}")
        return Question(
            f"{row.fields['premise'].strip()[:-1]} {connector}",
            tuple(choice[0].lower() + choice[1:] for choice in choices),
            label,
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{row.place}: not a row of XCOPA ({error!r}).",
            "Give premise, choice1, choice2, question (cause or effect) and label.",
        ) from None
