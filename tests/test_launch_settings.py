"""The shipped configurations of `accelerate launch`, what is refused before it starts, and job files."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from lingualign.cli.app import app
from lingualign.config import TrainingConfig
from lingualign.errors import InputError
from lingualign.launching.jobs import Job, job_file, parse_gpus
from lingualign.launching.processes import CONFIGS, check_launch, launch_file
from lingualign.settings import load_config

KINDS = {
    "ddp": DistributedType.MULTI_GPU,
    "fsdp2": DistributedType.FSDP,
    "deepspeed-zero2": DistributedType.DEEPSPEED,
    "deepspeed-zero3": DistributedType.DEEPSPEED,
}


def test_all_shipped_configurations_are_known() -> None:
    assert {path.stem for path in CONFIGS.iterdir()} == KINDS.keys()


@pytest.mark.parametrize("name", KINDS)
def test_accelerate_reads_a_shipped_configuration(name: str) -> None:
    file = str(launch_file(name))
    assert load_config_from_file(file).distributed_type == KINDS[name]
    parser = launch_command_parser()
    given_arguments = parser.parse_args(["--config_file", file, "--num_processes", "4", "script.py"])
    arguments, _, _ = _validate_launch_command(given_arguments)
    assert arguments.num_processes == 4
    assert arguments.mixed_precision == "no"  # the run's dtype decides
    known = vars(parser.parse_args(["script.py"]))
    text = yaml.safe_load(launch_file(name).read_text(encoding="utf-8"))
    for section in ("fsdp_config", "deepspeed_config"):
        assert text.get(section, {}).keys() <= known.keys()


def test_the_plugin_of_accelerate_takes_fsdp2(monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.utils.launch import prepare_multi_gpu_env

    arguments, _, _ = _validate_launch_command(
        launch_command_parser().parse_args(
            [
                "--config_file",
                str(launch_file("fsdp2")),
                "--num_processes",
                "2",
                "--main_process_port",
                "0",
                "x",
            ]
        )
    )
    for name, value in prepare_multi_gpu_env(arguments).items():
        if name.startswith("FSDP"):
            monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.state_dict_type.name == "SHARDED_STATE_DICT"
    assert not plugin.cpu_ram_efficient_loading
    assert not plugin.activation_checkpointing


def training(**launch: Any) -> TrainingConfig:
    return TrainingConfig.model_validate({"batch_pairs": 8, "launch": launch})


@pytest.mark.parametrize(
    ("launch", "message"),
    [
        ({"processes": 3}, "8 cannot be shared by 3 processes"),
        ({"config": "fsdp3"}, "fsdp3 is neither a file nor one of ddp, deepspeed-zero2"),
        ({"processes": 2, "config": "fsdp2"}, "fsdp2 spreads weights over GPUs, and device is cpu"),
    ],
)
def test_a_launch_that_cannot_work_is_refused(launch: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_launch(training(**launch), "cpu")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distributed_type: MULTI_GPU\nnum_machines: 2\n", "num_machines is 2"),
        ("- a list\n", "has no distributed_type"),
        ("a: [\n", "cannot be read"),
    ],
)
def test_a_file_that_is_not_for_this_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        check_launch(training(config=str(file)), "cpu")


def test_what_works_passes() -> None:
    check_launch(training(processes=4), "cpu")
    check_launch(training(), "cpu")


# Job files

CONFIG = load_config("icr", ["output=runs/first", "executor=ray", "training.launch.processes=8"])
PRINTABLE = st.text(st.characters(codec="utf-8").filter(str.isprintable), min_size=1, max_size=30)


def job(arguments: list[str], folder: str = "/work", **further: Any) -> Job:
    return Job(arguments, CONFIG, Path(folder), 8, "H100", **further)


def words_of(script: str, command: str) -> list[str]:
    """The words that a shell makes of a command in a script: its functions are replaced by `printf`."""
    shell = f'{command}() {{ printf "%s\\0" "$@"; }}\ncd() {{ :; }}\n'
    skipped = "\n".join(
        f"{name}() {{ :; }}" for name in ("srun", "ray", "scontrol", "squeue", "kill", "trap")
    )
    done = subprocess.run(["bash", "-c", shell + skipped + "\n" + script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\0")[:-1]


@settings(max_examples=40)
@given(argument=PRINTABLE, folder=PRINTABLE)
def test_no_value_breaks_out_of_a_job_file(argument: str, folder: str) -> None:
    arguments = ["run.yaml", f"policy={argument}"]
    written = job(arguments, f"/{folder}")
    script = job_file("slurm", written)
    assert words_of(script, "lingualign") == ["align", *arguments]
    kubernetes = list(yaml.safe_load_all(job_file("kubernetes", written)))
    (container,) = kubernetes[1]["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["lingualign", "align", *arguments]
    assert container["workingDir"] == str(written.folder)
    skypilot = yaml.safe_load(job_file("skypilot", written))
    assert skypilot["workdir"] == str(written.folder)
    assert words_of(skypilot["run"], "lingualign") == ["align", *arguments, "output=/outputs/first"]


@pytest.mark.parametrize("hidden", ["a\nb", "a\u2028b", "a\x85b", "a\x1b[2Jb", "a\u202eb"])
def test_what_cannot_be_seen_is_refused(hidden: str) -> None:
    with pytest.raises(InputError, match="cannot be seen"):
        job([f"policy={hidden}"])


def test_slurm_requeues_and_resumes() -> None:
    script = job_file("slurm", job(["run.yaml"], time="2-00:00:00"))
    options = [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]
    assert {"--requeue", "--open-mode=append", "--signal=B:TERM@120", "--time=2-00:00:00",
            "--gpus-per-node=H100:8", "--nodes=1", "--job-name=first"} <= set(options)  # fmt: skip
    assert "ray start" not in script


def run_slurm(tmp_path: Path, state: str) -> str:
    """What the script asks of Slurm when TERM comes while the run is under way, in some state of the job."""
    tools = tmp_path / "bin"
    tools.mkdir()
    asked = tmp_path / "asked"
    for name, text in {
        "lingualign": 'kill -TERM "$PPID"; exec sleep 60',
        "squeue": f"echo {state}",
        "scontrol": f'echo "$@" > {shlex.quote(str(asked))}',
    }.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    script = job_file("slurm", job(["run.yaml"], str(tmp_path)))
    done = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": f"{tools}:/usr/bin:/bin", "SLURM_JOB_ID": "7"},
        timeout=30,
    )
    assert done.returncode == 143
    return asked.read_text(encoding="utf-8").strip() if asked.exists() else ""


def test_a_job_whose_time_is_over_goes_back_into_the_queue(tmp_path: Path) -> None:
    assert run_slurm(tmp_path, "RUNNING") == "requeue 7"


def test_a_job_that_was_cancelled_stays_cancelled(tmp_path: Path) -> None:
    assert run_slurm(tmp_path, "COMPLETING") == ""


def test_several_machines_are_a_ray_cluster() -> None:
    script = job_file("slurm", job(["run.yaml"], nodes=3))
    assert "--nodes=3" in script
    assert "ray start --head" in script
    assert words_of(script, "lingualign") == ["align", "run.yaml", "ray.address=auto"]
    skypilot = yaml.safe_load(job_file("skypilot", job(["run.yaml"], nodes=3)))
    assert skypilot["num_nodes"] == 3
    with pytest.raises(InputError, match="a Kubernetes Job is one pod"):
        job_file("kubernetes", job(["run.yaml"], nodes=3))
    with pytest.raises(InputError, match="more than one machine is used with executor=ray alone"):
        Job([], load_config("icr", []), Path("/work"), 8, nodes=2)


def test_skypilot_recovers() -> None:
    found = yaml.safe_load(job_file("skypilot", job(["run.yaml"])))
    assert found["resources"]["accelerators"] == "H100:8"
    assert found["resources"]["use_spot"] is True
    assert found["resources"]["job_recovery"]["max_restarts_on_errors"] == 3
    assert found["file_mounts"]["/outputs"]["persistent"] is True


def test_kubernetes_tries_again_but_not_for_wrong_input() -> None:
    claim, found = yaml.safe_load_all(job_file("kubernetes", job(["run.yaml"])))
    assert (claim["kind"], found["apiVersion"], found["kind"]) == ("PersistentVolumeClaim", "batch/v1", "Job")
    spec = found["spec"]
    pod = spec["template"]["spec"]
    assert spec["backoffLimit"] > 0
    assert pod["restartPolicy"] == "Never"  # podFailurePolicy asks for it
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 8
    claims = [volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["volumes"]]
    assert claim["metadata"]["name"] in claims


@pytest.mark.parametrize(("text", "found"), [("8xH100", (8, "H100")), ("2", (2, "")), ("0", (0, ""))])
def test_gpus(text: str, found: tuple[int, str]) -> None:
    assert parse_gpus(text) == found


@pytest.mark.parametrize("text", ["H100", "8x", "8xH100\n", "8x;rm", "-1"])
def test_gpus_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="not a number of GPUs"):
        parse_gpus(text)


def test_the_command_checks_the_settings_and_prints(tmp_path: Path) -> None:
    run = tmp_path / "my run's.yaml"
    run.write_text("recipe: icr\noutput: runs/mine\ntraining: {launch: {processes: 8}}\n", encoding="utf-8")
    done = CliRunner().invoke(app, ["launch", str(run), "--print", "slurm", "--gpus", "8xH100"])
    assert done.exit_code == 0
    assert words_of(done.stdout, "lingualign") == ["align", str(run)]
    assert "--job-name=mine" in done.stdout
    for arguments in (["launch", str(run), "--print", "pbs"], ["launch", "sampling.x=1", "--print", "slurm"]):
        assert CliRunner().invoke(app, arguments).exit_code == 2
