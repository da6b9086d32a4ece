"""`lingualign doctor`: what is wrong with the machine, the packages or a run, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lingualign.cli.arguments import AllowMissing, Arguments, Json, load
from lingualign.cli.reporters import duration, make_reporter, stdout_console
from lingualign.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lingualign.pipeline.validate import CheckedRun
    from lingualign.setup.estimate import Estimate
    from lingualign.setup.findings import Finding

COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def command(
    arguments: Arguments = None,
    estimate: Annotated[
        bool, typer.Option(help="Estimate time, memory and disk of the run from a short probe.")
    ] = False,
    json: Json = False,
    allow_missing: AllowMissing = False,
) -> None:
    """Checks the machine and the packages, and a run where one is given; says what to do.

    The machine and the packages alone:

        lingualign doctor

    A run too: its models, chat template, tokenizer, prompts, disk and memory. It takes what `align` takes:

        lingualign doctor run.yaml

    With an estimate of what the run will cost, from some seconds of each kind of its work:

        lingualign doctor run.yaml --estimate

    Ends with status 1 if something is a problem. A warning is no problem: the run starts.
    """
    config = load(arguments, allow_missing) if arguments or estimate else None
    from lingualign.setup.machine import check_machine, look_at_machine
    from lingualign.setup.packages import check_packages

    machine = look_at_machine()
    findings = [*check_machine(machine), *check_packages()]
    checked: CheckedRun | None = None
    if config is not None:
        from lingualign.setup.run_checks import check_run

        about_run, checked = check_run(config, machine)
        findings += about_run
    console = stdout_console(markup=True)
    if not json:
        console.print(findings_table(findings))
    costs = None
    if estimate and checked is not None:
        costs, failed = tried_estimate(checked)
        if failed is not None:
            findings.append(failed)
            if not json:
                console.print(findings_table([failed]))
    if json:
        result: dict[str, object] = {"checks": [asdict(finding) for finding in findings]}
        if costs is not None:
            result["estimate"] = costs.as_dict()
        make_reporter(json).result("doctor", result)
    else:
        if costs is not None:
            print_estimate(console, costs)
        console.print(summary(findings))
    if any(finding.status == "problem" for finding in findings):
        raise typer.Exit(1)


def tried_estimate(checked: CheckedRun) -> tuple[Estimate | None, Finding | None]:
    """The estimate of a run; or what was wrong with its probe."""
    from lingualign.setup.estimate import estimate_run
    from lingualign.setup.findings import Finding

    typer.echo("Trying some seconds of each kind of the run's work ...", err=True)
    try:
        return estimate_run(checked), None
    except InputError as error:
        return None, Finding("probe", "problem", error.message, error.remedy)


def findings_table(findings: list[Finding]) -> Table:
    """The findings, and under those that are not ok what to do."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        text = escape(finding.found)
        if finding.remedy:
            text += f"\n-> {escape(finding.remedy)}"
        colour = COLOURS[finding.status]
        table.add_row(f"[{colour}]{finding.status}[/{colour}]", escape(finding.subject), text)
    return table


def summary(findings: list[Finding]) -> str:
    """The last line: how many problems and warnings there are."""
    counts = {name: sum(finding.status == name for finding in findings) for name in ("problem", "warning")}
    if not any(counts.values()):
        return "Everything is in order."
    said = [f"{count} {name}{'s' if count != 1 else ''}" for name, count in counts.items() if count]
    return f"{' and '.join(said)}."


def print_estimate(console: Console, costs: Estimate) -> None:
    """Prints what a run will cost: its stages, the totals, and what is assumed."""
    from rich.table import Table

    from lingualign.setup.findings import size

    table = Table(box=None, padding=(0, 2, 0, 0), title="What the run will take", title_justify="left")
    table.add_column("stage")
    table.add_column("from", justify="right")
    table.add_column("to", justify="right")
    for stage in costs.stages:
        table.add_row(stage.name, duration(stage.low), duration(stage.high))
    table.add_row("[bold]all[/bold]", duration(costs.low), duration(costs.high))
    console.print(table)
    lines = [
        f"Memory: {size(costs.memory_low)} to {size(costs.memory_high)} at the peak.",
        f"Disk: {size(costs.disk_low)} to {size(costs.disk_high)} in the run folder, "
        f"{size(costs.checkpoints)} of it for a while.",
        "Assumed: " + "; ".join(costs.assumptions) + ".",
    ]
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)
