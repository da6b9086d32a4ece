"""Is `lingualign plan` right? Runs of three sizes on this machine, planned first and then done.

For each size two random Llama models are written, with the lab's tokenizer. A run with them on prompts of the
lab is planned as `lingualign plan --gpus cpu` does it, in a process of its own, and then done in another,
which notes the seconds and the peak of memory of every stage.

    python benchmarks/plan.py                          # a table as Markdown on stdout, progress on stderr
    python benchmarks/plan.py --clock cpu              # seconds of processor time, on a busy machine
    python benchmarks/plan.py --sizes 6M --prompts 4   # a look at whether it runs
    python benchmarks/plan.py --scaling full           # the tables of docs/scaling.md: full, adapter

The models say only words that begin with a space, and never end: so responses have as many tokens as they
may, and the same again when their text is read.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
# hidden, layers, intermediate, heads, key heads; and prompts a language
SIZES = {
    "6M": (256, 6, 768, 8, 4, 48),
    "26M": (512, 8, 1408, 8, 4, 24),
    "99M": (1024, 8, 2816, 16, 8, 8),
}
LANGUAGES, N, RESPONSE, HELDOUT, LABELS = "en,de,zh", 4, 48, 16, 8
MODELS = ("1e9", "8e9", "70e9")
HARDWARE = ("1xH200", "8xH100", "8xH200", "64xH100")
MANY = "en,ar,zh,cs,nl,fr,de,el,he,hi,id,it,ja,ko,fa,pl,pt,ro,ru,es,tr,uk,vi"
COMMON = [
    "icr",
    "policy=none",
    "prompts=none",
    "iterations=1",
    "sampling.backend=vllm",
    "training.save_steps=1000",
]
TRAININGS = {
    "full": ["training.gradient_checkpointing=true"],
    "adapter": ["training.gradient_checkpointing=true", "training.lora={r: 16}"],
}
LOUD, SILENCED = 5.0, -5.0  # see `quieten`


def main() -> None:
    """Plans and does the runs, and prints the tables."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--sizes", default=",".join(SIZES))
    arguments.add_argument("--prompts", type=int, help="prompts a language, instead of each size's own")
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--clock", choices=CLOCKS, default="wall")
    arguments.add_argument("--scaling", choices=TRAININGS, help="plan what is not here, and do nothing")
    arguments.add_argument("--child", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.child:
        what, folder = options.child
        print(json.dumps({"plan": plan, "run": run}[what](Path(folder), options.clock)))
        return
    if options.scaling:
        print(scaling(TRAININGS[options.scaling]))
        return
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.sizes.split(","):
            place = Path(folder) / name
            prepare(place, name, options.prompts)
            found[name] = [child(what, place, options) for what in ("plan", "run")]
            print(f"{name} is done", file=sys.stderr)
    print(tables(found, options))


def scaling(settings: list[str]) -> str:
    """Hours of one iteration of ICR, by what `lingualign plan` says."""
    from typer.testing import CliRunner

    from lingualign.cli import app

    lines = [
        f"| model | languages | prompts | {' | '.join(HARDWARE)} | longest on {HARDWARE[-1]} |",
        "|---|--:|--:|" + "--:|" * len(HARDWARE) + "---|",
    ]
    for model in MODELS:
        for languages in ("en,de,es,sw,zh", MANY):
            for prompts in ("1000", "10000", "100000"):
                cells = []
                for hardware in HARDWARE:
                    call = ["plan", *COMMON, *settings, f"languages={languages}"]
                    call += ["--model-params", model, "--prompts", prompts, "--gpus", hardware, "--json"]
                    result = CliRunner().invoke(app, call)
                    found = json.loads(result.output)
                    hours = found["total"]["seconds"] / 3600
                    cells.append(f"{hours:.1f}" if found["total"]["fits"] else "no room")
                longest = max(found["stages"], key=lambda stage: stage["seconds"])
                said = f"{longest['stage'].rpartition('/')[2]}: {longest['bound']}"
                count = languages.count(",") + 1
                lines.append(f"| {float(model):.0e} | {count} | {prompts} | {' | '.join(cells)} | {said} |")
    return "\n".join(lines).replace("e+0", "e").replace("e+10", "e10")


def child(what: str, place: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Plans or does a run in a process of its own."""
    command = [sys.executable, __file__, "--clock", options.clock, "--child", what, str(place)]
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(
        command, env={**os.environ, **threads}, stdout=subprocess.PIPE, check=True, text=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def prepare(place: Path, name: str, prompts: int | None) -> None:
    """Writes two models, a few labelled pairs and run.yaml."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from lingualign.lab.preferences import english_preferences
    from lingualign.models import load_tokenizer
    from lingualign.yaml_files import dump_yaml

    hidden, layers, intermediate, heads, keys, own = SIZES[name]
    tokenizer = load_tokenizer("lab:aligned")
    for seed, role in enumerate(("policy", "reference")):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            num_hidden_layers=layers,
            intermediate_size=intermediate,
            num_attention_heads=heads,
            num_key_value_heads=keys,
            max_position_embeddings=1024,
            tie_word_embeddings=False,
        )
        model = LlamaForCausalLM(config)
        quieten(model, tokenizer)
        model.save_pretrained(place / role)
        tokenizer.save_pretrained(place / role)
    labels = place / "labels.jsonl"
    labels.write_text(
        "\n".join(
            json.dumps({part: pair[part] for part in ("prompt", "chosen", "rejected")}, ensure_ascii=False)
            for pair in english_preferences(LABELS, 0)
        ),
        encoding="utf-8",
    )
    settings = {
        "recipe": "icr",
        "policy": str(place / "policy"),
        "reference": str(place / "reference"),
        "prompts": "lab",
        "languages": LANGUAGES.split(","),
        "iterations": 1,
        "dtype": "float32",
        "output": str(place / "run"),
        "data": {"limit": prompts or own, "labelled_pairs": str(labels)},
        "sampling": {"n": N, "max_new_tokens": RESPONSE},
        "pairs": {"drop_truncated": False, "drop_duplicates": False, "wrong_language": "keep"},
        "training": {"batch_pairs": 12},
        "measures": {"n": HELDOUT, "max_new_tokens": RESPONSE, "bootstrap": 100},
    }
    (place / "run.yaml").write_text(dump_yaml(settings), encoding="utf-8")


def quieten(model: Any, tokenizer: Any) -> None:
    """Lets a random model say whole words only.

    The first number of every hidden state is made large, and what the head makes of it far below zero for all
    other tokens.
    """
    import torch

    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    words = [piece.startswith("Ġ") and piece[1:].isascii() and piece[1:].isalpha() for piece in pieces]
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = LOUD
        head = model.get_output_embeddings().weight
        head[:, 0] = torch.where(torch.tensor(words), 0.0, SILENCED)


def plan(place: Path, clock: str) -> dict[str, Any]:
    """The plan of a run on this machine, made before it runs."""
    from lingualign.cli.plan import shapes
    from lingualign.planning.calibrate import calibrate
    from lingualign.planning.counting import Said, count
    from lingualign.planning.forecast import forecast
    from lingualign.planning.hardware import Hardware
    from lingualign.settings import load_config

    config = load_config(str(place / "run.yaml"), [])
    policy, reference = shapes(config, None)
    counts, _ = count(config, Said(response_tokens=RESPONSE))
    start = time.perf_counter()
    device = calibrate(policy, config, counts, CLOCKS[clock])
    seconds = time.perf_counter() - start
    found = forecast(config, counts, Hardware(device), policy, reference)
    return {**found.as_dict(), "calibration_seconds": seconds, "load": os.getloadavg()[0]}


def run(place: Path, clock: str) -> dict[str, Any]:
    """Does a run, and notes what each stage took."""
    from lingualign import align
    from lingualign.settings import load_config

    notes = Notes(clock)
    align(load_config(str(place / "run.yaml"), []), notes)
    used = sum(path.stat().st_size for path in (place / "run").rglob("*") if path.is_file())
    return {"stages": notes.stages, "disk_bytes": used, "load": os.getloadavg()[0]}


class Notes:
    """A reporter that notes the seconds and the peak of memory of each stage."""

    def __init__(self, clock: str) -> None:
        self.stages: dict[str, dict[str, float]] = {}
        self._clock = CLOCKS[clock]

    def run(self, folder: Path, stages: Mapping[str, float | None]) -> AbstractContextManager[None]:
        """See `lingualign.pipeline.progress.Reporter`."""
        return nullcontext()

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "chunks", done: int = 0) -> Iterator[Any]:
        """Notes a stage; the kernel's mark of the most memory is set back at its start."""
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        start = self._clock()
        yield self
        self.stages[name] = {"seconds": self._clock() - start, "memory": most_memory()}

    def update(self, done: int, total: int | None = None, detail: str = "") -> None:
        """Nobody looks."""

    def skip(self, name: str) -> None:
        """Nothing is skipped."""

    def note(self, text: str) -> None:
        """Nobody looks."""

    warn = note

    def result(self, kind: str, value: dict[str, Any]) -> None:
        """Nobody looks."""


def most_memory() -> float:
    """Bytes of main memory that this process had at its peak since the last mark."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    raise OSError("no VmHWM in /proc/self/status")


def tables(found: Mapping[str, list[dict[str, Any]]], options: argparse.Namespace) -> str:
    """All results as Markdown."""
    lines = [
        f"{options.threads} thread{'s' if options.threads > 1 else ''}, "
        + ("seconds of processor time" if options.clock == "cpu" else "seconds"),
        "",
        "| model | planned | took | ratio | planned memory | peak | ratio | load |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, (planned, done) in found.items():
        took = sum(stage["seconds"] for stage in done["stages"].values())
        peak = max(stage["memory"] for stage in done["stages"].values())
        total = planned["total"]
        memory = total["memory_bytes"]
        lines.append(
            f"| {name} | {total['seconds']:.1f} s | {took:.1f} s | {total['seconds'] / took:.2f} | "
            f"{memory / 1e9:.2f} GB | {peak / 1e9:.2f} GB | {memory / peak:.2f} | "
            f"{planned['load']:.1f}, {done['load']:.1f} |"
        )
    head = "".join(f" {name}: planned | took | ratio | memory |" for name in found)
    lines += ["", f"| stage |{head}", "|---|" + "--:|--:|--:|--:|" * len(found)]
    for number, stage in enumerate(next(iter(found.values()))[0]["stages"]):
        cells = []
        for planned, done in found.values():
            row, real = planned["stages"][number], done["stages"][stage["stage"]]
            cells.append(
                f" {row['seconds']:.2f} | {real['seconds']:.2f} | {row['seconds'] / real['seconds']:.2f} | "
                f"{row['memory_bytes'] / real['memory']:.2f} |"
            )
        lines.append(f"| {stage['stage']} |{''.join(cells)}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
