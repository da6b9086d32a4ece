"""Makes the lab's models from seeds: multilingual SFT, English-only DPO, English-biased SFT, translation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from shutil import rmtree

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lingualign.config import TrainingConfig
from lingualign.lab.corpus import Conversation, biased_conversations, conversations, translations
from lingualign.lab.preferences import preference
from lingualign.lab.prompts import prompts
from lingualign.models import load_model, load_tokenizer
from lingualign.prompts import ChatFormat
from lingualign.records import Pair
from lingualign.sampling import TransformersSampler
from lingualign.training import reference_logps, train

VOCABULARY = 2048
SPECIAL = ("<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

# A number is one piece, so that small sums are learned as facts; a Chinese character is one; a word carries
# the space before it.
PIECES = r"\d+|\p{Han}| ?\p{L}+?(?=\p{Han})| ?\p{L}+| ?[^\s\p{L}\d]+|\s+"

Progress = Callable[[str, int, int], None]


def build_tokenizer(seed: int = 0, size: int = 20_000) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE tokenizer on the lab's conversations: any text can be encoded."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = [part for c in islice(conversations(seed), size) for part in (c.prompt, c.response)]
    numbers = [str(number) for number in range(101)] * 500  # rare products are one token too
    tokenizer.train_from_iterator(text + numbers, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        bos_token="<|begin|>",
        eos_token="<|end|>",
        additional_special_tokens=list(SPECIAL[3:]),
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0) -> LlamaForCausalLM:
    """A randomly initialised model of the lab's architecture: 1.1 M parameters."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def supervise(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    data: Iterator[Conversation],
    *,
    steps: int,
    learning_rate: float,
    batch: int = 64,
    warmup: int = 100,
    progress: Progress | None = None,
    stage: str = "sft",
) -> None:
    """Supervised training on the responses, in place; AdamW, a cosine schedule.

    Conversations are drawn fresh, never twice, and sorted by length within 20 steps: little padding.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * min(step / steps, 1))) + 1e-3),
    )
    model.train()
    done = 0
    while done < steps:
        span = min(20, steps - done)
        rows = sorted(_encode(tokenizer, islice(data, span * batch)), key=lambda row: len(row[0]))
        order = torch.randperm(span, generator=torch.Generator().manual_seed(done)).tolist()
        for i in order:
            loss = _response_loss(model, rows[i * batch : (i + 1) * batch], int(tokenizer.pad_token_id))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done += 1
            if progress is not None and done % 10 == 0:
                progress(f"{stage} loss {loss.item():.3f}", done, steps)
    model.eval()


def _encode(tokenizer: PreTrainedTokenizerFast, data: Iterator[Conversation]) -> list[tuple[list[int], int]]:
    """Token ids of each conversation and the length of its prompt."""
    rows = list(data)
    prompts = [f"<|begin|><|user|>{row.prompt}<|end|><|assistant|>" for row in rows]
    before = tokenizer(prompts, add_special_tokens=False)["input_ids"]
    after = tokenizer([row.response for row in rows], add_special_tokens=False)["input_ids"]
    end = int(tokenizer.eos_token_id)
    return [(p + r + [end], len(p)) for p, r in zip(before, after, strict=True)]


def _response_loss(model: LlamaForCausalLM, rows: list[tuple[list[int], int]], pad: int) -> Tensor:
    """Cross-entropy of the response tokens; the LM head sees no other position."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([row + [pad] * (width - len(row)) for row, _ in rows])  # [B, T]
    start = torch.tensor([start for _, start in rows])[:, None]
    end = torch.tensor([len(row) for row, _ in rows])[:, None]
    place = torch.arange(width)[None]
    hidden = model.model(input_ids=ids, attention_mask=(place < end).long()).last_hidden_state  # [B, T, H]
    predicts = (place >= start - 1) & (place < end - 1)  # positions whose next token is of the response
    targets = ids.roll(-1, dims=1)[predicts]
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[predicts]), targets)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Saves half-precision weights that load as float32: half the size in the package."""
    stored = LlamaForCausalLM(model.config)
    stored.load_state_dict(model.state_dict())
    stored.half()
    stored.generation_config = model.generation_config
    stored.save_pretrained(folder)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"dtype": "float16"', '"dtype": "float32"'))
    tokenizer.save_pretrained(folder)


def build_sft(folder: Path, seed: int = 0, steps: int = 6000, progress: Progress | None = None) -> None:
    """Makes the multilingual SFT model."""
    tokenizer = build_tokenizer(seed)
    model = new_model(tokenizer, seed)
    supervise(model, tokenizer, conversations(seed), steps=steps, learning_rate=2e-3, progress=progress)
    save(model, tokenizer, folder)


def build_biased(
    sft: Path, folder: Path, seed: int = 0, steps: int = 300, progress: Progress | None = None
) -> None:
    """Makes the English-biased model: it understands every language and answers in English."""
    _tune(sft, folder, biased_conversations(seed), steps, 3e-4, "biased", progress)


def build_translator(
    sft: Path, folder: Path, seed: int = 0, steps: int = 2500, progress: Progress | None = None
) -> None:
    """Makes the translator: the SFT model, trained to translate responses (`lingualign.lab.TRANSLATE`)."""
    _tune(sft, folder, translations(seed), steps, 1e-3, "translator", progress)


def _tune(
    sft: Path,
    folder: Path,
    data: Iterator[Conversation],
    steps: int,
    learning_rate: float,
    stage: str,
    progress: Progress | None,
) -> None:
    """Trains the SFT model on, and saves what comes of it."""
    model = LlamaForCausalLM.from_pretrained(sft)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(sft)
    supervise(
        model, tokenizer, data, steps=steps, learning_rate=learning_rate, progress=progress, stage=stage
    )
    save(model, tokenizer, folder)


ENGLISH_ALIGNMENT = TrainingConfig(
    beta=2.0, nll_weight=0.0, learning_rate=5e-5, batch_pairs=32, micro_batch_pairs=32, save_steps=1000
)
"""DPO of the aligned model. How strong it is decides whether its implicit reward can be trusted: with a small
beta it moves far before its log-ratios rank well, with a large one it ranks well before it has moved."""

FIRST_PREFERENCE_PROMPT = 3000  # beyond the prompts that the quickstart and the experiments align with


def preference_pairs(sft: Path, n: int, seed: int, progress: Progress | None = None) -> list[Pair]:
    """English responses of the SFT model, the judge's best against its worst of four."""
    sampler = TransformersSampler(load_model(sft, dtype="float32"), ChatFormat(load_tokenizer(sft)))
    asked = prompts("train", n, ["en"], start=FIRST_PREFERENCE_PROMPT).by_language["en"]
    count = (lambda done, total: progress("sampling English responses", done, total)) if progress else None
    sampled = sampler.sample(asked, n=4, temperature=1.0, max_new_tokens=128, seed=seed, progress=count)
    found = (
        preference(
            prompt.id,
            prompt.messages[0]["content"],
            [row["text"] for row in rows],
            [row["finish_reason"] == "stop" for row in rows],
        )
        for prompt, rows in zip(asked, sampled, strict=True)
    )
    return [pair for pair in found if pair is not None]


