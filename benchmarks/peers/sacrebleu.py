"""chrF and BLEU: lingualign against the command line of sacrebleu 2.6.0 on the same sentences.

    python benchmarks/peers/sacrebleu.py --output benchmarks/results/peers_sacrebleu.md

Installs the peer into a throw-away virtual environment (seconds, and the package index is needed). The
sentences are the first of NTREX-128 (`--data FOLDER`, a language a file), the translations the same with some
of their words left out.

Exits with 1 if a score or half an interval differs in its sixth digit behind the point, or a signature does.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any, get_args

# This folder's files are named after their peers, and must not be imported for them.
sys.path.pop(0)

from lingualign.measures.tasks.translation_quality import Metric, tokenizer_of, translation_quality

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ("sacrebleu==2.6.0",)
LANGUAGES = ("de", "sw", "zh", "th")
SENTENCES = 200
DIGITS = 6
TOLERANCE = 1.5 * 10**-DIGITS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument("--data", type=Path, default=ROOT / ".." / "shared" / "data" / "ntrex")
    arguments = parser.parse_args()
    lines = [
        "# sacrebleu",
        "",
        f"lingualign against {', '.join(REQUIREMENTS)} on {SENTENCES} sentences of NTREX-128 a language, by",
        "`benchmarks/peers/sacrebleu.py`. Scores from 0 to 100 with half the width of their intervals.",
        "",
        "| metric | language | lingualign | sacrebleu | same signature |",
        "|---|---|---|---|---|",
    ]
    missed = False
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        python = install(folder / "environment")
        for metric in get_args(Metric):
            for language in LANGUAGES:
                references = (arguments.data / f"{language}.txt").read_text(encoding="utf-8").split("\n")
                references = references[:SENTENCES]
                translations = [shortened(sentence, place) for place, sentence in enumerate(references)]
                found = translation_quality({language: translations}, {language: references}, metric)[
                    language
                ]
                peer = ask_peer(python, folder, metric, language, translations, references)
                half = (found.score.high - found.score.low) / 2
                same = set(found.signature.split("|")) == {
                    f"{key}:{peer[key]}" for key in signature_keys(found)
                }
                missed |= not same
                missed |= abs(found.score.mean - peer["score"]) > TOLERANCE
                missed |= abs(half - peer["confidence_var"]) > TOLERANCE
                lines.append(
                    f"| {metric} | {language} | {found.score.mean:.{DIGITS}f} ± {half:.{DIGITS}f} "
                    f"| {peer['score']:.{DIGITS}f} ± {peer['confidence_var']:.{DIGITS}f} "
                    f"| {'yes' if same else 'no'} |"
                )
    table = "\n".join(lines)
    print(table)
    if arguments.output:
        arguments.output.write_text(table + "\n", encoding="utf-8")
    if missed:
        sys.exit("a tolerance is missed")


def install(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *REQUIREMENTS], check=True)
    return python


def shortened(sentence: str, place: int) -> str:
    """A sentence without some of its words, or of its characters where it has few spaces."""
    draw = random.Random(place)
    parts, glue = (sentence.split(" "), " ") if sentence.count(" ") > 4 else (list(sentence), "")
    return glue.join(part for part in parts if draw.random() > 0.15) or sentence


def ask_peer(
    python: Path, folder: Path, metric: str, language: str, translations: list[str], references: list[str]
) -> dict[str, Any]:
    for name, texts in (("translations", translations), ("references", references)):
        (folder / name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    command = [python, "-m", "sacrebleu", folder / "references", "-i", folder / "translations", "-m", metric]
    command += ["--confidence", "-w", str(DIGITS), "-f", "json"]
    if metric == "bleu":
        command += ["--tokenize", tokenizer_of(language)]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def signature_keys(found: Any) -> list[str]:
    return [part.split(":")[0] for part in found.signature.split("|")]


if __name__ == "__main__":
    main()
