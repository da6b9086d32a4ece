"""A finished run whose texts, ids and paths do their worst to a page that shows them.

It is made from a real one: Spanish comes to be called Arabic and Swahili Hebrew, everywhere in the folder,
and texts of pairs are replaced. The numbers stay.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lingualign.yaml_files import dump_yaml, parse_yaml

RENAMED = {"es": "ar", "sw": "he"}
ARABIC = "مرحبا، كم عدد الكتب التي لدى ماريا الآن؟ لديها 19 كتابا (11 + 8)."
HEBREW = "שלום! למריה יש עכשיו 19 ספרים (11 + 8)."
LONG_WORD = "w" * 1_000_000
# Each would set window.hacked, or break out of the place it stands in, if it were taken for more than text.
MARKUP = {
    "script": "</script><script>window.hacked=1</script>",
    "image": '<img src=x onerror="window.hacked=1">',
    "attributes": """"><svg onload=window.hacked=1>' onmouseover='window.hacked=1' autofocus x='""",
    "comment": "<!-- <script> --!> ]]> <![CDATA[ <!DOCTYPE html>",
    "closing": "</style></textarea></title></template></td></table></details></section></main></body></html>",
    "templates": "{{ 7 * 7 }} {% raw %} ${window.hacked=1} \\u003cscript\\u003e \\",
    "entities": "&lt;b&gt; &amp;amp; &#x3c;i&#x3e; &nbsp &copy",
    "names": "__proto__ constructor toString",
}
CONTROLS = (
    "bell \x07 null \x00 escape \x1b[31m delete \x7f next line \x85 "
    "separators \u2028 \u2029 mark \ufeff none \uffff"
)
OVERRIDES = "start \u202edesrever \u2066 isolated \u202a embedded \u200f mark; never ended"
COMBINING = (
    "Z\u0351\u032b\u0343\u032aa"
    + "\u0301\u0316\u0330" * 300
    + " e\u0301 नमस्ते กำลัง \U0001f469\u200d\U0001f467"
)


def hostile_pairs() -> list[tuple[str, str, str, str]]:
    """Language, prompt, chosen and rejected of each pair that is changed."""
    pairs = [("de", f"{name}: {text}", f"{text} chosen", f"{text} rejected") for name, text in MARKUP.items()]
    pairs += [("zh", f"{name}: {text}", text, text[::-1]) for name, text in MARKUP.items()]
    pairs += [
        ("en", f"controls: {CONTROLS}", f"{CONTROLS} 1", f"{CONTROLS} 2"),
        ("en", f"overrides: {OVERRIDES}", f"{OVERRIDES} 1", f"2 {OVERRIDES}"),
        ("en", f"combining: {COMBINING}", f"{COMBINING} 1", COMBINING * 3),
        ("en", "longword", f"{LONG_WORD} yes", f"{LONG_WORD}w no"),
        ("en", f"longword in the prompt: {LONG_WORD}", "yes", "no"),
        ("en", "nothing", "", " "),
    ]
    pairs += [("ar", f"{ARABIC} ({n})", f"{ARABIC} نعم", f"{ARABIC} لا") for n in range(4)]
    pairs += [("he", f"{HEBREW} ({n})", f"{HEBREW} כן", f"{HEBREW} <b>לא</b> english") for n in range(4)]
    return pairs


def make_hostile(run: Path, target: Path) -> Path:
    """Copies a run of the lab to `target` and makes it hostile; returns the folder."""
    shutil.copytree(run, target, ignore=shutil.ignore_patterns("model", "checkpoints", ".lock"))
    for path in sorted(target.rglob("*.parquet")):
        _rename_languages(path)
    for path in target.rglob("*.json"):
        text = path.read_text()
        for old, new in RENAMED.items():
            text = text.replace(f'"{old}"', f'"{new}"')
        path.write_text(text)
    config = parse_yaml((target / "config.yaml").read_text())
    config["languages"] = [RENAMED.get(code, code) for code in config["languages"]]
    config["output"] = f"runs/{MARKUP['image']}"
    config["policy"] = f"models/{MARKUP['script']}"
    config["prompts"] = f"prompts/{MARKUP['attributes']}/{'p' * 300}"
    (target / "config.yaml").write_text(dump_yaml(config))
    for path in target.glob("iteration-*/pairs.parquet"):
        _replace_texts(path)
    return target


def _rename_languages(path: Path) -> None:
    table = pq.read_table(path)
    if "language" in table.column_names:
        codes = [RENAMED.get(code, code) for code in table["language"].to_pylist()]
        table = table.set_column(table.column_names.index("language"), "language", pa.array(codes))
    if "id" in table.column_names:
        ids = table["id"].to_pylist()
        for old, new in RENAMED.items():
            ids = [name.replace(f"/{old}", f"/{new}") for name in ids]
        table = table.set_column(table.column_names.index("id"), "id", pa.array(ids))
    path.unlink()
    for old, new in RENAMED.items():
        path = path.with_name(path.name.replace(f"part-{old}-", f"part-{new}-"))
    pq.write_table(table, path)


def _replace_texts(path: Path) -> None:
    """The first pairs of a language get the hostile texts of that language, and ids that are no better."""
    table = pq.read_table(path)
    rows: list[dict[str, Any]] = table.to_pylist()
    left = {
        code: [row for row in rows if row["language"] == code] for code in {row["language"] for row in rows}
    }
    for language, prompt, chosen, rejected in hostile_pairs():
        row = left[language].pop(0)
        row["prompt"] = [{"role": "user", "content": prompt}]
        row["chosen"] = [{"role": "assistant", "content": chosen}]
        row["rejected"] = [{"role": "assistant", "content": rejected}]
        row["id"] = f"{prompt[:60]}/{row['id']}"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
