"""Settings of sampling."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from lingualign.config.section import Section


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
    """Further tries of a request that fails, with growing waits."""

    timeout: float = Field(600.0, gt=0)
    """Seconds without a sign of a server."""

    extra: dict[str, Any] = {}
    """Further fields of a request, e.g. `chat_template_kwargs`."""


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
    """Prompts a language in one part file: the unit of resume."""

    backend: Literal["transformers", "vllm", "server"] = "transformers"
    """Who samples. transformers: a model in this process. vllm: vLLM in this process (the optional package
    `vllm`). server: OpenAI-compatible servers, at `server.urls`."""

    server: SamplingServerConfig = SamplingServerConfig()
    """The servers of `backend: server`."""

    vllm: VllmConfig = VllmConfig()
    """The engine of `backend: vllm`."""
