"""`lingualign init`: a commented run.yaml from a few answers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lingualign.cli.reporters import stdout_console
from lingualign.errors import InputError


def command(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("run.yaml"),
    recipe: Annotated[str | None, typer.Option(help="The method.", show_default=False)] = None,
    policy: Annotated[
        str | None, typer.Option(help="Folder of the aligned model.", show_default=False)
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Folder of the model before preference tuning.", show_default=False)
    ] = None,
    prompts: Annotated[
        str | None, typer.Option(help="Prompts: a file, a folder, or `lab`.", show_default=False)
    ] = None,
    languages: Annotated[
        str | None, typer.Option(help="Languages to improve, with commas.", show_default=False)
    ] = None,
    source_language: Annotated[
        str | None,
        typer.Option(help="The well-aligned language, if it is not English.", show_default=False),
    ] = None,
    labelled_pairs: Annotated[
        str | None, typer.Option(help="File of labelled pairs in that language.", show_default=False)
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="implicit, server or reward-model.", show_default=False)
    ] = None,
    judge_url: Annotated[
        str | None, typer.Option(help="Address of the judge's server.", show_default=False)
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option(help="The judge's name there, or its folder.", show_default=False)
    ] = None,
    judge_key_env: Annotated[
        str | None, typer.Option(help="Environment variable with the judge's key.", show_default=False)
    ] = None,
    output_folder: Annotated[str | None, typer.Option(help="Folder for the run.", show_default=False)] = None,
    lab_copy: Annotated[
        Path | None,
        typer.Option(
            help="Write the lab's models and prompts there as plain files, and use them: to practise with.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", "--no-input", help="Ask nothing: flags, and defaults for the rest.")
    ] = False,
    force: Annotated[bool, typer.Option(help="Write over a file that is there.")] = False,
    estimate: Annotated[
        bool, typer.Option(help="Estimate time, memory and disk of the run from a short probe.")
    ] = False,
) -> None:
    """Sets up a run: asks a few questions and writes a commented run.yaml for your model and languages.

    Each answer is checked at once, and Enter takes what stands in brackets; with nothing but Enter, the run
    is one of the lab. What is not asked is chosen for the model and the machine, with the reason beside it.

        lingualign init

    With flags instead of questions, in a script for example:

        lingualign init --policy ./aligned --reference ./sft --prompts ./prompts --languages de,sw --yes

    Then check the run, see what it will cost, and start it:

        lingualign doctor run.yaml --estimate

        lingualign align run.yaml
    """
    given = {
        "recipe": recipe,
        "policy": policy,
        "reference": reference,
        "prompts": prompts,
        "languages": languages,
        "source-language": source_language,
        "labelled-pairs": labelled_pairs,
        "judge": judge,
        "judge-url": judge_url,
        "judge-model": judge_model,
        "judge-key-env": judge_key_env,
        "output-folder": output_folder,
    }
    interactive = sys.stdin.isatty() and not yes
    _may_write(file, force, interactive)
    from lingualign.pipeline.files import write_text
    from lingualign.pipeline.validate import describe, validate
    from lingualign.setup.choose import choose
    from lingualign.setup.questions import Asker, ask

    if lab_copy is not None:
        from lingualign.setup.lab_copy import copy_lab

        given |= {name: path for name, path in copy_lab(lab_copy).items() if given[name] is None}
    chosen = choose(ask(Asker(given, interactive)))
    checked = validate(chosen.config)
    write_text(file, chosen.text(str(file)))

    console = stdout_console(markup=True)
    seen = describe(checked)
    console.print(
        f"{file} is written: {chosen.config.recipe} with {seen['policy']} in {seen['languages']}, "
        f"{seen['prompts']} prompts a language, {seen['held_out_prompts']} more to measure with.",
        soft_wrap=True,
        markup=False,
    )
    for suggestion in chosen.suggestions:
        console.print(
            f"  {suggestion.key}: {suggestion.value} ({suggestion.reason})", soft_wrap=True, markup=False
        )
    if estimate or (interactive and typer.confirm("Estimate time, memory and disk of the run now?", True)):
        from lingualign.cli.doctor import findings_table, print_estimate, tried_estimate

        costs, failed = tried_estimate(checked)
        if costs is not None:
            print_estimate(console, costs)
        if failed is not None:
            console.print(findings_table([failed]))
    console.print(f"Check it:  lingualign doctor {file}\nStart it:  lingualign align {file}", soft_wrap=True)


def _may_write(file: Path, force: bool, interactive: bool) -> None:
    """Refuses to write over a file, unless it was said so or the person who is there agrees."""
    if file.suffix not in (".yaml", ".yml"):
        raise InputError(f"{file}: the file has to end in .yaml.", "`align` takes other names for recipes.")
    if file.is_dir():
        raise InputError(f"{file} is a folder.", "Name a file.")
    if not file.exists() or force:
        return
    if not (interactive and typer.confirm(f"{file} is there already. Write over it?", default=False)):
        raise InputError(f"{file} is there already.", "Give another name, or --force to write over it.")
