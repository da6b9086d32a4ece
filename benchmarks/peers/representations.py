"""MEXA, NeuronXA and RankC: lingualign against plain loops that are written from the definitions.

    python benchmarks/peers/representations.py --output benchmarks/results/peers_representations.md

No registry has a reference implementation of these measures. Here every sentence is computed by itself by
`model(..., output_hidden_states=True)`, neurons are computed again from the input of each FFN, and sums,
cosines and comparisons are loops in float64, one pair of sentences at a time. The models are random ones of
tests/families.py, in float32 and in float64; the sentences are the first of NTREX-128 (`--data FOLDER`).

Exits with 1 if a score differs by 1e-6 or more, or a sentence's state by more than 1e-4 of its length.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, sqrt
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from lingualign.measures.consistency import rankc
from lingualign.measures.representation.parallel_text import read_parallel_text
from lingualign.measures.representation.representations import (
    EMBEDDINGS,
    NEURON_STATES,
    measure_representations,
)
from lingualign.sentence_states import temporary_states

ROOT = Path(__file__).parents[2]
FAMILIES = ("llama", "qwen3", "gemma3")
LANGUAGES = ("en", "de", "sw", "th", "zh")
MEASURES = (*EMBEDDINGS, *NEURON_STATES)
TOLERANCE = 1e-6  # of a score
STATE_TOLERANCE = 1e-4  # of a state, by its length
QUERIES, MOST_CANDIDATES = 300, 60

States = dict[str, list[list[list[float]]]]  # measure -> layer -> sentence -> numbers


@torch.no_grad()
def plain_states(model: Any, tokenizer: Any, texts: Sequence[str]) -> States:
    """States of each sentence, one sentence and one token after the other."""
    states: States = {}
    for text in texts:
        inputs: list[torch.Tensor] = []
        handles = [
            layer.mlp.register_forward_pre_hook(
                lambda _mlp, arguments, seen=inputs: seen.append(arguments[0])
            )
            for layer in model.model.layers
        ]
        output = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
        for handle in handles:
            handle.remove()
        for number, hidden in enumerate(output.hidden_states):
            tokens = hidden[0].double().numpy()
            add(states, "weighted", number, weighted(tokens))
            add(states, "last_token", number, tokens[-1])
        for number, (layer, entering) in enumerate(zip(model.model.layers, inputs, strict=True)):
            tokens = layer.mlp.act_fn(layer.mlp.gate_proj(entering))[0].double().numpy()
            add(states, "nasca", number, weighted(np.where(tokens > 0, 1.0, 0.0)))
            add(states, "navca", number, weighted(np.abs(tokens)))
    return states


def weighted(tokens: np.ndarray) -> np.ndarray:
    total, weight = np.zeros(tokens.shape[1]), 0
    for position, token in enumerate(tokens, start=1):
        total += position * token
        weight += position
    return total / weight


def add(states: States, measure: str, layer: int, vector: np.ndarray) -> None:
    layers = states.setdefault(measure, [])
    if layer == len(layers):
        layers.append([])
    layers[layer].append(vector.tolist())


def plain_score(pivot: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    """Share of sentences that are nearer to each other than either is to any other."""
    n, passed = len(pivot), 0
    table = [[cosine(left, right) for right in other] for left in pivot]
    for i in range(n):
        nearer = all(table[i][i] > table[i][j] and table[i][i] > table[j][i] for j in range(n) if j != i)
        passed += nearer
    return passed / n


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    product = square_left = square_right = 0.0
    for a, b in zip(left, right, strict=True):
        product += a * b
        square_left += a * a
        square_right += b * b
    return product / sqrt(square_left * square_right) if square_left and square_right else 0.0


def plain_rankc(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]], weighting: str) -> float:
    total = 0.0
    for one, other in zip(first, second, strict=True):
        n = len(one)
        left = sorted(range(n), key=lambda index: one[index], reverse=True)
        right = sorted(range(n), key=lambda index: other[index], reverse=True)
        orders = [n - j + 1 for j in range(1, n + 1)]
        raw = [{"softmax": exp(o), "norm1": float(o), "norm2": float(o * o)}[weighting] for o in orders]
        for j in range(1, n + 1):
            total += raw[j - 1] / sum(raw) * len(set(left[:j]) & set(right[:j])) / j
    return total / len(first)


@dataclass
class Row:
    """One comparison; the largest differences over layers and languages."""

    what: str
    where: str
    scores: int = 0
    mean: list[float] = field(default_factory=list)
    difference: float = 0.0
    state_difference: float | None = None

    def passes(self) -> bool:
        """Whether both differences are within their tolerances."""
        return self.difference < TOLERANCE and (self.state_difference or 0.0) <= STATE_TOLERANCE


def compare_model(family: str, precision: Any, texts: dict[str, list[str]]) -> list[Row]:
    sys.path.insert(0, str(ROOT / "tests"))
    from families import make_model, make_tokenizer

    tokenizer = make_tokenizer(family)
    model = make_model(family, tokenizer).to(getattr(torch, precision))
    plain = {code: plain_states(model, tokenizer, sentences) for code, sentences in texts.items()}
    found = measure_representations(model, tokenizer, texts, storage=precision, resamples=100)
    rows = {measure: Row(measure, f"{family}, {precision}") for measure in MEASURES}
    for code in texts:
        options = (model, tokenizer, code, texts[code], MEASURES, "gate", 16384, precision)
        with temporary_states(*options) as ours:
            for measure, row in rows.items():
                for layer, own in enumerate(plain[code][measure]):
                    expected = plain_score(plain["en"][measure][layer], own)
                    score = found.languages[measure][code].layers[layer].mean
                    row.scores += 1
                    row.mean.append(expected)
                    row.difference = max(row.difference, abs(score - expected))
                    exact = np.array(own)
                    apart = np.linalg.norm(ours.read(measure, layer) - exact, axis=1)
                    relative = float((apart / np.linalg.norm(exact, axis=1)).max())
                    row.state_difference = max(row.state_difference or 0.0, relative)
    return list(rows.values())


def compare_rankc() -> list[Row]:
    random, rows = Random(0), []
    sizes = [random.randint(1, MOST_CANDIDATES) for _ in range(QUERIES)]
    # Few different scores, so that there are ties.
    first, second = ([[float(random.randint(0, 40)) for _ in range(n)] for n in sizes] for _ in range(2))
    for weighting in ("softmax", "norm1", "norm2"):
        expected = plain_rankc(first, second, weighting)
        score = rankc(first, second, weighting, resamples=10).mean
        rows.append(Row(f"RankC, {weighting}", f"{QUERIES} queries", 1, [expected], abs(score - expected)))
    return rows


def table(rows: Sequence[Row], n: int) -> str:
    lines = [
        "# Representation alignment and RankC against plain loops",
        "",
        f"`python benchmarks/peers/representations.py --sentences {n}`: {len(LANGUAGES)} languages "
        f"({', '.join(LANGUAGES)}) x {n} sentences of NTREX-128 against English, all layers of random "
        "models. A score is the share of aligned sentences in one layer of one language. The difference of a "
        "state is its distance from the plain one over its length.",
        "",
        "| measure | model | scores | mean | largest difference | largest difference of a state |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        numbers = f"{row.scores} | {np.mean(row.mean):.4f} | {row.difference:.1e}"
        state = "" if row.state_difference is None else f"{row.state_difference:.1e}"
        lines.append(f"| {row.what} | {row.where} | {numbers} | {state} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument("--data", type=Path, default=ROOT / ".." / "shared" / "data" / "ntrex")
    parser.add_argument("--sentences", type=int, default=60)
    parser.add_argument("--families", nargs="+", default=FAMILIES)
    arguments = parser.parse_args()
    texts = read_parallel_text(arguments.data, LANGUAGES, arguments.sentences)
    rows = [
        row
        for family in arguments.families
        for precision in ("float32", "float64")
        for row in compare_model(family, precision, texts)
    ]
    rows += compare_rankc()
    text = table(rows, arguments.sentences)
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    return 0 if all(row.passes() for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
