"""Rewards: what scores candidates, and whether it can be trusted."""

from lingualign.rewards.base import Candidates, Reward, Tools, pair_rewards, score_of
from lingualign.rewards.health import (
    CHECK_CONTEXT,
    RewardHealth,
    labelled_accuracy,
    reward_health,
)
from lingualign.rewards.implicit import ImplicitReward
from lingualign.rewards.lab_judge import GoldReward
from lingualign.rewards.random import RandomReward

__all__ = [
    "CHECK_CONTEXT",
    "Candidates",
    "GoldReward",
    "ImplicitReward",
    "RandomReward",
    "Reward",
    "RewardHealth",
    "Tools",
    "labelled_accuracy",
    "pair_rewards",
    "reward_health",
    "score_of",
]
