"""Answers of judges: preferences and grades, prompts of one's own, and the file of answers that are kept."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from drawing import CODES, damaged, json_values, rows, texts
from hypothesis import strategies as st
from sandbox import Finding, refused

from lingualign.judges.asking import NoAnswer
from lingualign.judges.grading import WORDINGS, grading_templates, read_grade
from lingualign.judges.pairwise import FIELDS, read_preference
from lingualign.judges.template import Template
from lingualign.servers.chat import Completion
from lingualign.servers.store import AnswerStore

LOGPROBS = st.none() | st.dictionaries(
    st.sampled_from(("m", "M", " m", "The")) | texts(),
    st.floats(max_value=1e300, allow_nan=False),
    max_size=4,
)
GRADES = st.lists(
    st.sampled_from(("[[", "]]", "[", "]", "5", "10.", "7.5", "1" * 30_000, "٣", " ")), max_size=8
)
KEPT = {
    "key": st.sampled_from("ab") | texts(),
    "name": texts(),
    "text": texts(),
    "finished": st.booleans(),
    "top_logprobs": LOGPROBS | json_values(),
}
PROMPTS = {
    "name": st.sampled_from(sorted(WORDINGS)),
    "system_prompt": texts(),
    "prompt_template": st.sampled_from(sorted(WORDINGS.values())) | texts(),
}


def _lines(table: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in table).encode()


CASES = st.fixed_dictionaries(
    {
        "text": GRADES.map("".join) | texts(),
        "finished": st.booleans(),
        "logprobs": LOGPROBS,
        "switched": st.booleans(),
        "store": damaged(rows(KEPT).map(_lines)),
        "prompts": damaged(rows(PROMPTS, least=4).map(_lines)),
        "template": texts()
        | st.builds("{}{{instruction}}{{output_1}}{{output_2}}{}".format, texts(), texts()),
        "values": st.lists(texts() | st.sampled_from(CODES), min_size=3, max_size=3),
    }
)


def check(case: dict[str, Any], folder: Path) -> None:
    """A judgement has a value in its range, or says why it has none; a kept answer is read as it was."""
    answer = Completion(case["text"], case["finished"], case["logprobs"])
    for one in (answer, NoAnswer("down")):
        judged = read_preference(one, case["switched"])
        if judged.preference is None and not judged.failure:
            raise Finding("no preference, and no reason")
        if judged.preference is not None and not 1 <= judged.preference <= 2:
            raise Finding(f"a preference of {judged.preference}")
        grade = read_grade(one)
        value = grade.score
        if (value is None and not grade.failure) or (value is not None and not 1 <= value <= 10):
            raise Finding(f"a grade of {value}")
    template, _ = refused(Template.parse, case["template"], FIELDS)
    if template is not None:
        template.messages(**dict(zip(FIELDS, case["values"], strict=True)))
    (folder / "prompts.jsonl").write_bytes(case["prompts"])
    found, _ = refused(grading_templates, folder / "prompts.jsonl")
    for one_template in (found or {}).values():
        one_template.messages(question=case["values"][0])
    (folder / "store.jsonl").write_bytes(case["store"])
    refused(_stored, folder / "store.jsonl", answer)


def _stored(path: Path, answer: Completion) -> None:
    with AnswerStore(path) as store:
        for key in "ab":
            known = store.get(key)
            if known is not None:
                preference = read_preference(known, False).preference
                if preference is not None and not math.isfinite(preference):
                    raise Finding(f"a kept preference of {preference}")
                read_grade(known)
        store.put("new", "x", answer)
    with AnswerStore(path) as store:
        if store.get("new") != answer:
            raise Finding("an answer that was kept reads otherwise")
