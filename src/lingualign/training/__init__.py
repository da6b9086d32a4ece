"""Preference training: objectives, the trainer, and the reference log-probabilities that it reads."""

from lingualign.training.reference import reference_logps
from lingualign.training.train import TrainingResult, train

__all__ = ["TrainingResult", "reference_logps", "train"]
