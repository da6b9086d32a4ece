"""The application: its commands, and how errors reach the user."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lingualign.cli import (
    align,
    compare,
    doctor,
    export,
    init,
    lab,
    languages,
    measure,
    merge,
    pair,
    recipes,
    report,
    sample,
    score,
    train,
    validate,
)
from lingualign.errors import InputError

EXIT_INPUT = 2
EXIT_INTERRUPTED = 130


class Commands(TyperGroup):
    """Turns the two ends a user causes, wrong input and Ctrl-C, into one message and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the chosen command."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(EXIT_INPUT) from None
        except KeyboardInterrupt:
            print("\ninterrupted; run the same command to resume", file=sys.stderr)
            raise typer.Exit(EXIT_INTERRUPTED) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a defect shows its plain traceback, which can be pasted into a report
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"lingualign {version('lingualign')}")
        except PackageNotFoundError:
            print("lingualign (not installed)")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Makes a language model that is aligned in English as good in its users' other languages.

    No preference labels in those languages are needed: the model's own English alignment is the teacher.

    **Start here**, with the built-in lab (a few minutes on two cores, nothing to download):

        lingualign align

    **Your own model**, aligned in English: a few questions, a check with an estimate, the run:

        lingualign init run.yaml

        lingualign doctor run.yaml --estimate

        lingualign align run.yaml

    **Without a file**, from a model and what it was before its preference tuning:

        lingualign align icr policy=./my-model reference=./my-sft prompts=./prompts languages=en,de,sw

    Every run ends with `report.html` in its folder. Settings are `key=value` with dots, as in
    `sampling.n=16`; `lingualign recipes icr` explains them all.
    """


for command in (
    init,
    doctor,
    align,
    compare,
    report,
    validate,
    sample,
    score,
    pair,
    train,
    export,
    merge,
    recipes,
    languages,
):
    app.command(command.__name__.rpartition(".")[2])(command.command)
app.add_typer(
    measure.app, name="measure", help="Measures models, files of answers, rewards and representations."
)
app.add_typer(
    lab.app, name="lab", help="The built-in world: build its models, or look at its prompts and judgements."
)


def main() -> None:
    """The `lingualign` command."""
    # Deprecations inside libraries are for us to read, in the tests, and not for users.
    warnings.filterwarnings("ignore", category=FutureWarning)
    app()
