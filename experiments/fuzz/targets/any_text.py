"""Any text at all: which language it is in, what its answer is, and how reports and cards show it."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from drawing import CODES, LANGUAGES, texts
from hypothesis import strategies as st
from sandbox import Finding, refused

from lingualign.answers import boxed, choice, last_number
from lingualign.export.formats.csv import RISKY, cell
from lingualign.export.markdown import escape, fence, plain
from lingualign.languages import LANGUAGES as KNOWN
from lingualign.languages import LanguageIdentifier, prose_of, resolve
from lingualign.report.browser_pairs import dump
from lingualign.report.differences import differing
from lingualign.report.html import data_text
from lingualign.texts import visible

IDENTIFIER = LanguageIdentifier(("en", "sw", "de", "zh", "ja", "sr", "ar"))
IDENTIFIER.identify("a sentence, so that the model is loaded")
LONGEST = 20_000  # characters of a text that is compared with another one, as the report cuts them
CASES = st.fixed_dictionaries(
    {"text": texts(), "other": texts(), "code": texts() | st.sampled_from((*LANGUAGES, *CODES, "qu", "yo"))}
)


def check(case: dict[str, Any], folder: Path) -> None:
    """Nothing in a text becomes markup, a formula or an escape, and nothing is slow."""
    text = case["text"]
    found = IDENTIFIER.identify(text)
    if found is not None and found not in KNOWN:
        raise Finding(f"a text in {found!r}")
    prose_of(text)
    refused(resolve, case["code"])
    number = last_number(text)
    if number is not None and not number.lstrip("-")[0].isdecimal():
        raise Finding(f"the number {number}")
    boxed(text)
    refused(choice, text, case["code"])
    shown = visible(text)
    if any(ord(character) < 32 and character not in "\n\t" for character in shown) or "\x7f" in shown:
        raise Finding("a control character is left")
    shown.encode()
    for page in (str(data_text(text)), str(dump([text]))):
        if "<script" in page.lower() or "</" in page.replace("</bdi>", "") or "\x1b" in page:
            raise Finding(f"markup is left: {page[:80]!r}")
    escaped = escape(text)
    if "\n" in escaped or "<" in escaped or "\x1b" in escaped:
        raise Finding(f"Markdown is left: {escaped[:80]!r}")
    block = fence(text)
    if block.splitlines()[0][:3] != "```":
        raise Finding("a fence that is none")
    plain(text).encode()
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerow([cell(text)])
    if cell(text)[:1] in RISKY and not cell(text).startswith("'"):
        raise Finding("a formula is left")
    differing(text[:LONGEST], case["other"][:LONGEST])
