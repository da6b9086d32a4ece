"""Preference training: objectives, the trainer, and the reference log-probabilities that it reads."""

from lingualign.training.preference import TrainingResult, train
from lingualign.training.reference import reference_logps

__all__ = ["TrainingResult", "reference_logps", "train"]
