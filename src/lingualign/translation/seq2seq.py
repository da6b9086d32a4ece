"""Encoder-decoder translation models: M2M-100, NLLB and others with a token for each language.

M2M-100: https://arxiv.org/abs/2010.11125; NLLB: https://arxiv.org/abs/2207.04672
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, GenerationConfig, PreTrainedModel

from lingualign.errors import InputError
from lingualign.logprobs.head import MAX_LOGITS, forward_at
from lingualign.logprobs.likelihood import log_likelihood
from lingualign.logprobs.sequences import cut_batches
from lingualign.models import no_progress_bars, resolve_device, resolve_dtype, resolve_spec
from lingualign.translation.codes import language_code

_LINE_BREAK = re.compile(r"([^\S\n]*\n\s*)")


def load_seq2seq(spec: str | Path, *, device: str = "auto", dtype: str = "auto") -> PreTrainedModel:
    """Loads an encoder-decoder model from a local folder in eval mode.

    Args:
        spec: Folder of the model, with safetensors weights.
        device: As for `lingualign.models.load_model`.
        dtype: As for `lingualign.models.load_model`.

    Raises:
        InputError: There is no such folder, or Transformers finds no encoder-decoder model in it.
    """
    folder, place = resolve_spec(spec), resolve_device(device)
    try:
        with no_progress_bars():
            model = AutoModelForSeq2SeqLM.from_pretrained(
                folder,
                dtype=resolve_dtype(dtype, place),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{folder}: Transformers cannot load this folder as an encoder-decoder model: {error}",
            "Give the folder of an M2M-100 or NLLB model.",
        ) from error
    return model.to(place).eval()


class Seq2SeqTranslator:
    """Translates with an encoder-decoder model, greedily and line by line.

    These models know sentences, and their tokenizers turn line breaks into spaces; so lines are translated
    alone and put together again. That, and giving a line up that grows beyond `room` tokens, is ours.

    Args:
        model: In eval mode.
        tokenizer: The model's own, an `M2M100Tokenizer` or `NllbTokenizer`. Its `src_lang` is set here.
        batch_tokens: Most tokens of a batch, source and target together.

    Example:
        >>> translator = Seq2SeqTranslator(load_seq2seq(folder), load_tokenizer(folder))
        >>> translator.translate(["The answer is 42."], "en", "de")
        ['Die Antwort ist 42.']
    """

    name = "seq2seq"

    def __init__(self, model: PreTrainedModel, tokenizer: Any, batch_tokens: int = 16384) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.batch_tokens = batch_tokens
        self.start_id = int(model.config.decoder_start_token_id)
        self.positions = int(model.config.max_position_embeddings)

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | None]:
        """See `Translator.translate`.

        A text fails if one of its lines is longer than the model's positions, or has a translation that does
        not end.

        Raises:
            InputError: The model does not have one of the languages.
        """
        pieces = [_LINE_BREAK.split(text) for text in texts]  # lines, and what is between them, in turn
        lines = list(dict.fromkeys(line for parts in pieces for line in parts[::2] if line.strip()))
        known = dict(zip(lines, self._translate_lines(lines, source, target), strict=True))
        return [
            _join([known.get(part, part) if place % 2 == 0 else part for place, part in enumerate(parts)])
            for parts in pieces
        ]

    def likelihoods(
        self, pairs: Sequence[tuple[str, str]], source: str, target: str
    ) -> list[tuple[float, int]]:
        """See `Likelihood.likelihoods`.

        As the translator scores reasoning in MAPO (https://arxiv.org/abs/2401.06838), whose published code
        divides by the padded length; here padding counts nowhere. The token of the target language is given
        and not scored, as it is when translating. What goes beyond the model's positions is cut (MAPO cuts
        both sides at 512).

        Raises:
            InputError: The model does not have one of the languages.
        """
        language, end = language_code(self.tokenizer, target)[1], int(self.tokenizer.eos_token_id)
        sources = self._source_ids([text for text, _ in pairs], source, truncation=True)
        scored = [
            [*ids, end][: self.positions - 2]
            for ids in self._encode([translation for _, translation in pairs], add_special_tokens=False)
        ]
        cells = [len(s) + len(t) for s, t in zip(sources, scored, strict=True)]
        order = sorted(range(len(pairs)), key=cells.__getitem__)
        most = max(1, MAX_LOGITS // int(self.model.config.vocab_size))
        totals = [0.0] * len(pairs)
        for part in cut_batches(
            [cells[place] for place in order],
            [len(scored[place]) for place in order],
            self.batch_tokens,
            most,
        ):
            places = order[part]
            sums = self._score([sources[p] for p in places], [scored[p] for p in places], language)
            for place, value in zip(places, sums, strict=True):
                totals[place] = value
        return [(total, len(ids)) for total, ids in zip(totals, scored, strict=True)]

    def room(self, source_tokens: int) -> int:
        """Most tokens of the translation of a line; more are taken for a loop."""
        return min(3 * source_tokens + 32, self.positions - 2)

    def _translate_lines(self, lines: Sequence[str], source: str, target: str) -> list[str | None]:
        _, language = language_code(self.tokenizer, target)
        encoded = self._source_ids(lines, source)
        fitting = [place for place, ids in enumerate(encoded) if len(ids) <= self.positions]
        order = sorted(fitting, key=lambda place: len(encoded[place]))
        cells = [len(encoded[place]) + self.room(len(encoded[place])) for place in order]
        translations: list[str | None] = [None] * len(lines)
        for part in cut_batches(cells, [0] * len(cells), self.batch_tokens, self.batch_tokens):
            batch = [encoded[place] for place in order[part]]
            for place, ids in zip(order[part], self._generate(batch, language), strict=True):
                if ids is not None:
                    translations[place] = self.tokenizer.decode(ids, skip_special_tokens=True).strip() or None
        return translations

    def _generate(self, batch: Sequence[Sequence[int]], language: int) -> list[list[int] | None]:
        """Tokens of each translation, None where it did not end in its own room."""
        end = int(self.tokenizer.eos_token_id)
        rooms = [self.room(len(ids)) for ids in batch]
        greedy = GenerationConfig(
            num_beams=1,
            do_sample=False,
            early_stopping=False,
            max_length=max(rooms) + 2,  # the start token and the language's are among them
            decoder_start_token_id=self.start_id,
            forced_bos_token_id=language,
            eos_token_id=end,
            pad_token_id=int(self.tokenizer.pad_token_id),
        )
        with torch.inference_mode():
            rows = self.model.generate(**self._padded(batch), generation_config=greedy)[:, 2:].tolist()
        return [
            row[: row.index(end)] if end in row[:room] else None
            for row, room in zip(rows, rooms, strict=True)
        ]

    def _score(
        self, sources: Sequence[Sequence[int]], scored: Sequence[Sequence[int]], language: int
    ) -> list[float]:
        """Summed log-probability of each translation, its end token with it."""
        # The state at the language's token predicts the first token that is scored.
        given = [[self.start_id, language, *ids[:-1]] for ids in scored]
        decoder = self._padded(given)["input_ids"]
        rows = torch.tensor([row for row, ids in enumerate(scored) for _ in ids], device=self.model.device)
        columns = torch.tensor([1 + at for ids in scored for at in range(len(ids))], device=self.model.device)
        tokens = torch.tensor([token for ids in scored for token in ids], device=self.model.device)
        with torch.inference_mode():
            logits, _ = forward_at(
                self.model, rows, columns, **self._padded(sources), decoder_input_ids=decoder, use_cache=False
            )
            logps = log_likelihood(logits, tokens).double()
        return [float(part.sum()) for part in logps.split([len(ids) for ids in scored])]

    def _source_ids(self, texts: Sequence[str], source: str, **options: Any) -> list[list[int]]:
        self.tokenizer.src_lang, _ = language_code(self.tokenizer, source)
        return self._encode(texts, max_length=self.positions if options else None, **options)

    def _encode(self, texts: Sequence[str], **options: Any) -> list[list[int]]:
        if not texts:
            return []
        # A special token's name inside a text (`</s>` in an answer about HTML) is text.
        found = self.tokenizer(list(texts), verbose=False, split_special_tokens=True, **options)
        return list(found["input_ids"])

    def _padded(self, rows: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Rows as `input_ids` and `attention_mask` [rows, longest], padded on the right."""
        longest, pad = max(map(len, rows)), int(self.tokenizer.pad_token_id)
        device = self.model.device
        ids = [[*row, *[pad] * (longest - len(row))] for row in rows]
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        return {
            "input_ids": torch.tensor(ids, device=device),
            "attention_mask": torch.tensor(mask, device=device),
        }


def _join(parts: Sequence[str | None]) -> str | None:
    kept = [part for part in parts if part is not None]
    return "".join(kept) if len(kept) == len(parts) else None
