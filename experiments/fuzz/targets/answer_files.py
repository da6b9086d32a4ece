"""Files of answers: any tool's, alpaca_eval's outputs, annotations and `df_gamed.csv`, and choices."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from drawing import CODES, LANGUAGES, files, good_rows, json_values, rows, texts, words
from hypothesis import strategies as st
from sandbox import Finding, refused

from lingualign.measures.answers.alpaca_files import (
    comparison_of,
    read_annotations,
    read_gamed_baseline,
    read_model_outputs,
)
from lingualign.measures.answers.files import match_answers, read_answers
from lingualign.measures.choices import measure_choices, read_choices
from lingualign.prompts.files import read_rows

IDS = st.sampled_from(("a", "b", "c"))
LANGUAGE = st.sampled_from(LANGUAGES)
NUMBERS = st.sampled_from((1, 2, 1.5, 0, "1.2", "", None, "nan", 1e999, 10**400, "x")) | st.floats()
ANSWERS = {
    "id": IDS | json_values(),
    "language": st.sampled_from((*LANGUAGES, *LANGUAGES, *CODES)),
    "output": words() | texts(),
    "instruction": words() | json_values(),
    "generator": words(),
    "dataset": words(),
}
GOOD = {"id": IDS, "language": LANGUAGE, "output": words(), "instruction": words()}
ANNOTATIONS = {
    "instruction": words(),
    "output_1": words() | texts(),
    "output_2": words(),
    "generator_1": st.sampled_from("xy"),
    "generator_2": st.sampled_from("xy"),
    "annotator": words(),
    "preference": NUMBERS,
}
GAMED = {
    "preference": NUMBERS,
    "std_delta_len": NUMBERS,
    "instruction_difficulty": NUMBERS,
    "index": st.sampled_from((0, 1, 2)) | NUMBERS,
}
CHOICES = {
    "id": IDS | json_values(),
    "language": LANGUAGE | st.sampled_from(CODES),
    "choice": words() | json_values(),
    "scores": st.lists(NUMBERS, max_size=3),
    "answer": st.integers(0, 3) | json_values(),
}
SIDES = st.tuples(*[files(good_rows(GOOD) | rows(ANSWERS))] * 2)
CASES = st.fixed_dictionaries(
    {
        "files": st.one_of(
            SIDES.map(lambda sides: ("answers", sides)),
            st.tuples(st.just("annotations"), st.tuples(files(good_rows(ANNOTATIONS) | rows(ANNOTATIONS)))),
            st.tuples(st.just("gamed"), st.tuples(files(good_rows(GAMED) | rows(GAMED)))),
            st.tuples(st.just("choices"), st.tuples(files(good_rows(CHOICES) | rows(CHOICES)))),
        ),
        "languages": st.lists(LANGUAGE, min_size=1, max_size=2, unique=True),
        "allow_missing": st.booleans(),
    }
)


def check(case: dict[str, Any], folder: Path) -> None:
    """Answers of both sides meet, and no preference is outside its range."""
    kind, contents = case["files"]
    paths = [folder / f"{number}{suffix}" for number, (suffix, _) in enumerate(contents)]
    for path, (_, content) in zip(paths, contents, strict=True):
        path.write_bytes(content)
    if kind == "answers":
        _answers(paths, case["languages"], case["allow_missing"])
    elif kind == "annotations":
        annotations, _ = refused(read_annotations, paths[0])
        for row in annotations or []:
            if row["preference"] is not None and not 1 <= row["preference"] <= 2:
                raise Finding(f"a preference of {row['preference']}")
        if annotations:
            refused(comparison_of, annotations)
    elif kind == "gamed":
        gamed, _ = refused(read_gamed_baseline, paths[0])
        if gamed is not None and not all(map(math.isfinite, gamed[1])):
            raise Finding("a difficulty that is no number")
    else:
        table, _ = refused(read_choices, paths[0])
        if table is not None:
            refused(measure_choices, table, next(iter(table.languages)))


def _answers(paths: list[Path], languages: list[str], allow_missing: bool) -> None:
    refused(read_model_outputs, paths[0])
    told: list[str] = []
    sides = [refused(read_answers, path, languages, told.append)[0] for path in paths]
    for path, side in zip(paths, sides, strict=True):
        if side is None:
            continue
        kept = sum(map(len, side.values()))
        if kept != len(read_rows(path)) and not told:
            raise Finding(f"{len(read_rows(path))} rows, {kept} kept, and nothing is told of the others")
        for answer in (one for answers in side.values() for one in answers):
            answer.text.encode()
    if sides[0] is not None and sides[1] is not None:
        refused(match_answers, sides[0], sides[1], allow_missing)
