"""How much memory a run takes at its peak, computed from the shapes of its models.

What is counted: weights in the type they are computed in, gradients, the moments of AdamW, what a forward
pass keeps for the backward one, keys and values of sampling, and the largest temporaries at the LM head. What
is not: fragmentation, and buffers of the libraries. `docs/configure.md` compares it with measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

from lingualign.config import RunConfig
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
    return Footprint(
        sampling=base + models + _sampling(config, policy, width),
        scoring=base + models + _scoring(config, policy, width, cpu),
        training=base + training_bytes(config, policy, width, tokens),
    )


def training_bytes(config: RunConfig, policy: Shape, width: int, tokens: int | None = None) -> float:
    """Bytes that training takes beyond the libraries; see `footprint`."""
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
    return weights + optimiser + extra + batch * kept * width + logits


def _sampling(config: RunConfig, policy: Shape, width: int) -> float:
    cells = config.sampling.batch_tokens
    cache = 2 * policy.layers * policy.key_values * width * cells
    rows = max(1, cells // max(1, config.sampling.max_new_tokens))
    return cache * (1 + 1 / policy.layers) + rows * policy.vocabulary * (DRAW + width)


def _scoring(config: RunConfig, policy: Shape, width: int, cpu: bool) -> float:
    tokens = min(config.reward.batch_tokens, PASS_CPU) if cpu else config.reward.batch_tokens
    return tokens * (6 * policy.hidden + 3 * policy.intermediate) * width + 8 * (TILE_CPU if cpu else TILE)
