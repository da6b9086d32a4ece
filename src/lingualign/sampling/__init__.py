"""Sampling: from prompts to K responses each."""

from lingualign.sampling.base import Sampler
from lingualign.sampling.server import ServerSampler
from lingualign.sampling.transformers_backend import TransformersSampler
from lingualign.sampling.vllm_backend import VllmEngine, VllmSampler

__all__ = ["Sampler", "ServerSampler", "TransformersSampler", "VllmEngine", "VllmSampler"]
