"""Tokens and English words, as the measures of language confusion count them.

Where the benchmark's script needs packages or a file that a user may not have, there is a substitute of ours
beside it; a result says which was taken.

References:
    - compute_metrics.py of https://github.com/for-ai/language-confusion
"""

from __future__ import annotations

import logging
import re
import string
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from lingualign.errors import InputError
from lingualign.languages import resolve, scripts_of
from lingualign.scripts import script_of

Tokenise = Callable[[str], Sequence[str]]
Tokenizer = Literal["regex", "peer"]
Words = Literal["list", "script"]

MIN_LETTERS = 4  # of an English word that counts
WPR_LANGUAGES = ("ar", "hi", "ja", "ko", "ru", "zh")  # those in which the script counts words of its list

_WITHOUT_SPACES = ("ja", "km", "lo", "my", "th", "zh")
_UNSPACED = re.compile(r"[A-Za-z]+|[0-9]+|\S")
_CHANGED = str.maketrans({**dict.fromkeys(string.punctuation, ""), "—": " ", "،": ""})


def normalise(response: str) -> str:
    r"""What is measured of a response: all before a next question, without ASCII punctuation.

    Example:
        >>> normalise("Oui, c'est ça.\nQ: Et toi?")
        'Oui cest ça'
    """
    return response.split("\nQ:")[0].strip().translate(_CHANGED)


def make_tokeniser(language: str, tokenizer: Tokenizer = "regex") -> Tokenise:
    """How lines of a language are cut into tokens.

    With `peer`, as the benchmark's script does it: at spaces, but Chinese by jieba and Japanese by fugashi
    with its dictionary. With `regex` (ours) at spaces, but in languages written without them every Latin
    word, every number and every other character is a token: in Chinese and Japanese outputs of the benchmark
    LPR moves by 2 points at most, WPR by 4 but in cells of few responses; and of Thai, where spaces part
    clauses, lines are not left out as too short.

    Args:
        language: BCP-47 code.
        tokenizer: `regex` or `peer`.

    Raises:
        InputError: `peer` needs a package that is not installed, or `language` is not known.
    """
    base = resolve(language).code.split("-")[0]
    if tokenizer == "regex":
        return _UNSPACED.findall if base in _WITHOUT_SPACES else str.split
    return {"zh": _chinese, "ja": _japanese}.get(base, lambda: str.split)()


@lru_cache(maxsize=1)
def _chinese() -> Tokenise:
    jieba = _package("jieba", "Chinese")
    jieba.setLogLevel(logging.WARNING)  # it tells of its dictionary otherwise
    cut: Tokenise = jieba.lcut
    return cut


@lru_cache(maxsize=1)
def _japanese() -> Tokenise:
    try:
        tagger = _package("fugashi", "Japanese").Tagger("-O wakati -b 50000")
    except RuntimeError as error:
        raise InputError("fugashi finds no dictionary.", "Run `pip install unidic-lite`.") from error
    return lambda line: tagger.parse(line).split()


def _package(name: str, language: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(
            f"The benchmark's tokeniser for {language} needs the package {name}, which is not installed.",
            "Run `pip install jieba fugashi unidic-lite`, or take the tokenizer regex.",
        ) from error


def read_english_words(path: Path) -> frozenset[str]:
    """The English words that count, from a file with one a line.

    They are all lower case and longer than three letters: 81,995 of the 99,171 of the benchmark's file.

    Raises:
        InputError: The file cannot be read, or has no such word.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable list of words ({error}).") from error
    words = frozenset(word for word in map(str.strip, lines) if word.islower() and len(word) >= MIN_LETTERS)
    if not words:
        raise InputError(
            f"{path} has no lower-case word of {MIN_LETTERS} letters or more.",
            "Give a list of English words, one a line, such as the benchmark's file `words`.",
        )
    return words


def is_latin_word(token: str) -> bool:
    """Whether a token looks like an English word amid another script: ours, for want of a list.

    As on the list, it is all lower case and longer than three letters, so that names do not count.
    """
    return len(token) >= MIN_LETTERS and token.islower() and all(script_of(sign) == "Latn" for sign in token)


def counts_words(language: str, words: Words) -> bool:
    """Whether English words are counted in a language.

    Args:
        language: BCP-47 code.
        words: With a `list` they are counted in the six languages that the benchmark names; by `script`
            (ours) in every language that is not written in the Latin one.
    """
    known = resolve(language)
    return known.code.split("-")[0] in WPR_LANGUAGES if words == "list" else "Latn" not in scripts_of(known)
