"""Tiny random models of four families, each with the chat template and special tokens of the real one.

What differs between families, and has broken scoring code before, is kept: Llama and Gemma write the BOS in
the template *and* have a tokenizer that adds one; Qwen3 has none, and renders an empty think block before an
answer that it does not put into its generation prompt; Gemma calls the assistant "model", folds the system
message into the first user turn, ties its head to its embeddings and mixes sliding with full attention;
Mistral ends a turn with its EOS and slides everywhere; Llama and Mistral have no pad token.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

TEMPLATES = Path(__file__).parent / "chat_templates"
VOCABULARY = 600
SLIDING_WINDOW = 16  # far shorter than any chat prompt: what ignores it gives other numbers

TEXT = [
    "The answer is 42, because six times seven makes forty-two. Thank you for asking!",
    "Name three rivers in Europe, and say which of them is the longest.",
    "Die Antwort ist 42, denn sechs mal sieben ergibt zweiundvierzig. Danke für die Frage!",
    "Nenne drei Flüsse in Europa und sage, welcher von ihnen der längste ist.",
    "La respuesta es 42, porque seis por siete son cuarenta y dos. ¡Gracias por preguntar!",
    "Nombra tres ríos de Europa y di cuál de ellos es el más largo.",
    "Jibu ni 42, kwa sababu sita mara saba ni arobaini na mbili. Asante kwa kuuliza!",
    "Taja mito mitatu ya Ulaya, na useme ni upi mrefu kuliko yote.",
    "คำตอบคือ 42 เพราะหกคูณเจ็ดเท่ากับสี่สิบสอง ขอบคุณที่ถาม",
    "บอกชื่อแม่น้ำสามสายในยุโรป และบอกว่าสายไหนยาวที่สุด",
    "答案是42，因为六乘以七等于四十二。谢谢你的提问！",
    "请说出欧洲的三条河流，并说明其中哪一条最长。",
]


@dataclass(frozen=True)
class Family:
    """What makes a family: its classes, its special tokens, and the settings that are its own."""

    model: type[PreTrainedModel]
    config: type[PretrainedConfig]
    special: list[str]  # in id order, from 0
    bos: str | None
    eos: str  # of the tokenizer
    pad: str | None
    end: str  # what the chat template puts after an answer
    stop: list[str]  # of the generation config
    settings: dict[str, Any]


SPECS = {
    "llama": Family(
        LlamaForCausalLM,
        LlamaConfig,
        ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        pad=None,
        end="<|eot_id|>",
        stop=["<|end_of_text|>", "<|eot_id|>"],
        settings={"tie_word_embeddings": False},
    ),
    "qwen3": Family(
        Qwen3ForCausalLM,
        Qwen3Config,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        bos=None,
        eos="<|im_end|>",
        pad="<|endoftext|>",
        end="<|im_end|>",
        stop=["<|im_end|>", "<|endoftext|>"],
        settings={"tie_word_embeddings": True, "head_dim": 8},
    ),
    "gemma3": Family(
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
        bos="<bos>",
        eos="<eos>",
        pad="<pad>",
        end="<end_of_turn>",
        stop=["<eos>", "<end_of_turn>"],
        settings={
            "tie_word_embeddings": True,
            "head_dim": 8,
            "query_pre_attn_scalar": 8,
            "sliding_window": SLIDING_WINDOW,
            "layer_types": ["sliding_attention", "full_attention"],
        },
    ),
    "mistral": Family(
        MistralForCausalLM,
        MistralConfig,
        ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"],
        bos="<s>",
        eos="</s>",
        pad=None,
        end="</s>",
        stop=["</s>"],
        settings={"tie_word_embeddings": False, "head_dim": 8, "sliding_window": SLIDING_WINDOW},
    ),
}

FAMILIES = list(SPECS)


def make_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE of about 600 tokens: no text is unknown to it, and every text decodes to itself."""
    family = SPECS[name]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=family.special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    byte_level = processors.ByteLevel(trim_offsets=False)
    if family.bos is None:
        tokenizer.post_processor = byte_level
    else:
        add_bos = processors.TemplateProcessing(
            single=f"{family.bos} $A", special_tokens=[(family.bos, tokenizer.token_to_id(family.bos))]
        )
        tokenizer.post_processor = processors.Sequence([byte_level, add_bos])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=family.bos,
        eos_token=family.eos,
        pad_token=family.pad,
        unk_token="<unk>" if "<unk>" in family.special else None,
        extra_special_tokens=[
            token for token in family.special if token not in (family.bos, family.eos, family.pad, "<unk>")
        ],
        chat_template=(TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8"),
        clean_up_tokenization_spaces=False,
    )


def make_model(
    name: str, tokenizer: PreTrainedTokenizerFast, seed: int = 0, **overrides: Any
) -> PreTrainedModel:
    """Two layers of width 32 with random weights, large enough that its predictions are far from uniform."""
    family = SPECS[name]
    ids = tokenizer.convert_tokens_to_ids
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "initializer_range": 0.2,
        "bos_token_id": ids(family.bos) if family.bos else None,
        "eos_token_id": ids(family.eos),
        "pad_token_id": ids(family.pad) if family.pad else None,
        "dtype": "float32",
        **family.settings,
        **overrides,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = family.model(family.config(**settings))
    model.generation_config = GenerationConfig(
        bos_token_id=settings["bos_token_id"],
        eos_token_id=[ids(token) for token in family.stop],
        pad_token_id=settings["pad_token_id"],
    )
    return model.eval()


def make_family(name: str, folder: Path, seed: int = 0, **overrides: Any) -> Path:
    """Saves a tiny model of a family with its tokenizer.

    Args:
        name: One of `FAMILIES`.
        folder: Where to write the Hugging Face folder.
        seed: Of the random weights: two seeds give a policy and a reference with one tokenizer.
        **overrides: Settings of the model's configuration, e.g. `num_hidden_layers=1`.

    Returns:
        `folder`.
    """
    tokenizer = make_tokenizer(name)
    make_model(name, tokenizer, seed, **overrides).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
