"""ICR in the lab against other labels for the same samples, and with and without length control.

    python experiments/icr_ablation.py > experiments/results/icr_ablation.md
    python experiments/icr_ablation.py --seeds 0 data.limit=40 measures.n=20    # a quick look

For each seed, one set of responses is sampled from the starting policy. Each variant labels them in its own
way and trains the same policy, on as many pairs a language as the variant that found fewest: the same
samples, the same number of steps. All are measured against the starting policy on the same held-out prompts.

Every stage works in a folder of its own under --work, and is skipped or resumed as `lingualign sample`,
`score`, `pair`, `train` and `measure` are: run it again to go on, with another seed or variant to add to it.
The tables go to stdout, progress to stderr.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from icr_ablation_tables import CEILING, DECODINGS, ICR, RANDOM, Report, Trained

from lingualign.cli.reporters import make_reporter
from lingualign.measures.measure import outcomes_against
from lingualign.models import load_tokenizer
from lingualign.pipeline import single
from lingualign.pipeline.inputs import load_heldout
from lingualign.pipeline.measuring import read_answers
from lingualign.pipeline.training import read_pairs
from lingualign.prompts import ChatFormat
from lingualign.records import PAIRS, Pair, write_table
from lingualign.settings import load_config

CONTROLS = {
    "none": "no length control",
    "exact": "length penalty",
    "signed": "equal lengths",
    "grid": "length penalty by grid",
}


@dataclass(frozen=True)
class Variant:
    """One way to label the samples.

    Attributes:
        name: For the tables.
        reward: Settings of its scores.
        pairing: Settings of its pairs, beside those.
    """

    name: str
    reward: tuple[str, ...] = ()
    pairing: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Its name as the name of a folder."""
        return self.name.replace(", ", "-").replace(" ", "_")


def make_variants(default_control: str, grid: bool) -> list[Variant]:
    """The variants; their length control is the lab's default unless their name says otherwise."""
    # Draws and judgements have other units than log-ratios: no margin in nats for them.
    drawn = Variant(RANDOM, ("reward.kind=random",), ("pairs.min_margin=0",))
    gold = Variant(CEILING, ("reward.kind=lab-judge",), ("pairs.min_margin=0",))
    variants = [Variant(ICR), drawn, gold, Variant("target context", ("reward.context=target",))]
    for method, words in CONTROLS.items():
        setting = f"pairs.length_control.method={method}"
        if method == default_control or (method == "grid" and not grid):
            continue
        variants.append(Variant(f"{ICR}, {words}", pairing=(setting,)))
        if method != "grid":
            variants.append(Variant(f"{CEILING}, {words}", gold.reward, (*gold.pairing, setting)))
    return variants


def choose_pairs(variants: list[Variant], settings: list[str], work: Path) -> dict[str, list[Pair]]:
    """Samples once and has every variant label the samples; as many pairs a language for each."""
    reporter = make_reporter(False)
    responses = single.sample(load_config(None, settings), work / "samples", reporter)
    found = {}
    for variant in variants:
        config = load_config(None, [*settings, *variant.reward])
        name = "-".join(setting.partition("=")[2] for setting in variant.reward) or "default"
        scores = single.score(config, responses, work / f"scores-{name}", reporter)
        config = load_config(None, [*settings, *variant.reward, *variant.pairing])
        place = work / variant.folder / "pairs"
        found[variant.name] = read_pairs(single.pair(config, responses, scores, place, reporter))
    return same_budget(found)


def same_budget(tables: dict[str, list[Pair]]) -> dict[str, list[Pair]]:
    """As many pairs a language in every table, of the same prompts as far as there are any."""
    languages = {pair["language"] for pairs in tables.values() for pair in pairs}
    kept: dict[str, set[str]] = {name: set() for name in tables}
    for language in sorted(languages):
        ids = {name: [p["id"] for p in pairs if p["language"] == language] for name, pairs in tables.items()}
        least = min(map(len, ids.values()))
        for name, own in ids.items():
            kept[name].update(sorted(own, key=lambda i: hashlib.sha256(i.encode()).digest())[:least])
    return {name: [pair for pair in pairs if pair["id"] in kept[name]] for name, pairs in tables.items()}


