"""Responses in another language than they were asked for, and the switches within responses.

Definitions of ours, for every language and any response; those of the Language Confusion Benchmark are in
`language_confusion.py` beside this file. What cannot be told is counted apart and never as wrong: a sum, a
name or one word is in no language.

Code is left out of all counts. Scripts see no switch between languages of one script, such as an English word
in a German sentence; of that only the lines tell.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lingualign.languages import prose_of, resolve, scripts_of
from lingualign.measures.intervals import MEAN, Interval, bootstrap
from lingualign.measures.language.confusion_rates import RESAMPLES, share
from lingualign.scripts import script_of

if TYPE_CHECKING:
    from lingualign.pairs.filters import Identifier


@dataclass(frozen=True)
class Switches:
    """What one response holds.

    Attributes:
        off_target: Whether it is in another language as a whole; None where this cannot be told.
        words: Runs of letters of one script. Where words are not spaced these are longer than words.
        foreign_words: Of these, in a script that the language is not written in; names count as well.
        lines: Whose language can be told.
        foreign_lines: Of these, in another language.
        undecided_lines: Lines with text whose language cannot be told.
    """

    off_target: bool | None
    words: int
    foreign_words: int
    lines: int
    foreign_lines: int
    undecided_lines: int


@dataclass(frozen=True)
class CodeSwitching:
    """What the responses in one language hold.

    Attributes:
        responses: All of them.
        undecided: Whose language cannot be told.
        off_target: Share in another language of those whose language can be told; None without any.
        with_foreign_words: Share of all responses that have a word in a foreign script.
        foreign_words: Mean number of such words a response.
        with_foreign_lines: Share of the responses with a line that can be told that have one in another
            language; None without any.
        undecided_lines: In all responses.
    """

    responses: int
    undecided: int
    off_target: Interval | None
    with_foreign_words: Interval
    foreign_words: Interval
    with_foreign_lines: Interval | None
    undecided_lines: int


def find_switches(response: str, language: str, identifier: Identifier) -> Switches:
    """Looks through one response.

    Args:
        response: As the model gave it.
        language: BCP-47 code it should be in.
        identifier: Says the language of a text; see `lingualign.identifiers.make_identifier`.

    Raises:
        InputError: The language is not known.

    Example:
        >>> from lingualign.languages import LanguageIdentifier
        >>> find_switches("แม่น้ำสายนี้ยาว very long มาก", "th", LanguageIdentifier(["th"])).foreign_words
        2
    """
    own = scripts_of(resolve(language))
    prose = prose_of(response)
    scripts = scripts_of_words(prose)
    whole = identifier.identify(response)
    told = [identifier.identify(line) for line in prose.split("\n") if line.strip()]
    return Switches(
        off_target=None if whole is None else whole != language,
        words=len(scripts),
        foreign_words=sum(script not in own for script in scripts),
        lines=sum(code is not None for code in told),
        foreign_lines=sum(code not in (None, language) for code in told),
        undecided_lines=told.count(None),
    )


def scripts_of_words(text: str) -> list[str]:
    """The script of each word in a text: each run of letters of one script, with their marks.

    Example:
        >>> scripts_of_words("Das ist ένα тест2")
        ['Latn', 'Latn', 'Grek', 'Cyrl']
    """
    found: list[str] = []
    current: str | None = None
    for character in text:
        script = script_of(character)
        if script is None and unicodedata.category(character) in ("Mn", "Mc", "Lm", "Cf"):
            continue  # marks, modifier letters and joiners belong to the letter before them
        if script is not None and script != current:
            found.append(script)
        current = script
    return found


def summarise_switches(
    found: Sequence[Switches], clusters: Sequence[Hashable] | None = None
) -> CodeSwitching:
    """The shares and means of several responses in one language, with 95 % intervals.

    Args:
        found: A response each.
        clusters: The prompt of each, where several responses share one. None: every response has its own.

    Raises:
        ValueError: There are no responses.
    """
    prompts = list(range(len(found))) if clusters is None else clusters
    paired = list(zip(found, prompts, strict=True))
    decided = [(each, prompt) for each, prompt in paired if each.off_target is not None]
    with_lines = [(each, prompt) for each, prompt in paired if each.lines]
    words = {"": [float(each.foreign_words) for each in found]}

    def share_of(some: list[tuple[Switches, Hashable]], hit: Callable[[Switches], bool]) -> Interval:
        return share([hit(each) for each, _ in some], [prompt for _, prompt in some])

    return CodeSwitching(
        responses=len(found),
        undecided=len(found) - len(decided),
        off_target=share_of(decided, lambda each: bool(each.off_target)) if decided else None,
        with_foreign_words=share_of(paired, lambda each: each.foreign_words > 0),
        foreign_words=bootstrap(words, RESAMPLES, clusters={"": prompts})[MEAN],
        with_foreign_lines=share_of(with_lines, lambda each: each.foreign_lines > 0) if with_lines else None,
        undecided_lines=sum(each.undecided_lines for each in found),
    )
