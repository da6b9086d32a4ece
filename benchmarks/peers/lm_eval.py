"""Multiple choice by log-likelihood: lingualign against lm-evaluation-harness 0.4.13 on the same questions.

    python benchmarks/peers/lm_eval.py --output benchmarks/results/peers_lm_eval.md

Installs the peer into a throw-away virtual environment (a minute or two, and the package index is needed). It
takes torch, Transformers and datasets from the environment that this script runs in, so that what differs is
the peer alone.

Three models: the lab's, and random ones of tests/families.py, with a BOS token and without. Two kinds of
questions: XCOPA (`--data FOLDER`, left out where it is absent) through the peer's own tasks, and questions
made to hit every rule: white space behind a context, no context, contexts that are cut on the left, equal
choices, choices of one token and of several scripts, solved examples, a chat template.

The peer adds up in float64, as lingualign does (`softmax_dtype`): in float32 a sum beyond 1,024 nats moves in
steps of 1.2e-4. Where the two best choices are nearer to each other than the tolerance, as equal choices are,
rounding decides there which is the first; such ties are counted apart.

Exits with 1 if a log-likelihood differs by more than the tolerance, or if any question without a tie is right
in one and wrong in the other under acc, acc_norm, acc_bytes or acc_mutual_info.
"""

from __future__ import annotations

import argparse
import json
import random
import site
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lingualign.measures.tasks.multiple_choice import (
    METRICS,
    Question,
    answer_questions,
    choice_values,
    outcomes,
    with_examples,
)
from lingualign.measures.tasks.task_files import read_xcopa
from lingualign.models import load_model, load_tokenizer, resolve_spec
from lingualign.yaml_files import dump_yaml

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ("lm-eval==0.4.13",)
TOLERANCE = 1e-4  # nats
LANGUAGES = ("sw", "zh", "th")
WINDOW = 40  # tokens that the model reads in the case of long contexts
EXAMPLES = 2
WORDS = (
    "jibu",
    "ni",
    "kwa",
    "sababu",
    "saba",
    "答案",
    "是",
    "四十二",
    "คำตอบ",
    "คือ",
    "the",
    "answer",
    "42",
    "más",
    "für",
)

PEER = """
import json, logging, sys
from pathlib import Path
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

logging.disable(logging.WARNING)
folder = Path(sys.argv[1])
manager = TaskManager()
for case in json.loads((folder / "cases.json").read_text()):
    path = folder / (case["name"] + ".yaml")
    text = path.read_text()
    if case["base"]:
        text = "include: " + str(manager.task_index[case["base"]].yaml_path) + "\\n" + text
        path.write_text(text)
    model = HFLM(pretrained=case["model"], dtype="float32", device="cpu", batch_size=8,
                 softmax_dtype="float64", max_length=case["max_length"])
    found = simple_evaluate(model, tasks=[str(path)], num_fewshot=case["examples"], task_manager=manager,
                            apply_chat_template=case["chat"], bootstrap_iters=0)
    samples = found["samples"][case["name"]]
    rows = [{"values": [response[0][0] for response in sample["resps"]],
             **{metric: sample[metric] for metric in sample["metrics"]}} for sample in samples]
    (folder / (case["name"] + ".found.json")).write_text(json.dumps(rows))
"""


@dataclass(frozen=True)
class Case:
    """Questions, and how both ask them."""

    name: str
    model: str
    questions: list[Question]
    data: Path
    base: str | None = None  # the peer's task that the data belongs to
    max_length: int | None = None
    examples: int = 0
    chat: bool = False


