"""How much memory a run takes at its peak, computed from the shapes of its models.

What is counted: weights in the type they are computed in, gradients, the moments of AdamW, what a forward
pass keeps for the backward one, keys and values of sampling, and the largest temporaries at the LM head. What
is not: fragmentation, and buffers of the libraries. `docs/configure.md` compares it with measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

from lingualign.config import RunConfig, TrainingConfig
from lingualign.setup.shape import Shape, trained_parameters

LIBRARIES = 0.8e9  # main memory of a process that has imported torch, transformers and peft
LOGITS = 2**28  # most numbers that logits with gradients are made of at once (`lingualign.logprobs.head`)
TILE, TILE_CPU = 2**26, 2**21  # numbers in one tile of logits without (`lingualign.logprobs.likelihood`)
PASS_CPU = 3072  # most tokens that a scoring pass has on a CPU (`lingualign.logprobs.engine`)
DRAW = 20  # bytes a row and vocabulary entry while a token is drawn: probabilities, and their sums in float64


@dataclass(frozen=True)
class Footprint:
    """Bytes at the peak of each kind of work, on the device that computes.

    Attributes:
        sampling: Models, keys and values of a batch, and a draw.
        scoring: The models that score, and a forward pass.
        training: Weights, gradients, optimiser, and a forward and backward pass.
    """

    sampling: float
    scoring: float
    training: float

    @property
    def peak(self) -> float:
        """The largest of them."""
        return max(self.sampling, self.scoring, self.training)

    @property
    def largest(self) -> str:
        """Which kind of work that is."""
        return max(("sampling", "scoring", "training"), key=lambda name: getattr(self, name))


def footprint(
    config: RunConfig, policy: Shape, reference: Shape, width: int, cpu: bool, tokens: int | None = None
) -> Footprint:
    """The memory of a run.

    Args:
        config: Of the run.
        policy: Its shape.
        reference: Shape of the reference.
        width: Bytes of a weight in forward passes: 2 in bfloat16, 4 in float32.
        cpu: Whether main memory is meant, where libraries take some too.
        tokens: Of a sequence in training, prompt and response; None for the longest that may occur.
    """
    base = LIBRARIES if cpu else 0.0
    models = (policy.parameters + reference.parameters) * width
    cells = config.sampling.batch_tokens
    rows = max(1, cells // max(1, config.sampling.max_new_tokens))
    return Footprint(
        sampling=base + models + sampling_bytes(policy, width, cells, rows),
        scoring=base + models + scoring_bytes(policy, width, config.reward.batch_tokens, cpu),
        training=base + training_bytes(config, policy, width, tokens),
    )


def training_bytes(
    config: RunConfig, policy: Shape, width: int, tokens: int | None = None, shards: int = 1
) -> float:
    """Bytes that training takes beyond the libraries; see `footprint`.

    Args:
        config: Of the run.
        policy: Its shape.
        width: Bytes of a weight in forward passes.
        tokens: Of a sequence; None for the longest that may occur.
        shards: Devices that share weights, gradients and moments (FSDP); each has the layer that it computes
            and the next one whole.
    """
    settings = config.training
    trained = trained_parameters(policy, settings)
    # All weights are trained in float32; under an adapter they stay in the type of forward passes.
    weights = policy.parameters * (width if settings.lora is not None else 4)
    if settings.lora is None and width == 2:
        weights += policy.parameters * 2  # autocast keeps a copy
    optimiser = trained * (4 + 8)  # gradients, and two moments
    longest = min(settings.max_length, policy.positions or settings.max_length)
    sequence = longest if tokens is None else min(tokens, longest)
    batch = 2 * settings.micro_batch_pairs * sequence
    layer = 9 * policy.hidden + 2 * policy.key_values + 4 * policy.intermediate
    kept = policy.layers * (policy.hidden if settings.gradient_checkpointing else layer) + layer
    logits = min(batch * policy.vocabulary, LOGITS) * 4 * 2
    extra = trained * 4 if settings.lora is not None else 0  # the adapter itself, in float32
    gathered = 2 * policy.parameters / policy.layers * width if shards > 1 else 0
    return (weights + optimiser + extra) / shards + gathered + batch * kept * width + logits


def checkpoint_bytes(policy: Shape, settings: TrainingConfig) -> float:
    """Bytes of a checkpoint: what is trained, in float32, and two moments of it."""
    return 12.0 * trained_parameters(policy, settings)


def sampling_bytes(policy: Shape, width: int, cells: float, rows: float) -> float:
    """Bytes of keys, values and a draw.

    Args:
        policy: Its shape.
        width: Bytes of a weight in forward passes.
        cells: Tokens in the cache, prompts and room for responses.
        rows: Responses.
    """
    cache = 2 * policy.layers * policy.key_values * width * cells
    return cache * (1 + 1 / policy.layers) + rows * policy.vocabulary * (DRAW + width)


def scoring_bytes(policy: Shape, width: int, tokens: float, cpu: bool) -> float:
    """Bytes of a forward pass over some tokens, beside the models."""
    if cpu:
        tokens = min(tokens, PASS_CPU)
    return pass_bytes(policy, width, tokens) + 8 * (TILE_CPU if cpu else TILE)


def pass_bytes(policy: Shape, width: int, tokens: float) -> float:
    """Bytes of the largest temporaries of a forward pass over some tokens without gradients."""
    return tokens * (6 * policy.hidden + 3 * policy.intermediate) * width
