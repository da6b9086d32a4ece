"""`lingualign measure`: one file a command. Without the name of one, what is given says which is meant."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from lingualign.cli.measure import confusion, consistency, model, representations, responses, rewards, tasks

COMMANDS = (model, responses, rewards, representations, consistency, confusion, tasks)


class ByWhatIsGiven(TyperGroup):
    """Takes `measure --responses ...` for `measure responses ...`, and else for `measure model ...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts the command's name in front where it was left out."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            given = any(argument.split("=")[0] == "--responses" for argument in args)
            args = ["responses" if given else "model", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=ByWhatIsGiven,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)
for command in COMMANDS:
    app.command(command.__name__.rpartition(".")[2])(command.command)
