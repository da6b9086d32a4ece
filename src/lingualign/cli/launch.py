"""`lingualign launch`: a job file for a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lingualign.cli.arguments import Arguments, load


def command(
    kind: Annotated[
        str, typer.Option("--print", metavar="slurm|skypilot|kubernetes", help="Whose job file.")
    ],
    arguments: Arguments = None,
    gpus: Annotated[
        str | None,
        typer.Option(help="GPUs of a node, as 8xH100 or 8. Default: training.launch.processes."),
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; more than one with executor=ray.")] = 1,
    time: Annotated[str, typer.Option(help="Time limit of one start, for Slurm.")] = "24:00:00",
    name: Annotated[str, typer.Option(help="Of the job. Default: that of the run folder.")] = "",
) -> None:
    """Prints a job file that runs `lingualign align` on a cluster. It submits nothing.

    The job is started anew where a machine fails or is taken away, and goes on where it stopped:

        lingualign launch run.yaml --print slurm --gpus 8xH100 --time 24:00:00 > job.sh

        sbatch job.sh

    Spot machines of any cloud, by SkyPilot, or a Kubernetes cluster:

        lingualign launch run.yaml --print skypilot --gpus 8xH100 > job.yaml

        lingualign launch run.yaml --print kubernetes --gpus 8 > job.yaml

    Settings behind the file are for the run, as in `lingualign align`. What you have to adapt, such as a
    partition or an image, is marked in the file. Training uses several GPUs with
    training.launch.processes; see docs/several-gpus.md.
    """
    config = load(arguments)
    from lingualign.launching.jobs import Job, job_file, parse_gpus

    processes = config.training.launch.processes
    count, kind_of_gpu = parse_gpus(gpus) if gpus else (0 if config.device == "cpu" else processes, "")
    job = Job(arguments or [], config, Path.cwd(), count, kind_of_gpu, nodes, time, called=name)
    print(job_file(kind, job), end="")
    if count > processes:
        typer.echo(
            f"note: the job has {count} GPUs and training uses {processes}; "
            f"training.launch.processes={count} uses all.",
            err=True,
        )
