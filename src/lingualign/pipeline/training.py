"""The two stages of preference training: the frozen reference's log-probs once, then the training itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from lingualign.errors import InputError
from lingualign.pipeline.bench import Bench
from lingualign.pipeline.files import write_json
from lingualign.pipeline.folder import Stage
from lingualign.pipeline.progress import Task
from lingualign.records import PAIRS, REFERENCE_LOGPS, Pair, read_table, write_table


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


def train_policy(bench: Bench, stage: Stage, policy: Path, pairs: Path, reference: Path | None) -> Path:
    """Trains a policy on pairs, against the reference's log-probs where there is a preference term.

    Returns:
        The model folder, of the stage's name; beside it `training.json`, the metrics of every step.
    """
    from lingualign.training import train

    config = bench.config
    scratch, log = (str(Path(stage.name).with_name(name)) for name in ("checkpoints", "training.json"))
    bench.models.keep()  # training loads its own copy and needs the room

    def make(path: Path, task: Task) -> None:
        def on_step(done: int, total: int, metrics: Mapping[str, float]) -> None:
            task.update(done, total, f"loss {metrics['loss']:.3f}")

        result = train(
            config.training,
            read_pairs(pairs),
            None if reference is None else read_table(reference, REFERENCE_LOGPS),
            policy=policy,
            chat=bench.chat,
            output=path.parent,
            seed=config.seed,
            device=config.device,
            dtype=config.dtype,
            trust_remote_code=config.trust_remote_code,
            source_language=config.source_language,
            on_step=on_step,
            on_log=lambda steps: write_json(bench.folder.folder / log, {"steps": steps}),
        )
        if result.overlong:
            bench.folder.reporter.warn(
                f"{stage.name}: {len(result.overlong)} pairs are longer than training.max_length="
                f"{config.training.max_length} tokens and were left out."
            )

    return bench.folder.file(stage, stage.name, make, unit="steps", scratch=scratch, companion=log)
