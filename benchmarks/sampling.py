"""Who is measured in sampling: we, and `generate` with `num_return_sequences`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from cases import Workload, load
from measure import Kind

from lingualign.models import load_tokenizer
from lingualign.prompts import ChatFormat, Prompt
from lingualign.sampling import TransformersSampler

MAX_NEW_TOKENS = 128
TEMPERATURE = 0.9
SEED = 0
BATCH_TOKENS = 32768  # our default


class Sampled(NamedTuple):
    """How much was sampled; what was sampled differs with the random numbers."""

    responses: int
    tokens: int


class OurSampling:
    """`TransformersSampler`; batches are its own affair."""

    def __init__(self, workload: Workload) -> None:
        self.model, self.chat = load(workload.policy), ChatFormat(load_tokenizer(workload.policy))
        self.prompts = [
            Prompt(str(place), "en", ({"role": "user", "content": text},))
            for place, text in enumerate(workload.prompts)
        ]
        self.k = len(workload.responses[0])
        self.batches = (BATCH_TOKENS,)

    def __call__(self, batch: int) -> Sampled:
        """Samples K responses a prompt."""
        sampler = TransformersSampler(self.model, self.chat, batch)
        sampled = sampler.sample(
            self.prompts, n=self.k, temperature=TEMPERATURE, max_new_tokens=MAX_NEW_TOKENS, seed=SEED
        )
        # The end token was sampled too.
        tokens = [r["num_tokens"] + (r["finish_reason"] == "stop") for row in sampled for r in row]
        return Sampled(len(tokens), sum(tokens))


class GenerateSampling:
    """`model.generate` on prompts of like length, padded on the left."""

    def __init__(self, workload: Workload) -> None:
        self.model = load(workload.policy)
        tokenizer = load_tokenizer(workload.policy)
        self.stops = ChatFormat(tokenizer).stop_ids(self.model.generation_config)
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        self.prompts = sorted(workload.prompt_ids, key=len)
        self.k = len(workload.responses[0])
        sizes = (1, 2, 4, 8, 16, 32)
        self.batches = tuple(size for size in sizes if size <= len(self.prompts))

    @torch.inference_mode()
    def __call__(self, batch: int) -> Sampled:
        """Samples K responses a prompt; `batch` counts prompts."""
        torch.manual_seed(SEED)
        responses = tokens = 0
        for start in range(0, len(self.prompts), batch):
            part = self.prompts[start : start + batch]
            longest = len(part[-1])
            padding = [longest - len(prompt) for prompt in part]
            rows = zip(padding, part, strict=True)
            ids = torch.tensor([[self.pad] * width + prompt for width, prompt in rows])
            columns = torch.arange(longest)
            output = self.model.generate(
                input_ids=ids,
                attention_mask=(columns >= torch.tensor(padding)[:, None]).long(),
                do_sample=True,
                temperature=TEMPERATURE,
                top_k=0,
                num_return_sequences=self.k,
                max_new_tokens=MAX_NEW_TOKENS,
                eos_token_id=self.stops,
                pad_token_id=self.pad,
            )[:, longest:]
            # Behind a row's first stop token there is padding only.
            stopped = torch.isin(output, torch.tensor(self.stops)).long()
            tokens += int((stopped.cumsum(-1) - stopped == 0).sum())
            responses += len(output)
        return Sampled(responses, tokens)


SAMPLING: dict[str, Kind] = {"ours": OurSampling, "generate": GenerateSampling}
