"""Computes the chunks of a stage on a Ray cluster."""

from __future__ import annotations

from lingualign.config import RunConfig
from lingualign.pipeline.folder import Compute
from lingualign.pipeline.work import ChunkWork


def compute_on_ray(work: ChunkWork, config: RunConfig) -> Compute:
    """Computes chunks by the workers of a Ray cluster."""
    raise NotImplementedError
