"""Settings: a YAML file as `init` writes it or a hand spoils it, and `key=value`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from drawing import CODES, clean_texts, damaged, json_values, texts
from hypothesis import strategies as st
from sandbox import Finding, refused

from lingualign.settings import _all_settings, dump_config, list_recipes, load_config
from lingualign.setup.commented import commented_yaml
from lingualign.yaml_files import dump_yaml

RECIPES = tuple(recipe.name for recipe in list_recipes())
KEYS = tuple(_all_settings())
WRITTEN = tuple(
    commented_yaml(load_config(recipe, []), {}, "run.yaml").encode() for recipe in RECIPES
) + tuple(dump_config(load_config(recipe, [])).encode() for recipe in ("icr", "clo"))
VALUES = st.one_of(
    texts(),
    json_values().map(repr),
    st.sampled_from(("1", "0", "-1", "true", "null", "[]", "{}", "nan", ".inf", "1e400")),
    st.sampled_from(CODES),
    st.sampled_from(("lab:sft", "lab:../x", "./x.py", "../../x.py", "~nobody/x", "en,sw", "x" * 300)),
)
OVERRIDES = st.builds(
    lambda key, further, equals, value: f"{key}{further}{equals}{value}",
    st.one_of(st.sampled_from(KEYS), texts()),
    st.sampled_from(("", "", "", "", ".a", ".a" * 1500, "." * 50)),
    st.sampled_from(("=", "=", "=", " = ", "")),
    VALUES,
)


def _nested(settings: dict[str, Any]) -> bytes:
    nested: dict[str, Any] = {}
    for key, value in settings.items():
        place = nested
        *sections, last = key.split(".")
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                return b""
        place[last] = value
    try:
        return dump_yaml(nested).encode("utf-8", "replace")
    except ValueError:
        return b""


DRAWN = st.dictionaries(st.sampled_from(KEYS), st.one_of(json_values(), clean_texts()), max_size=4).map(
    _nested
)
CASES = st.fixed_dictionaries(
    {
        "file": st.one_of(st.none(), damaged(st.one_of(st.sampled_from(WRITTEN), DRAWN))),
        "recipe": st.sampled_from((None, "icr", "clo", "no such", "")),
        "overrides": st.lists(OVERRIDES, max_size=2),
    }
)


def check(case: dict[str, Any], folder: Path) -> None:
    """What is accepted is written and read again to the same settings."""
    name = case["recipe"]
    if case["file"] is not None:
        (folder / "run.yaml").write_bytes(case["file"])
        name = str(folder / "run.yaml")
    config, _ = refused(load_config, name, case["overrides"])
    if config is None:
        return
    (folder / "again.yaml").write_text(dump_config(config), encoding="utf-8")
    again = load_config(str(folder / "again.yaml"), [])
    if dump_config(again) != dump_config(config):
        raise Finding("settings are others when they are read again")
