"""Sampling in this process, with vLLM: an optional package that needs a GPU.

Its own engine computes, so nothing here decodes; what is used of its API is in `VllmEngine` alone.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lingualign.errors import InputError
from lingualign.models import ADAPTER_CONFIG, base_folder, is_adapter
from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import Response
from lingualign.sampling.base import Progress, request_seed

LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM reserves room for


def check_vllm() -> None:
    """Checks that vLLM is installed, without importing it.

    Raises:
        InputError: It is not.
    """
    try:
        missing = find_spec("vllm") is None
    except ValueError:  # a module that was put in its place has no spec
        missing = False
    if missing:
        raise InputError(
            "sampling.backend is vllm, and the package vllm is not installed.",
            "Run `pip install 'lingualign[vllm]'` on a machine with a GPU, or choose another backend.",
        )


class VllmEngine:
    """A loaded `vllm.LLM`, and the adapters that it knows. Close it to have the GPU's memory back.

    Attributes:
        base: Folder of the model that it has loaded.
        lora_rank: Largest rank of an adapter that it takes, 0 for none.
        max_model_len: Most tokens of a sequence, prompt and response.

    Args:
        base: Folder of a model.
        lora_rank: Largest rank of the adapters to come, 0 for none.
        dtype: Of the weights, as vLLM names it.
        tensor_parallel: GPUs that share one copy of the model.
        memory: Share of each GPU's memory that it may take.
        max_model_len: Longest sequence; None is the model's own limit.
        trust_remote_code: Run code that ships with the model.
        options: Further arguments of `vllm.LLM`.

    Raises:
        InputError: vLLM is not installed, or cannot start with this.
    """

    def __init__(
        self,
        base: Path,
        *,
        lora_rank: int = 0,
        dtype: str = "auto",
        tensor_parallel: int = 1,
        memory: float = 0.9,
        max_model_len: int | None = None,
        trust_remote_code: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        check_vllm()
        from vllm import LLM

        self.base = base
        self.lora_rank = next(rank for rank in (0, *LORA_RANKS, lora_rank) if rank >= lora_rank)
        adapters = {"enable_lora": True, "max_lora_rank": self.lora_rank} if lora_rank else {}
        try:
            self._llm: Any = LLM(
                model=str(base),
                tokenizer=str(base),
                tensor_parallel_size=tensor_parallel,
                gpu_memory_utilization=memory,
                max_model_len=max_model_len,
                seed=0,  # every request has its own
                trust_remote_code=trust_remote_code,
                **{"dtype": dtype, "enable_prefix_caching": True, **adapters, **(options or {})},
            )
        except (ValueError, TypeError, RuntimeError, OSError) as error:
            raise InputError(
                f"vLLM cannot start with {base}: {error}",
                "Look at what it said above; sampling.vllm.max_model_len, sampling.vllm.memory, "
                "sampling.vllm.tensor_parallel and sampling.vllm.options are what it was started with.",
            ) from error
        self.max_model_len = int(self._llm.model_config.max_model_len)
        self._adapters: dict[Path, int] = {}  # their numbers, from 1

    def takes(self, policy: Path) -> bool:
        """Whether it can sample with a policy: its model, or an adapter on it."""
        return base_folder(policy) == self.base and adapter_rank(policy) <= self.lora_rank

    def generate(
        self,
        policy: Path,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        temperature: float,
        top_p: float,
        max_tokens: int,
        stop_ids: Sequence[int],
    ) -> list[tuple[list[int], bool]]:
        """Samples one response to each prompt.

        Args:
            policy: The model, or an adapter on it.
            prompts: Token ids, a prompt once for each of its samples: its prefix is computed once.
            seeds: Of each sample.
            temperature: Of the distribution, 0 for greedy.
            top_p: Nucleus mass.
            max_tokens: Longer responses are cut.
            stop_ids: Tokens that end a response.

        Returns:
            The new tokens of each, without the stop token, and whether there was one.
        """
        from vllm import SamplingParams, TokensPrompt

        outputs = self._llm.generate(
            [TokensPrompt(prompt_token_ids=list(prompt)) for prompt in prompts],
            [
                SamplingParams(
                    n=1,
                    temperature=temperature,
                    top_p=top_p,
                    max_tokens=max_tokens,
                    seed=seed,
                    stop_token_ids=list(stop_ids),
                    detokenize=False,
                )
                for seed in seeds
            ],
            use_tqdm=False,
            lora_request=self._adapter(policy),
        )
        found = []
        for output in outputs:
            (completion,) = output.outputs
            ids = list(completion.token_ids)
            if completion.finish_reason not in ("stop", "length"):
                raise RuntimeError(f"vLLM has broken a response off: {completion.finish_reason}")
            ended = completion.finish_reason == "stop"
            found.append((ids[:-1] if ended and ids and ids[-1] in stop_ids else ids, ended))
        return found

    def close(self) -> None:
        """Ends the engine's processes, and frees the GPU."""
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None
            gc.collect()

    def _adapter(self, policy: Path) -> Any:
        """The adapter of a policy as a request names it; None for the model itself."""
        if not is_adapter(policy):
            return None
        from vllm.lora.request import LoRARequest

        number = self._adapters.setdefault(policy, len(self._adapters) + 1)
        return LoRARequest(lora_name=str(policy), lora_int_id=number, lora_path=str(policy))


