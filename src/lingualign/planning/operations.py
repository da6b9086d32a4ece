"""What a forward pass, a step of decoding and a step of training cost on one device, as a roofline.

Products of N weights with T tokens take 2 N T floating-point operations forward, and twice as many backward
(Kaplan et al. 2020, arXiv 2001.08361, section 2.1: 6 N a token in training); attention of a token to c
others takes 4 c times the width of its queries, a layer. A step of decoding reads the weights once, for few
rows and for many, and the keys and values of every row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lingualign.planning.hardware import Device
from lingualign.setup.shape import Shape

OPTIMISER = (
    40.0  # bytes of memory traffic a weight: AdamW reads four and writes three numbers, clipping three more
)

# Numbers that a layer of Transformers writes between its products, a token (ours, counted in its Llama), in
# widths of the hidden states: norms, rotations, residuals; and in widths of the MLP: the gate.
HIDDEN_PASSES, MLP_PASSES = 16, 4
DRAW_BYTES = 32.0  # written and read to draw a token, an entry: probabilities, sums in float64 (ours)


@dataclass(frozen=True)
class Seconds:
    """Where the time of some work goes.

    Attributes:
        compute: Products and attention at the speed of the arithmetic.
        weights: What products take longer because weights are read for few rows.
        keys: Reading keys and values.
        activations: Reading and writing between products, and drawing tokens.
        starting: The program's own time, a layer and a step.
        link: Exchanging weights and gradients.
        disk: Reading and writing files.
        host: Work on texts.
        overlapped: Whether `starting` goes on beside the rest.
    """

    compute: float = 0.0
    weights: float = 0.0
    keys: float = 0.0
    activations: float = 0.0
    starting: float = 0.0
    link: float = 0.0
    disk: float = 0.0
    host: float = 0.0
    overlapped: bool = False

    @property
    def total(self) -> float:
        """Of all."""
        device = self.compute + self.weights + self.keys + self.activations
        exchanged = max(device, self.link)  # FSDP prefetches
        busy = max(exchanged, self.starting) if self.overlapped else exchanged + self.starting
        return busy + self.disk + self.host

    @property
    def bound(self) -> str:
        """What takes most of it."""
        parts = {name: getattr(self, name) for name in PARTS}
        return max(parts, key=lambda name: parts[name]) if any(parts.values()) else "nothing"

    def times(self, factor: float) -> Seconds:
        """The same work some times over."""
        return replace(self, **{name: getattr(self, name) * factor for name in PARTS})

    def plus(self, other: Seconds) -> Seconds:
        """Both, one after the other."""
        return replace(
            self,
            overlapped=self.overlapped or other.overlapped,
            **{name: getattr(self, name) + getattr(other, name) for name in PARTS},
        )


PARTS = ("compute", "weights", "keys", "activations", "starting", "link", "disk", "host")


def body_weights(shape: Shape) -> int:
    """Weights of a model's layers: what each token is multiplied with."""
    layer = 2 * shape.hidden * (shape.hidden + shape.key_values) + 3 * shape.hidden * shape.intermediate
    return shape.layers * layer


def head_weights(shape: Shape) -> int:
    """Weights of the LM head."""
    return shape.vocabulary * shape.hidden


def key_bytes(shape: Shape, width: int) -> float:
    """Bytes of the keys and values of one token, in all layers."""
    return 2.0 * shape.layers * shape.key_values * width


def attention_flops(shape: Shape, tokens: float, context: float) -> float:
    """Of tokens that each look at a number of others."""
    return 4.0 * shape.hidden * shape.layers * tokens * context


def mean_context(prompt: float, response: float, n: float) -> float:
    """Tokens that a token of a packed group looks at, mean: half of the prompt in it, all of it behind it."""
    tokens = prompt + n * response
    return (prompt**2 / 2 + n * response * (prompt + response / 2)) / tokens if tokens else 0.0


def forward_flops(shape: Shape, tokens: float, scored: float, context: float) -> float:
    """Floating-point operations of a forward pass.

    Args:
        shape: Of the model.
        tokens: That go through its layers.
        scored: Of them, those that meet the LM head.
        context: Tokens that one looks at, mean.
    """
    products = 2.0 * (body_weights(shape) * tokens + head_weights(shape) * scored)
    return products + attention_flops(shape, tokens, context)


