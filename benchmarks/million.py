"""A million responses through `lingualign score` and `lingualign pair`: seconds a response, and memory.

    python benchmarks/million.py --work runs/million --output benchmarks/results/million.md
    python benchmarks/million.py --work runs/small --sizes 1000              # whether it runs

Responses are texts of a few everyday sentences in twenty languages, ten to a prompt, in part files as
`lingualign sample` writes them: 3 in 100 are in English whatever the language, 2 are cut, 3 say what another
one says. Every stage is a process of its own, from its start to its end, on one thread; its memory is the
most that it has held, libraries included (VmHWM). What it costs to start is measured with one prompt a
language, the least of three times.

Scores are those of `reward.kind=random`, and of `reward.kind=language` for comparison. Pairs are those of the
recipe `icr`: the language of each response is told, and length control solved. The last line of a size reads
the same responses from one file of a single row group, in random order.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sentences import SENTENCES

from lingualign.pipeline.folder import Chunk
from lingualign.records import RESPONSES, write_table

K = 10
CHUNK = 64  # prompts a part file
STARTS = 3  # times that the start of a process is measured
LANGUAGES = list(SENTENCES)
UNSPACED = {"zh", "ja", "th"}
# What a process says of itself when it ends: its own peak, where that of its parent does not count.
COMMAND = """
import atexit, json, os, resource, sys

def tell():
    used = resource.getrusage(resource.RUSAGE_SELF)
    lines = open("/proc/self/status").read().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    json.dump({"cpu": used.ru_utime + used.ru_stime, "memory": peak / 1024}, open(os.environ["TOLD"], "w"))

atexit.register(tell)
from lingualign.cli import main
main()
"""


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds on the clock and of the processor, and its memory in MB."""

    wall: float
    cpu: float
    memory: float


def make_data(folder: Path, prompts: int, seed: int) -> int:
    """Writes prompts and responses; what is there stays.

    Returns:
        Bytes of all response texts, in UTF-8.
    """
    ids = [f"p{number:06d}" for number in range(prompts)]
    rng = Random(seed)
    asked = [rng.choices(range(6), k=2) for _ in ids]
    for language in LANGUAGES:
        lines = []
        for number, (prompt_id, places) in enumerate(zip(ids, asked, strict=True)):
            text = _joined(language, [SENTENCES[language][place] for place in places])
            lines.append(json.dumps({"id": prompt_id, "prompt": f"{number}: {text}"}, ensure_ascii=False))
        path = folder / "prompts" / f"{language}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    size = 0
    for start in range(0, prompts, CHUNK):
        for language in LANGUAGES:
            chunk = Chunk(language, start, min(start + CHUNK, prompts))
            rows = [row for i in ids[start : chunk.stop] for row in _responses(i, language, seed)]
            size += sum(len(row["text"].encode()) for row in rows)
            write_table(folder / "responses" / chunk.filename, rows, RESPONSES)
    return size


def _responses(prompt_id: str, language: str, seed: int) -> Iterator[dict[str, Any]]:
    rng, before = Random(f"{seed}/{prompt_id}/{language}"), ""
    for index in range(K):
        spoken = "en" if rng.random() < 0.03 else language
        text = _joined(spoken, rng.choices(SENTENCES[spoken], k=rng.randint(2, 8)))
        text = before if before and rng.random() < 0.03 else f"{text} {rng.randrange(10**6)}"
        before = text
        yield {
            "prompt_id": prompt_id,
            "language": language,
            "index": index,
            "text": text,
            "finish_reason": "length" if rng.random() < 0.02 else "stop",
            "num_tokens": len(text) // 4,
        }


def _joined(language: str, sentences: list[str]) -> str:
    return ("" if language in UNSPACED else " ").join(sentences)


def shuffle(responses: Path, path: Path, seed: int) -> None:
    """Writes all part files as one file of one row group, its rows in random order."""
    table = pa.concat_tables([pq.read_table(part) for part in sorted(responses.glob("part-*.parquet"))])
    order = np.random.default_rng(seed).permutation(len(table))
    pq.write_table(table.take(pa.array(order)), path, row_group_size=len(table))


def run(work: Path, *arguments: str) -> Cost:
    """One command as a process."""
    told = work / "told.json"
    environment = {**os.environ, "TOLD": str(told), "OMP_NUM_THREADS": "1"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *arguments], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    wall = time.perf_counter() - start
    found = json.loads(told.read_text(encoding="utf-8"))
    return Cost(wall, found["cpu"], found["memory"])


