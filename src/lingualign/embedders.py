"""Texts as vectors whose cosines say how alike the texts are.

- `PolicyEmbedder`: a middle layer of the policy itself. Nothing more to download, any language it knows.
- `SentenceEmbedder`: a multilingual sentence encoder from a local folder.
- `NgramEmbedder`: what characters texts share. Compares texts of one language only.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lingualign.errors import InputError
from lingualign.models import resolve_device
from lingualign.paths import user_path
from lingualign.pipeline.files import read_json
from lingualign.prompts import ChatFormat
from lingualign.records import Message, Response

if TYPE_CHECKING:  # takes seconds to import
    from torch import nn

# A prompt, and responses that are read behind it.
Conversations = tuple[Sequence[Message], Sequence[Response]]

NGRAM_SIZES = (2, 4)  # characters, from and to


class Embedder(Protocol):
    """Turns responses into vectors."""

    def embed(self, groups: Sequence[Conversations]) -> list[np.ndarray]:
        """Embeds responses, each behind the prompt of its group where the embedder reads prompts.

        Returns:
            A float64 array [responses, width] a group. Groups do not matter to each other.
        """


def response_states(
    model: nn.Module,
    chat: ChatFormat,
    groups: Sequence[Conversations],
    layers: Sequence[int],
    batch_tokens: int,
) -> list[np.ndarray]:
    """Hidden states of responses, averaged over their tokens; see `lingualign.hidden.mean_states`.

    Returns:
        A float64 array [responses, layers, hidden size] a group.
    """
    from lingualign.hidden import mean_states
    from lingualign.logprobs import ScoredSequence

    sequences: list[ScoredSequence] = []
    for messages, responses in groups:
        prompt_ids = chat.prompt_ids(messages)
        sequences += [
            ScoredSequence(prompt_ids, chat.response_ids(r["text"], finished=r["finish_reason"] == "stop"))
            for r in responses
        ]
    states = mean_states(model, sequences, layers, batch_tokens).double().numpy()
    return np.split(states, np.cumsum([len(responses) for _, responses in groups])[:-1])


class PolicyEmbedder:
    """A model's own hidden states at one layer, averaged over the tokens of the response.

    Args:
        model: A causal language model in eval mode.
        chat: Its chat format.
        layer: See `lingualign.hidden.layer_index`.
        batch_tokens: Most tokens in one forward pass.
    """

    def __init__(self, model: nn.Module, chat: ChatFormat, layer: int, batch_tokens: int) -> None:
        self.model = model
        self.chat = chat
        self.layer = layer
        self.batch_tokens = batch_tokens

    def embed(self, groups: Sequence[Conversations]) -> list[np.ndarray]:
        """Embeds responses behind their prompts; see `Embedder`."""
        found = response_states(self.model, self.chat, groups, [self.layer], self.batch_tokens)
        return [states[:, 0] for states in found]


class SentenceEmbedder:
    """A model of the sentence-transformers package. It reads the text alone, up to its own maximal length.

    Args:
        folder: Local folder of the model, with `modules.json`. CM-Align takes gte-multilingual-base.
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        trust_remote_code: Run code that ships with the model.

    Raises:
        InputError: The package is not installed, or the folder holds no such model.
    """

    def __init__(self, folder: str | Path, device: str = "auto", trust_remote_code: bool = False) -> None:
        try:
            package = import_module("sentence_transformers")
        except ImportError as error:
            raise InputError(
                "A sentence embedder needs the package sentence-transformers, which is not installed.",
                "Run `pip install sentence-transformers`, or take the policy's own states (embedder=policy).",
            ) from error
        path = user_path(folder)
        modules = path / "modules.json"
        if not modules.is_file():
            raise InputError(
                f"{folder}: no sentence-transformers model in this folder; it has no modules.json.",
                "Fetch one with `hf download NAME --local-dir FOLDER`.",
            )
        # sentence-transformers runs Python files that a local folder names, whatever trust_remote_code is.
        kinds = [str(module.get("type")) for module in read_json(modules) if isinstance(module, dict)]
        own = [kind for kind in kinds if not kind.startswith("sentence_transformers.")]
        if own and not trust_remote_code:
            raise InputError(
                f"{modules} names code of its own, {own[0]}.",
                "A model with its own code needs trust_remote_code=true.",
            )
        self.model: Any = package.SentenceTransformer(
            str(path),
            device=str(resolve_device(device)),
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            model_kwargs={"use_safetensors": True},
        )

    def embed(self, groups: Sequence[Conversations]) -> list[np.ndarray]:
        """Embeds the texts of responses; see `Embedder`."""
        texts = [response["text"] for _, responses in groups for response in responses]
        vectors = self.model.encode(texts, convert_to_numpy=True, show_progress_bar=False)
        return np.split(
            np.asarray(vectors, dtype=np.float64), np.cumsum([len(responses) for _, responses in groups])[:-1]
        )


class NgramEmbedder:
    """Character n-grams within words, weighted by how few of a group's responses have them (TF-IDF).

    Each group has a vocabulary of its own, so only vectors of one group compare.
    """

    def embed(self, groups: Sequence[Conversations]) -> list[np.ndarray]:
        """Embeds the texts of responses, a group at a time; see `Embedder`."""
        return [_tfidf([response["text"] for response in responses]) for _, responses in groups]


def _tfidf(texts: Sequence[str]) -> np.ndarray:
    """Rows [texts, n-grams] of length 1; zeros for a text without n-grams."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(text.strip() for text in texts):  # the vectorizer refuses an empty vocabulary
        return np.zeros((len(texts), 1))
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=NGRAM_SIZES)
    return np.asarray(vectorizer.fit_transform(texts).toarray())


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., width] at length 1; those of length 0 stay."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length == 0, 1, length)


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cosine [m, n] of each vector on the left [m, width] with each on the right [n, width]; 0 of a zero."""
    return unit(left) @ unit(right).T