@dataclass(frozen=True)
class Compared:
    """One row of the table."""

    case: Case
    likelihoods: int
    difference: float
    ties: int  # questions and metrics with two best choices
    unlike: int  # others that are right in one and wrong in the other
    accuracies: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument("--data", type=Path, default=ROOT / ".." / "shared" / "data" / "xcopa")
    parser.add_argument(
        "--python", type=Path, help="a Python that has the peer, instead of a new environment"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        cases = make_cases(folder, arguments.data)
        run_peer(arguments.python or install(folder / "environment"), folder, cases)
        rows = [compare(case, folder) for case in cases]
    table = as_table(rows)
    print(table)
    if arguments.output:
        arguments.output.write_text(table + "\n", encoding="utf-8")
    if any(row.difference > TOLERANCE or row.unlike for row in rows):
        sys.exit("a tolerance is missed")


def install(folder: Path) -> Path:
    """A new environment with the peer, on top of this one's packages."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
    shared = "; ".join(f"site.addsitedir({found!r})" for found in site.getsitepackages())
    (packages / "shared.pth").write_text(f"import site; {shared}\n", encoding="utf-8")
    constraints = ROOT / "constraints.txt"
    subprocess.run([python, "-m", "pip", "install", "-q", "-c", constraints, *REQUIREMENTS], check=True)
    return python


def run_peer(python: Path, folder: Path, cases: list[Case]) -> None:
    told = [
        {"name": case.name, "model": case.model, "base": case.base, "max_length": case.max_length}
        | {"examples": case.examples, "chat": case.chat}
        for case in cases
    ]
    (folder / "cases.json").write_text(json.dumps(told), encoding="utf-8")
    for case in cases:
        (folder / f"{case.name}.yaml").write_text(dump_yaml(peer_task(case)), encoding="utf-8")
    # From a file of another name: this one's would be imported for the peer.
    (folder / "ask_peer.py").write_text(PEER, encoding="utf-8")
    subprocess.run([python, folder / "ask_peer.py", folder], check=True, stderr=subprocess.DEVNULL)


def peer_task(case: Case) -> dict[str, Any]:
    """What the peer is told of a case."""
    own = {
        "output_type": "multiple_choice",
        "doc_to_text": "context",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "fewshot_split": "examples",
        "fewshot_config": {"sampler": "first_n"},
    }
    files = {"test": str(case.data)} | ({} if case.base else {"examples": str(case.data)})
    return {
        "task": case.name,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": files},
        "validation_split": None,
        "test_split": "test",
        **({} if case.base else own),
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in METRICS
        ],
    }


def make_cases(folder: Path, data: Path) -> list[Case]:
    """The cases of three models."""
    sys.path.insert(0, str(ROOT / "tests"))
    from families import make_family

    made = made_questions()
    rows = [{"context": q.context, "choices": list(q.choices), "answer": q.answer} for q in made]
    questions = folder / "made.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    models = {"lab": str(resolve_spec("lab:aligned"))}
    models |= {name: str(make_family(name, folder / name)) for name in ("llama", "qwen3")}
    cases = []
    for name, model in models.items():
        cases += [
            Case(f"{name}-xcopa-{code}", model, read_xcopa(file, code), file.absolute(), f"xcopa_{code}")
            for code in LANGUAGES
            if (file := data / f"{code}.jsonl").is_file()
        ]
        cases += [
            Case(f"{name}-made", model, made, questions),
            Case(f"{name}-made-cut", model, made, questions, max_length=WINDOW),
            Case(f"{name}-made-examples", model, made, questions, examples=EXAMPLES),
            Case(f"{name}-made-chat", model, made, questions, chat=True),
        ]
    return cases


def made_questions() -> list[Question]:
    """Questions that hit every rule of the peer."""
    draw = random.Random(0)

    def text(most: int) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))

    made = [Question("One: ", ("a", "a", "b"), 1), Question("Two:\n", ("42", "x", "42"), 2)]
    endings = ("", " ", "   ", "\n", " \t", ":")
    for place in range(60):
        # An empty context now and then, and every sixth one longer than the window.
        context = "" if place % 10 == 9 else text(60 if place % 6 == 0 else 8) + endings[place % len(endings)]
        choices = tuple(text(1 if place % 4 == 0 else 5) for _ in range(draw.randint(2, 5)))
        made.append(Question(context, choices, draw.randrange(len(choices))))
    return made


def compare(case: Case, folder: Path) -> Compared:
    found = json.loads((folder / f"{case.name}.found.json").read_text(encoding="utf-8"))
    model, tokenizer = load_model(case.model, device="cpu", dtype="float32"), load_tokenizer(case.model)
    questions = with_examples(case.questions, case.questions[: case.examples])
    if case.chat:
        questions = [
            Question(
                tokenizer.apply_chat_template(
                    [{"role": "user", "content": question.context}],
                    tokenize=False,
                    add_generation_prompt=True,
                ),
                question.choices,
                question.answer,
            )
            for question in questions
        ]
    answers = answer_questions(
        model,
        tokenizer,
        questions,
        delimiter="" if case.chat else " ",
        mutual_information=True,
        max_length=case.max_length,
    )
    right = outcomes(questions, answers)
    assert answers.unconditional is not None
    ties = unlike = 0
    for place, (question, row) in enumerate(zip(questions, found, strict=True)):
        values = choice_values(question, answers.conditional[place], answers.unconditional[place])
        for metric in METRICS:
            second, best = np.sort(values[metric])[-2:]
            tied = best - second <= TOLERANCE
            ties += tied
            unlike += not tied and right[metric][place] != row[metric]
    both = zip(answers.conditional, answers.unconditional, strict=True)
    ours = np.concatenate([np.concatenate(likelihoods) for likelihoods in both])
    theirs = np.concatenate([row["values"] for row in found])
    difference = float(np.abs(ours - theirs).max())
    accuracies = {metric: float(np.mean(right[metric])) for metric in METRICS}
    return Compared(case, len(ours), difference, int(ties), int(unlike), accuracies)


def as_table(rows: list[Compared]) -> str:
    columns = ["model", "questions", "n", "log-likelihoods", "largest difference", "ties", "unlike", *METRICS]
    lines = [
        "# lm-evaluation-harness",
        "",
        f"lingualign against {', '.join(REQUIREMENTS)} on the same models and questions, by",
        f"`benchmarks/peers/lm_eval.py`. Differences of log-likelihoods in nats (tolerance {TOLERANCE:g});",
        "cases (a question under a metric) with two best choices, and others that are right in one and wrong",
        "in the other; lingualign's accuracies.",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    for row in rows:
        model, questions = row.case.name.split("-", 1)
        cells = [model, questions, len(row.case.questions), row.likelihoods, f"{row.difference:.1e}"]
        cells += [row.ties, row.unlike, *(f"{row.accuracies[metric]:.3f}" for metric in METRICS)]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
