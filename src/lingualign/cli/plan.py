"""`lingualign plan`: what a run will take on machines that are not here, from arithmetic alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lingualign.cli.arguments import Arguments, Json, load
from lingualign.cli.reporters import duration, make_reporter, stdout_console
from lingualign.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from lingualign.config import RunConfig
    from lingualign.planning.forecast import Forecast
    from lingualign.planning.hardware import Hardware
    from lingualign.planning.work import Counts
    from lingualign.setup.shape import Shape


def command(
    arguments: Arguments = None,
    model_params: Annotated[
        float | None, typer.Option(help="Size of the policy, as 8e9. Default: read from its folder.")
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(help="GPUs, as 8xH200; `cpu` for this machine, whose rates are measured first."),
    ] = None,
    prompts: Annotated[
        int | None, typer.Option(help="Prompts a language in each iteration. Default: those there are.")
    ] = None,
    prompt_tokens: Annotated[float | None, typer.Option(help="Tokens of a prompt, mean.")] = None,
    response_tokens: Annotated[
        float | None, typer.Option(help="Tokens of a response, mean. Default: half of the limit.")
    ] = None,
    flops: Annotated[
        float | None, typer.Option(help="Of a GPU: dense bfloat16 FLOP/s by its data sheet, as 400e12.")
    ] = None,
    memory: Annotated[float | None, typer.Option(help="Of a GPU: bytes of memory, as 80e9.")] = None,
    bandwidth: Annotated[
        float | None, typer.Option(help="Of a GPU: bytes a second of its memory, as 3.3e12.")
    ] = None,
    json: Json = False,
) -> None:
    """Says what a run will take: tokens, hours, memory and disk of every stage, from arithmetic alone.

    Takes what `align` takes. No model is loaded, and none has to be there; no GPU is needed:

        lingualign plan run.yaml --model-params 8e9 --gpus 8xH200 --prompts 10000

    GPUs that are not known by name:

        lingualign plan run.yaml --gpus 4xMine --flops 400e12 --memory 80e9 --bandwidth 3.3e12

    What is assumed stands below the table; docs/scaling.md has the arithmetic. For an estimate from some
    seconds of the run's own work on this machine: `lingualign doctor run.yaml --estimate`.
    """
    config = load(arguments)
    from lingualign.planning.counting import Said, count
    from lingualign.planning.forecast import forecast

    policy, reference = shapes(config, model_params)
    counts, assumed = count(config, Said(prompts, prompt_tokens, response_tokens))
    hardware = find_hardware(config, gpus, (flops, memory, bandwidth), policy, counts)
    found = forecast(config, counts, hardware, policy, reference, assumed)
    if json:
        make_reporter(json).result("plan", found.as_dict())
    else:
        print_forecast(stdout_console(), found)


def shapes(config: RunConfig, parameters: float | None) -> tuple[Shape, Shape]:
    """Shapes of policy and reference: of a size, or read from their folders."""
    from lingualign.planning.sizes import shape_of_size, shape_of_spec

    if parameters is not None:
        shape = shape_of_size(parameters)
        return shape, shape
    policy = shape_of_spec(config.policy)
    try:
        return policy, shape_of_spec(config.reference)
    except InputError:
        return policy, policy


def find_hardware(
    config: RunConfig,
    gpus: str | None,
    own: tuple[float | None, float | None, float | None],
    policy: Shape,
    counts: Counts,
) -> Hardware:
    """The hardware that the options name.

    Raises:
        InputError: They name none, or one that is not known.
    """
    from lingualign.planning.hardware import HERE, Hardware, find_device, own_device, parse_gpus

    if gpus is not None and gpus.strip().lower() in HERE:
        from lingualign.planning.calibrate import calibrate

        typer.echo("Measuring this machine for some seconds ...", err=True)
        return Hardware(calibrate(policy, config, counts))
    number, name = parse_gpus(gpus) if gpus is not None else (1, None)
    if any(value is not None for value in own):
        return Hardware(own_device(name, *own), number)
    if name is None:
        raise InputError(
            "--gpus: on what is this run to be planned?", "Give GPUs, as --gpus 8xH200, or --gpus cpu."
        )
    return Hardware(find_device(name), number)


def print_forecast(console: Console, found: Forecast) -> None:
    """Prints the stages of a run, its totals, and what is assumed."""
    from rich.table import Table

    from lingualign.setup.findings import size
    from lingualign.setup.shape import describe_shape

    table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left")
    table.title = f"{describe_shape(found.model)}, on {found.hardware}"
    table.add_column("stage")
    for column in ("read", "generated", "FLOPs", "time", "GPU-hours", "GPUs", "memory a GPU", "disk"):
        table.add_column(column, justify="right")
    table.add_column("bound by")
    for stage in found.stages:
        table.add_row(
            stage.stage,
            amount(stage.read),
            amount(stage.generated),
            f"{stage.flops:.1e}" if stage.flops else "-",
            duration(stage.seconds),
            hours(stage.seconds * found.devices / 3600),
            str(stage.devices or "-")
            if stage.shards == 1 or stage.shards == stage.devices
            else f"{stage.devices}/{stage.shards}",
            size(stage.memory) + ("" if stage.fits else " !"),
            size(stage.disk),
            stage.bound,
        )
    total = found.as_dict()["total"]
    table.add_row(
        "all",
        amount(total["tokens_read"]),
        amount(total["tokens_generated"]),
        f"{total['flops']:.1e}",
        duration(found.seconds),
        hours(found.gpu_hours),
        str(found.devices),
        size(found.memory),
        size(found.disk),
        "",
    )
    console.print(table)
    if found.settings:
        said = " ".join(f"{key}={value}" for key, value in found.settings.items())
        console.print(f"Settings that this takes: {said}", soft_wrap=True, markup=False)
    for advice in found.advice:
        console.print(f"-> {advice}", soft_wrap=True, markup=False)
    console.print("Assumed: " + "; ".join(found.assumptions) + ".", soft_wrap=True, markup=False)


def amount(tokens: float) -> str:
    """A number of tokens for people: `1.2 M`."""
    for unit, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if tokens >= factor:
            return f"{tokens / factor:.3g} {unit}"
    return f"{tokens:.0f}" if tokens else "-"


def hours(number: float) -> str:
    """GPU-hours for people."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"
