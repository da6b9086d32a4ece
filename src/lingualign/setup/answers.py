"""What a user says when a run is set up, and the check of each answer: one sentence says what is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from lingualign.config import DataConfig, RunConfig
from lingualign.errors import InputError
from lingualign.languages import LANGUAGES, resolve
from lingualign.models import LAB_PREFIX, check_compatible, load_tokenizer, resolve_spec
from lingualign.paths import user_path
from lingualign.pipeline.inputs import LAB
from lingualign.pipeline.labelled import read_labelled
from lingualign.pipeline.rewarding import needs_fit, reward_reads_reference
from lingualign.prompts import ChatFormat, read_prompts
from lingualign.prompts.files import SUFFIXES, is_saved_dataset, read_rows, read_saved_dataset
from lingualign.settings import load_config, pairing_reads

JUDGES = ("implicit", "server", "reward-model")
MAX_FOLDERS = 1000  # runs of one recipe side by side


@dataclass
class Answers:
    """The answers, as settings of a run.

    Attributes:
        recipe: The method.
        settings: Dotted key -> value, of everything else.
    """

    recipe: str
    settings: dict[str, str] = field(default_factory=dict)

    def config(self) -> RunConfig:
        """The configuration that the answers so far describe."""
        return load_config(self.recipe, [f"{key}={value}" for key, value in self.settings.items()])


def check_recipe(name: str) -> str:
    """A recipe that there is."""
    load_config(name.strip(), [])
    return name.strip()


def check_policy(spec: str) -> str:
    """A folder with a model, a tokenizer and a chat template that works."""
    spec = spec.strip()
    resolve_spec(spec)
    ChatFormat(load_tokenizer(spec))
    return spec


def check_reference(spec: str, policy: str) -> str:
    """A folder with a model that reads the same tokens as the policy."""
    spec = spec.strip()
    resolve_spec(spec)
    check_compatible(policy, spec)
    return spec


def needs_reference(config: RunConfig) -> bool:
    """Whether the method itself asks the reference model."""
    return reward_reads_reference(config) or config.training.reference == "initial"


def needs_labelled_pairs(config: RunConfig) -> bool:
    """Whether the method learns from preference pairs that somebody labelled."""
    return "labelled" in pairing_reads(config) or needs_fit(config)


def prompt_languages(source: str) -> list[str]:
    """The languages in which there are prompts: files by their names, or a column of codes.

    Raises:
        InputError: There is no such file or folder, or no language in it.
    """
    if source == LAB:
        from lingualign.lab.grammar import LANGUAGES as LAB_LANGUAGES

        return list(LAB_LANGUAGES)
    path = user_path(source)
    if path.is_dir() and not is_saved_dataset(path):
        named = [
            entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES or is_saved_dataset(entry)
        ]
        found = sorted({entry.stem for entry in named} & LANGUAGES.keys())
        others = sorted({entry.name for entry in named})
        problem = f"it has {', '.join(others[:5])}" if others else "it has no prompt file at all"
    elif path.exists():
        splits = read_saved_dataset(path) if path.is_dir() else {"": read_rows(path)}
        column = DataConfig().language_field
        rows = [row for split in splits.values() for row in split]
        codes = {row.fields.get(column) for row in rows} | splits.keys()
        found = sorted(code for code in codes if isinstance(code, str) and code in LANGUAGES)
        problem = f"no column {column!r} with language codes in it"
    else:
        raise InputError(
            f"prompts: {source}: no such file or folder.", "Give the path of your prompts, or `lab`."
        )
    if not found:
        raise InputError(
            f"prompts: {source}: no language is named there ({problem}).",
            "Name a file after each language (de.jsonl), or give one file with a column `language`.",
        )
    return found


def check_languages(text: str, prompts: str, source: str) -> list[str]:
    """Codes that are known, with parallel prompts in each; the source language is put first.

    Args:
        text: Codes, with commas or spaces between them.
        prompts: Where the prompts are.
        source: The source language.
    """
    codes = list(dict.fromkeys(re.split(r"[\s,]+", text.strip(" ,"))))
    for code in codes:
        resolve(code)
    codes = [source, *[code for code in codes if code != source]]
    if len(codes) < 2:
        raise InputError(f"languages: only {source}, the source.", "Name at least one language to improve.")
    if prompts == LAB:
        from lingualign.lab.prompts import prompts as lab_prompts

        lab_prompts("heldout", 1, codes)
    else:
        read_prompts(prompts, codes, source, DataConfig())
    return codes


def count_prompts(prompts: str, codes: list[str], source: str) -> int | None:
    """Prompts a language that the user has; None in the lab, which has those to measure with apart."""
    return None if prompts == LAB else len(read_prompts(prompts, codes, source, DataConfig()))


def check_labelled_pairs(path: str, source: str) -> str:
    """A file with rows of prompt, chosen and rejected."""
    read_labelled(user_path(path.strip()), source)
    return path.strip()


def check_judge(name: str) -> str:
    """A kind of judge that is there outside the lab."""
    if name.strip() not in JUDGES:
        raise InputError(f"{name!r} is no judge.", f"Choose from {', '.join(JUDGES)}.")
    return name.strip()


def check_url(url: str) -> str:
    """An address up to /v1."""
    if not re.match(r"https?://[^/\s]+", url.strip()):
        raise InputError(f"{url!r} is no address.", "Write it up to /v1, e.g. http://localhost:8000/v1.")
    return url.strip()


def check_filled(text: str) -> str:
    """Any text but none."""
    if not text.strip():
        raise InputError("Nothing was given.", "Write the name.")
    return text.strip()


def check_output(folder: str) -> str:
    """A folder that is new or empty."""
    path = user_path(folder.strip())
    if path.exists() and not path.is_dir():
        raise InputError(f"{folder} is a file.", "Choose another folder.")
    if path.is_dir() and any(path.iterdir()):
        raise InputError(f"{folder} is not empty.", "Choose a new folder for the run.")
    return folder.strip()


def free_output(recipe: str) -> str:
    """`runs/<recipe>`, or with a number behind it where that is taken."""
    names = [f"runs/{recipe}", *[f"runs/{recipe}-{number}" for number in range(2, MAX_FOLDERS)]]
    return next((name for name in names if not Path(name).exists()), names[0])


def in_lab(spec: str) -> bool:
    """Whether a model is one of the lab's."""
    return spec.startswith(LAB_PREFIX)
