"""Settings of sampling."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from lingualign.config.section import Section

PLACES = ("path", "iteration")  # that the name of a model at a server may have
REQUEST = ("model", "messages", "n", "max_tokens", "temperature", "top_p", "seed", "stream", "stop")
"""Fields of a request to a server that come from other settings, or would change what comes back."""
ENGINE = (
    "model",
    "tokenizer",
    "tensor_parallel_size",
    "gpu_memory_utilization",
    "max_model_len",
    "seed",
    "enable_lora",
    "max_lora_rank",
    "trust_remote_code",
)
"""Arguments of `vllm.LLM` that come from other settings."""


class SamplingServerConfig(Section):
    """OpenAI-compatible servers that sample, for `sampling.backend: server`."""

    urls: list[str] = []
    """Addresses up to /v1, e.g. http://gpu-1:8000/v1,http://gpu-2:8000/v1. Requests go to all that are up;
    what one that fails was asked is asked of another."""

    model: str = "{path}"
    """The model's name there. {path} in it is the folder of the policy that samples, and {iteration} the
    number of the iteration that trained it, 0 for the policy the run starts from."""

    load_adapters: bool = False
    """Ask the servers to load a policy that is a LoRA adapter under that name, as vLLM does when it is
    started with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True."""

    api_key_env: str | None = None
    """Name of the environment variable that holds the key. The key itself is never written anywhere."""

    concurrency: int = Field(32, ge=1)
    """Requests under way at a time, at each address."""

    retries: int = Field(5, ge=0)
    """Further tries, with growing waits: of a request that fails, for each address there is, and of an
    address that cannot be reached."""

    timeout: float = Field(600.0, gt=0)
    """Seconds without a sign of a server: longer than the longest response takes."""

    extra: dict[str, Any] = {}
    """Further fields of a request, e.g. `chat_template_kwargs` or `top_k`."""

    @field_validator("model")
    @classmethod
    def _known_places(cls, model: str) -> str:
        unknown = [name for name in re.findall(r"\{(.*?)\}", model) if name not in PLACES]
        if unknown:
            raise ValueError(f"{{{unknown[0]}}} is none of the places {{path}} and {{iteration}}")
        return model

    @field_validator("extra")
    @classmethod
    def _free_fields(cls, extra: dict[str, Any]) -> dict[str, Any]:
        return _without(extra, REQUEST, "field of a request")

    def model_of(self, policy: Path, iteration: int) -> str:
        """The name of a policy at the servers.

        Args:
            policy: Its folder.
            iteration: That trained it, 0 for the one the run starts from.
        """
        return self.model.replace("{iteration}", str(iteration)).replace("{path}", str(policy))


class VllmConfig(Section):
    """vLLM in this process, for `sampling.backend: vllm`."""

    tensor_parallel: int = Field(1, ge=1)
    """GPUs that share one copy of the model."""

    memory: float = Field(0.9, gt=0, le=1)
    """Share of each GPU's memory that the engine may take (`gpu_memory_utilization`)."""

    max_model_len: int | None = Field(None, ge=2)
    """Longest sequence, prompt and response. Unset: the model's own limit."""

    options: dict[str, Any] = {}
    """Further arguments of `vllm.LLM`, by their names there."""

    @field_validator("options")
    @classmethod
    def _free_options(cls, options: dict[str, Any]) -> dict[str, Any]:
        return _without(options, ENGINE, "argument of vllm.LLM")


def _without(given: dict[str, Any], taken: tuple[str, ...], what: str) -> dict[str, Any]:
    """Refuses keys that other settings say."""
    found = [key for key in given if key in taken]
    if found:
        raise ValueError(f"{found[0]} is a {what} that follows from other settings")
    return given


class SamplingConfig(Section):
    """How candidates are sampled."""

    n: int = Field(8, ge=1)
    """K, responses a prompt (the ICR paper: 10)."""

    temperature: float = Field(0.9, ge=0)
    """Of the sampling distribution (paper: 0.9). 0 is greedy, and then one response a prompt is all there
    is."""

    top_p: float = Field(1.0, gt=0, le=1)
    """Nucleus mass (paper: 1.0)."""

    max_new_tokens: int = Field(1024, ge=1)
    """A response that reaches this length is recorded as cut (paper: 2400)."""

    batch_tokens: int = Field(32768, ge=1)
    """Most tokens, prompt and room for the response together, that one batch of sequences may hold."""

    chunk_prompts: int = Field(64, ge=1)
    """Prompts a language in one part file: the unit of resume. Smaller parts are sampled together, as many
    responses at a time as a full one has."""

    backend: Literal["transformers", "vllm", "server"] = "transformers"
    """Who samples. transformers: a model in this process. vllm: vLLM in this process (the optional package
    `vllm`). server: OpenAI-compatible servers, at `server.urls`."""

    server: SamplingServerConfig = SamplingServerConfig()
    """The servers of `backend: server`."""

    vllm: VllmConfig = VllmConfig()
    """The engine of `backend: vllm`."""
