"""Settings of what comes in: prompts, and who translates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lingualign.config.section import Section


class DataConfig(Section):
    """How prompt files are read, and how many of their prompts are used."""

    id_field: str | None = None
    """Column with the prompt's id, the same in every language. Unset: the first of id, prompt_id,
    instruction_id, and failing these a hash-free error that names the columns."""

    prompt_field: str | None = None
    """Column with the prompt: text, or a list of {role, content} messages. Unset: the first of prompt,
    messages, instruction, question."""

    language_field: str = "language"
    """Column with the language code, where one file holds several languages."""

    limit: int | None = Field(None, ge=1)
    """Prompts a language to use in each iteration. Unset: all of them."""

    fresh: bool = False
    """Iteration t takes the t-th slice of `limit` prompts instead of the same prompts again."""

    allow_missing: bool = False
    """Keep the ids that every language has, where they differ, instead of an error."""

    labelled_pairs: str | None = None
    """File of preference pairs in the source language (`prompt`, `chosen`, `rejected`, as text or messages).
    The implicit reward is checked on them, a reward model is trained on them, and clo, sft and translate-dpo
    learn from those whose prompt is among `prompts`. Unset: none, or the lab's own in the lab."""

    max_prompt_tokens: int = Field(4096, ge=1)
    """Longer prompts are left out, with a count. Never cut: half an instruction is another instruction."""


class TranslationConfig(Section):
    """Who translates responses, for the methods that need it."""

    kind: Literal["none", "lab", "policy", "model", "server", "file"] = "none"
    """lab: the lab's exact translator. policy: the policy itself, or another causal model (`model`), asked
    by a prompt. model: an encoder-decoder model (M2M100, NLLB). server: a model behind an OpenAI-compatible
    server. file: translations that somebody made."""

    model: str | None = None
    """policy: a causal model, unset for the policy itself. model: folder of the encoder-decoder model.
    server: the model's name there."""

    url: str | None = None
    """server: where it is, e.g. http://localhost:8000/v1."""

    api_key_env: str | None = None
    """server: name of the environment variable that holds the key."""

    path: str | None = None
    """file: a table with source_language, target_language, text and translation."""

    template: str | None = None
    """policy and server: the request, with {language} and {text} in it. Where it speaks of <translated> tags,
    only what the answer has between them counts. Unset: LIDR's."""

    mask: bool = True
    """Code, formulas, links and markup are put behind placeholders and must come back, each exactly once;
    else the text is tried once more, then given up."""

    max_new_tokens: int = Field(1024, ge=1)
    """Longest translation."""

    batch_tokens: int = Field(16384, ge=1)
    """Most tokens in one batch."""
