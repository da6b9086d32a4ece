"""The exports of a run, each loaded by the library that it is made for.

    python benchmarks/exports.py --output benchmarks/results/exports.md
    python benchmarks/exports.py --run runs/icr --environments ../peers    # keeps them

Installs each trainer into a virtual environment of its own (tried on Linux with Python 3.11 without a GPU; it
takes a while, gigabytes, and the package index), hands it the export of a small run in the lab, with its own
settings file where there is one, and compares what its data code makes of every pair, as text with the
model's chat template around it, with the run's pairs. TRL is loaded in this environment.

What a trainer needs for training alone and does not install without a GPU is left out, and named in the
table.

Exits with 1 if a library was loaded and a pair is not the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingualign.export.base import RunPairs, answer, read_run_pairs
from lingualign.export.write import export
from lingualign.models import load_tokenizer

SMALL = ["icr", "iterations=1", "data.limit=16", "sampling.n=4", "training.epochs=1", "measures.n=8"]
TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Peer:
    """A trainer, and how its data code is called.

    Attributes:
        form: Name of the export.
        package: With its version; None: what is installed here.
        without: Requirements that are left out: they are for training alone, or do not install without a GPU.
        only: Requirements that are installed; None: all but `without`.
        remark: What was left out, and why.
        called: What of it was called.
        code: Prints versions and pairs as JSON in its last line; its arguments are the folder of the export
            and that of the model.
    """

    form: str
    package: str | None
    without: frozenset[str]
    only: frozenset[str] | None
    remark: str
    called: str
    code: str


COMMON = """
import json, os, sys
from importlib.metadata import version
os.chdir(sys.argv[1])
def tell(pairs, *packages):
    found = {name: version(name) for name in packages}
    print("\\n" + json.dumps({"versions": found, "pairs": [list(pair) for pair in pairs]}))
"""

TRL = """
from datasets import load_dataset
from trl import DPOConfig, DPOTrainer
data = load_dataset("parquet", data_files="pairs.parquet", split="train")
config = DPOConfig(output_dir="trained", report_to="none", bf16=False, use_cpu=True)
trainer = DPOTrainer(model=sys.argv[2], args=config, train_dataset=data)
text = trainer.processing_class.decode
tell(((text(row["prompt_ids"]), text(row["chosen_ids"]), text(row["rejected_ids"]))
      for row in trainer.train_dataset), "trl", "transformers", "datasets", "torch")
"""

LLAMA_FACTORY = """
import importlib.machinery, types
audio = sys.modules["torchaudio"] = types.ModuleType("torchaudio")
audio.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
import yaml
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
from llamafactory.hparams import get_train_args
from llamafactory.model import load_tokenizer
settings = {**yaml.safe_load(open("train.yaml")), "use_cpu": True}
model, data, training, *_ = get_train_args(settings)
loaded = load_tokenizer(model)
template = get_template_and_fix_tokenizer(loaded["tokenizer"], data)
rows = get_dataset(template, model, data, training, stage="rm", **loaded)["train_dataset"]
def split(row, side):
    start = sum(label < 0 for label in row[side + "_labels"])
    ids = row[side + "_input_ids"]
    return loaded["tokenizer"].decode(ids[:start]), loaded["tokenizer"].decode(ids[start:])
tell(((*split(row, "chosen"), split(row, "rejected")[1]) for row in rows),
     "llamafactory", "trl", "transformers", "datasets", "torch")
"""

OPENRLHF = """
from types import SimpleNamespace as Names
from openrlhf.datasets import RewardDataset
from openrlhf.datasets.utils import blending_datasets
from openrlhf.utils.utils import get_tokenizer
tokenizer = get_tokenizer(sys.argv[2], None, "right")
data = Names(prompt_key="prompt", chosen_key="chosen", rejected_key="rejected", apply_chat_template=True)
strategy = Names(args=Names(data=data), print=print, is_rank_0=lambda: True)
rows = blending_datasets("pairs.jsonl", None, strategy, 42, dataset_split="train")
made = RewardDataset(rows, tokenizer, 4096, strategy, is_dpo=True, num_processors=1)
tell(zip(made.prompts, made.chosens, made.rejects), "openrlhf", "transformers", "datasets", "torch")
"""

AXOLOTL = """
os.environ["AXOLOTL_DO_NOT_TRACK"] = "1"
def main():
    from axolotl.cli.config import load_cfg
    from axolotl.loaders import load_tokenizer
    from axolotl.utils.data.rl import prepare_preference_datasets
    config = load_cfg("train.yaml")
    rows, _ = prepare_preference_datasets(config, load_tokenizer(config))
    tell(((row["prompt"], row["chosen"], row["rejected"]) for row in rows),
         "axolotl", "trl", "transformers", "datasets", "torch")
if __name__ == "__main__":  # its processes import this file
    main()
