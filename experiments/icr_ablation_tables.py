"""The tables of `icr_ablation.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lingualign.config import RunConfig
from lingualign.lab.judge import WEIGHTS, judge
from lingualign.measures.intervals import Interval, bootstrap
from lingualign.measures.win_rate import outcome
from lingualign.records import Pair

DECODINGS = {"T=0.6": "sampled", "greedy": "greedy"}
LONGER_IS_BETTER = ("worked", "complete", "courteous", "numbered")
LONGER_IS_WORSE = ("concise", "focused", "confident")
OTHER_TRAITS = ("right", "clean", "language")
ICR, RANDOM, CEILING = "ICR", "random labels", "gold labels"


@dataclass(frozen=True)
class Trained:
    """What came of one variant with one seed.

    Attributes:
        pairs: That it was trained on.
        measures: The content of `measures.json`.
        pairing: The content of `pairs.json`: a language -> what became of its candidates, before the number
            of pairs was made equal.
        outcomes: A decoding -> a language -> 1, 1/2 or 0 for each held-out prompt, against the start.
    """

    pairs: list[Pair]
    pairing: dict[str, Any]
    measures: dict[str, Any]
    outcomes: dict[str, dict[str, list[float]]]

    def mean(self, which: str, decoding: str, read: Callable[[dict[str, Any]], float]) -> float:
        """A measure's mean over the target languages, of the start or of the trained policy."""
        policy = self.measures["start"] if which == "start" else self.measures["iterations"][0]
        source = self.measures["source_language"]
        languages = policy[DECODINGS[decoding]]["languages"]
        return mean(read(found) for language, found in languages.items() if language != source)

    def change(self, decoding: str, read: Callable[[dict[str, Any]], float]) -> float:
        """By how much that mean changed."""
        return self.mean("trained", decoding, read) - self.mean("start", decoding, read)


def mean(values: Iterable[float]) -> float:
    """Their mean."""
    found = list(values)
    return sum(found) / len(found)


