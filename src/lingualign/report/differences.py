"""Which parts of two texts differ: word by word, and character by character where words have no spaces.

A text is given back in pieces, turn by turn what the other text has too and what it has not, so that whoever
shows it need not know how it was cut, nor count in the same units.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import groupby

# Most pairs of equal words in the parts that differ: difflib may look at all of them for each stretch that it
# finds. Here it takes a tenth of a second at worst.
MAX_WORK = 100_000

# First words of the Unicode names of letters that stand in texts without spaces between words.
_UNSPACED = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"}


def differing(first: str, second: str) -> tuple[list[str], list[str]]:
    """Cuts two texts into what they have in common and what they have not.

    Args:
        first: One text.
        second: The other.

    Returns:
        The pieces of each text. The 1st, 3rd, 5th piece (the 1st may be empty) are in the other text as well,
        the 2nd, 4th, 6th are not. Joined, they are the text. Where the texts are too long and too different
        for a close look, all between their common beginning and their common end counts as different.

    Example:
        >>> differing("one red apple", "one green apple")
        (['one ', 'red', ' apple'], ['one ', 'green', ' apple'])
    """
    a, b = _tokens(first), _tokens(second)
    matched = _tidied(a, b, _opcodes([_key(token) for token in a], [_key(token) for token in b]))
    return _pieces(a, [(i, j) for i, j, _, _ in matched]), _pieces(b, [(i, j) for _, _, i, j in matched])


def _tokens(text: str) -> list[str]:
    """Words, characters of scripts without spaces, and single signs, each with the space behind it."""
    tokens: list[str] = []
    last = ""
    for character in text:
        kind = _kind(character)
        joins = (kind == "word" and last == "word") or kind == "mark" or kind == "space"
        if joins and tokens:
            tokens[-1] += character
        else:
            tokens.append(character)
        # Letters go on behind a mark that sits on one of them, as the vowels of Devanagari do.
        last = last if kind == "mark" else kind
    return tokens


@lru_cache(maxsize=16384)
def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    if unicodedata.category(character).startswith("M"):
        return "mark"
    if character.isalnum():
        name = unicodedata.name(character, "").split(" ")[0]
        return "unspaced" if name in _UNSPACED else "word"
    return "sign"


def _key(token: str) -> str:
    """What is compared of a token: not the space behind it, unless it is nothing else."""
    return token.rstrip() or token


def _opcodes(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int, int, int]]:
    """Stretches of equal tokens: where they begin and end in each list."""
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    middle_a, middle_b = a[start : len(a) - end], b[start : len(b) - end]
    found = [(0, start, 0, start)]
    counts = Counter(middle_b)
    if sum(counts[token] for token in middle_a) <= MAX_WORK:
        matcher = SequenceMatcher(None, middle_a, middle_b, autojunk=False)
        found += [
            (start + i, start + i + n, start + j, start + j + n) for i, j, n in matcher.get_matching_blocks()
        ]
    return [*found, (len(a) - end, len(a), len(b) - end, len(b))]


def _tidied(
    a: Sequence[str], b: Sequence[str], matched: Sequence[tuple[int, int, int, int]]
) -> list[tuple[int, int, int, int]]:
    """Without stretches that agree by chance between two differences: signs, or one character of many."""
    kept = []
    for i, j, k, m in matched:
        inside = i > 0 and j < len(a) and k > 0 and m < len(b)
        kinds = [_kind(token[0]) for token in a[i:j]]
        by_chance = all(kind in ("sign", "space", "mark") for kind in kinds) or kinds == ["unspaced"]
        if i < j and not (inside and by_chance):
            kept.append((i, j, k, m))
    return kept


def _pieces(tokens: Sequence[str], matched: Sequence[tuple[int, int]]) -> list[str]:
    """The text of the tokens, turn by turn common and not; a space at the end of a difference is common."""
    common = [False] * len(tokens)
    for start, end in matched:
        common[start:end] = [True] * (end - start)
    pieces = [""]
    for same, group in groupby(zip(common, tokens, strict=True), key=lambda item: item[0]):
        text = "".join(token for _, token in group)
        if same:
            pieces[-1] += text
        else:
            word = text.rstrip() or text
            pieces += [word, text[len(word) :]]
    return pieces if pieces[-1] or len(pieces) == 1 else pieces[:-1]
