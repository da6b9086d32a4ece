"""Translations: files of them, a store of them, and what a model answers that is asked for one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drawing import CODES, LANGUAGES, clean_texts, damaged, encoded, files, good_rows, rows, texts, words
from hypothesis import strategies as st
from sandbox import Finding, refused

from lingualign.translation.file import FileTranslator
from lingualign.translation.store import TRANSLATIONS, StoredTranslator
from lingualign.translation.template import TAGGED, Template

LANGUAGE = st.sampled_from((*LANGUAGES, *LANGUAGES, *CODES))
FIELDS = {
    "source_language": LANGUAGE,
    "target_language": LANGUAGE,
    "text": words() | texts(),
    "translation": st.none() | texts(),
}
GOOD = {
    "source_language": st.just("en"),
    "target_language": st.just("sw"),
    "text": words(),
    "translation": clean_texts(),
}
ANSWERS = st.lists(st.sampled_from(("<translated>", "</translated>", "x", " ")) | texts(), max_size=5).map(
    "".join
)
CASES = st.fixed_dictionaries(
    {
        "file": files(good_rows(GOOD) | rows(FIELDS)),
        "store": damaged(good_rows(GOOD).map(lambda table: encoded(table, ".parquet", TRANSLATIONS))),
        "texts": st.lists(words() | clean_texts(), max_size=4),
        "answer": ANSWERS,
        "finished": st.booleans(),
        "wording": st.just(TAGGED) | st.sampled_from(("{language}{text}", "{text}")) | texts(),
    }
)


class _Model:
    """A translator that answers what it likes."""

    name = "model"

    def __init__(self, template: Template, answer: str, finished: bool) -> None:
        self.template, self.answer, self.finished = template, answer, finished

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | None]:
        return [self.template.read(self.answer, self.finished) for _ in texts]


def check(case: dict[str, Any], folder: Path) -> None:
    """Every text has a translation or None, in its place; what is kept is read again as it was."""
    suffix, content = case["file"]
    path = folder / f"translations{suffix}"
    path.write_bytes(content)
    known, _ = refused(FileTranslator, path)
    if known is not None:
        _whole(known.translate(case["texts"], "en", "sw"), case["texts"])
    template, _ = refused(Template, case["wording"])
    if template is None:
        return
    for text in case["texts"]:
        template.messages(text, "sw")
    model = _Model(template, case["answer"].encode("utf-8", "ignore").decode(), case["finished"])
    store = folder / "store"
    store.mkdir()
    (store / "other.parquet").write_bytes(case["store"])
    first, damaged = refused(StoredTranslator, model, store)
    if damaged:
        (store / "other.parquet").unlink()
        first = StoredTranslator(model, store)
    assert first is not None
    found = first.translate(case["texts"], "en", "sw")
    _whole(found, case["texts"])
    if StoredTranslator(model, store).translate(case["texts"], "en", "sw") != found:
        raise Finding("a translation that was kept reads otherwise")


def _whole(found: list[str | None], asked: list[str]) -> None:
    if len(found) != len(asked) or not all(one is None or isinstance(one, str) for one in found):
        raise Finding(f"{len(asked)} texts, and the translations {found!r}")
