"""The two stages of preference training: the frozen reference's log-probs once, then the training itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.launching.processes import LOCK, check_launch, is_launched, launch, wait_for_workers
from lingualign.models import resolve_device
from lingualign.pipeline.bench import Bench, free_memory
from lingualign.pipeline.files import write_json, write_text
from lingualign.pipeline.folder import Stage
from lingualign.pipeline.progress import Task
from lingualign.prompts import ChatFormat
from lingualign.records import PAIRS, REFERENCE_LOGPS, Pair, read_table, write_table

if TYPE_CHECKING:
    from lingualign.training import TrainingResult
    from lingualign.training.trainer import OnStep


def read_pairs(path: Path) -> list[Pair]:
    """Reads PAIRS, ours or somebody else's.

    Raises:
        InputError: The table has no rows, or an id twice.
    """
    pairs = [cast(Pair, row) for row in read_table(path, PAIRS)]
    if not pairs:
        raise InputError(f"{path} has no pairs.", "Loosen the filters under `pairs`, or use more prompts.")
    if len({pair["id"] for pair in pairs}) < len(pairs):
        raise InputError(f"{path}: an id occurs twice.", "Give every pair an id of its own.")
    return pairs


def reference_logprobs(bench: Bench, stage: Stage, reference: Path, pairs: Path) -> Path:
    """Computes the reference's log-probs of all pairs.

    Returns:
        The file of REFERENCE_LOGPS, beside the stage's name with the ending `.parquet`.
    """
    from lingualign.training import reference_logps

    config = bench.config

    def make(path: Path, task: Task) -> None:
        rows = reference_logps(
            bench.models.get(reference),
            read_pairs(pairs),
            bench.chat,
            max_length=config.training.max_length,
            batch_tokens=config.reward.batch_tokens,
            progress=task.update,
        )
        write_table(path, rows, REFERENCE_LOGPS)

    return bench.folder.file(stage, f"{stage.name}.parquet", make, unit="sequences")


@dataclass(frozen=True)
class TrainingJob:
    """All that one training is made from, as plain values: any process on this machine can do it.

    Attributes:
        config: Of the run.
        policy: Folder of the model to start from.
        pairs: File of PAIRS.
        reference: File of REFERENCE_LOGPS; None where there is no preference term.
        model: Folder of the trained model.
        log: File for the metrics of every step.
    """

    config: RunConfig
    policy: Path
    pairs: Path
    reference: Path | None
    model: Path
    log: Path

    @property
    def lock(self) -> Path:
        """The lock of the processes that train, if there are any, beside their checkpoints."""
        return self.model.parent / "checkpoints" / LOCK

    def run(self, chat: ChatFormat, on_step: OnStep, warn: Callable[[str], None]) -> TrainingResult:
        """Trains in this process, or as one of those that `accelerate launch` has started."""
        from lingualign.training import train

        config = self.config
        return train(
            config.training,
            read_pairs(self.pairs),
            None if self.reference is None else read_table(self.reference, REFERENCE_LOGPS),
            policy=self.policy,
            chat=chat,
            output=self.model.parent,
            seed=config.seed,
            device=config.device,
            dtype=config.dtype,
            trust_remote_code=config.trust_remote_code,
            source_language=config.source_language,
            on_step=on_step,
            on_log=lambda log: write_json(self.log, log),
            on_warn=warn,
        )

    def launch(self, on_step: OnStep, warn: Callable[[str], None]) -> list[str]:
        """Trains in the processes of `training.launch`, to the same model.

        Returns:
            Ids of the pairs left out for their length.
        """
        overlong: list[str] = []

        def on_event(kind: str, value: Any) -> None:
            if kind == "step":
                on_step(*value)
            elif kind == "warning":
                warn(value)
            elif kind == "overlong":
                overlong.extend(value)

        with TemporaryDirectory(prefix="lingualign-") as folder:
            file = Path(folder) / "job.json"
            write_text(file, TypeAdapter(TrainingJob).dump_json(self).decode())
            launch(
                "lingualign.pipeline.training_worker",
                [str(file)],
                self.config.training.launch,
                cpu=resolve_device(self.config.device).type == "cpu",
                lock=self.lock,
                on_event=on_event,
                on_restart=warn,
            )
        return overlong


def train_policy(bench: Bench, stage: Stage, policy: Path, pairs: Path, reference: Path | None) -> Path:
    """Trains a policy on pairs, against the reference's log-probs where there is a preference term.

    Returns:
        The model folder, of the stage's name; beside it `training.json`, the metrics of every step.
    """
    config = bench.config
    scratch, log = (str(Path(stage.name).with_name(name)) for name in ("checkpoints", "training.json"))
    bench.models.keep()  # training loads its own copy and needs the room

    def make(path: Path, task: Task) -> None:
        def on_step(done: int, total: int, metrics: Mapping[str, float]) -> None:
            task.update(done, total, f"loss {metrics['loss']:.3f}")

        job = TrainingJob(config, policy, pairs, reference, path, bench.folder.folder / log)
        warn = bench.folder.reporter.warn
        if is_launched(config.training.launch):
            check_launch(config.training, config.device)
            overlong = job.launch(on_step, warn)
        else:
            wait_for_workers(job.lock)  # of an earlier start with other settings
            overlong = job.run(bench.chat, on_step, warn).overlong
            free_memory()
        if overlong:
            warn(
                f"{stage.name}: {len(overlong)} pairs are longer than training.max_length="
                f"{config.training.max_length} tokens and were left out."
            )

    return bench.folder.file(stage, stage.name, make, unit="steps", scratch=scratch, companion=log)
