"""The stage that chooses pairs, and says what it left out."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.languages import LanguageIdentifier
from lingualign.pipeline.files import write_json
from lingualign.pipeline.folder import RunFolder, Stage
from lingualign.pipeline.progress import Task
from lingualign.pipeline.stages import read_responses, read_scores
from lingualign.records import PAIRS, write_table

if TYPE_CHECKING:
    from lingualign.pairs import PairingReport
    from lingualign.prompts import ParallelPrompts


def choose_pairs(
    config: RunConfig,
    folder: RunFolder,
    stage: Stage,
    prompts: ParallelPrompts,
    responses: Path,
    scores: Path,
) -> Path:
    """Chooses at most one pair a prompt and language.

    Writes the report of each language beside the pairs, in `pairs.json`, and tells it.

    Returns:
        The file of PAIRS, beside the stage's name with the ending `.parquet`.

    Raises:
        InputError: No pair is left in any language. The message says where they went.
    """
    from lingualign.pairs import build_pairs

    def make(path: Path, task: Task) -> None:
        identifier = LanguageIdentifier(config.languages)
        result = build_pairs(
            prompts, read_responses(responses), read_scores(scores), config.pairs, identifier
        )
        lines = [f"  {language}: {describe(report)}" for language, report in result.report.items()]
        if not result.pairs:
            raise InputError(
                "\n".join([f"{stage.name}: no pair is left.", *lines]),
                "Loosen the filters under `pairs`, or raise sampling.n, sampling.temperature or "
                "sampling.max_new_tokens, whichever the counts point to.",
            )
        write_json(
            path.with_suffix(".json"), {code: asdict(report) for code, report in result.report.items()}
        )
        write_table(path, result.pairs, PAIRS)
        task.update(1)
        told.extend(lines)

    told: list[str] = []
    path = folder.file(stage, f"{stage.name}.parquet", make, unit="table", companion=f"{stage.name}.json")
    if told:
        folder.reporter.note("\n".join([f"{stage.name}, what was chosen:", *told]))
    return path


def describe(report: PairingReport) -> str:
    """One language's report as a line."""
    control = report.length_control
    left_out = [f"{count} {name}" for name, count in report.removed.items() if count]
    stray = [f"{report.other_language} against another language"] if report.other_language else []
    dropped = [f"{count} {name}" for name, count in report.dropped.items() if count]
    return (
        f"{report.pairs} pairs{_listed(', ', stray)} from {report.prompts} prompts with "
        f"{report.candidates} candidates"
        f"{_listed('; candidates left out: ', left_out)}{_listed('; prompts without a pair: ', dropped)}"
        f"; chosen longer by {control.gap_before:.1f} {report.unit}, with length control by "
        f"{control.gap_after:.1f} (penalty {control.alpha:.4g})"
    )


def _listed(heading: str, items: list[str]) -> str:
    return heading + ", ".join(items) if items else ""
