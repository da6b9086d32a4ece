"""Measures scoring, the preference step and sampling against what a user would run instead, on the CPU.

    python benchmarks/run.py all --json benchmarks/results/cpu.json > benchmarks/results/cpu.md
    python benchmarks/run.py scoring --case b
    python benchmarks/run.py all --prompts-count 2 --k 2 --max-response 16 --repeats 1     # does it run?

Tables go to stdout as Markdown, progress to stderr. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import CASES, LAB, PROMPTS, Size, Workload, build
from chart import line_chart
from contenders import SCORING, STEP
from growth import COUNTS, Growth, measure_growth
from measure import Contender, best_batch, environment, in_own_process, peak_memory, take_turns
from sampling import SAMPLING
from transformers.utils import logging

PARTS = {"scoring": SCORING, "step": STEP, "sampling": SAMPLING}
GROWTH = "growth"
CASES_OF = {"scoring": ("a", "b"), "step": ("a", "b"), "sampling": (LAB, "a"), GROWTH: ("a",)}
PROMPTS_OF = {"scoring": 6, "step": 4, "sampling": 8, GROWTH: 4}  # of the step: pairs
PAIR = 2
TUNE_PROMPTS = 2


@dataclass(frozen=True)
class Row:
    """What was measured of a contender.

    Attributes:
        name: Who.
        batch: Batch size that it was fastest at, of `batches`.
        batches: Batch sizes tried.
        seconds: Median of the rounds.
        cpu_seconds: Likewise, of the processor.
        rounds: Seconds of each round.
        peak_mb: Most memory of a process that does this alone; None where it was not measured.
        loaded_mb: Most memory of that process before the work began.
        result: What it came to, in words.
    """

    name: str
    batch: int
    batches: list[int]
    seconds: float
    cpu_seconds: float
    rounds: list[float]
    peak_mb: float | None
    loaded_mb: float | None
    result: str


def measure_part(part: str, workload: Workload, folder: Path, options: argparse.Namespace) -> list[Row]:
    """Measures all contenders of a part; the first one is ours."""
    contenders = {name: kind(workload) for name, kind in PARTS[part].items()}
    first, batch = {}, {}
    # Batch sizes are chosen on a part of the work; a step is small enough to be tried whole.
    part_of = workload if part == "step" else workload.some(TUNE_PROMPTS)
    for name, contender in contenders.items():
        batch[name] = best_batch(PARTS[part][name](part_of), options.tune_rounds)
        first[name] = contender(batch[name])  # warms up, and is what results are compared on
        tell(f"{part} {workload.case}: {name} at batch size {batch[name]} of {contender.batches}")
    turns = {name: partial(contender, batch[name]) for name, contender in contenders.items()}
    times = take_turns(turns, options.repeats)
    tried = {name: list(contender.batches) for name, contender in contenders.items()}
    del contenders, turns
    path = folder / f"{part}-{workload.case}.json"
    workload.save(path)
    rows = []
    for name in tried:
        memory = None
        if not options.no_memory:
            tell(f"{part} {workload.case}: memory of {name}")
            memory = in_own_process(alone, part, name, path, batch[name], torch.get_num_threads())
        loaded, peak = memory or (None, None)
        rows.append(
            Row(
                name=name,
                batch=batch[name],
                batches=tried[name],
                seconds=times[name].seconds,
                cpu_seconds=times[name].cpu_seconds,
                rounds=times[name].wall,
                peak_mb=peak,
                loaded_mb=loaded,
                result=compare(part, first[name], first["ours"], times[name].seconds),
            )
        )
    return rows


def alone(part: str, name: str, path: Path, batch: int, threads: int) -> tuple[float, float]:
    """Memory of a contender that has this process to itself: before the work, and at its peak."""
    logging.set_verbosity_error()
    torch.set_num_threads(threads)
    contender: Contender = PARTS[part][name](Workload.load(path))
    loaded = peak_memory()
    for _ in range(2 if part == "step" else 1):  # the optimizer has its state from the first step on
        contender(batch)
    return loaded, peak_memory()


def compare(part: str, result: Any, ours: Any, seconds: float) -> str:
    """What a contender's work came to, and how far that is from ours."""
    if part == "scoring":
        return f"largest difference of a sum {difference(result, ours):.1e}"
    if part == "step":
        losses, norms = (result.loss, ours.loss), (result.grad_norm, ours.grad_norm)
        return (
            f"loss {result.loss:.6f} ({difference(*losses):.1e}), "
            f"gradient norm {result.grad_norm:.5f} ({difference(*norms):.1e})"
        )
    return (
        f"{result.tokens:,} tokens in {result.responses} responses, {result.tokens / seconds:,.0f} a second"
    )


def difference(value: Any, ours: Any) -> float:
    """The largest relative difference from ours."""
    return float(np.max(np.abs(np.asarray(value) - ours) / np.abs(ours)))


