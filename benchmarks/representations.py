"""MEXA and NeuronXA on whole texts: seconds and memory by the number of sentences.

    python benchmarks/representations.py --output benchmarks/results/representations.md

16 languages of NTREX-128 (`--data FOLDER`) against English, `lab:aligned`, all layers. Each line is a process
of its own. Time counts tokenising, the passes, scores, and intervals by bootstrap, not imports and loading.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from measure import environment, in_own_process, peak_gflops, peak_memory
from torch import nn

from lingualign.measures.representation.parallel_text import read_parallel_text
from lingualign.measures.representation.representations import (
    EMBEDDINGS,
    NEURON_STATES,
    measure_representations,
)
from lingualign.models import load_model, load_tokenizer

ROOT = Path(__file__).parents[1]
MEASURES = {"MEXA": EMBEDDINGS, "both": (*EMBEDDINGS, *NEURON_STATES)}
CASES = (  # sentences a language, measures, precision
    (500, "both", "float32"),
    (1000, "both", "float32"),
    (1997, "both", "float32"),
    (1997, "MEXA", "float32"),
    (1997, "both", "bfloat16"),
    (1997, "MEXA", "bfloat16"),
)
TARGET = 60  # seconds, for MEXA


@dataclass(frozen=True)
class Point:
    """One measurement.

    Attributes:
        seconds: On the clock.
        cpu: Seconds of the processor, all threads together.
        tokens: Of all languages.
        operations: That the weights need: a multiplication and an addition for each of them and each token.
        memory: Peak of the process, MB.
        before: Peak before the first pass, MB: libraries, model, text.
        scores: Of each measure, language and layer.
    """

    seconds: float
    cpu: float
    tokens: int
    operations: float
    memory: float
    before: float
    scores: tuple[float, ...]


def measure(data: Path, sentences: int, what: str, dtype: str, threads: int) -> Point:
    torch.set_num_threads(threads)
    model = load_model("lab:aligned", device="cpu", dtype=dtype)
    tokenizer = load_tokenizer("lab:aligned")
    texts = read_parallel_text(data, limit=sentences)
    before = peak_memory()
    wall, cpu = time.perf_counter(), time.process_time()
    found = measure_representations(model, tokenizer, texts, measures=MEASURES[what])
    seconds, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = peak_memory()
    tokens = sum(len(row) for own in texts.values() for row in tokenizer(own)["input_ids"])
    body = [module for module in model.get_decoder().modules() if isinstance(module, nn.Linear)]
    operations = 2.0 * tokens * sum(module.weight.numel() for module in body)
    scores = tuple(
        layer.mean
        for by_language in found.languages.values()
        for own in by_language.values()
        for layer in own.layers
    )
    return Point(seconds, cpu, tokens, operations, memory, before, scores)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument("--data", type=Path, default=ROOT / ".." / "shared" / "data" / "ntrex")
    parser.add_argument("--cases", type=int, nargs="+", default=range(len(CASES)), help="which, from 0")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    lines, floor = [], 0.0
    exact: dict[tuple[int, str], Sequence[float]] = {}
    for sentences, what, dtype in (CASES[case] for case in options.cases):
        load = os.getloadavg()[0]
        point = in_own_process(measure, options.data, sentences, what, dtype, options.threads)
        first = exact.setdefault((sentences, what), point.scores)
        apart = max(abs(one - other) for one, other in zip(point.scores, first, strict=True))
        lines.append(
            f"| {sentences:,} | {what} | {dtype} | {point.tokens:,} | {point.seconds:.1f} | {point.cpu:.1f} "
            f"| {point.before:,.0f} | {point.memory:,.0f} | {apart:.4f} | {load:.1f} |"
        )
        print(lines[-1], flush=True)
        floor = max(floor, point.operations)
    text = table(lines, floor, options)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


def table(lines: Sequence[str], operations: float, options: argparse.Namespace) -> str:
    machine, peak = environment(), peak_gflops()
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    return "\n".join(
        [
            "# MEXA and NeuronXA on whole texts",
            "",
            f"`lab:aligned`, all layers, 16 languages of NTREX-128; {machine['processor']}, "
            f"{options.threads} threads; {versions}. The target is {TARGET} seconds for MEXA on 1,997 "
            "sentences; both: MEXA and NeuronXA. Difference: the largest of a score from that in float32. "
            "Load: of the machine before.",
            "",
            f"Products with the model's weights alone are {operations / 1e12:.1f} TFLOP in the longest case: "
            f"{operations / peak / 1e9:.0f} seconds at this machine's peak of {peak:.0f} GFLOP/s in float32, "
            f"that of two 2,048 x 2,048 matrices with {torch.get_num_threads()} threads.",
            "",
            "| sentences | measures | precision | tokens | seconds | CPU seconds | MB before | peak MB "
            "| difference | load |",
            "|--:|---|---|--:|--:|--:|--:|--:|--:|--:|",
            *lines,
            "",
        ]
    )


if __name__ == "__main__":
    main()
