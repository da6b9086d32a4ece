"""Responses and scores in any order and number: every prompt ends as pairs or is counted with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drawing import clean_texts, words
from hypothesis import strategies as st
from sandbox import Finding, refused

from lingualign.config import PairsConfig
from lingualign.languages import LanguageIdentifier
from lingualign.pairs import Sources, all_pairs
from lingualign.parts import load_part, part_settings
from lingualign.prompts import ParallelPrompts, Prompt
from lingualign.records import Message

IDS = ("a", "b/c", "../x")
KEYS = st.tuples(
    st.sampled_from((*IDS, "no prompt")), st.sampled_from(("en", "sw", "../de")), st.integers(-1, 2)
)
REWARDS = st.none() | st.sampled_from((0.0, 1.0, -1e308, 1e308, 0.5)) | st.floats()
IDENTIFIER = LanguageIdentifier(["en", "sw"])
IDENTIFIER.identify("a sentence, so that the model is loaded")
CASES = st.fixed_dictionaries(
    {
        "responses": st.lists(
            st.tuples(KEYS, words() | clean_texts(), st.sampled_from(("stop", "length"))), max_size=10
        ),
        "scores": st.lists(st.tuples(KEYS, REWARDS), max_size=10),
        "scored": st.booleans(),  # each response gets a score, so that something is paired
        "pairing": st.sampled_from(("best-worst", "random-pair", "ranked")),
        "wrong_language": st.sampled_from(("keep", "drop", "reject")),
        "drop_truncated": st.booleans(),
        "min_margin": st.sampled_from((0.0, 0.5)),
        "length": st.sampled_from(("none", "exact", "grid")),
        "outliers": st.sampled_from((1.0, 0.5)),
    }
)


def check(case: dict[str, Any], folder: Path) -> None:
    """Pairs of a language, and prompts without one by reason, are all of its prompts that were answered."""
    responses = [
        {
            "prompt_id": key[0],
            "language": key[1],
            "index": key[2],
            "text": text,
            "finish_reason": finish,
            "num_tokens": len(text),
        }
        for key, text, finish in case["responses"]
    ]
    scores = [
        {"prompt_id": key[0], "language": key[1], "index": key[2], "reward": reward, "components": []}
        for key, reward in case["scores"]
    ]
    if case["scored"]:
        scores = [
            {name: row[name] for name in ("prompt_id", "language", "index")}
            | {"reward": float(place), "components": []}
            for place, row in enumerate(responses)
        ]
    message = (Message(role="user", content="x"),)
    prompts = ParallelPrompts(
        list(IDS), {code: [Prompt(name, code, message) for name in IDS] for code in ("en", "sw")}
    )
    settings = {name: case[name] for name in ("wrong_language", "drop_truncated", "min_margin")}
    config = PairsConfig.model_validate(
        {**settings, "outlier_quantile": case["outliers"], "length_control": {"method": case["length"]}}
    )
    sources = Sources(prompts, "en", config, IDENTIFIER, responses=responses, scores=scores)  # type: ignore[arg-type]
    module = load_part("pairs", case["pairing"], "pairs.kind")
    options = {} if case["pairing"] != "ranked" else {"answers": "number"}
    pairing = module.make(part_settings(module, options, "pairs.options"))
    made, _ = refused(all_pairs, pairing, sources)
    if made is None:
        return
    for language, report in made.report.items():
        paired = {pair["prompt_id"] for pair in made.pairs if pair["language"] == language}
        if len(paired) + sum(report.dropped.values()) != report.prompts:
            raise Finding(
                f"{language}: {report.prompts} prompts, {len(paired)} in pairs, without one {report.dropped}"
            )
        answered = {
            row["prompt_id"] for row in responses if row["language"] == language and row["prompt_id"] in IDS
        }
        if report.prompts != len(answered):
            raise Finding(
                f"{language}: {len(answered)} prompts are answered, and {report.prompts} are told of"
            )
    for pair in made.pairs:
        if pair["chosen"] == pair["rejected"]:
            raise Finding("both sides of a pair are the same")
