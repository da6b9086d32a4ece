"""Everything a run depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from lingualign.config.data import DataConfig, TranslationConfig
from lingualign.config.executor import RayConfig
from lingualign.config.measures import MeasuresConfig
from lingualign.config.pairs import PairsConfig, RewardConfig
from lingualign.config.sampling import SamplingConfig
from lingualign.config.section import Section
from lingualign.config.training import TrainingConfig
from lingualign.paths import user_path


class RunConfig(Section):
    """Everything a run depends on."""

    recipe: str = "icr"
    """The method: `lingualign recipes` lists them."""

    output: Path | None = None
    """Run folder. Unset: runs/<recipe>."""

    policy: str = "lab:aligned"
    """The aligned model: a Hugging Face folder, or lab:NAME."""

    reference: str = "lab:sft"
    """What the policy was before preference tuning: the denominator of its implicit reward."""

    prompts: str = "lab"
    """A file, a folder with a file a language, a saved `datasets` folder, or `lab`."""

    languages: list[str] = ["en", "de", "es", "sw", "zh"]
    """BCP-47 codes, the source language among them."""

    source_language: str = "en"
    """The language that the policy is well aligned in."""

    iterations: int = Field(2, ge=1)
    """Rounds of sampling, scoring, pairing and training (paper: 2)."""

    seed: int = Field(0, ge=0, lt=2**32)
    """Of every draw in the run."""

    device: str = "auto"
    """auto: cuda if there is one, else cpu."""

    executor: Literal["local", "ray"] = "local"
    """Where responses are sampled and scored. local: in this process. ray: by the workers of a Ray cluster
    (the optional package `ray`); the results are the same."""

    ray: RayConfig = RayConfig()
    """The cluster of `executor: ray`."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the weights in forward passes; log-probs are always summed in float32. auto: bfloat16 on GPUs
    that have it and on CPUs with AMX, else float32. See docs/performance.md for what it does to rewards."""

    base_model_prompts: bool = False
    """Use plain text prompts where a model has no chat template, instead of an error."""

    trust_remote_code: bool = False
    """Run code that ships with a model. Off unless you trust its author."""

    data: DataConfig = DataConfig()
    """Reading of prompts."""

    sampling: SamplingConfig = SamplingConfig()
    """Sampling of candidates."""

    reward: RewardConfig = RewardConfig()
    """Scoring of candidates."""

    translation: TranslationConfig = TranslationConfig()
    """Translation of responses."""

    pairs: PairsConfig = PairsConfig()
    """Choice of pairs."""

    training: TrainingConfig = TrainingConfig()
    """Preference training."""

    measures: MeasuresConfig = MeasuresConfig()
    """Measurement."""

    @property
    def run_folder(self) -> Path:
        """Where this run lives."""
        return user_path(self.output) if self.output is not None else Path("runs") / self.recipe

    @property
    def target_languages(self) -> list[str]:
        """The languages to improve: all but the source."""
        return [language for language in self.languages if language != self.source_language]

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if len(set(self.languages)) != len(self.languages):
            raise ValueError("languages: a language is listed twice")
        if self.source_language not in self.languages:
            raise ValueError(f"languages: the source language {self.source_language} must be among them")
        if not self.target_languages:
            raise ValueError("languages: at least one target language beside the source is needed")
        if self.reward.context == "translated" and self.translation.kind == "none":
            raise ValueError("translation.kind: reward.context 'translated' needs a translator")
        needed = {"model": "model", "file": "path", "server": "url"}.get(self.translation.kind)
        if needed and not getattr(self.translation, needed):
            raise ValueError(f"translation.{needed}: kind {self.translation.kind!r} needs it")
        if self.translation.kind == "server" and not self.translation.model:
            raise ValueError("translation.model: kind 'server' needs the model's name there")
        if self.training.preference_weight == 0 and self.training.nll_weight == 0:
            raise ValueError(
                "training.nll_weight: it and training.preference_weight are both 0, so nothing is learned"
            )
        if self.sampling.backend == "server" and not self.sampling.server.urls:
            raise ValueError("sampling.server.urls: backend 'server' needs at least one")
        if self.measures.judge == "reward-model" and not self.measures.reward_model:
            raise ValueError("measures.reward_model: judge 'reward-model' needs the folder of one")
        for field in ("url", "model") if self.measures.judge == "server" else ():
            if not getattr(self.measures.server, field):
                raise ValueError(f"measures.server.{field}: judge 'server' needs it")
        return self
