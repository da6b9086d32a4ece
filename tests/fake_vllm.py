"""vLLM without a GPU: the part of its API that lingualign uses, with the same names and arguments.

It computes with Transformers on the CPU. benchmarks/peers/vllm_signatures.py compares the names with those of
the real package. What vLLM refuses, this refuses: two engines on one GPU, adapters that were not announced,
arguments that there are not, prompts without room.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar, TypedDict

import pytest
import torch

from lingualign.models import load_model
from lingualign.sampling.decode import decode

ENGINE_ARGUMENTS = {"max_model_len", "enable_prefix_caching", "enable_lora", "max_lora_rank", "max_num_seqs"}


class TokensPrompt(TypedDict):
    """vllm.inputs.TokensPrompt."""

    prompt_token_ids: list[int]


@dataclass
class SamplingParams:
    """vllm.SamplingParams."""

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop_token_ids: list[int] | None = None
    max_tokens: int | None = 16
    detokenize: bool = True


@dataclass
class LoRARequest:
    """vllm.lora.request.LoRARequest."""

    lora_name: str
    lora_int_id: int
    lora_path: str = ""

    def __post_init__(self) -> None:
        if self.lora_int_id < 1:
            raise ValueError(f"id must be > 0, got {self.lora_int_id}")


@dataclass
class CompletionOutput:
    """vllm.CompletionOutput."""

    index: int
    text: str
    token_ids: Sequence[int]
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    """vllm.RequestOutput."""

    outputs: list[CompletionOutput] = field(default_factory=list)


class LLM:
    """vllm.LLM. `made` are all that there were, `running` those that hold the GPU."""

    made: ClassVar[list[LLM]] = []
    running: ClassVar[list[LLM]] = []

    def __init__(
        self,
        model: str,
        *,
        tokenizer: str | None = None,
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        seed: int = 0,
        gpu_memory_utilization: float = 0.92,
        **kwargs: Any,
    ) -> None:
        unknown = kwargs.keys() - ENGINE_ARGUMENTS
        if unknown:
            raise TypeError(f"EngineArgs.__init__() got an unexpected keyword argument {unknown.pop()!r}")
        if LLM.running:
            raise ValueError("Free memory on device cuda:0 on startup is less than desired GPU memory")
        self.arguments = {
            "model": model,
            "dtype": dtype,
            "tensor_parallel_size": tensor_parallel_size,
        } | kwargs
        self.arguments["gpu_memory_utilization"] = gpu_memory_utilization
        self._model: Any = load_model(model, device="cpu", dtype="float32")
        positions = self._model.config.max_position_embeddings
        self.model_config = SimpleNamespace(max_model_len=kwargs.get("max_model_len") or positions)
        self.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=self._shutdown))
        self._adapters: dict[int, tuple[str, Any]] = {}
        self.calls: list[int] = []  # requests of each call
        LLM.made.append(self)
        LLM.running.append(self)

    def generate(
        self,
        prompts: Sequence[TokensPrompt],
        sampling_params: Sequence[SamplingParams] | None = None,
        *,
        use_tqdm: bool = True,
        lora_request: LoRARequest | None = None,
    ) -> list[RequestOutput]:
        """Samples, each request by its own seed."""
        if self not in LLM.running:
            raise RuntimeError("the engine is dead")
        params = list(sampling_params or [])
        if len(prompts) != len(params):
            raise ValueError(f"The lengths of prompts ({len(prompts)}) and params must be the same.")
        self.calls.append(len(prompts))
        room = self.model_config.max_model_len
        ids = [prompt["prompt_token_ids"] for prompt in prompts]
        if any(len(prompt) + 1 > room for prompt in ids):
            raise ValueError("The decoder prompt is longer than the maximum model length")
        model = self._with(lora_request)
        (shared,) = {(p.temperature, p.top_p, p.max_tokens, tuple(p.stop_token_ids or ())) for p in params}
        temperature, top_p, most, stops = shared
        assert most is not None and all(p.n == 1 and p.seed is not None and not p.detokenize for p in params)
        draws = torch.stack(
            [
                torch.rand(most, dtype=torch.float64, generator=torch.Generator().manual_seed(p.seed or 0))
                for p in params
            ]
        )
        found = decode(
            model, ids, range(len(ids)), draws, stop_ids=stops, temperature=temperature, top_p=top_p
        )
        outputs = []
        for prompt, new in zip(ids, found, strict=True):
            new = new[: room - len(prompt)]
            reason = "stop" if new[-1] in stops else "length"
            outputs.append(RequestOutput([CompletionOutput(0, "", new, reason)]))
        return outputs

    def _with(self, lora: LoRARequest | None) -> Any:
        """The model under an adapter, by its number as vLLM knows it."""
        if lora is None:
            return self._model
        if not self.arguments.get("enable_lora"):
            raise ValueError("Got lora_request but LoRA is not enabled!")
        name, model = self._adapters.get(lora.lora_int_id, (lora.lora_path, None))
        assert name == lora.lora_path, "one number for two adapters"
        if model is None:
            model = load_model(lora.lora_path, device="cpu", dtype="float32")
            rank = model.peft_config["default"].r
            if rank > self.arguments["max_lora_rank"]:
                raise ValueError(f"LoRA rank {rank} is greater than max_lora_rank")
            self._adapters[lora.lora_int_id] = name, model
        return model

    def _shutdown(self, timeout: float | None = None) -> None:
        LLM.running.remove(self)
        self._model = None


def install(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    """Puts it in the place of the package."""
    vllm, lora, request = ModuleType("vllm"), ModuleType("vllm.lora"), ModuleType("vllm.lora.request")
    for public in (LLM, SamplingParams, TokensPrompt):
        setattr(vllm, public.__name__, public)
    request.LoRARequest = LoRARequest  # type: ignore[attr-defined]
    for module in (vllm, lora, request):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(LLM, "made", [])
    monkeypatch.setattr(LLM, "running", [])
    return LLM
