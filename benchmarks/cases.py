"""What is measured: models, prompts and responses, the same for every contender and on every run.

The models have random weights, since speed does not depend on what a model knows. The prompts are real ones.
The responses are random tokens of ragged length: of realistic length, since that decides how much of the work
is the prompt's and how much is padding.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from lingualign.config import DataConfig
from lingualign.lab.prompts import prompts as lab_prompts
from lingualign.models import load_model, load_tokenizer
from lingualign.prompts import ChatFormat, Prompt, read_prompts

PROMPTS = Path(__file__).resolve().parents[2] / "shared" / "data" / "ultrafeedback"

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Wide enough that predictions are far from uniform, which the usual 0.02 does not give at these widths.
WEIGHTS = 0.06
# Of the reference's weights around the policy's, relative. Margins stay within a few nats: with large ones
# the sigmoid saturates, and its denormal gradients make the backward pass ten times slower on a CPU.
REFERENCE_NOISE = 0.01


@dataclass(frozen=True)
class Shape:
    """A random model.

    Attributes:
        words: For the tables.
        vocabulary: Rows of the embedding.
        pieces: Most tokens of its tokenizer, which uses the first rows only. See benchmarks/README.md.
        settings: Of its config.
        qwen: Qwen3 with tied embeddings, and Llama with untied ones otherwise.
    """

    words: str
    vocabulary: int
    pieces: int
    settings: dict[str, int]
    qwen: bool = False


SHAPES = {
    "a": Shape(
        "Llama, V=4,000 H=512 L=8",
        4_000,
        4_000,
        {
            "hidden_size": 512,
            "num_hidden_layers": 8,
            "intermediate_size": 1536,
            "num_attention_heads": 8,
            "num_key_value_heads": 8,
        },
    ),
    "b": Shape(
        "Qwen3, V=151,936 H=256 L=4",
        151_936,
        32_000,
        {
            "hidden_size": 256,
            "num_hidden_layers": 4,
            "intermediate_size": 768,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
        },
        qwen=True,
    ),
}
LAB = "lab"
CASES = [*SHAPES, LAB]


@dataclass(frozen=True)
class Size:
    """How much work a workload holds.

    Attributes:
        prompts: How many.
        k: Candidates of each.
        min_response: Fewest tokens of a response.
        max_response: Most tokens of a response; lengths are uniform in between.
        max_prompt: Longer prompts are left out.
        seed: Of weights, prompts and responses.
    """

    prompts: int
    k: int
    min_response: int = 64
    max_response: int = 512
    max_prompt: int = 1536
    seed: int = 0


@dataclass(frozen=True)
class Workload:
    """Models on disk, and what they are asked.

    Attributes:
        case: Name of the case.
        policy: Spec of the policy.
        reference: Spec of the reference.
        prompts: Texts of the prompts.
        prompt_ids: Their tokens, templated.
        responses: For each prompt, the tokens of its candidates.
        scratch: A folder for what peers must write.
    """

    case: str
    policy: str
    reference: str
    prompts: list[str]
    prompt_ids: list[list[int]]
    responses: list[list[list[int]]]
    scratch: str

    def rows(self) -> list[tuple[list[int], list[int]]]:
        """Every candidate with its prompt, the candidates of a prompt next to each other."""
        return [
            (prompt, response)
            for prompt, candidates in zip(self.prompt_ids, self.responses, strict=True)
            for response in candidates
        ]

    def longest(self) -> int:
        """Tokens of the longest prompt with its response."""
        return max(len(prompt) + len(response) for prompt, response in self.rows())

    def first(self, k: int) -> Workload:
        """The same prompts with the first `k` of their candidates."""
        return Workload(**{**asdict(self), "responses": [candidates[:k] for candidates in self.responses]})

    def some(self, prompts: int) -> Workload:
        """The first prompts with all their candidates."""
        parts = {name: getattr(self, name)[:prompts] for name in ("prompts", "prompt_ids", "responses")}
        return Workload(**{**asdict(self), **parts})

    def describe(self) -> str:
        """Its size in words."""
        prompt = sum(map(len, self.prompt_ids)) / len(self.prompt_ids)
        lengths = [len(response) for _, response in self.rows()]
        words = SHAPES[self.case].words if self.case in SHAPES else "shipped lab models"
        return (
            f"{self.case} ({words}): {len(self.prompt_ids)} prompts of {prompt:.0f} tokens on average, "
            f"{len(self.responses[0])} responses each of {min(lengths)} to {max(lengths)} tokens"
        )

    def save(self, path: Path) -> None:
        """Writes it for another process to load."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Workload:
        """Reads what `save` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def build(case: str, size: Size, folder: Path, source: Path = PROMPTS, language: str = "en") -> Workload:
    """Builds a case; its models are written to `folder` unless they are there.

    Args:
        case: One of `CASES`.
        size: Of the workload.
        folder: For the models, and for peers.
        source: Folder of prompts, a file a language. The lab has prompts of its own.
        language: Of the prompts.
    """
    if case == LAB:
        policy, reference = "lab:aligned", "lab:sft"
        prompts = lab_prompts("heldout", size.prompts, [language]).by_language[language]
    else:
        prompts = read_prompts(str(source), [language], language, DataConfig()).by_language[language]
        texts = [prompt.messages[-1]["content"] for prompt in prompts]
        policy, reference = _save_models(case, texts, folder / case, size.seed)
    tokenizer = load_tokenizer(policy)
    chat = ChatFormat(tokenizer)
    rng = Random(f"{case}/{size.seed}")
    chosen = _choose(prompts, chat, size, rng)
    vocabulary = SHAPES[case].vocabulary if case in SHAPES else len(tokenizer)
    specials = max(tokenizer.all_special_ids) + 1
    shortest = min(size.min_response, size.max_response)
    lengths = [[rng.randint(shortest, size.max_response) for _ in range(size.k)] for _ in chosen]
    return Workload(
        case=case,
        policy=policy,
        reference=reference,
        prompts=[prompt.messages[-1]["content"] for prompt in chosen],
        prompt_ids=[chat.prompt_ids(prompt.messages) for prompt in chosen],
        responses=[
            [[rng.randrange(specials, vocabulary) for _ in range(length)] for length in row]
            for row in lengths
        ],
        scratch=str(folder / "scratch"),
    )


def _choose(prompts: Sequence[Prompt], chat: ChatFormat, size: Size, rng: Random) -> list[Prompt]:
    chosen: list[Prompt] = []
    for prompt in rng.sample(prompts, len(prompts)):
        if len(chosen) == size.prompts:
            break
        if len(chat.prompt_ids(prompt.messages)) <= size.max_prompt:
            chosen.append(prompt)
    if len(chosen) < size.prompts:
        raise SystemExit(f"there are only {len(chosen)} prompts of at most {size.max_prompt} tokens")
    return chosen


def _save_models(case: str, texts: Iterable[str], folder: Path, seed: int) -> tuple[str, str]:
    """Writes policy and reference with a tokenizer trained on the prompts; the folders of the two."""
    policy, reference = folder / f"policy-{seed}", folder / f"reference-{seed}"
    if not reference.exists():
        shape = SHAPES[case]
        tokenizer = make_tokenizer(texts, shape.pieces)
        model = make_model(shape, seed)
        for place in (policy, reference):
            model.save_pretrained(place)
            tokenizer.save_pretrained(place)
            generator = torch.Generator().manual_seed(seed + 1)
            with torch.no_grad():
                for weight in model.parameters():
                    noise = torch.randn(weight.shape, generator=generator)
                    weight += REFERENCE_NOISE * WEIGHTS * noise
    return str(policy), str(reference)


def make_model(shape: Shape, seed: int) -> Any:
    """A model with random weights, and the chat format's end token as its only stop token."""
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        **shape.settings,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": 8192,
        "initializer_range": WEIGHTS,
        "tie_word_embeddings": shape.qwen,
        "bos_token_id": None,
        "eos_token_id": SPECIAL.index("<|im_end|>"),
        "pad_token_id": SPECIAL.index("<|endoftext|>"),
        "dtype": "float32",
    }
    model: Any = (
        Qwen3ForCausalLM(Qwen3Config(**settings)) if shape.qwen else LlamaForCausalLM(LlamaConfig(**settings))
    )
    model.generation_config = GenerationConfig(
        eos_token_id=settings["eos_token_id"], pad_token_id=settings["pad_token_id"]
    )
    return model.eval()


def make_tokenizer(texts: Iterable[str], pieces: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE with a ChatML template, trained on texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=pieces,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def load(spec: str) -> Any:
    """A model of a case in float32 on the CPU, in eval mode."""
    return load_model(spec, device="cpu", dtype="float32")