def train_and_measure(variant: Variant, pairs: list[Pair], settings: list[str], work: Path) -> Trained:
    """Trains the starting policy on pairs and measures what it became."""
    reporter = make_reporter(False)
    config = load_config(None, settings)
    table = work / variant.folder / "budget.parquet"
    write_table(table, pairs, PAIRS)
    model = single.train(config, table, work / variant.folder / "training", reporter)
    measured = work / variant.folder / "measures"
    measures = single.measure(config, model, measured, reporter)
    heldout = load_heldout(config, ChatFormat(load_tokenizer(config.policy)), None, make_reporter(False))
    outcomes: dict[str, dict[str, list[float]]] = {}
    for decoding, kind in DECODINGS.items():
        start, after = (read_answers(measured, number, kind, heldout) for number in (0, 1))
        outcomes[decoding] = {
            language: cast(list[float], outcomes_against(after, start, language))
            for language in config.languages
        }
    pairing = json.loads((work / variant.folder / "pairs" / "pairs.json").read_text(encoding="utf-8"))
    return Trained(pairs, pairing, measures, outcomes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", help="key=value settings of all variants")
    parser.add_argument("--seeds", default="0,1,2", help="separated by commas")
    parser.add_argument("--grid", action="store_true", help="length control by the published grid as well")
    parser.add_argument("--work", type=Path, default=Path("runs/icr_ablation"))
    options = parser.parse_intermixed_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    config = load_config(None, options.settings)
    variants = make_variants(config.pairs.length_control.method, options.grid)
    results: dict[str, list[Trained]] = {variant.name: [] for variant in variants}
    for seed in seeds:
        settings = [*options.settings, f"seed={seed}"]
        work = options.work / f"seed-{seed}"
        pairs = choose_pairs(variants, settings, work)
        for variant in variants:
            results[variant.name].append(train_and_measure(variant, pairs[variant.name], settings, work))
    report = Report(config, results)
    training = config.training
    print(f"""# ICR against other labels, with and without length control

`{config.policy}` (reference `{config.reference}`), one iteration, seeds {", ".join(map(str, seeds))};
{config.data.limit} prompts a language in {", ".join(config.languages)}; {config.sampling.n} responses each at
T={config.sampling.temperature:g}; learning rate {training.learning_rate:g}, beta {training.beta:g}, NLL
weight {training.nll_weight:g}, {training.epochs} epoch(s) of {training.batch_pairs} pairs a step. Length
control, unless said otherwise: {config.pairs.length_control.method}. All variants of a seed label the same
samples, and are trained on the same number of pairs in each language.

Wins are against the starting policy on {config.measures.n} held-out prompts a language, by the lab's exact
judge, ties half, means over the target languages and seeds, with 95 % bootstrap intervals over prompts. The
ceiling is the better of the variants with gold labels.

## Wins in the target languages (%)

{report.wins()}

{report.verdict()}

## What else changed

{report.changes()}

Gold, facts, language: change of the mean over the target languages, facts and language in points. Right
pairs: the judge too finds the chosen response better, ties half. Chosen longer by: characters.

## Length control

Penalty a character: characters by which chosen responses are longer without it -> with it. A length penalty,
as published, is never negative: where chosen responses are the shorter ones by themselves, it is 0 and
changes nothing. For equal lengths (`signed`) it may be, a bonus for longer ones.

{report.length_control()}

## Traits after training

Share of the responses in the target languages at T=0.6, in percent; in brackets the weight in the reward.

{report.traits()}

## What the pairs teach

Share of chosen less that of rejected responses with a trait, in points.

{report.labels()}""")


if __name__ == "__main__":
    main()
