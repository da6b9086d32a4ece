"""CSV: one flat file for spreadsheets and for reading by eye.

Spreadsheets take a cell that begins with =, +, -, @, a tab or a carriage return for a formula, and answers of
a language model do begin so. Such texts get an apostrophe in front, and so do texts that begin with one:
taking one leading apostrophe away gives every text back.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lingualign.export.base import Exported, RunPairs, answer
from lingualign.records import Message

TITLE = "spreadsheets (CSV)"
FILE = "pairs.csv"
COLUMNS = (
    "id",
    "prompt_id",
    "language",
    "prompt",
    "chosen",
    "rejected",
    "chosen_score",
    "rejected_score",
    "chosen_finished",
    "rejected_finished",
    "ref_chosen_logps",
    "ref_rejected_logps",
)
RISKY = ("=", "+", "-", "@", "\t", "\r", "'")
CELL = 32_767  # characters that a cell of Excel holds
BYTE_ORDER_MARK = "\ufeff"  # without it Excel takes UTF-8 for the code page of the machine


def write(run: RunPairs, folder: Path) -> Exported:
    """See `Format`."""
    rows = [
        {
            **{name: pair[name] for name in COLUMNS if name in pair},  # type: ignore[literal-required]
            **run.reference.get(pair["id"], {}),
            "prompt": conversation(pair["prompt"]),
            "chosen": answer(pair["chosen"]),
            "rejected": answer(pair["rejected"]),
        }
        for pair in run.pairs
    ]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)  # rows end with CR LF, as RFC 4180 has it
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    (folder / FILE).write_bytes((BYTE_ORDER_MARK + text.getvalue()).encode("utf-8"))
    long = sum(len(str(value)) > CELL for row in rows for value in row.values())
    return Exported(len(rows), _readme(long))


def conversation(messages: Sequence[Message]) -> str:
    """A prompt as one text: that of its only message, or each message behind its role."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"[{message['role']}]\n{message['content']}" for message in messages)


def cell(value: Any) -> Any:
    """A value as no spreadsheet takes it for a formula; numbers stay numbers, and unknown ones are empty."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(RISKY) else value
    return "" if isinstance(value, float) and not math.isfinite(value) else value


def _readme(long: int) -> str:
    too_long = (
        f" {long} texts are longer than the {CELL:,} characters that a cell of Excel holds." if long else ""
    )
    return f"""
`{FILE}`: a row a pair, UTF-8 with a byte order mark, line breaks inside quoted cells.{too_long} A prompt
of several messages is one text, with the role of each message in brackets above it.

A text that a spreadsheet would take for a formula has an apostrophe in front, and so has one that begins with
an apostrophe. A program takes it away again:

```python
import pandas

pairs = pandas.read_csv({FILE!r}, keep_default_na=False)
texts = ["id", "prompt_id", "prompt", "chosen", "rejected"]
pairs[texts] = pairs[texts].replace(r"\\A'", "", regex=True)
```

For training, use one of the other formats, or `pairs.parquet` of the run.
"""
