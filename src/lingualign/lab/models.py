"""The lab's models, as they ship in the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from lingualign.errors import InputError

MODELS = {
    "sft": "multilingual SFT: solid facts, mediocre style",
    "aligned": "the SFT model after English-only DPO on the judge's labels",
    "biased": "understands every language and answers in English",
    "translator": "translates responses between the lab's languages, asked with `lingualign.lab.TRANSLATE`",
}


def path(name: str) -> Path:
    """Folder of a lab model.

    Raises:
        InputError: There is no model of that name, or the package was installed without it.
    """
    if name not in MODELS:
        raise InputError(f"lab:{name}: the lab has no such model.", f"Choose from {', '.join(MODELS)}.")
    folder = Path(str(resources.files("lingualign.lab"))) / "models" / name
    if not (folder / "config.json").is_file():
        raise InputError(f"lab:{name}: its files are missing from {folder}.", "Run `lingualign lab build`.")
    return folder
