"""What a sampler is: the protocol that backends meet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

from lingualign.prompts import Prompt
from lingualign.records import Response

Progress = Callable[[int, int], None]  # (responses done, of how many)


class Sampler(Protocol):
    """Maps prompts to responses."""

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
        """Samples `n` responses a prompt.

        Args:
            prompts: The conversations to answer.
            n: Responses a prompt.
            temperature: Of the distribution; 0 takes the most likely token every time.
            max_new_tokens: A response that has this many tokens and no end is cut; `finish_reason` says so.
            seed: The same seed gives the same responses.
            top_p: Sample from the most likely tokens that together have at least this probability.
            progress: Called with the responses done, and of all, after each batch.

        Returns:
            The responses of each prompt, in the order of `prompts` and by index.
        """


def request_seed(seed: int, prompt: Prompt, index: int) -> int:
    """The seed of one response, for those who sample with a seed a request.

    It depends on what `uniform_draws` keys a response's stream by, and on nothing else: seed, prompt,
    language and index.

    Returns:
        31 bits, which every server and engine takes.
    """
    key = repr((seed, prompt.id, prompt.language, index))
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") >> 1
