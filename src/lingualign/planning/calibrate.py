"""What this machine can do, in some seconds: the rates that a data sheet gives of a GPU.

Products of the model's own widths are timed for few and for many rows, forward and backward; then attention
in decoding and over a packed row, a draw, AdamW, the disk, how long a layer takes where there is nothing to
compute, and inside a layer of these widths what is neither product nor attention. Nothing of a run is tried,
and no model has to be there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch.nn.functional import linear, scaled_dot_product_attention

from lingualign.config import RunConfig
from lingualign.logprobs import ScoredSequence, token_logprobs
from lingualign.logprobs.attention import PackedAttention
from lingualign.logprobs.engine import PASS_CPU
from lingualign.logprobs.packing import group_by_prompt, pack
from lingualign.models import load_model
from lingualign.planning.hardware import Device
from lingualign.planning.operations import (
    OPTIMISER,
    attention_flops,
    between_bytes,
    body_weights,
    key_bytes,
    mean_context,
)
from lingualign.planning.work import Counts
from lingualign.sampling.decode import decode
from lingualign.sampling.draws import choose_tokens
from lingualign.setup.clock import disk_speed
from lingualign.setup.machine import look_at_machine, nearest_folder
from lingualign.setup.shape import Shape
from lingualign.setup.suggest import room_of

ROWS = (1, 4, 16, 64, 256, 1024)  # of the products that are timed
TOKENS = PASS_CPU  # of a reading pass
READ, LEAST_READ = 1e11, 256  # operations of a layer in one that is timed, at most, and tokens, at least
TRAINED = 1024  # tokens of a training pass
STACK = 256e6  # bytes of weights that products go through, at most: more than caches hold
WIDEST = 4096  # of the products that are timed; wider ones have the rates of these
HEAD = 64  # width of a head
VOCABULARY = 64  # of a layer that reads: it only has to tell prompts apart
BATCH = 64  # rows of decoding
BUDGET, LEAST, MOST = 0.3, 3, 30  # seconds of a timing, and how often it is done at least and at most
TINY = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 1, "vocab_size": 64}
FEW, MANY = 1, 9  # layers of two tiny models, whose difference is the time of layers that compute nothing
STEPS = 16

Clock = Callable[[], float]


def calibrate(shape: Shape, config: RunConfig, counts: Counts, clock: Clock = time.perf_counter) -> Device:
    """Measures this machine's processor for a run, with the threads that torch computes with.

    Args:
        shape: Of the policy.
        config: Of the run.
        counts: Of its prompts and tokens.
        clock: What seconds are counted in. `time.process_time` leaves out what other programs take, with one
            thread.

    Returns:
        A device with `cpu` set.
    """
    n = config.sampling.n
    machine = look_at_machine()
    width = room_of(machine, "cpu", config.dtype).width
    kind = torch.bfloat16 if width == 2 else torch.float32
    first, trainer = _imports(clock)
    libraries = _memory_now(config)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        loading = _time(_load_small, clock)
        by_rows, training = _products(shape, kind, clock)
        packed = _packed(shape, counts, n, kind, clock)
        reading, elementwise = _layer(shape, counts, n, packed, kind, clock)
        layer, step, training_layers = _starting(clock)
        return Device(
            "this machine",
            memory=float(machine.available),
            bandwidth=_optimiser(shape, clock),
            flops=max(rate for _, rate in by_rows),
            decoding_flops=max(rate for _, rate in by_rows),
            training_flops=training,
            disk=disk_speed(nearest_folder(config.run_folder)),
            width=width,
            cpu=True,
            by_rows=(*by_rows, (float(TOKENS), reading)),
            attention=_keys(shape, counts.prompt_tokens + counts.response_tokens / 2, kind, clock),
            packed=packed,
            elementwise=elementwise,
            eager_layer=layer,
            engine_layer=layer,
            eager_step=step,
            engine_step=step,
            training_layers=training_layers,
            draw=_draw(shape, clock),
            loading=loading,
            first=max(0.0, first - loading),
            trainer=trainer,
            libraries=libraries,
            overlaps=False,
        )


def _products(shape: Shape, kind: torch.dtype, clock: Clock) -> tuple[tuple[tuple[float, float], ...], float]:
    """FLOP/s of products with as many weights of MLPs as the model has, by rows; and forward and backward."""
    hidden, inner = min(WIDEST, shape.hidden), min(WIDEST, shape.intermediate)
    size = torch.empty((), dtype=kind).element_size()
    pair = 2 * hidden * inner
    count = max(1, int(min(STACK, body_weights(shape) * size) / (pair * size)))
    weights = [
        (torch.randn(inner, hidden, dtype=kind), torch.randn(hidden, inner, dtype=kind)) for _ in range(count)
    ]
    found = []
    for rows in ROWS:
        states = torch.randn(rows, hidden, dtype=kind)
        used = weights if rows < 64 else weights[: max(1, round(1e10 / (2.0 * rows * pair)))]

        def forward(states: torch.Tensor = states, used: list[Any] = used) -> None:
            for up, down in used:
                linear(linear(states, up), down)

        found.append((float(rows), 2.0 * rows * pair * len(used) / _time(forward, clock)))
    up, down = (weight.requires_grad_(True) for weight in weights[0])
    states = torch.randn(TRAINED, hidden, dtype=kind, requires_grad=True)

    def backward() -> None:
        linear(linear(states, up), down).sum().backward()
        up.grad = down.grad = states.grad = None

    return tuple(found), 6.0 * TRAINED * pair / _time(backward, clock, gradients=True)


def _layer(
    shape: Shape, counts: Counts, n: int, packed: float, kind: torch.dtype, clock: Clock
) -> tuple[float, float]:
    """FLOP/s of the products in a layer that reads a packed row, and bytes a second between them.

    Timed inside the layer. Outside of it what was just written is still in a cache and its memory is at hand:
    products come out a quarter too fast so, and what lies between them up to three times.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    heads, keys = _heads(shape)
    config = LlamaConfig(
        hidden_size=heads * HEAD,
        intermediate_size=min(WIDEST, shape.intermediate),
        num_attention_heads=heads,
        num_key_value_heads=keys,
        num_hidden_layers=1,
        vocab_size=VOCABULARY,
    )
    one = replace(
        shape, hidden=heads * HEAD, intermediate=config.intermediate_size, key_values=keys * HEAD, layers=1
    )
    model = LlamaForCausalLM(config).to(kind).eval()
    sequences, tokens, context = _pass(counts, n, round(READ / (2.0 * body_weights(one))))
    whole, products, spans = list[float](), list[float](), list[tuple[float, float]]()
    layer = model.model.layers[0]
    _note(layer, clock, whole)
    for part in layer.modules():
        if isinstance(part, torch.nn.Linear):
            _note(part, clock, products)

    def read() -> None:
        whole.clear()
        products.clear()
        token_logprobs(model, sequences)
        spans.append((sum(whole), sum(products)))

    _time(read, clock)
    in_all, in_products = np.median(spans[1:], axis=0)
    between = in_all - in_products - attention_flops(one, tokens, context) / packed
    rate = 2.0 * body_weights(one) * tokens / in_products
    return float(rate), tokens * between_bytes(one, kind.itemsize) / max(1e-9, float(between))