"""

PEERS = (
    Peer("trl", None, frozenset(), None, "", "`load_dataset`, `DPOTrainer`'s own preparation", TRL),
    Peer(
        "llama-factory",
        "llamafactory==0.9.5",
        frozenset({"torchaudio", "torchvision"}),
        None,
        "torchvision and torchaudio are left out: their packages do not load beside a CPU's torch. An empty "
        "module stands for torchaudio, which the code for sound imports",
        "`get_train_args` on our train.yaml, `get_dataset`",
        LLAMA_FACTORY,
    ),
    Peer(
        "openrlhf",
        "openrlhf==0.11.2",
        frozenset(),
        frozenset({"torch", "transformers", "datasets", "sympy", "pylatexenc", "tqdm"}),
        "flash-attn does not build without nvcc; it, deepspeed, ray and the rest that reads no data are left "
        "out",
        "`blending_datasets`, `RewardDataset(is_dpo=True)`",
        OPENRLHF,
    ),
    Peer(
        "axolotl",
        "axolotl==0.19.0",
        frozenset(),
        None,
        "",
        "`load_cfg` on our train.yaml, `prepare_preference_datasets`",
        AXOLOTL,
    ),
)

REQUIREMENTS = """
import sys
from importlib.metadata import requires
from packaging.requirements import Requirement
for line in requires(sys.argv[1]) or []:
    found = Requirement(line)
    if found.marker is None or found.marker.evaluate({"extra": ""}):
        print(found.name.lower(), f"{found.name}{found.specifier}")
"""


def main() -> int:
    """Loads every export, and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, help="run folder; default: a small one in the lab is made")
    parser.add_argument("--environments", type=Path, help="folder to keep the environments in")
    parser.add_argument("--output", type=Path, help="file for the table, which is printed too")
    parser.add_argument("--only", nargs="*", choices=[peer.form for peer in PEERS])
    arguments = parser.parse_args()
    rows, same = [], True
    with tempfile.TemporaryDirectory() as scratch:
        run = arguments.run or small_run(Path(scratch))
        pairs = read_run_pairs(run)
        expected = as_texts(pairs)
        for peer in PEERS:
            if arguments.only and peer.form not in arguments.only:
                continue
            folder = export(run, peer.form, Path(scratch) / "exports" / peer.form).folder
            print(f"{peer.form} ...", file=sys.stderr, flush=True)
            try:
                python = environment(peer, (arguments.environments or Path(scratch)).absolute())
                found = call(python, peer, folder, pairs.policy)
            except subprocess.CalledProcessError as error:
                last = ((error.stderr or "").strip().splitlines() or ["?"])[-1]
                rows.append([peer.form, "-", "not loaded", last.replace("|", "\\|"), peer.remark])
                continue
            theirs = Counter(map(tuple, found["pairs"]))
            equal = sum((theirs & expected).values())
            same &= equal == len(pairs.pairs) == len(found["pairs"])
            versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
            counts = f"{len(found['pairs'])} of {len(pairs.pairs)}, {equal} equal"
            rows.append([peer.form, versions, peer.called, counts, peer.remark])
    text = table(rows, pairs)
    print(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    return 0 if same else 1


def small_run(folder: Path) -> Path:
    """A run in the lab, of a minute."""
    lingualign = str(Path(sys.executable).with_name("lingualign"))
    command = [lingualign, "align", *SMALL, f"output={folder / 'run'}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / "run"


def as_texts(run: RunPairs) -> Counter[tuple[str, ...]]:
    """What a trainer should make of the pairs: prompt, chosen and rejected, in the chat template."""
    tokenizer = load_tokenizer(run.policy)
    found: Counter[tuple[str, ...]] = Counter()
    for pair in run.pairs:
        prompt = tokenizer.apply_chat_template(pair["prompt"], tokenize=False, add_generation_prompt=True)
        sides = [answer(pair["chosen"]), answer(pair["rejected"])]
        found[(prompt, *(side + tokenizer.eos_token for side in sides))] += 1
    return found


def environment(peer: Peer, folder: Path) -> Path:
    """The Python that has the peer: this one, or one in a virtual environment, made if it is not there."""
    if peer.package is None:
        return Path(sys.executable)
    place = folder / peer.form
    python = place / "bin" / "python"
    complete = place / "installed"
    if complete.exists():
        return python
    venv.create(place, with_pip=True, clear=True)  # what a stopped installation left is not used
    name = peer.package.partition("=")[0]
    install(python, TORCH, "packaging")
    install(python, "--no-deps", peer.package)
    listed = subprocess.run([python, "-c", REQUIREMENTS, name], check=True, capture_output=True, text=True)
    needed = dict(line.split(" ", 1) for line in listed.stdout.splitlines())
    wanted = [
        requirement
        for package, requirement in needed.items()
        if package not in peer.without and package != "torch" and (peer.only is None or package in peer.only)
    ]
    install(python, TORCH, *wanted)
    complete.touch()
    return python


def install(python: Path, *packages: str) -> None:
    """Installs packages, with a low priority."""
    command = ["nice", str(python), "-m", "pip", "install", "--quiet", *packages]
    subprocess.run(command, check=True, capture_output=True, text=True)


def call(python: Path, peer: Peer, folder: Path, model: str) -> dict[str, Any]:
    """Runs the peer's code in its environment."""
    script = folder.with_name(f"{peer.form.replace('-', '_')}_check.py")
    script.write_text(COMMON + peer.code, encoding="utf-8")
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DISABLE_VERSION_CHECK": "1"}
    done = subprocess.run(
        [python, script, str(folder), model],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **quiet},
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def table(rows: list[list[str]], run: RunPairs) -> str:
    """The results as Markdown."""
    headings = ["export", "versions", "what was called", "pairs loaded, equal as text", "left out"]
    lines = [headings, ["---"] * len(headings), *rows]
    body = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return (
        "# Exports, loaded by the libraries they are made for\n\n"
        f"The {len(run.pairs)} pairs of a run in the lab (recipe {run.config.recipe}, "
        f"{', '.join(run.languages)}), by `benchmarks/exports.py`. Equal: prompt, chosen and rejected come "
        "out of the library's data code as the run has them, with the model's chat template around them. CSV "
        "is read by Python's csv and pandas in `tests/test_export.py`.\n\n"
        f"{body}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