def forward(
    device: Device, shape: Shape, tokens: float, scored: float, context: float, passes: float = 1.0
) -> Seconds:
    """Forward passes by Transformers.

    Args:
        device: That computes.
        shape: Of the model.
        tokens: Of all passes together.
        scored: Of them, those that meet the LM head.
        context: Tokens that one looks at, mean.
        passes: In how many passes.
    """
    rate = device.product_rate(tokens / max(passes, 1e-9))
    return Seconds(
        compute=forward_flops(shape, tokens, scored, 0) / rate
        + attention_flops(shape, tokens, context) / (device.packed or rate),
        activations=_between(device, shape, tokens),
        starting=passes * (shape.layers * device.eager_layer + device.eager_step),
        overlapped=device.overlaps,
    )


def decode_step(device: Device, shape: Shape, rows: float, context: float, engine: bool) -> Seconds:
    """One step of decoding: a token for each row.

    Args:
        device: That computes.
        shape: Of the model.
        rows: Responses that go on at the same time.
        context: Tokens behind each, mean.
        engine: Whether vLLM or the like decodes, else Transformers.
    """
    flops = forward_flops(shape, rows, rows, 0)
    compute = flops / device.decoding_flops
    whole = max(compute, flops / device.product_rate(rows))
    keys = rows * context * key_bytes(shape, device.width) / (device.attention or device.bandwidth)
    draw = device.draw if device.draw is not None else DRAW_BYTES / device.bandwidth
    layer, step = (
        (device.engine_layer, device.engine_step) if engine else (device.eager_layer, device.eager_step)
    )
    return Seconds(
        compute=compute,
        weights=whole - compute,
        keys=keys,
        activations=_between(device, shape, rows) + rows * shape.vocabulary * draw,
        starting=shape.layers * layer + step,
        overlapped=device.overlaps,
    )


def training_pass_flops(
    shape: Shape, tokens: float, scored: float, context: float, frozen: bool, recomputes: bool
) -> float:
    """Floating-point operations forward and backward.

    Args:
        shape: Of the model.
        tokens: That go through its layers.
        scored: Of them, those that meet the LM head.
        context: Tokens that one looks at, mean.
        frozen: Whether weights lie under an adapter: no gradients of them are computed.
        recomputes: Whether layers are computed again in the backward pass.
    """
    once = forward_flops(shape, tokens, scored, context)
    return once * ((2 if frozen else 3) + (1 if recomputes else 0))


def training_pass(
    device: Device,
    shape: Shape,
    tokens: float,
    scored: float,
    context: float,
    passes: float,
    frozen: bool,
    recomputes: bool,
) -> Seconds:
    """Forward and backward; see `training_pass_flops`."""
    rate = min(device.product_rate(tokens / max(passes, 1e-9)), device.training_flops)
    products = training_pass_flops(shape, tokens, scored, 0, frozen, recomputes)
    attended = training_pass_flops(shape, tokens, scored, context, frozen, recomputes) - products
    more = device.training_layers + (1 if recomputes else 0)
    return Seconds(
        compute=products / rate + attended / (device.packed or rate),
        activations=_between(device, shape, tokens) * (4 if recomputes else 3),
        starting=passes * (shape.layers * device.eager_layer + device.eager_step) * more,
        overlapped=device.overlaps,
    )


def optimiser_step(device: Device, trained: float) -> Seconds:
    """Clipping and AdamW on some weights."""
    return Seconds(weights=OPTIMISER * trained / device.bandwidth)


def _between(device: Device, shape: Shape, tokens: float) -> float:
    """Seconds of reading and writing between the products of a forward pass."""
    if device.elementwise is None:
        return 0.0
    return tokens * between_bytes(shape, device.width) / device.elementwise


def between_bytes(shape: Shape, width: int) -> float:
    """Bytes that the layers write between their products, a token."""
    return shape.layers * width * (HIDDEN_PASSES * shape.hidden + MLP_PASSES * shape.intermediate)