def _note(module: torch.nn.Module, clock: Clock, spans: list[float]) -> None:
    """Notes the seconds of each forward pass of a module."""
    starts: list[float] = []
    module.register_forward_pre_hook(lambda *_: starts.append(clock()))
    module.register_forward_hook(lambda *_: spans.append(clock() - starts.pop()))


def _pass(counts: Counts, n: int, most: int = TOKENS) -> tuple[list[ScoredSequence], int, float]:
    """Prompts with n responses each for one pass, their tokens, and how many of these each looks at, mean."""
    most = max(LEAST_READ, min(TOKENS, most))
    prompt = max(1, min(round(counts.prompt_tokens), most // 2))
    response = max(1, min(round(counts.response_tokens), most // 2))
    n = max(1, min(n, (most - prompt) // response, VOCABULARY))
    sequences = [
        ScoredSequence([0] * (prompt - 1) + [group], [number] * response)
        for group in range(max(1, min(most // (prompt + n * response), VOCABULARY)))
        for number in range(n)
    ]
    return sequences, len(pack(group_by_prompt(sequences)).ids), mean_context(prompt, response, n)


def _keys(shape: Shape, context: float, kind: torch.dtype, clock: Clock) -> float:
    """Bytes a second of keys and values that a step of decoding looks at, padded prompts masked."""
    keys = max(1, shape.key_values // HEAD)
    group = max(1, shape.hidden // HEAD // keys)
    length = max(1, round(context))
    query = torch.randn(BATCH, keys, group, HEAD, dtype=kind)
    key, value = (torch.randn(BATCH, keys, length, HEAD, dtype=kind) for _ in range(2))
    mask = torch.zeros(BATCH, 1, 1, length, dtype=kind)
    seconds = _time(lambda: scaled_dot_product_attention(query, key, value, mask), clock)
    return BATCH * length * key_bytes(shape, kind.itemsize) / shape.layers / seconds


def _packed(shape: Shape, counts: Counts, n: int, kind: torch.dtype, clock: Clock) -> float:
    """FLOP/s of attention over a packed row, gathering included."""
    heads, keys = _heads(shape)
    sequences, tokens, context = _pass(counts, n)
    attention = PackedAttention(pack(group_by_prompt(sequences)).stretches, torch.device("cpu"))

    class Layer(torch.nn.Module):
        num_key_value_groups = heads // keys
        is_causal = True

    layer = Layer().eval()
    query, key, value = (torch.randn(1, count, tokens, HEAD, dtype=kind) for count in (heads, keys, keys))
    seconds = _time(lambda: attention(layer, query, key, value, None, dropout=0.0, scaling=0.1), clock)
    one = replace(shape, hidden=heads * HEAD, layers=1)
    return attention_flops(one, tokens, context) / seconds


def _heads(shape: Shape) -> tuple[int, int]:
    """Heads of queries, and of keys and values: as many of one for each of the other."""
    heads = max(1, min(WIDEST, shape.hidden) // HEAD)
    return heads, math.gcd(heads, max(1, shape.key_values // HEAD))


def _draw(shape: Shape, clock: Clock) -> float:
    """Seconds to draw a token, an entry of the vocabulary."""
    logits, numbers = torch.randn(BATCH, shape.vocabulary), torch.rand(BATCH, dtype=torch.float64)
    return _time(lambda: choose_tokens(logits, numbers, 0.8), clock) / logits.numel()


def _optimiser(shape: Shape, clock: Clock) -> float:
    """Bytes a second that clipping and AdamW read and write."""
    part = int(min(shape.parameters, STACK / 16) / 8)
    weights = [torch.nn.Parameter(torch.zeros(part)) for _ in range(8)]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimiser = torch.optim.AdamW(weights, fused=True)

    def step() -> None:
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()

    return OPTIMISER * part * 8 / _time(step, clock, gradients=True)


def _starting(clock: Clock) -> tuple[float, float, float]:
    """Seconds of a layer and of a step that compute nothing; and forward and backward, as a multiple."""
    from transformers import LlamaConfig, LlamaForCausalLM

    models = [LlamaForCausalLM(LlamaConfig(**TINY, num_hidden_layers=n)).eval() for n in (FEW, MANY)]
    prompts, numbers = [[1, 2], [1, 2, 3]], torch.rand(2, STEPS, dtype=torch.float64)

    def steps(model: Any) -> None:
        decode(model, prompts, [0, 1], numbers, stop_ids=[len(prompts) * 1000], temperature=1.0)

    few, many = (_time(partial(steps, model), clock) / STEPS for model in models)
    layer = max(1e-6, (many - few) / (MANY - FEW))
    sequences = [ScoredSequence([1, 2, number], [3, 4]) for number in range(4)]

    def backward(model: Any) -> None:
        torch.stack([logps.sum() for logps in token_logprobs(model, sequences)]).sum().backward()
        model.zero_grad()

    short, long = (_time(partial(backward, model), clock, gradients=True) for model in models)
    return layer, max(1e-6, few - FEW * layer), max(1.0, (long - short) / (MANY - FEW) / layer)


def _time(work: Callable[[], object], clock: Clock, gradients: bool = False) -> float:
    """Median seconds of some work, after it was done once."""
    taken: list[float] = []
    with _without_gradients(not gradients):
        work()
        while len(taken) < LEAST or (sum(taken) < BUDGET and len(taken) < MOST):
            start = clock()
            work()
            taken.append(clock() - start)
    return max(1e-9, float(np.median(taken)))


@contextmanager
def _without_gradients(wanted: bool) -> Iterator[None]:
    with torch.set_grad_enabled(not wanted):
        yield


def _load_small() -> None:
    load_model("lab:aligned", device="cpu", dtype="float32")


def _imports(clock: Clock) -> tuple[float, float]:
    """Seconds of loading a first model, and of importing what trains, in a process that has done neither."""
    start = clock()
    _load_small()
    loaded = clock()
    import_module("lingualign.training")
    return loaded - start, clock() - loaded


def _memory_now(config: RunConfig) -> float:
    """Bytes that this process has in main memory, with all that a run imports and reads beside models."""
    import psutil

    from lingualign.languages import LanguageIdentifier

    LanguageIdentifier(config.languages).identify("A sentence that is long enough to be identified.")
    return float(psutil.Process().memory_info().rss)