class Report:
    """The tables.

    Args:
        config: Of the default variant.
        results: A variant -> its results, a seed each.
    """

    def __init__(self, config: RunConfig, results: dict[str, list[Trained]]) -> None:
        self.config = config
        self.results = results

    def pooled(
        self, name: str, decoding: str, languages: Sequence[str], minus: str | None = None
    ) -> Interval:
        """A win rate over all seeds, or its distance to another variant's.

        The seeds share their held-out prompts, so prompts are drawn, each with its outcomes in all seeds and
        languages: what the seeds have in common does not make the interval narrower.
        """

        def outcomes(variant: str, language: str) -> list[float]:
            seeds = [trained.outcomes[decoding][language] for trained in self.results[variant]]
            return [mean(values) for values in zip(*seeds, strict=True)]

        rows = {language: outcomes(name, language) for language in languages}
        if minus is not None:
            rows = {
                language: [a - b for a, b in zip(own, outcomes(minus, language), strict=True)]
                for language, own in rows.items()
            }
        return bootstrap(rows, self.config.measures.bootstrap, seed=0)["mean"]

    def share_of_ceiling(self, name: str, decoding: str) -> float:
        """Gain over 50 % wins, relative to the best variant with gold labels."""
        targets = self.config.target_languages
        ceiling = max(
            self.pooled(gold, decoding, targets).mean for gold in self.results if gold.startswith(CEILING)
        )
        gain = self.pooled(name, decoding, targets).mean - 0.5
        return gain / (ceiling - 0.5) if ceiling > 0.5 else float("nan")

    def wins(self) -> str:
        """Win rates."""
        heads = [f"wins {d} | seeds | {ICR} minus it | share of ceiling" for d in DECODINGS]
        rows = [f"| labels | {' | '.join(heads)} |", "|---" * 9 + "|"]
        for name, seeds in self.results.items():
            cells = []
            for decoding, kind in DECODINGS.items():
                rate = self.pooled(name, decoding, self.config.target_languages)
                each = [
                    trained.measures["iterations"][0][kind]["target_win_rate"]["mean"] for trained in seeds
                ]
                ahead = self.pooled(ICR, decoding, self.config.target_languages, minus=name)
                cells += [
                    percent(rate),
                    ", ".join(f"{100 * value:.1f}" for value in each),
                    "" if name == ICR else percent(ahead, "+"),
                    f"{100 * self.share_of_ceiling(name, decoding):.0f} %",
                ]
            rows.append(f"| {name} | {' | '.join(cells)} |")
        return "\n".join(rows)

    def changes(self) -> str:
        """What else changed, and what the pairs were like."""
        source = self.config.source_language
        rows = [
            f"| labels | wins in {source} T=0.6 | greedy | gold T=0.6 | greedy | facts T=0.6 | greedy "
            "| language T=0.6 | characters T=0.6 | pairs | right pairs | chosen longer by |",
            "|---" * 12 + "|",
        ]
        for name, seeds in self.results.items():
            cells = [percent(self.pooled(name, decoding, [source])) for decoding in DECODINGS]
            cells += [f"{mean(t.change(d, lambda m: m['reward']) for t in seeds):+.3f}" for d in DECODINGS]
            for decoding in DECODINGS:
                facts = mean(t.change(decoding, lambda m: m["traits"]["right"]) for t in seeds)
                cells.append(f"{100 * facts:+.1f}")
            language = mean(t.change("T=0.6", lambda m: m["right_language"]) for t in seeds)
            before, after = (
                mean(t.mean(which, "T=0.6", lambda m: m["mean_length"]) for t in seeds)
                for which in ("start", "trained")
            )
            targets = [pair for trained in seeds for pair in trained.pairs if pair["language"] != source]
            cells += [
                f"{100 * language:+.1f}",
                f"{before:.0f} -> {after:.0f}",
                f"{mean(len(trained.pairs) for trained in seeds):.0f}",
                f"{100 * mean(map(right, targets)):.1f} %",
                f"{mean(len(text(p, 'chosen')) - len(text(p, 'rejected')) for p in targets):+.1f}",
            ]
            rows.append(f"| {name} | {' | '.join(cells)} |")
        return "\n".join(rows)

    def traits(self) -> str:
        """Each trait after training, at T=0.6."""
        first = next(iter(self.results.values()))

        def share(seeds: list[Trained], which: str, trait: str) -> str:
            return f"{100 * mean(t.mean(which, 'T=0.6', lambda m: m['traits'][trait]) for t in seeds):.1f}"

        def before(trait: str) -> str:
            return share(first, "start", trait)

        return self._by_trait(lambda name, trait: share(self.results[name], "trained", trait), before)

    def labels(self) -> str:
        """What the pairs teach: the share of chosen less that of rejected responses with a trait."""
        source = self.config.source_language
        taught: dict[str, dict[str, float]] = {}
        for name, seeds in self.results.items():
            differences: dict[str, list[float]] = {}
            for pair in (pair for trained in seeds for pair in trained.pairs if pair["language"] != source):
                chosen, rejected = (judged(pair, side).traits for side in ("chosen", "rejected"))
                for trait, value in chosen.items():
                    other = rejected[trait]
                    if value is not None and other is not None:
                        differences.setdefault(trait, []).append(value - other)
            taught[name] = {trait: mean(values) for trait, values in differences.items()}
        return self._by_trait(lambda name, trait: f"{100 * taught[name][trait]:+.1f}")

    def length_control(self) -> str:
        """The penalty of each language, and how much longer chosen responses are without it and with it."""
        rows = [f"| labels | {' | '.join(self.config.languages)} |"]
        rows.append("|---" * (1 + len(self.config.languages)) + "|")
        for name, seeds in self.results.items():
            cells = []
            for language in self.config.languages:
                found = [trained.pairing[language]["length_control"] for trained in seeds]
                alpha, before, after = (
                    mean(control[key] for control in found) for key in ("alpha", "gap_before", "gap_after")
                )
                cells.append(f"{alpha:.3g}: {before:+.1f} -> {after:+.1f}")
            rows.append(f"| {name} | {' | '.join(cells)} |")
        return "\n".join(rows)

    def _by_trait(self, cell: Callable[[str, str], str], before: Callable[[str], str] | None = None) -> str:
        """A table with a trait a row and a variant a column, and the start's column before these if any."""
        start = ["start"] if before else []
        rows = [f"| trait | a good answer is | {' | '.join([*start, *self.results])} |"]
        rows.append("|---" * (2 + len(start) + len(self.results)) + "|")
        kinds = ((LONGER_IS_BETTER, "longer"), (LONGER_IS_WORSE, "shorter"), (OTHER_TRAITS, "neither"))
        for traits, kind in kinds:
            for trait in traits:
                cells = [before(trait)] if before else []
                cells += [cell(name, trait) for name in self.results]
                weight = f" ({WEIGHTS[trait]:.2f})" if trait in WEIGHTS else ""
                rows.append(f"| {trait}{weight} | {kind} | {' | '.join(cells)} |")
        return "\n".join(rows)

    def verdict(self) -> str:
        """The two questions that a method has to answer."""
        lines = []
        for decoding in DECODINGS:
            ahead = self.pooled(ICR, decoding, self.config.target_languages, minus=RANDOM)
            share = 100 * self.share_of_ceiling(ICR, decoding)
            lines.append(
                f"- {decoding}: {ICR} is {percent(ahead, '+')} points ahead of {RANDOM}, and reaches "
                f"{share:.0f} % of the ceiling's gain."
            )
        return "\n".join(lines)


def percent(interval: Interval, sign: str = "") -> str:
    """An interval in percent."""
    low, high = (f"{100 * value:{sign}.1f}" for value in (interval.low, interval.high))
    return f"{100 * interval.mean:{sign}.1f} [{low}, {high}]"


def text(pair: Pair, side: str) -> str:
    """A pair's chosen or rejected response."""
    messages = pair["chosen"] if side == "chosen" else pair["rejected"]
    return messages[-1]["content"]


def judged(pair: Pair, side: str) -> Any:
    """The judge's word on it."""
    return judge(pair["id"].removesuffix(f"/{pair['language']}"), pair["language"], text(pair, side))


def right(pair: Pair) -> float:
    """1 if the judge too finds the chosen response better, 1/2 if it finds both alike."""
    chosen, rejected = (judged(pair, side).reward for side in ("chosen", "rejected"))
    return outcome(chosen, rejected, text(pair, "chosen"), text(pair, "rejected"))
