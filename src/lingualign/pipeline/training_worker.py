"""One of several processes that train, as `accelerate launch` starts them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lingualign.launching.worker import working
from lingualign.pipeline.training import TrainingJob


def main(file: Path) -> None:
    """Does its part of a training.

    Args:
        file: A `TrainingJob` as JSON.
    """
    job = TypeAdapter(TrainingJob).validate_json(file.read_bytes())
    with working(job.lock) as tell:
        from accelerate import PartialState

        from lingualign.pipeline.bench import Workbench

        def tell_once(kind: str, value: Any) -> None:
            if PartialState().is_main_process:
                tell(kind, value)

        result = job.run(
            Workbench(job.config).chat,
            on_step=lambda done, total, metrics: tell_once("step", [done, total, dict(metrics)]),
            warn=lambda text: tell_once("warning", text),
        )
        tell_once("overlong", result.overlong)
        PartialState().destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
