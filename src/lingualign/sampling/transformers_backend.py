"""Sampling in this process, with a Transformers model."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from lingualign.accidents import is_out_of_memory, out_of_memory
from lingualign.logprobs.sequences import cut_batches
from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import Response
from lingualign.sampling.base import Progress
from lingualign.sampling.decode import decode
from lingualign.sampling.draws import uniform_draws

# Every step of decoding reads the keys and values of all prompts in the batch, and their padding with them.
MAX_PADDING = 0.25

logger = logging.getLogger(__name__)


class TransformersSampler:
    """Samples with a loaded model.

    Args:
        model: A causal language model in eval mode; its generation config adds stop tokens.
        chat: Chat format of the model.
        batch_tokens: Most tokens of a batch, prompts and room for the responses together. A response with its
            prompt may be longer: it is then alone in its batch. Where memory runs out, the batch is computed
            again with half of it, and so are all that follow.

    Example:
        >>> sampler = TransformersSampler(load_model("lab:sft"), ChatFormat(load_tokenizer("lab:sft")))
        >>> sampler.sample(prompts, n=8, temperature=0.9, max_new_tokens=128, seed=0)[0][0]["text"]
    """

    def __init__(self, model: nn.Module, chat: ChatFormat, batch_tokens: int = 32768) -> None:
        self.model = model
        self.chat = chat
        self.batch_tokens = batch_tokens
        self.stop_ids = chat.stop_ids(getattr(model, "generation_config", None))

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

        A response depends on its prompt, its index and the seed only, not on what else is sampled, up to the
        rounding of the model's arithmetic.

        Raises:
            InputError: There is not even memory for a single response.
        """
        encoded = [self.chat.prompt_ids(prompt.messages) for prompt in prompts]
        by_length = sorted(range(len(prompts)), key=lambda place: len(encoded[place]))
        wanted = [(place, index) for place in by_length for index in range(n)]
        cells = [len(encoded[place]) + max_new_tokens for place, _ in wanted]
        responses: list[list[Response]] = [[] for _ in prompts]
        done = 0

        def decode_batch(batch: Sequence[tuple[int, int]]) -> list[list[int]]:
            places = list(dict.fromkeys(place for place, _ in batch))
            row = {place: row for row, place in enumerate(places)}
            keys = [(seed, prompts[place].id, prompts[place].language, index) for place, index in batch]
            return decode(
                self.model,
                [encoded[place] for place in places],
                [row[place] for place, _ in batch],
                torch.from_numpy(np.stack([uniform_draws(key, max_new_tokens) for key in keys])),
                stop_ids=self.stop_ids,
                temperature=temperature,
                top_p=top_p,
            )

        while done < len(wanted):
            rest, room = wanted[done:], cells[done:]
            for part in cut_batches(room, [0] * len(room), self.batch_tokens, self.batch_tokens, MAX_PADDING):
                try:
                    sampled = decode_batch(rest[part])
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    self._halve(len(rest[part]), room[part][-1], error)
                    break
                for (place, index), ids in zip(rest[part], sampled, strict=True):
                    responses[place].append(self._response(prompts[place], index, ids))
                done += len(sampled)
                if progress is not None:
                    progress(done, len(wanted))
        return responses

    def _halve(self, rows: int, longest: int, error: BaseException) -> None:
        """Lowers the budget after a batch that ran out of memory.

        Raises:
            InputError: It was a single response.
        """
        if rows == 1:
            raise out_of_memory(
                error,
                f"sampling a single response, of at most {longest} tokens with its prompt",
                "Set dtype=bfloat16, or lower sampling.max_new_tokens or data.max_prompt_tokens.",
            ) from error
        self.batch_tokens = rows * longest // 2
        logger.warning(
            "Out of memory with %d tokens in a batch: sampling goes on with sampling.batch_tokens=%d.",
            rows * longest,
            self.batch_tokens,
        )

    def _response(self, prompt: Prompt, index: int, ids: list[int]) -> Response:
        stopped = ids[-1] in self.stop_ids
        ids = ids[:-1] if stopped else ids
        return Response(
            prompt_id=prompt.id,
            language=prompt.language,
            index=index,
            text=self.chat.decode(ids),
            finish_reason="stop" if stopped else "length",
            num_tokens=len(ids),
        )
