"""Language confusion of all responses: by source and language, and on average.

A cell is one source in one language. As in the benchmark's script, the rates of a source or a language are
means over its cells, and the overall ones are means over languages.

References:
    - Understanding and Mitigating Language Confusion in LLMs (Marchisio et al. 2024):
      https://arxiv.org/abs/2406.20052
    - compute_metrics.py of https://github.com/for-ai/language-confusion
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lingualign.measures.language.confusion_rates import (
    RESAMPLES,
    CellRates,
    ConfusedLines,
    Rates,
    Samples,
    Undecided,
    find_confusion,
    mean_rates,
    pass_rates,
    samples_of,
)
from lingualign.measures.language.confusion_tokens import (
    Tokenizer,
    Words,
    counts_words,
    is_latin_word,
    make_tokeniser,
)

if TYPE_CHECKING:
    from lingualign.pairs.filters import Identifier

Cell = tuple[str, str]  # source and language


@dataclass(frozen=True)
class Completion:
    """A response to a prompt of the benchmark, or of any other set.

    Attributes:
        text: The response.
        language: BCP-47 code the response should be in.
        source: Where the prompt is from.
        prompt_id: Of the prompt; responses with the same one are not independent. None: it has its own.
    """

    text: str
    language: str
    source: str = ""
    prompt_id: Hashable | None = None


@dataclass(frozen=True)
class LanguageConfusion:
    """The measures of all responses.

    Attributes:
        cells: By source and language.
        sources: Means over the languages of each source.
        languages: Means over the sources of each language.
        overall: Means over languages.
        english_words: `list`, or `script (ours)`: words in Latin script amid another.
        tokenizer: `peer`, or `regex (ours)`.
        undecided: What was done with lines whose language could not be told: `wrong`, or `skip (ours)`.
    """

    cells: dict[Cell, CellRates]
    sources: dict[str, Rates]
    languages: dict[str, Rates]
    overall: Rates
    english_words: str
    tokenizer: str
    undecided: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; cells by source, then by language."""
        cells: dict[str, dict[str, Any]] = {}
        for (source, language), rates in self.cells.items():
            cells.setdefault(source, {})[language] = asdict(rates)
        plain = {name: getattr(self, name) for name in ("english_words", "tokenizer", "undecided")}
        averages = {
            name: {key: asdict(rates) for key, rates in getattr(self, name).items()}
            for name in ("sources", "languages")
        }
        return {"cells": cells, **averages, "overall": asdict(self.overall), **plain}


def measure_language_confusion(
    completions: Iterable[Completion],
    identifier: Identifier,
    english_words: frozenset[str] | None = None,
    tokenizer: Tokenizer = "regex",
    undecided: Undecided = "wrong",
    resamples: int = RESAMPLES,
) -> LanguageConfusion:
    """Measures responses, per source and language and on average.

    Args:
        completions: In any order.
        identifier: Says the language of a line; see `lingualign.identifiers.make_identifier`.
        english_words: See `confusion_tokens.read_english_words`. None: words in Latin script, in languages
            that are not written in it (ours).
        tokenizer: See `confusion_tokens.make_tokeniser`.
        undecided: Lines whose language the identifier cannot tell are `wrong`, as in the benchmark, or do not
            count (`skip`, ours), which suits identifiers that say nothing rather than guess.
        resamples: Of the bootstrap.

    Raises:
        InputError: A language is not known, or the tokenizer needs a package that is not installed.
        ValueError: There are no completions.
    """
    is_english = is_latin_word if english_words is None else english_words.__contains__
    found: dict[Cell, list[ConfusedLines]] = {}
    prompts: dict[Cell, list[Hashable]] = {}
    for place, each in enumerate(completions):
        tokenise = make_tokeniser(each.language, tokenizer)
        lines = find_confusion(each.text, each.language, identifier, tokenise, is_english, undecided)
        cell = (each.source, each.language)
        found.setdefault(cell, []).append(lines)
        prompts.setdefault(cell, []).append(place if each.prompt_id is None else each.prompt_id)
    if not found:
        raise ValueError("there are no completions")
    words: Words = "script" if english_words is None else "list"
    cells = {}
    by_source: dict[str, list[Samples]] = {}
    by_language: dict[str, list[Samples]] = {}
    for cell in sorted(found):
        source, language = cell
        count_words = counts_words(language, words)
        cells[cell] = pass_rates(found[cell], count_words, prompts[cell], resamples)
        samples = samples_of(found[cell], prompts[cell], count_words)
        by_source.setdefault(source, []).append(samples)
        by_language.setdefault(language, []).append(samples)
    return LanguageConfusion(
        cells=cells,
        sources={source: mean_rates([own], resamples) for source, own in by_source.items()},
        languages={language: mean_rates([own], resamples) for language, own in by_language.items()},
        overall=mean_rates(list(by_language.values()), resamples),
        english_words="list" if words == "list" else "script (ours)",
        tokenizer="peer" if tokenizer == "peer" else "regex (ours)",
        undecided="wrong" if undecided == "wrong" else "skip (ours)",
    )
