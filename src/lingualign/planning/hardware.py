"""What computes: GPUs by their names, and what part of their data sheet a program gets out of them."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass, replace
from typing import Any

from lingualign.errors import InputError

NODE = 8  # GPUs of one machine, whose links among each other are fast
HERE = ("cpu", "this machine", "here")

# Shares of the data sheet that programs reach.
PREFILL = 0.5  # of the FLOP/s, forward (ours; large matrix products alone reach 0.7 to 0.8)
DECODING = 0.3  # of the FLOP/s, in decoding with many rows: narrow products, attention, draws between (ours)
TRAINING = 0.4  # of the FLOP/s, forward and backward: Llama 3, 0.38 to 0.43 (arXiv 2407.21783, table 4)
STREAMING = 0.7  # of the bandwidth, weights and keys in decoding (ours; 0.6 to 0.8 are seen in practice)
LINKED = 0.7  # of the links, in collectives of large blocks (ours)

# Seconds that a program takes to start the work of a layer, which the GPU overlaps with working.
EAGER_LAYER = (
    8e-4  # Transformers: 25.5 tokens/s with 32 layers, 1.2e-3 a layer (pytorch.org, "gpt-fast"); ours
)
ENGINE_LAYER = 2e-5  # vLLM's CUDA graphs (ours)
EAGER_STEP, ENGINE_STEP = 2e-3, 3e-3  # beside the layers: drawing tokens, scheduling (ours)
TRAINING_LAYERS = 3.0  # forward and backward, in layers' worth of starting (ours)


@dataclass(frozen=True)
class Device:
    """One thing that computes. Rates are what programs get, not those of the data sheet.

    Attributes:
        name: As it is known.
        memory: Bytes.
        bandwidth: Bytes a second to and from its memory.
        flops: Products in forward passes, FLOP/s.
        decoding_flops: Products in decoding, FLOP/s.
        training_flops: Forward and backward, FLOP/s.
        link: Bytes a second to other devices of its machine, one way; 0 where there are none.
        network: Bytes a second to devices of other machines.
        disk: Bytes a second, written.
        width: Bytes of a weight in forward passes.
        cpu: Whether its memory is the main memory, where libraries take some too.
        by_rows: Measured FLOP/s of products by their rows; empty where the slower of `flops` and `bandwidth`
            says it.
        attention: Keys and values that decoding reads, bytes a second; None where `bandwidth` says it.
        packed: Attention over a row of many tokens, FLOP/s; None where `flops` says it.
        elementwise: Activations between the products, bytes a second; None where `flops` includes it.
        eager_layer: Seconds to start a layer's work in a forward pass by Transformers.
        engine_layer: The same, of an engine for sampling.
        eager_step: Seconds of a forward pass beside its layers.
        engine_step: The same, of an engine.
        training_layers: What starting a layer takes forward and backward, as a multiple of `eager_layer`.
        draw: Seconds to draw a token from a vocabulary, an entry; None where `bandwidth` says it.
        loading: Seconds to load a model beside reading it.
        first: Seconds more for the first model of a process: importing what it needs.
        trainer: Seconds to import and set up what trains.
        libraries: Bytes of main memory that a process takes before its first model.
        overlaps: Whether starting work and doing it go on at the same time.
    """

    name: str
    memory: float
    bandwidth: float
    flops: float
    decoding_flops: float
    training_flops: float
    link: float = 0.0
    network: float = 0.0
    disk: float = 2e9  # an NVMe disk (ours)
    width: int = 2
    cpu: bool = False
    by_rows: tuple[tuple[float, float], ...] = ()
    attention: float | None = None
    packed: float | None = None
    elementwise: float | None = None
    eager_layer: float = EAGER_LAYER
    engine_layer: float = ENGINE_LAYER
    eager_step: float = EAGER_STEP
    engine_step: float = ENGINE_STEP
    training_layers: float = TRAINING_LAYERS
    draw: float | None = None
    loading: float = 20.0  # of a model of billions of parameters, to a GPU (ours)
    first: float = 0.0
    trainer: float = 0.0
    libraries: float = 0.0
    overlaps: bool = True

    def product_rate(self, rows: float) -> float:
        """FLOP/s of products of some rows with weights that are read once: 2 FLOPs a weight and row."""
        if not self.by_rows:
            return min(self.flops, 2 * rows * self.bandwidth / self.width)
        below = [point for point in self.by_rows if point[0] <= rows]
        above = [point for point in self.by_rows if point[0] > rows]
        if not below:
            return above[0][1] * rows / above[0][0]
        if not above:
            return below[-1][1]
        (few, slow), (many, fast) = below[-1], above[0]
        return slow * (fast / slow) ** (math.log(rows / few) / math.log(many / few))


# name -> dense bfloat16 FLOP/s, bytes, bytes/s, bytes/s of NVLink (or PCIe) one way: the makers' data sheets.
DATA_SHEETS = {
    "B200": (2250e12, 180e9, 8.0e12, 900e9),  # NVIDIA DGX B200
    "H200": (989.5e12, 141e9, 4.8e12, 450e9),  # NVIDIA H200 SXM
    "H100": (989.5e12, 80e9, 3.35e12, 450e9),  # NVIDIA H100 SXM
    "H100-PCIe": (756e12, 80e9, 2.0e12, 64e9),  # NVIDIA H100 PCIe, without bridge
    "A100": (312e12, 80e9, 2.039e12, 300e9),  # NVIDIA A100 80GB SXM
    "A100-40GB": (312e12, 40e9, 1.555e12, 300e9),  # NVIDIA A100 40GB SXM
    "L40S": (362e12, 48e9, 0.864e12, 32e9),  # NVIDIA L40S
    "L4": (121e12, 24e9, 0.3e12, 32e9),  # NVIDIA L4
    "A10": (125e12, 24e9, 0.6e12, 32e9),  # NVIDIA A10
    "RTX-4090": (165e12, 24e9, 1.008e12, 32e9),  # NVIDIA Ada architecture, fp32 accumulation
    "MI300X": (1307e12, 192e9, 5.3e12, 448e9),  # AMD Instinct MI300X
}
# Bytes/s between machines: an adapter of 400 Gbit/s for each of eight GPUs. A collective over several of them
# goes through as many rings, each through an adapter of its own, and so gets them all.
NETWORK = 400e9


def from_data_sheet(name: str, flops: float, memory: float, bandwidth: float, link: float = 64e9) -> Device:
    """A GPU of which a data sheet is known.

    Args:
        name: Its name.
        flops: Of dense bfloat16 products, FLOP/s.
        memory: In bytes.
        bandwidth: Of the memory, bytes/s.
        link: To GPUs of the same machine, one way, bytes/s; by default PCIe 5.
    """
    return Device(
        name,
        memory=memory,
        bandwidth=STREAMING * bandwidth,
        flops=PREFILL * flops,
        decoding_flops=DECODING * flops,
        training_flops=TRAINING * flops,
        link=LINKED * link,
        network=LINKED * min(NETWORK, link),
    )


@dataclass(frozen=True)
class Hardware:
    """Some devices of one kind.

    Attributes:
        device: One of them.
        count: How many there are.
    """

    device: Device
    count: int = 1

    @property
    def name(self) -> str:
        """As `--gpus` takes it."""
        return f"{self.count}x{self.device.name}" if not self.device.cpu else self.device.name

    def link(self, devices: int) -> float:
        """Bytes a second that each of some devices exchanges with the others: the slowest way among them."""
        return self.device.link if devices <= NODE else self.device.network


def parse_gpus(text: str) -> tuple[int, str]:
    """`8xH200` as how many and what.

    Raises:
        InputError: It is not written so.
    """
    match = re.fullmatch(r"(?:(\d+)\s*[xX*]\s*)?([A-Za-z].*)", text.strip())
    if match is None or (match[1] is not None and int(match[1]) < 1):
        raise InputError(
            f"--gpus {text!r}: not a number of GPUs and their name.", f"Write 8xH200; {_known()}."
        )
    return int(match[1] or 1), match[2]


def find_device(name: str) -> Device:
    """A GPU of the catalogue by its name.

    Raises:
        InputError: It is not in the catalogue.
    """
    by_lower = {known.lower(): known for known in DATA_SHEETS}
    wanted = name.lower().replace(" ", "-")
    if wanted not in by_lower:
        near = difflib.get_close_matches(wanted, by_lower, n=1, cutoff=0.5)
        meant = f"Did you mean {by_lower[near[0]]}? " if near else ""
        raise InputError(
            f"--gpus: {name} is not in the catalogue.",
            f"{meant}{_known()[0].upper()}{_known()[1:]}; for others give --flops, --memory and --bandwidth "
            "of their data sheet.",
        )
    found = by_lower[wanted]
    return from_data_sheet(found, *DATA_SHEETS[found])


def own_device(
    name: str | None, flops: float | None, memory: float | None, bandwidth: float | None
) -> Device:
    """A GPU with numbers of the user's: all three, or those that differ from a known one.

    Raises:
        InputError: A number is missing, or not above zero.
    """
    given = {"--flops": flops, "--memory": memory, "--bandwidth": bandwidth}
    for option, value in given.items():
        if value is not None and not value > 0:
            raise InputError(f"{option} {value:g}: it has to be above zero.", "Give it as 400e12 or 80e9.")
    missing = [option for option, value in given.items() if value is None]
    if not missing:
        assert flops is not None and memory is not None and bandwidth is not None
        return from_data_sheet(name or "GPU", flops, memory, bandwidth)
    if name is None or name.lower().replace(" ", "-") not in {known.lower() for known in DATA_SHEETS}:
        raise InputError(
            f"{' and '.join(missing)}: missing for a GPU that is not in the catalogue.",
            "Give --flops (dense bfloat16), --memory and --bandwidth of its data sheet.",
        )
    device = find_device(name)
    changes: dict[str, Any] = {
        "flops": flops and PREFILL * flops,
        "decoding_flops": flops and DECODING * flops,
        "training_flops": flops and TRAINING * flops,
        "memory": memory,
        "bandwidth": bandwidth and STREAMING * bandwidth,
    }
    return replace(device, **{key: value for key, value in changes.items() if value is not None})


def _known() -> str:
    return f"known are {', '.join(DATA_SHEETS)}, and cpu for this machine"
