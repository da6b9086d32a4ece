"""`lingualign export`: the pairs of a run as a folder in the format of another trainer."""

from __future__ import annotations

import os
import pkgutil
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import cast

from lingualign.errors import InputError
from lingualign.export import formats
from lingualign.export.base import Exported, Format, RunPairs, as_list, read_run_pairs
from lingualign.export.markdown import escape
from lingualign.pipeline.files import write_text

MARK = "<!-- Written by lingualign export, which replaces these files: {} -->"
_WRITTEN = re.compile(re.escape(MARK).replace(r"\{\}", "(.*)"))
README = "README.md"


@dataclass(frozen=True)
class Export:
    """What has been written, and where.

    Attributes:
        folder: The folder.
        title: Of the trainer.
        run: What it was made from.
        written: What is in it.
    """

    folder: Path
    title: str
    run: RunPairs
    written: Exported


def format_names() -> list[str]:
    """What `--to` takes: the files of `export/formats`."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(formats.__path__))


def load_format(name: str) -> Format:
    """The module of a format.

    Raises:
        InputError: There is none of that name.
    """
    if name not in format_names():
        raise InputError(f"--to {name}: there is no such format.", f"There are {', '.join(format_names())}.")
    return cast(Format, import_module(f"{formats.__name__}.{name.replace('-', '_')}"))


def export(
    run: Path,
    to: str,
    output: Path | None = None,
    iteration: int | None = None,
    languages: Sequence[str] = (),
) -> Export:
    """Writes the pairs of a run as a folder that another trainer loads.

    The folder appears whole or not at all. An earlier export there is replaced, anything else is not.

    Args:
        run: The run folder.
        to: Name of the format.
        output: The folder to write. Default: `exports/FORMAT-iteration-N` in the run folder.
        iteration: Whose pairs; None is the last that has any.
        languages: Only pairs of these; none stands for all.

    Raises:
        InputError: The format, the run, the iteration or a language is wrong, no pair is left, or something
            else lies at the output.
    """
    form = load_format(to)
    pairs = read_run_pairs(run, iteration, languages)
    folder = output if output is not None else run / "exports" / f"{to}-iteration-{pairs.iteration}"
    check_named(folder)
    _check_output(folder)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        written = form.write(pairs, temporary)
        if not written.pairs:
            reasons = "; ".join(f"{count} {why}" for why, count in written.left_out.items())
            raise InputError(f"No pair of {run} can be exported to {form.TITLE}: {reasons or 'it has none'}.")
        files = sorted([README, *(path.name for path in temporary.iterdir())])
        write_text(temporary / README, _readme(form.TITLE, pairs, written, files))
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Export(folder, form.TITLE, pairs, written)


def check_named(folder: Path) -> None:
    """Refuses the current folder as one to write: it would be replaced under the shell that is in it."""
    if folder.absolute() == Path.cwd():
        raise InputError(f"--output {folder}: this is the current folder.", "Give one a name in it.")


def _check_output(folder: Path) -> None:
    """Refuses to replace anything but an earlier export alone: models are trained in these folders."""
    if not folder.exists():
        return
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    readme = folder / README
    mark = _WRITTEN.search(readme.read_text(encoding="utf-8")) if readme.is_file() else None
    others = sorted(found - set(mark[1].split(", ") if mark else ()))
    if others:
        beside = f" beside an earlier export: {', '.join(others[:3])}" if mark else ""
        raise InputError(
            f"--output {folder}: there is something else already{beside}.",
            "Choose another folder, or move it elsewhere.",
        )


def _readme(title: str, run: RunPairs, written: Exported, files: Sequence[str]) -> str:
    """The text of README.md; a format that needs a metadata block begins with it."""
    metadata, body = "", written.readme
    if body.startswith("---\n"):
        block, _, body = body[4:].partition("\n---\n")
        metadata = f"---\n{block}\n---\n\n"
    left_out = as_list([f"{count} pairs are left out: {why}." for why, count in written.left_out.items()])
    languages = ", ".join(map(escape, run.languages))
    return (
        f"{metadata}{MARK.format(', '.join(files))}\n# Preference pairs for {title}\n\n"
        f"{written.pairs} pairs of a chosen and a rejected answer in {languages}, made by "
        f"lingualign with the recipe `{escape(run.config.recipe)}`, iteration {run.iteration}.\n{left_out}"
        f"{chr(10) if left_out else ''}\n{body.strip()}\n"
    )
