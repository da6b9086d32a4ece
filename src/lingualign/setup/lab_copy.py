"""The lab's models and prompts as plain files, to practise with as if they were one's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from lingualign.errors import InputError
from lingualign.pipeline.files import write_text

MODELS = {"policy": "aligned", "reference": "sft"}
PROMPTS = 120


def copy_lab(folder: Path, prompts: int = PROMPTS) -> dict[str, str]:
    """Writes two models and prompts in every language of the lab.

    Args:
        folder: Where to; new or empty.
        prompts: How many prompts a language.

    Returns:
        Setting -> path, of `policy`, `reference` and `prompts`.

    Raises:
        InputError: There is something in the folder.
    """
    from lingualign.lab.grammar import LANGUAGES
    from lingualign.lab.models import path
    from lingualign.lab.prompts import prompts as lab_prompts

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already.", "Choose a new folder for the copy.")
    for name, model in MODELS.items():
        shutil.copytree(path(model), folder / name)
    rows = lab_prompts("train", prompts, LANGUAGES).by_language
    for language, asked in rows.items():
        lines = [
            json.dumps({"id": prompt.id, "prompt": prompt.messages[-1]["content"]}, ensure_ascii=False)
            for prompt in asked
        ]
        write_text(folder / "prompts" / f"{language}.jsonl", "\n".join(lines) + "\n")
    return {name: str(folder / name) for name in (*MODELS, "prompts")}
