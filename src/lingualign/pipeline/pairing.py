"""The stage that chooses pairs, and says what it left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lingualign.errors import InputError
from lingualign.languages import LanguageIdentifier
from lingualign.pipeline.bench import Bench
from lingualign.pipeline.files import write_json
from lingualign.pipeline.folder import Stage
from lingualign.pipeline.labelled import labelled_prompts
from lingualign.pipeline.progress import Task
from lingualign.pipeline.tables import Table
from lingualign.pipeline.translating import kept_translations
from lingualign.records import PAIRS, RESPONSES, SCORES, Pair, write_table
from lingualign.settings import load_pairing, pairing_reads, part_options

if TYPE_CHECKING:
    from lingualign.pairs import PairingReport
    from lingualign.prompts import ParallelPrompts

MAX_TOLD_BY_LANGUAGE = 0.5  # of the pairs: more, and language is most of what they teach


def choose_pairs(
    bench: Bench,
    stage: Stage,
    policy: Path,
    prompts: ParallelPrompts,
    responses: Path | None,
    scores: Path | None,
) -> Path:
    """Makes the pairs of an iteration.

    Writes the report of each language beside the pairs, in `pairs.json`, and tells it.

    Args:
        bench: The tools.
        stage: The stage.
        policy: Folder of the policy, which may be its own translator.
        prompts: The prompts of the iteration.
        responses: RESPONSES, a file or a folder of parts, where the pairing reads them.
        scores: SCORES, likewise.

    Returns:
        The file of PAIRS, beside the stage's name with the ending `.parquet`.

    Raises:
        InputError: No pair is left in any language. The message says where they went.
    """
    from lingualign.pairs import Sources, Tally

    config, reads, told = bench.config, pairing_reads(bench.config), list[str]()
    translations = f"{stage.name}.translations"

    def make(path: Path, task: Task) -> None:
        translator = None
        if "translation" in reads:
            translator = kept_translations(bench, policy, bench.folder.folder / translations, task)
        sources = Sources(
            prompts,
            config.source_language,
            config.pairs,
            LanguageIdentifier(config.languages),
            config.seed,
            responses=() if responses is None else Table(responses, RESPONSES, prompts),
            scores=() if scores is None else Table(scores, SCORES, prompts),
            labelled=labelled_prompts(config, prompts) if "labelled" in reads else (),
            translate=translator,
        )
        tally = Tally(sources)

        def pairs() -> Iterator[Pair]:
            """The pairs as they are made, and an error at the end if there are none."""
            yield from load_pairing(config).make(part_options(config, "pairs"))(sources, tally)
            told.extend(f"  {language}: {describe(found)}" for language, found in tally.report().items())
            if not any(found.pairs for found in tally.report().values()):
                raise InputError(
                    "\n".join([f"{stage.name}: no pair is left.", *told]),
                    "Loosen the filters under `pairs`, or raise sampling.n, sampling.temperature or "
                    "sampling.max_new_tokens, whichever the counts point to.",
                )

        write_table(path, pairs(), PAIRS)
        report = tally.report()
        write_json(path.with_suffix(".json"), {code: asdict(found) for code, found in report.items()})
        task.update(1, 1)
        _tell_languages(bench, stage, report)

    path = bench.folder.file(
        stage,
        f"{stage.name}.parquet",
        make,
        unit="table",
        companion=f"{stage.name}.json",
        scratch=translations,
    )
    if told:
        bench.folder.reporter.note("\n".join([f"{stage.name}, what was chosen:", *told]))
    return path


def _tell_languages(bench: Bench, stage: Stage, reports: Mapping[str, PairingReport]) -> None:
    """Says where pairs could be told apart by language alone: there a model learns which language to answer
    in."""
    apart = sum(report.other_language for report in reports.values())
    share = apart / sum(report.pairs for report in reports.values())
    said = f"{stage.name}: {share:.0%} of the pairs can be told apart by language alone"
    if getattr(load_pairing(bench.config), "TOLD_BY_LANGUAGE", False):
        bench.folder.reporter.note(f"{said}, as this method wants it.")
    elif share > MAX_TOLD_BY_LANGUAGE:
        bench.folder.reporter.warn(
            f"{said}: they teach which language to answer in, and little about what is a good answer. "
            "pairs.wrong_language=drop leaves them out."
        )


def describe(report: PairingReport) -> str:
    """One language's report as a line."""
    left_out = [f"{count} {name}" for name, count in report.removed.items() if count]
    stray = [f"{report.other_language} against another language"] if report.other_language else []
    dropped = [f"{count} {name}" for name, count in report.dropped.items() if count]
    control = report.length_control
    lengths = (
        f"; chosen longer by {control.gap_before:.1f} {report.unit}, with length control by "
        f"{control.gap_after:.1f} (penalty {control.alpha:.4g})"
        if control is not None
        else ""
    )
    return (
        f"{report.pairs} pairs{_listed(', ', stray)} from {report.prompts} prompts with "
        f"{report.candidates} candidates"
        f"{_listed('; candidates left out: ', left_out)}{_listed('; without a pair: ', dropped)}{lengths}"
    )


def _listed(heading: str, items: list[str]) -> str:
    return heading + ", ".join(items) if items else ""
