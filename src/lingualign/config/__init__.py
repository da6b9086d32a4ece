"""The configuration of a run: typed, documented field by field, complete enough to repeat the run.

A recipe (`recipes/*.yaml`) or the user's own YAML gives a part of it, `key=value` overrides the rest
(`lingualign.settings` merges them); what nobody sets has the default below. An unknown key is an error.
"""

from lingualign.config.data import DataConfig, TranslationConfig
from lingualign.config.executor import RayConfig
from lingualign.config.guard import GuardConfig
from lingualign.config.launch import LaunchConfig
from lingualign.config.measures import JudgeServerConfig, MeasuresConfig, RetentionConfig
from lingualign.config.pairs import NO_REWARD, LengthControlConfig, PairsConfig, RewardConfig
from lingualign.config.run import RunConfig
from lingualign.config.sampling import SamplingConfig, SamplingServerConfig, VllmConfig
from lingualign.config.section import Section
from lingualign.config.training import TRACKERS, LoraConfig, TrainingConfig

__all__ = [
    "NO_REWARD",
    "TRACKERS",
    "DataConfig",
    "GuardConfig",
    "JudgeServerConfig",
    "LaunchConfig",
    "LengthControlConfig",
    "LoraConfig",
    "MeasuresConfig",
    "PairsConfig",
    "RayConfig",
    "RetentionConfig",
    "RewardConfig",
    "RunConfig",
    "SamplingConfig",
    "SamplingServerConfig",
    "Section",
    "TrainingConfig",
    "TranslationConfig",
    "VllmConfig",
]