def build_aligned(sft: Path, folder: Path, seed: int = 0, progress: Progress | None = None) -> None:
    """Makes the English-aligned model: DPO of the SFT model on English preferences of the judge alone."""
    pairs = preference_pairs(sft, 4500, seed, progress)
    chat = ChatFormat(load_tokenizer(sft))
    reference = reference_logps(load_model(sft, dtype="float32"), pairs, chat, max_length=1024)
    work = folder.with_name(f".{folder.name}.training")
    result = train(
        ENGLISH_ALIGNMENT,
        pairs,
        reference,
        policy=sft,
        chat=chat,
        output=work,
        seed=seed,
        dtype="float32",
        on_step=(lambda done, total, _: progress("English DPO", done, total)) if progress else None,
    )
    save(LlamaForCausalLM.from_pretrained(result.model), PreTrainedTokenizerFast.from_pretrained(sft), folder)
    rmtree(work)


def build_models(folder: Path, seed: int = 0, steps: int = 6000, progress: Progress | None = None) -> None:
    """Makes the four models under a folder; one that is there is kept."""
    if not (folder / "sft" / "config.json").is_file():
        build_sft(folder / "sft", seed, steps, progress)
    if not (folder / "aligned" / "config.json").is_file():
        build_aligned(folder / "sft", folder / "aligned", seed, progress)
    if not (folder / "biased" / "config.json").is_file():
        build_biased(folder / "sft", folder / "biased", seed, progress=progress)
    if not (folder / "translator" / "config.json").is_file():
        build_translator(folder / "sft", folder / "translator", seed, progress=progress)
