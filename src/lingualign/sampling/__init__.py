"""Sampling: from prompts to K responses each."""

from lingualign.sampling.base import Sampler
from lingualign.sampling.transformers_backend import TransformersSampler

__all__ = ["Sampler", "TransformersSampler"]
