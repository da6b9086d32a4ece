"""How alike a model represents sentences that say the same: MEXA and NeuronXA.

A sentence of a language is aligned with its translation in the pivot language at a layer if each is the
other's nearest by cosine among all sentences, strictly: with C_ij the cosine of pivot sentence i and sentence
j of the language,

    score = share of i with C_ii > C_ij and C_ii > C_ji for all j != i

MEXA compares hidden states, of layer 0 (the input embeddings) to L (behind the final norm):

    weighted    sum_t t h_t / sum_t t, t = 1..T counting all tokens of the sentence
    last_token  h_T

NeuronXA compares the activations n of the FFN neurons of layers 1 to L, likewise weighted by position:

    nasca  sum_t t 1[n_t > 0] / sum_t t    which neurons are active
    navca  sum_t t |n_t| / sum_t t         how strongly

A score depends on the number of sentences, of which each is a distractor of the others: compare scores on the
same sentences alone. The pivot's score against itself is not 1 where a layer cannot tell its sentences apart:
at layer 0, all whose last token is the same full stop have one `last_token` embedding, and ties fail.

References:
    - MEXA: Multilingual Evaluation of English-Centric LLMs via Cross-Lingual Alignment:
      https://arxiv.org/abs/2410.05873; embeddings and ties after the authors' scripts.
    - NeuronXA: From Neurons to Semantics: https://arxiv.org/abs/2507.14900. Whether n is the activation of
      the gate or its product with the up projection is not known to us; we take the former and offer both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lingualign.embedders import unit
from lingualign.errors import InputError
from lingualign.measures.intervals import MEAN, RESAMPLES, Interval, bootstrap, exact_share

if TYPE_CHECKING:  # takes seconds to import
    from torch import nn

EMBEDDINGS = ("weighted", "last_token")
NEURON_STATES = ("nasca", "navca")
BLOCK = 512  # rows of the table of cosines that are held at once

Neurons = Literal["gate", "product"]
Storage = Literal["float16", "float32", "float64"]
Progress = Callable[[int, int], None]  # (sentences done, of how many)


def position_weights(lengths: Sequence[int]) -> np.ndarray:
    """What each token counts in its sentence: the t-th of T has t / (1 + ... + T).

    Args:
        lengths: Tokens of each sentence, at least one.

    Returns:
        float64 [sentences, longest]; 0 behind the end of a sentence.

    Example:
        >>> position_weights([2, 1]).round(3).tolist()
        [[0.333, 0.667], [1.0, 0.0]]
    """
    ends = np.asarray(lengths)[:, None]
    place = np.arange(1, ends.max() + 1)
    return np.where(place <= ends, place / (ends * (ends + 1) / 2), 0.0)


def weighted_embeddings(states: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Sums of hidden states weighted by position [sentences, width].

    Args:
        states: [sentences, longest, width]; what stands behind the end of a sentence is not read.
        lengths: Tokens of each sentence.
    """
    return np.einsum("st,stw->sw", position_weights(lengths), states)


