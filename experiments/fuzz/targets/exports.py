"""Exports of pairs whose ids, languages and texts are hostile, in every format."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from drawing import CODES, clean_texts
from hypothesis import strategies as st
from sandbox import Finding, refused

from lingualign.export.write import export, format_names
from lingualign.records import PAIRS, REFERENCE_LOGPS, write_table
from lingualign.settings import dump_config, load_config

CONFIG = load_config("icr", [])
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(("user", "assistant", "system", "x")), "content": clean_texts()}
    ),
    min_size=1,
    max_size=2,
)
PAIR = st.fixed_dictionaries(
    {
        "id": clean_texts(),
        "prompt_id": clean_texts(),
        "language": st.sampled_from(("en", "sw", *CODES)),
        "prompt": MESSAGES,
        "chosen": MESSAGES,
        "rejected": MESSAGES,
        "chosen_score": st.floats(),
        "rejected_score": st.floats(),
        "chosen_index": st.integers(0, 3),
        "rejected_index": st.integers(0, 3),
        "chosen_finished": st.booleans(),
        "rejected_finished": st.booleans(),
    },
)
CASES = st.fixed_dictionaries(
    {
        "pairs": st.lists(PAIR, min_size=1, max_size=3),
        "policy": clean_texts() | st.just("lab:sft"),
        "format": st.sampled_from(format_names()),
        "languages": st.lists(st.sampled_from(("sw", *CODES)), max_size=1),
        "reference": st.booleans(),
    }
)


def check(case: dict[str, Any], folder: Path) -> None:
    """A folder of the format lies in the run folder, and nothing elsewhere."""
    run = folder / "run"
    config = CONFIG.model_copy(update={"policy": case["policy"], "reference": case["policy"]})
    run.mkdir()
    (run / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    write_table(run / "iteration-1" / "pairs.parquet", case["pairs"], PAIRS)
    if case["reference"]:
        logps = [
            {"id": pair["id"], "ref_chosen_logps": 0.0, "ref_rejected_logps": 1.0} for pair in case["pairs"]
        ]
        write_table(run / "iteration-1" / "reference.parquet", logps, REFERENCE_LOGPS)
    done, _ = refused(export, run, case["format"], languages=case["languages"])
    if done is None:
        return
    left_out = sum(done.written.left_out.values())
    wanted = [
        pair for pair in case["pairs"] if not case["languages"] or pair["language"] in case["languages"]
    ]
    if done.written.pairs + left_out != len(wanted):
        raise Finding(f"{len(wanted)} pairs, {done.written.pairs} written, {left_out} told of")
    table = done.folder / "pairs.csv"
    if table.exists():
        limit = csv.field_size_limit(10**7)
        with table.open(encoding="utf-8-sig", newline="") as handle:
            texts = [
                value
                for row in csv.DictReader(handle)
                for name, value in row.items()
                if "score" not in name and "logps" not in name
            ]
        csv.field_size_limit(limit)
        formulas = [value for value in texts if value[:1] in ("=", "+", "-", "@", "\t", "\r")]
        if formulas:
            raise Finding(f"a formula in a cell: {formulas[0][:60]!r}")
