"""Files of tasks: questions with choices, XCOPA's and MGSM's own files, and sentences in parallel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drawing import CODES, LANGUAGES, clean_texts, damaged, files, good_rows, json_values, rows, texts, words
from hypothesis import strategies as st
from sandbox import Finding, refused

from lingualign.measures.language.confusion_tokens import read_english_words
from lingualign.measures.representation.parallel_text import read_parallel_text
from lingualign.measures.tasks.multiple_choice import read_questions
from lingualign.measures.tasks.task_files import convert_mgsm, read_xcopa
from lingualign.pairs.ranked import read_gold

NUMBERS = st.sampled_from((0, 1, 2, -1, "1", "x", 1e999, 10**400, None, True))
XCOPA = {
    "premise": words() | texts(),
    "choice1": words() | texts(),
    "choice2": words(),
    "question": st.sampled_from(("cause", "effect", "x")),
    "label": NUMBERS,
}
QUESTIONS = {
    "question": words() | texts(),
    "context": words(),
    "choices": st.lists(words() | texts(), max_size=3) | json_values(),
    "answer": NUMBERS,
}
GOLD = {"id": st.sampled_from("ab") | json_values(), "answer": texts() | NUMBERS}
LINES = st.lists(words() | clean_texts(), max_size=4).map(lambda lines: "\n".join(lines).encode())
MGSM = st.lists(
    st.builds("{}\t{}".format, clean_texts(), st.sampled_from(("7", "1,000", "x", "9" * 5000))), max_size=3
)
SENTENCES = st.fixed_dictionaries(
    {
        "text": st.lists(st.tuples(st.sampled_from((*LANGUAGES, "xx", "x")), damaged(LINES)), max_size=3),
        "languages": st.none() | st.lists(st.sampled_from((*LANGUAGES, *CODES)), max_size=2),
        "limit": st.none() | st.integers(0, 3),
    }
)
CASES = st.one_of(
    st.tuples(st.just("xcopa"), files(good_rows(XCOPA) | rows(XCOPA))),
    st.tuples(st.just("questions"), files(good_rows(QUESTIONS) | rows(QUESTIONS))),
    st.tuples(st.just("gold"), files(good_rows(GOLD) | rows(GOLD))),
    st.tuples(st.just("mgsm"), damaged(MGSM.map(lambda lines: "\n".join(lines).encode()))),
    st.tuples(st.just("sentences"), SENTENCES),
)


def check(case: tuple[str, Any], folder: Path) -> None:
    """A question's answer is one of its choices; sentences are as many in every language."""
    kind, given = case
    if kind == "sentences":
        _sentences(given, folder)
    elif kind == "mgsm":
        (folder / "mgsm.tsv").write_bytes(given)
        refused(convert_mgsm, folder / "mgsm.tsv", folder / "mgsm.jsonl")
        refused(read_english_words, folder / "mgsm.tsv")
    else:
        path = folder / f"{kind}{given[0]}"
        path.write_bytes(given[1])
        if kind == "gold":
            for answers in ("number", "choice"):
                refused(read_gold, str(path), answers)
            return
        found, _ = refused(read_xcopa, path, "sw") if kind == "xcopa" else refused(read_questions, path)
        for question in found or []:
            if not 0 <= question.answer < len(question.choices):
                raise Finding(f"answer {question.answer} of {len(question.choices)}")


def _sentences(given: dict[str, Any], folder: Path) -> None:
    for code, content in given["text"]:
        (folder / f"{code}.txt").write_bytes(content)
    found, _ = refused(read_parallel_text, folder, given["languages"], given["limit"])
    if found and len({len(sentences) for sentences in found.values()}) != 1:
        raise Finding("not as many sentences in every language")
