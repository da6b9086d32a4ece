"""Which parts are sampled as one, and that a run which goes on asks for the same ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingualign.config.sampling import SamplingConfig
from lingualign.pipeline.folder import Chunk, split_chunks
from lingualign.pipeline.sampling import Decoding, SamplingWork, compute_together, sampled_together
from lingualign.prompts import ParallelPrompts, Prompt
from lingualign.settings import load_config


def prompts(count: int, languages: Sequence[str]) -> ParallelPrompts:
    ids = [str(number) for number in range(count)]
    return ParallelPrompts(
        ids,
        {
            language: [Prompt(name, language, ({"role": "user", "content": name},)) for name in ids]
            for language in languages
        },
    )


@given(
    count=st.integers(1, 30),
    languages=st.integers(1, 5),
    size=st.integers(1, 12),
    n=st.integers(1, 9),
    drawn=st.integers(1, 9),
)
def test_groups_are_all_chunks_in_order_and_no_larger_than_a_full_chunk_of_responses(
    count: int, languages: int, size: int, n: int, drawn: int
) -> None:
    asked = prompts(count, [f"l{number}" for number in range(languages)])
    groups = sampled_together(SamplingConfig(n=n, chunk_prompts=size), asked, drawn)
    assert [chunk for group in groups for chunk in group] == split_chunks(
        list(asked.by_language), count, size
    )
    sizes = [sum(chunk.size for chunk in group) for group in groups]
    most = size * max(1, n // drawn)
    assert all(found <= most for found in sizes)
    # None is smaller than it has to be.
    assert all(found + after[0].size > most for found, after in zip(sizes, groups[1:], strict=False))


class Echo:
    """A sampler that answers with the prompt, and remembers what it was asked at a time."""

    def __init__(self) -> None:
        self.asked: list[list[tuple[str, str]]] = []

    def sample(
        self, prompts: Sequence[Prompt], *, n: int, progress: Callable[[int, int], None], **_: Any
    ) -> list[list[dict[str, Any]]]:
        self.asked.append([(prompt.language, prompt.id) for prompt in prompts])
        progress(len(prompts), len(prompts))
        return [[{"key": (prompt.language, prompt.id, i)} for i in range(n)] for prompt in prompts]


@pytest.mark.parametrize("n", [1, 2])
def test_a_missing_part_is_sampled_with_its_neighbours_again(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    echo, asked = Echo(), prompts(7, ["en", "de", "sw"])
    monkeypatch.setattr("lingualign.pipeline.sampling.make_sampler", lambda *_: echo)
    config = load_config("icr", ["sampling.chunk_prompts=3", "sampling.n=4"])
    groups = sampled_together(config.sampling, asked, n)
    work = SamplingWork(Path("policy"), asked, groups, Decoding(n, 1.0, 1.0, 8), seed=0)
    compute = compute_together(work, SimpleNamespace(config=config))  # type: ignore[arg-type]
    told: list[tuple[Chunk, int, int]] = []

    def progress(chunk: Chunk, done: int, total: int) -> None:
        told.append((chunk, done, total))

    chunks = [chunk for group in groups for chunk in group]
    whole = dict(compute(chunks, progress))
    assert list(whole) == chunks
    for chunk, rows in whole.items():
        expected = [
            (chunk.language, str(number), i) for number in range(chunk.start, chunk.stop) for i in range(n)
        ]
        assert [row["key"] for row in rows] == expected
    assert len(echo.asked) == len(groups) < len(chunks)
    assert {chunk for chunk, _, _ in told} == set(chunks)

    first, told[:] = list(echo.asked), []
    missing = [chunks[1], chunks[-1]]
    again = dict(compute(missing, progress))
    assert again == {chunk: whole[chunk] for chunk in missing}
    assert echo.asked[len(first) :] == [first[0], first[-1]]
    assert [chunk for chunk, _, _ in told] == missing