def measure(folder: Path, any_order: bool, seed: int) -> dict[str, Cost]:
    """The cost of every stage on one set of responses."""
    settings = ["icr", f"prompts={folder / 'prompts'}", f"languages={','.join(LANGUAGES)}", f"seed={seed}"]
    responses = folder / "responses"
    costs = {}
    for reward in ("random", "language"):
        output = folder / f"scored-{reward}"
        kind = f"reward.kind={reward}"
        costs[f"score, {reward}"] = run(
            folder, "score", *settings, kind, "--responses", str(responses), "--output", str(output)
        )
    tables = ["--responses", str(responses), "--scores", str(folder / "scored-random" / "scores")]
    costs["pair"] = run(folder, "pair", *settings, *tables, "--output", str(folder / "paired"))
    if any_order:
        one = folder / "responses.parquet"
        shuffle(responses, one, seed)
        settings.append("reward.kind=random")
        scored, paired = str(folder / "scored-one"), folder / "paired-one"
        name = "in one file, in any order"
        costs[f"score, random, {name}"] = run(
            folder, "score", *settings, "--responses", str(one), "--output", scored
        )
        tables = ["--responses", str(one), "--scores", f"{scored}/scores"]
        costs[f"pair, {name}"] = run(folder, "pair", *settings, *tables, "--output", str(paired))
        _check_same(folder / "paired" / "pairs.parquet", paired / "pairs.parquet")
    return costs


def _check_same(first: Path, second: Path) -> None:
    """Prompts come in the order in which they are first answered: the same pairs may be in another one."""
    one, other = (pq.read_table(path).sort_by("id") for path in (first, second))
    assert one.equals(other), f"{first} and {second} differ"


def report(costs: dict[int, dict[str, Cost]], start: dict[str, Cost], told: list[str]) -> str:
    """The table."""
    lines = [
        "# A million responses through score and pair",
        "",
        *told,
        "",
        "| stage | responses | seconds | CPU seconds | responses a second | CPU µs a response, without the "
        "start | peak memory, MB |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for stage in next(iter(costs.values())):
        for count, found in costs.items():
            cost = found[stage]
            each = (cost.cpu - start[stage].cpu) / count * 1e6
            lines.append(
                f"| {stage} | {count:,} | {cost.wall:.1f} | {cost.cpu:.1f} | {count / cost.wall:,.0f} "
                f"| {each:.0f} | {cost.memory:,.0f} |"
            )
    lines += ["", "The start of a process, with 200 responses:", ""]
    lines += [
        f"- {stage}: {cost.wall:.1f} s, {cost.cpu:.1f} CPU seconds, {cost.memory:,.0f} MB"
        for stage, cost in start.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for data and results; removed first")
    parser.add_argument("--output", type=Path, help="Markdown; default: standard output")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**4, 10**5, 10**6], help="responses")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--any-order", action="store_true", help="one file in random order, too")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    per_prompt = len(LANGUAGES) * K
    costs, texts, starts = {}, 0, []
    for number in range(STARTS):
        folder = options.work / f"start-{number}"
        make_data(folder, 1, options.seed)
        starts.append(measure(folder, options.any_order, options.seed))
    start = {stage: min((found[stage] for found in starts), key=lambda cost: cost.cpu) for stage in starts[0]}
    for prompts in [size // per_prompt for size in options.sizes]:
        folder = options.work / str(prompts * per_prompt)
        texts = make_data(folder, prompts, options.seed)
        costs[prompts * per_prompt] = measure(folder, options.any_order, options.seed)
        print(prompts * per_prompt, costs[prompts * per_prompt], file=sys.stderr, flush=True)
    largest = max(costs)
    versions = ", ".join(f"{name} {version(name)}" for name in ("pyarrow", "numpy", "py3langid"))
    sizes = " ".join(map(str, costs)) + (" --any-order" if options.any_order else "")
    told = [
        f"`python benchmarks/million.py --seed {options.seed} --sizes {sizes}`; {os.cpu_count()} cores, one "
        f"thread; Python {platform.python_version()}, {versions}.",
        "",
        f"{len(LANGUAGES)} languages ({', '.join(LANGUAGES)}), K={K}; {texts / largest:.0f} bytes a "
        f"response, {texts / 1e6:,.0f} MB of text at {largest:,}.",
    ]
    text = report(costs, start, told)
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
