"""Settings of where chunks are computed."""

from __future__ import annotations

from pydantic import Field, model_validator

from lingualign.config.section import Section


class RayConfig(Section):
    """The Ray cluster of `executor: ray`."""

    address: str | None = None
    """Of a running cluster, on one of whose machines the run is started: auto, or HOST:PORT of its head.
    Unset: a cluster of this machine's own, which ends with the run."""

    workers: int = Field(1, ge=1)
    """Workers at least, each a process with models of its own."""

    max_workers: int | None = Field(None, ge=1)
    """Workers at most: the pool grows while chunks wait. Unset: as many as `workers`."""

    cpus: float = Field(1.0, gt=0)
    """Cores of a worker; also the threads that it computes with."""

    gpus: float | None = Field(None, ge=0)
    """GPUs of a worker. Unset: one where the cluster has any, else none."""

    @model_validator(mode="after")
    def _consistent(self) -> RayConfig:
        if self.max_workers is not None and self.max_workers < self.workers:
            raise ValueError(f"max_workers is {self.max_workers}, fewer than workers, {self.workers}")
        return self
