"""Language confusion: do responses stay in the language they were asked for, line by line and word by word?

The measures of the Language Confusion Benchmark, equal to its script's on the same input when the tokenizer
is `peer`, the English words are those of its file `words`, and the identifier is the same:

    LPR  = 1 - responses with a wrong line / responses that count
    acc  = mean over responses that count of the share of right lines
    WPR  = 1 - responses with right lines and an English word / responses with right lines
    LCPR = 2 LPR WPR / (LPR + WPR)

A line counts if it has five tokens or more, and a response if one of its lines does. All are shares in
[0, 1]; where nothing counts they are 1, as in the script. Means over sources and languages are in
`lingualign.measures.language.language_confusion`.

References:
    - Understanding and Mitigating Language Confusion in LLMs (Marchisio et al. 2024):
      https://arxiv.org/abs/2406.20052
    - compute_metrics.py of https://github.com/for-ai/language-confusion, which settles the details
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from lingualign.measures.intervals import MEAN, Interval, bootstrap, exact_share
from lingualign.measures.language.confusion_tokens import Tokenise, normalise

if TYPE_CHECKING:
    from lingualign.pairs.filters import Identifier

Undecided = Literal["wrong", "skip"]

MIN_TOKENS = 5  # of a line that counts
RESAMPLES = 2_000  # of the bootstrap behind means over cells, of which there are many

# What a rate is the mean of: a value for each response that counts, and the prompt of each.
Sample = tuple[list[float], list[Hashable]]
Samples = Mapping[str, Sample | None]  # by rate; None where words are not counted


@dataclass(frozen=True)
class ConfusedLines:
    """What was found in one response.

    Attributes:
        lines: That count; with none the response is skipped.
        wrong: Of these, in another language, or undecided where this is counted as wrong.
        undecided: Lines whose language could not be told.
        english_words: In the lines that count.
    """

    lines: int
    wrong: int
    undecided: int
    english_words: int


@dataclass(frozen=True)
class Rates:
    """Pass rates of one cell, or their mean over several.

    Attributes:
        lpr: Line pass rate.
        line_accuracy: Share of right lines, called acc by the script.
        wpr: Word pass rate; None where words are not counted.
        lcpr: Harmonic mean of lpr and wpr.
    """

    lpr: Interval
    line_accuracy: Interval
    wpr: Interval | None
    lcpr: float | None


@dataclass(frozen=True)
class CellRates(Rates):
    """Pass rates of one cell with their counts.

    Attributes:
        responses: All of them.
        skipped: Without a line that counts.
        line_errors: With a wrong line.
        word_errors: With right lines and an English word; None where words are not counted.
        undecided_lines: Lines whose language could not be told.
    """

    responses: int
    skipped: int
    line_errors: int
    word_errors: int | None
    undecided_lines: int


def find_confusion(
    response: str,
    language: str,
    identifier: Identifier,
    tokenise: Tokenise,
    is_english: Callable[[str], bool],
    undecided: Undecided = "wrong",
) -> ConfusedLines:
    """Looks through one response.

    Args:
        response: As the model gave it.
        language: BCP-47 code it should be in.
        identifier: Says the language of a line.
        tokenise: See `confusion_tokens.make_tokeniser`.
        is_english: Whether a token is an English word.
        undecided: Lines whose language the identifier cannot tell are `wrong`, as in the benchmark, or do not
            count (`skip`, ours), which suits identifiers that say nothing rather than guess.
    """
    lines = [(line, tokenise(line)) for line in normalise(response).split("\n")]
    told = [(tokens, identifier.identify(line)) for line, tokens in lines if len(tokens) >= MIN_TOKENS]
    counted = [(tokens, code) for tokens, code in told if undecided == "wrong" or code is not None]
    return ConfusedLines(
        lines=len(counted),
        wrong=sum(code != language for _, code in counted),
        undecided=sum(code is None for _, code in told),
        english_words=sum(is_english(token.strip()) for tokens, _ in counted for token in tokens),
    )


def pass_rates(
    found: Sequence[ConfusedLines],
    count_words: bool,
    clusters: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
) -> CellRates:
    """The measures of one cell.

    Args:
        found: A response each.
        count_words: Whether English words are counted; see `confusion_tokens.counts_words`.
        clusters: The prompt of each response, where several share one. None: every response has its own.
        resamples: Of the bootstrap.
    """
    prompts = list(range(len(found))) if clusters is None else clusters
    samples = samples_of(found, prompts, count_words)
    right = [each for each in found if each.lines and not each.wrong]
    return CellRates(
        **vars(mean_rates([[samples]], resamples)),
        responses=len(found),
        skipped=sum(not each.lines for each in found),
        line_errors=sum(each.wrong > 0 for each in found),
        word_errors=sum(each.english_words > 0 for each in right) if count_words else None,
        undecided_lines=sum(each.undecided for each in found),
    )


def share(hits: Sequence[bool], clusters: Sequence[Hashable], resamples: int = RESAMPLES) -> Interval:
    """A share with its interval: exact, or by bootstrap where items share a cluster.

    Of nothing it is 1, as in the benchmark's script, and its interval [0, 1] says that nothing is known.

    Args:
        hits: Whether each item counts.
        clusters: The prompt of each.
        resamples: Of the bootstrap.
    """
    if not hits:
        return Interval(1.0, 0.0, 1.0, 0)
    if len(set(clusters)) == len(hits):
        return exact_share(sum(hits), len(hits))
    return bootstrap({"": [float(hit) for hit in hits]}, resamples, clusters={"": clusters})[MEAN]


def language_confusion_pass_rate(lpr: float, wpr: float) -> float:
    """LCPR: the harmonic mean of line and word pass rate, 0 if one is.

    Example:
        >>> round(language_confusion_pass_rate(0.5, 0.8), 5)
        0.61538
    """
    return 2 * lpr * wpr / (lpr + wpr) if lpr + wpr else 0.0


def samples_of(found: Sequence[ConfusedLines], prompts: Sequence[Hashable], count_words: bool) -> Samples:
    """What the rates of one cell are means of; arguments as for `pass_rates`."""
    counted = [(each, prompt) for each, prompt in zip(found, prompts, strict=True) if each.lines]
    right = [(each, prompt) for each, prompt in counted if not each.wrong]
    counted_prompts, right_prompts = ([prompt for _, prompt in some] for some in (counted, right))
    return {
        "lpr": ([float(not each.wrong) for each, _ in counted], counted_prompts),
        "line_accuracy": ([1 - each.wrong / each.lines for each, _ in counted], counted_prompts),
        "wpr": ([float(not each.english_words) for each, _ in right], right_prompts) if count_words else None,
    }


def mean_rates(groups: Sequence[Sequence[Samples]], resamples: int) -> Rates:
    """Rates of several cells.

    Args:
        groups: Cells in groups; the rates are means over groups of means over their cells. Cells where words
            are not counted are left out of the word pass rate.
        resamples: Of the bootstrap.
    """

    def mean(name: str) -> Interval | None:
        having = [[own for cell in group if (own := cell[name]) is not None] for group in groups]
        return _mean_of_means([group for group in having if group], resamples)

    lpr, line_accuracy, wpr = mean("lpr"), mean("line_accuracy"), mean("wpr")
    assert lpr is not None and line_accuracy is not None
    lcpr = None if wpr is None else language_confusion_pass_rate(lpr.mean, wpr.mean)
    return Rates(lpr, line_accuracy, wpr, lcpr)


def _mean_of_means(groups: Sequence[Sequence[Sample]], resamples: int) -> Interval | None:
    if not groups:
        return None
    if len(groups) == len(groups[0]) == 1:
        return _mean(*groups[0][0], resamples)
    values, clusters = {}, {}
    # The bootstrap's mean weighs all keys alike, so the cells of small groups are repeated: same draw, same
    # values, more weight.
    copies = math.lcm(*map(len, groups))
    for i, group in enumerate(groups):
        for j, (own, prompts) in enumerate(group):
            for k in range(copies // len(group)):
                key = f"{i}/{j}/{k}"
                values[key], clusters[key] = own or [1.0], prompts or [(i, j)]
    mean = bootstrap(values, resamples, clusters=clusters)[MEAN]
    # With few responses in many languages no draw may have all of them, which is to know nothing.
    return replace(mean, low=0.0, high=1.0) if math.isnan(mean.low) else mean


def _mean(values: list[float], prompts: list[Hashable], resamples: int) -> Interval:
    if set(values) <= {0.0, 1.0}:
        return share([value == 1.0 for value in values], prompts, resamples)
    return bootstrap({"": values}, resamples, clusters={"": prompts})[MEAN]