def last_token_embeddings(states: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Hidden states of the last token of each sentence [sentences, width]; arguments as above."""
    return states[np.arange(len(states)), np.asarray(lengths) - 1]


def neuron_states(neurons: np.ndarray, lengths: Sequence[int], state: str) -> np.ndarray:
    """Neuron states of sentences [sentences, neurons].

    Args:
        neurons: Activations [sentences, longest, neurons].
        lengths: Tokens of each sentence.
        state: One of `NEURON_STATES`.
    """
    return weighted_embeddings(neurons > 0 if state == "nasca" else np.abs(neurons), lengths)


def mutual_nearest(blocks: Iterable[np.ndarray]) -> np.ndarray:
    """Which items on the left and on the right are each other's nearest, strictly.

    Args:
        blocks: The square table of similarities [n, n], left by right, in blocks of consecutive rows. They
            are changed.

    Returns:
        bool [n].

    Example:
        >>> mutual_nearest([np.array([[0.9, 0.2, 0.1], [0.3, 0.5, 0.6], [0.1, 0.4, 0.8]])]).tolist()
        [True, False, True]
    """
    own, rest_of_row, rest_of_column, start = [], [], np.array(-np.inf), 0
    for block in blocks:
        diagonal = np.arange(len(block)), np.arange(start, start + len(block))
        own.append(block[diagonal])
        block[diagonal] = -np.inf
        rest_of_row.append(block.max(axis=1))
        rest_of_column = np.maximum(rest_of_column, block.max(axis=0))
        start += len(block)
    return np.concatenate(own) > np.maximum(np.concatenate(rest_of_row), rest_of_column)


def aligned(pivot: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Which sentences are aligned with their translations.

    In float64 and in blocks of rows, so that memory grows with the number of sentences, not its square.
    Sentences whose vectors are equal tie, whatever rounding does to the products.

    Args:
        pivot: Vectors of the pivot's sentences [n, width], n at least 2.
        other: Vectors of their translations [n, width].

    Returns:
        bool [n]; its mean is the score.
    """
    left, right = unit(np.asarray(pivot, np.float64)), unit(np.asarray(other, np.float64))
    nearest = mutual_nearest(left[start : start + BLOCK] @ right.T for start in range(0, len(left), BLOCK))
    return nearest & _occur_once(left) & _occur_once(right)


def _occur_once(vectors: np.ndarray) -> np.ndarray:
    rows = [row.tobytes() for row in vectors + 0.0]  # -0 is 0
    times = Counter(rows)
    return np.array([times[row] == 1 for row in rows])


@dataclass(frozen=True)
class LanguageAlignment:
    """One measure of one language against the pivot.

    Attributes:
        layers: Score of each layer with its exact interval, from layer 0 on (neuron states: from 1 on).
        mean: Over the layers; the interval by bootstrap over sentences.
        max: Over the layers: the score of the best one. Its interval does not know that it was chosen.
        best_layer: Its number, the first of equals.
    """

    layers: list[Interval]
    mean: Interval
    max: Interval
    best_layer: int


@dataclass(frozen=True)
class RepresentationMeasure:
    """Alignment of representations between languages.

    Attributes:
        pivot: Code of the language that the others are compared with.
        n: Sentences.
        languages: A measure (`weighted`, `last_token`: MEXA; `nasca`, `navca`: NeuronXA) -> a language -> its
            scores. That of the pivot, against itself, is what its layers can tell apart at most.
        mean: A measure -> the mean over the other languages of the mean over layers.
    """

    pivot: str
    n: int
    languages: dict[str, dict[str, LanguageAlignment]]
    mean: dict[str, Interval]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def summarise(
    hits: Mapping[str, Mapping[str, np.ndarray]], pivot: str, resamples: int = RESAMPLES, seed: int = 0
) -> RepresentationMeasure:
    """Scores and intervals from what is aligned.

    Args:
        hits: A measure -> a language, the pivot among them -> bool [layers, sentences] of `aligned`.
        pivot: The pivot's code.
        resamples: Of the bootstrap over sentences.
        seed: Of the bootstrap.
    """
    shares: dict[str, list[float]] = {}
    for measure, by_language in hits.items():
        own = {language: found.mean(axis=0) for language, found in by_language.items()}
        shares |= {f"{measure} {language}": share.tolist() for language, share in own.items()}
        others = [share for language, share in own.items() if language != pivot]
        shares[f"{measure} {MEAN}"] = np.mean(others, axis=0).tolist()
    intervals = bootstrap(shares, resamples, seed)  # one draw of sentences for all

    def alignment(measure: str, language: str, layers: np.ndarray) -> LanguageAlignment:
        scores = [exact_share(int(layer.sum()), layer.size) for layer in layers]
        best = int(np.argmax(layers.sum(axis=1)))
        first = 1 if measure in NEURON_STATES else 0
        return LanguageAlignment(scores, intervals[f"{measure} {language}"], scores[best], first + best)

    return RepresentationMeasure(
        pivot,
        intervals[MEAN].n,
        {
            measure: {language: alignment(measure, language, own) for language, own in by_language.items()}
            for measure, by_language in hits.items()
        },
        {measure: intervals[f"{measure} {MEAN}"] for measure in hits},
    )


def measure_representations(
    model: nn.Module,
    tokenizer: Any,
    texts: Mapping[str, Sequence[str]],
    pivot: str = "en",
    measures: Sequence[str] = (*EMBEDDINGS, *NEURON_STATES),
    neurons: Neurons = "gate",
    batch_tokens: int = 16384,
    storage: Storage = "float32",
    folder: Path | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> RepresentationMeasure:
    """MEXA and NeuronXA of a model on parallel sentences, all layers in one pass over each language's text.

    States are kept on disk, those of the pivot and one language at a time, and compared layer by layer:
    memory grows with the sentences, not with sentences times layers or languages.

    Args:
        model: A causal language model in eval mode, bare or with an adapter.
        tokenizer: Its tokenizer, called as it is: it adds the special tokens that it adds to any text.
        texts: A language -> its sentences, line-aligned, the pivot among them.
        pivot: Language that the others are compared with.
        measures: Which of `EMBEDDINGS` and `NEURON_STATES`.
        neurons: gate: `act_fn(gate_proj(x))` (ours), product: the same times `up_proj(x)`. An FFN without a
            gate has one activation only, which both name.
        batch_tokens: Most tokens, padding included, in one forward pass.
        storage: Precision that states are kept in before they are compared. float16 is what MEXA's script
            does (`embed_extractor.py`), and takes half the disk; float32 ties less.
        folder: Where the temporary files go (None: where the system puts them): for every sentence of two
            languages, a number a layer and channel of each measure.
        resamples: Of the bootstrap over sentences.
        seed: Of the bootstrap.
        progress: Called with the number of sentences done, and of all, after each forward pass.

    Raises:
        InputError: Numbers of sentences differ, there are fewer than two sentences or languages, the pivot is
            missing, a sentence has no token or does not fit the model, or the FFN neurons of this
            architecture cannot be found.
    """
    # Takes seconds to import.
    from lingualign.sentence_states import temporary_states

    _check(texts, pivot)
    total = sum(map(len, texts.values()))
    done = 0

    def tell(sentences: int) -> None:
        nonlocal done
        done += sentences
        if progress is not None:
            progress(done, total)

    hits: dict[str, dict[str, np.ndarray]] = {measure: {} for measure in measures}
    options = (measures, neurons, batch_tokens, storage, folder, tell)
    with temporary_states(model, tokenizer, pivot, texts[pivot], *options) as left:
        for language in texts:
            if language == pivot:
                _compare(hits, language, left, left)
                continue
            with temporary_states(model, tokenizer, language, texts[language], *options) as right:
                _compare(hits, language, left, right)
    return summarise(hits, pivot, resamples, seed)


def _compare(hits: dict[str, dict[str, np.ndarray]], language: str, left: Any, right: Any) -> None:
    for measure, found in hits.items():
        found[language] = np.stack(
            [
                aligned(left.read(measure, layer), right.read(measure, layer))
                for layer in range(left.layers(measure))
            ]
        )


def _check(texts: Mapping[str, Sequence[str]], pivot: str) -> None:
    if pivot not in texts:
        raise InputError(
            f"There is no text in {pivot}, which the other languages are compared with.",
            f"Add its sentences, or choose a pivot among {', '.join(texts)}.",
        )
    if len(texts) < 2:
        raise InputError(f"There is no text but that in {pivot}.", "Add translations of its sentences.")
    n = len(texts[pivot])
    for language, sentences in texts.items():
        if len(sentences) != n:
            raise InputError(
                f"{len(sentences)} sentences in {language}, but {n} in {pivot}.",
                "Sentences are compared line by line: give translations of the same ones.",
            )
    if n < 2:
        raise InputError(
            "At least two sentences are needed: a score says whether one is nearer than the others.",
            "Give about a hundred or more.",
        )
