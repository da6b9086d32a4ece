"""Settings of where chunks are computed."""

from __future__ import annotations

from pydantic import Field

from lingualign.config.section import Section


class RayConfig(Section):
    """The Ray cluster of `executor: ray`."""

    address: str | None = None
    """Of a running cluster: auto, or ray://HOST:10001. Unset: a cluster of this machine's own."""

    workers: int = Field(1, ge=1)
    """Workers at least, each with models of its own."""

    max_workers: int | None = Field(None, ge=1)
    """Workers at most: the pool grows while chunks wait. Unset: as many as `workers`."""

    cpus: float = Field(1.0, gt=0)
    """Cores of a worker; also the threads that it computes with."""

    gpus: float | None = Field(None, ge=0)
    """GPUs of a worker. Unset: one where the cluster has any, else none."""
