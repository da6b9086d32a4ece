"""Job files that run `lingualign align` on a cluster: text, which a user reads, adapts and submits."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from lingualign.config import RunConfig
from lingualign.errors import InputError

TEMPLATES = Path(__file__).parent / "templates"
FORMATS = {"slurm": "slurm.sh", "skypilot": "skypilot.yaml", "kubernetes": "kubernetes.yaml"}
LONGEST_NAME = 52  # characters: Kubernetes adds to the name of a job, and stops at 63
CPUS_A_GPU = 8  # ours


@dataclass(frozen=True)
class Job:
    """What a job file is written for.

    Attributes:
        arguments: Of `lingualign align`: a recipe or a YAML file, and settings.
        config: The configuration that they describe.
        folder: Working directory that relative paths are read from.
        gpus: Of a node; 0 for none.
        gpu: Their type, as the cluster calls it; empty for any.
        nodes: Machines.
        time: Time limit, as Slurm writes it: `24:00:00`, `2-00:00:00`.
        called: What the user calls the job; empty: after the run folder.
    """

    arguments: Sequence[str]
    config: RunConfig
    folder: Path
    gpus: int
    gpu: str = ""
    nodes: int = 1
    time: str = "24:00:00"
    called: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(\d+-)?\d{1,2}(:\d{2}){0,2}", self.time):
            raise InputError(f"--time {self.time}: no time.", "Write it as 24:00:00; 2-00:00:00 is two days.")
        if self.nodes > 1 and self.config.executor != "ray":
            raise InputError(
                f"--nodes {self.nodes}: more than one machine is used with executor=ray alone.",
                "Set it, or leave --nodes out: training shares the GPUs of one machine.",
            )
        for text in (*self.arguments, *map(str, (self.folder, self.output, *self.inputs))):
            if not text.isprintable():
                raise InputError(
                    f"{text!r} has characters that cannot be seen; a job file must not hide any.",
                    "Rename the file or folder.",
                )

    @property
    def name(self) -> str:
        """Of the job, in letters that all clusters allow."""
        name = re.sub(r"[^a-z0-9]+", "-", (self.called or self.output.name).lower())
        return name[:LONGEST_NAME].strip("-") or "lingualign"

    @property
    def output(self) -> Path:
        """The run folder."""
        return self.config.run_folder

    @property
    def inputs(self) -> list[Path]:
        """Files and folders that the job needs where it runs."""
        config = self.config
        named = [argument for argument in self.arguments if "=" not in argument]
        named += [config.policy, config.reference, config.prompts, config.translation.model or ""]
        return [Path(name) for name in named if name and Path(name).exists()]

    @property
    def cpus(self) -> int:
        """Cores to ask for."""
        return CPUS_A_GPU * max(1, self.gpus)

    @property
    def command(self) -> str:
        """The command, quoted for a shell."""
        return shlex.join(["lingualign", "align", *self.arguments])


def parse_gpus(text: str) -> tuple[int, str]:
    """The number and the type in `8xH100`, or in `8`.

    Raises:
        InputError: It is neither.
    """
    found = re.fullmatch(r"(\d{1,3})(?:x([A-Za-z0-9][A-Za-z0-9_.-]*))?", text)
    if found is None:
        raise InputError(f"--gpus {text}: not a number of GPUs.", "Write it as 8xH100, or 8 of any type.")
    return int(found[1]), found[2] or ""


def job_file(kind: str, job: Job) -> str:
    """The text of a job file.

    Args:
        kind: One of `FORMATS`.
        job: What it runs.

    Raises:
        InputError: There is no such format, or it has no place for what is asked.
    """
    if kind not in FORMATS:
        raise InputError(f"--print {kind}: there is no such format.", f"Choose one of {', '.join(FORMATS)}.")
    if kind == "kubernetes" and job.nodes > 1:
        raise InputError(
            f"--nodes {job.nodes}: a Kubernetes Job is one pod.",
            "Let KubeRay run a cluster, give its address to ray.address, and leave --nodes out.",
        )
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # this is no HTML: values go through `sh` or `yaml`
    )
    environment.filters |= {"sh": lambda value: shlex.quote(str(value)), "yaml": _yaml_string}
    return environment.get_template(FORMATS[kind]).render(job=job)


def _yaml_string(value: object) -> str:
    """A quoted YAML string on one line."""
    return yaml.safe_dump(str(value), default_style='"', allow_unicode=True, width=sys.maxsize).strip()