def part_table(case: str, rows: list[Row]) -> Iterator[str]:
    ours = rows[0]
    yield "| case | who | batch size | seconds | ratio | CPU seconds | peak memory, MB | ratio | result |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|---|"
    for row in rows:
        if row.peak_mb is not None and ours.peak_mb is not None:
            peak, share = f"{row.peak_mb:,.0f}", f"{row.peak_mb / ours.peak_mb:.2f}"
        else:
            peak = share = "-"
        yield (
            f"| {case} | {row.name} | {row.batch:,} | {row.seconds:.2f} | {row.seconds / ours.seconds:.2f} "
            f"| {row.cpu_seconds:.2f} | {peak} | {share} | {row.result} |"
        )


def growth_table(growth: Growth) -> Iterator[str]:
    yield "| K | ours, s | plain loop, s | ratio | ideal, s | ours / ideal | GFLOP/s | of the peak |"
    yield "|--:|--:|--:|--:|--:|--:|--:|--:|"
    for point in growth.points:
        yield (
            f"| {point.k} | {point.ours:.2f} | {point.plain:.2f} | {point.plain / point.ours:.2f} "
            f"| {point.ideal:.2f} | {point.ours / point.ideal:.2f} | {point.gflops:.0f} "
            f"| {point.gflops / growth.peak_gflops:.0%} |"
        )
    yield ""
    yield f"Peak: {growth.peak_gflops:.0f} GFLOP/s, a float32 product of two 2,048 x 2,048 matrices."


def growth_chart(growth: Growth) -> str:
    return line_chart(
        "Scoring K candidates a prompt (case a)",
        "K, candidates a prompt",
        "seconds",
        [point.k for point in growth.points],
        {
            "plain loop": [point.plain for point in growth.points],
            "ours": [point.ours for point in growth.points],
            "prompt once": [point.ideal for point in growth.points],
        },
    )


def size_of(part: str, options: argparse.Namespace) -> Size:
    candidates = {"step": PAIR, GROWTH: max(COUNTS)}.get(part, options.k)
    return Size(
        prompts=options.prompts_count or PROMPTS_OF[part],
        k=candidates,
        min_response=options.min_response,
        max_response=options.max_response,
        max_prompt=options.max_prompt,
        seed=options.seed,
    )


def run_part(part: str, case: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measures a part in a case, prints its table, and returns everything for JSON."""
    workload = build(case, size_of(part, options), folder, options.prompts, options.language)
    before = os.getloadavg()[0]
    if part == GROWTH:
        growth = measure_growth(workload, options.repeats, options.tune_rounds)
        lines, measured = growth_table(growth), asdict(growth)
        if options.figure:
            options.figure.parent.mkdir(parents=True, exist_ok=True)
            options.figure.write_text(growth_chart(growth), encoding="utf-8")
    else:
        rows = measure_part(part, workload, folder, options)
        lines, measured = part_table(case, rows), {"rows": [asdict(row) for row in rows]}
    load = (before, os.getloadavg()[0])
    print(f"\n## {part.capitalize()}, case {case}\n", *lines, sep="\n")
    print(f"\n{workload.describe()}. Load of the machine: {load[0]:.1f} before, {load[1]:.1f} after.")
    sys.stdout.flush()
    return {"part": part, "case": case, "workload": workload.describe(), "load": load, **measured}


def tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", nargs="?", default="all", choices=[*PARTS, GROWTH, "all"])
    parser.add_argument("--case", choices=CASES, help="only this one; otherwise those of each part")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that the medians are of")
    parser.add_argument("--tune-rounds", type=int, default=1, help="rounds to choose batch sizes by")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    parser.add_argument("--figure", type=Path, help="write the chart of growth here, as SVG")
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument("--prompts", type=Path, default=PROMPTS, help="folder with a prompt file a language")
    parser.add_argument("--language", default="en", help="of the prompts")
    parser.add_argument("--prompts-count", type=int, help="prompts, in the step pairs; by default " + sizes())
    parser.add_argument("--k", type=int, default=10, help="candidates a prompt, an even number")
    parser.add_argument("--min-response", type=int, default=64, help="tokens")
    parser.add_argument("--max-response", type=int, default=512, help="tokens")
    parser.add_argument("--max-prompt", type=int, default=1536, help="longer prompts are left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="by default torch's")
    options = parser.parse_args()
    if options.k % PAIR:
        parser.error("--k must be even: TRL scores pairs")
    return options


def sizes() -> str:
    return ", ".join(f"{count} ({part})" for part, count in PROMPTS_OF.items())


def main() -> None:
    options = parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    where = environment()
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    print(
        f"# Benchmarks\n\n{where['processor']}, {where['cores']} cores, {where['threads']} threads; "
        f"{versions}; float32. Medians of {options.repeats} interleaved rounds; ratios are to ours."
    )
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for part in [*PARTS, GROWTH] if options.part == "all" else [options.part]:
            for case in [options.case] if options.case else CASES_OF[part]:
                results.append(run_part(part, case, Path(folder), options))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        content = {"environment": where, "repeats": options.repeats, "results": results}
        options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
