"""The application: its commands, and how errors reach the user."""

from __future__ import annotations

import signal
import sys
import warnings
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from lingualign.accidents import explain
from lingualign.cli import (
    align,
    compare,
    doctor,
    export,
    init,
    lab,
    languages,
    launch,
    measure,
    merge,
    pair,
    plan,
    recipes,
    report,
    sample,
    score,
    train,
    validate,
)
from lingualign.launching.collector import collect_less_often

EXIT_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class Terminated(KeyboardInterrupt):
    """SIGTERM: Slurm, Kubernetes or a system that shuts down ends the process. It is handled like Ctrl-C."""


class Commands(TyperGroup):
    """Turns the ends that are no defect into one message and an exit status.

    They are wrong input, what the machine refuses (a full disk, no memory), Ctrl-C, and SIGTERM.
    """

    def invoke(self, ctx: Any) -> Any:
        """Runs the chosen command."""
        try:
            return super().invoke(ctx)
        except Terminated:
            print("\nterminated; run the same command to resume", file=sys.stderr)
            raise typer.Exit(EXIT_TERMINATED) from None
        except KeyboardInterrupt:
            print("\ninterrupted; run the same command to resume", file=sys.stderr)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except Exception as error:
            explained = explain(error)
            if explained is None:
                raise
            print(f"error: {explained}", file=sys.stderr)
            raise typer.Exit(EXIT_INPUT) from None


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
    plan,
    sample,
    score,
    pair,
    train,
    export,
    merge,
    launch,
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
    collect_less_often()
    # Deprecations inside libraries are for us to read, in the tests, and not for users.
    warnings.filterwarnings("ignore", category=FutureWarning)
    signal.signal(signal.SIGTERM, _terminate)
    app()


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated
