"""Settings of training in several processes."""

from __future__ import annotations

from pydantic import Field

from lingualign.config.section import Section


class LaunchConfig(Section):
    """`accelerate launch` for the training stage; the rest of a run stays in one process."""

    processes: int = Field(1, ge=1)
    """Processes that train, one a GPU. 1 trains in the run's own process, unless `config` is set."""

    config: str | None = None
    """How they share the work: the name of a configuration of the package (ddp, fsdp2, deepspeed-zero2,
    deepspeed-zero3), or a file for `accelerate launch --config_file`. Unset: ddp."""

    restarts: int = Field(0, ge=0)
    """Times that the processes are started anew, from the last checkpoint, when one of them dies."""
