"""Measuring what comes from files, and keeping it in one `measures.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.measures.answers.alpaca_files import write_annotations
from lingualign.measures.answers.compare import compare_answers, describe, look
from lingualign.measures.answers.files import match_answers, read_answers
from lingualign.pipeline.files import read_json, write_json
from lingualign.pipeline.judging import annotated, annotations_of, judge_matches, make_reader
from lingualign.pipeline.progress import Reporter

SCHEMA = 1  # of measures.json; see docs/measures.md
FILE = "measures.json"


def keep_section(folder: Path, section: str, measured: Mapping[str, Any]) -> None:
    """Writes one section of a folder's `measures.json`; the other ones stay."""
    path = folder / FILE
    kept = read_json(path) if path.exists() else {}
    write_json(path, {"schema": SCHEMA, **kept, section: measured})


def measure_responses(
    config: RunConfig,
    responses: Path,
    baseline: Path | None,
    languages: Sequence[str],
    judge: str,
    annotations: Path | None,
    output: Path | None,
    reporter: Reporter,
) -> dict[str, Any]:
    """Measures answers from files; see `lingualign.measures.answers.compare`.

    Args:
        config: Its section `measures` says how.
        responses: The answers.
        baseline: Another model's answers to the same prompts; None: there is nothing to compare with.
        languages: BCP-47 codes.
        judge: none, server, reward-model or lab.
        annotations: Judgements that were made elsewhere.
        output: Folder in which `annotations.json` and the judge's answers are kept.
        reporter: Who is told of progress.

    Returns:
        Plain values for JSON.

    Raises:
        InputError: A file is wrong, the sides do not match, or the judge cannot be asked.
    """
    if not languages:
        raise InputError("--languages names no language.", "Give BCP-47 codes, such as sw,th.")
    judging = judge != "none" or annotations is not None
    if judging and baseline is None:
        raise InputError(
            "A judge compares two answers, and there is one file of answers.",
            "Give the other: --baseline FILE.",
        )
    if judge != "none" and annotations is not None:
        raise InputError("Both --judge and --annotations are given.", "Give one of them.")
    if judge == "server" and output is None:
        raise InputError(
            "A judge behind a server needs a folder for what it says.", "Give one: --output FOLDER."
        )
    answers = read_answers(responses, languages, reporter.warn)
    reader = make_reader(config, languages)
    head = {"responses": str(responses), "identifier": config.measures.identifier}
    if baseline is None:
        sides = {code: look([row.text for row in rows], code, reader) for code, rows in answers.items()}
        keys = {code: [row.id or row.instruction for row in rows] for code, rows in answers.items()}
        found = describe(sides, keys, reader)
        return {**head, "languages": {code: {"model": each} for code, each in found.items()}}
    others = read_answers(baseline, languages, reporter.warn)
    matches = match_answers(answers, others, config.data.allow_missing, reporter.warn)
    name, judged = None, None
    if annotations is not None:
        name, judged = f"of {annotations.name}", annotated(annotations, matches)
    elif judge != "none":
        name, judged = judge_matches(config, judge, matches, output or Path(), reporter)
    preferences = None
    if judged is not None:
        preferences = {code: [each.preference for each in rows] for code, rows in judged.items()}
        failures = [each.failure for rows in judged.values() for each in rows if each.failure]
        if failures:
            reporter.warn(f"{len(failures)} judgements failed and do not count, the first one: {failures[0]}")
    if output is not None and judged is not None and annotations is None:
        names = (baseline.stem, responses.stem)
        write_annotations(output / "annotations.json", annotations_of(str(name), matches, judged, names))
    found = compare_answers(matches, preferences, reader, seed=config.seed)
    return {**head, "baseline": str(baseline), "judge": name, **found}