class VllmSampler:
    """Samples with vLLM, token ids in and out.

    Every response has a seed of its own (`request_seed`).

    Args:
        engine: With the base of the policy in it.
        policy: Folder of the model, or of an adapter on it.
        chat: Chat format of the policy.
    """

    def __init__(self, engine: VllmEngine, policy: Path, chat: ChatFormat) -> None:
        self.engine = engine
        self.policy = policy
        self.chat = chat
        self.stop_ids = chat.stop_ids(_generation_config(engine.base))

    def sample(
        self,
        prompts: Sequence[Prompt],
        *,
        n: int,
        temperature: float,
        max_new_tokens: int,
        seed: int,
        top_p: float = 1.0,
        progress: Progress | None = None,
    ) -> list[list[Response]]:
        """See `Sampler.sample`.

        Raises:
            InputError: A prompt has no room in the engine.
        """
        encoded = [self.chat.prompt_ids(prompt.messages) for prompt in prompts]
        for prompt, ids in zip(prompts, encoded, strict=True):
            if len(ids) >= self.engine.max_model_len:
                raise InputError(
                    f"Prompt {prompt.id} in {prompt.language} has {len(ids)} tokens, and vLLM was started "
                    f"with room for {self.engine.max_model_len}, the response included.",
                    "Raise sampling.vllm.max_model_len, or lower data.max_prompt_tokens.",
                )
        sampled = self.engine.generate(
            self.policy,
            [ids for ids in encoded for _ in range(n)],
            [request_seed(seed, prompt, index) for prompt in prompts for index in range(n)],
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_new_tokens,
            stop_ids=self.stop_ids,
        )
        if progress is not None:
            progress(len(sampled), len(sampled))
        return [
            [
                Response(
                    prompt_id=prompt.id,
                    language=prompt.language,
                    index=index,
                    text=self.chat.decode(ids),
                    finish_reason="stop" if ended else "length",
                    num_tokens=len(ids),
                )
                for index, (ids, ended) in enumerate(sampled[place * n : (place + 1) * n])
            ]
            for place, prompt in enumerate(prompts)
        ]


def adapter_rank(policy: Path) -> int:
    """The rank of an adapter, the largest where modules differ; 0 for a whole model."""
    if not is_adapter(policy):
        return 0
    config = json.loads((policy / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    return max(int(config.get("r", 0)), *map(int, (config.get("rank_pattern") or {}).values()), 1)


def _generation_config(folder: Path) -> Any:
    """The generation config of a model folder, which may name more end tokens; None where it has none."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    except OSError:
        return None
