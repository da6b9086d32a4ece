"""The machine: what it has, and whether that is in order. Checks are functions of what was seen."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from lingualign.setup.findings import Finding, size

LITTLE_MEMORY = 4e9  # bytes; Python with torch takes half a gigabyte before the first model
LITTLE_DISK = 5e9
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Gpu:
    """A GPU that torch can use.

    Attributes:
        name: As its maker calls it.
        memory: In bytes.
        free: Of its memory, now.
        bfloat16: Whether it multiplies in bfloat16.
    """

    name: str
    memory: int
    free: int
    bfloat16: bool


@dataclass(frozen=True)
class Machine:
    """What a process can use.

    Attributes:
        cores: Logical cores that the process may run on.
        quota: Cores' worth of time that its container gets; None where there is no limit.
        threads: That torch computes with.
        load: Processes that wanted to run, mean of the last minute.
        memory: Of the machine or its container, in bytes.
        available: Of it, now.
        gpus: That torch can use.
        nvidia: Whether there is an NVIDIA GPU, usable or not.
        torch_cuda: Version of CUDA that torch was built for; None for a CPU build (or one for other GPUs).
        amx: Whether the CPU multiplies in bfloat16.
    """

    cores: int
    quota: float | None
    threads: int
    load: float
    memory: int
    available: int
    gpus: tuple[Gpu, ...]
    nvidia: bool
    torch_cuda: str | None
    amx: bool


def look_at_machine() -> Machine:
    """Looks at the machine that this process runs on."""
    import psutil
    import torch

    found = psutil.virtual_memory()
    limit = _cgroup_number("memory.max")
    memory = min(found.total, int(limit)) if limit else found.total
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    gpus = []
    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        with torch.cuda.device(number):
            gpus.append(Gpu(torch.cuda.get_device_name(number), total, free, torch.cuda.is_bf16_supported()))
    return Machine(
        cores=cores,
        quota=_cgroup_quota(),
        threads=torch.get_num_threads(),
        load=psutil.getloadavg()[0],
        memory=memory,
        available=min(found.available, memory),
        gpus=tuple(gpus),
        nvidia=Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None,
        torch_cuda=torch.version.cuda,
        amx=bool(torch.cpu.get_capabilities().get("amx_bf16")),
    )


def check_machine(machine: Machine) -> list[Finding]:
    """All checks of the machine but its disk."""
    return [check_cores(machine), check_load(machine), check_memory(machine), check_gpu(machine)]


def check_cores(machine: Machine) -> Finding:
    """Whether torch computes with as many threads as there are cores for it."""
    usable = min(machine.cores, machine.quota or machine.cores)
    found = f"{machine.cores} cores, torch computes with {machine.threads} threads"
    if machine.quota is not None and machine.quota < machine.cores:
        found = f"{found}; the container gets the time of {machine.quota:g}"
    if machine.threads > usable + 0.5:
        return Finding(
            "cores",
            "warning",
            f"{found}: more threads than cores wait for each other",
            f"Set OMP_NUM_THREADS={max(1, int(usable))} in the environment.",
        )
    if usable < 2 and not machine.gpus:
        return Finding("cores", "warning", found, "One core is slow: use a machine with more, or with a GPU.")
    return Finding("cores", "ok", found)


def check_load(machine: Machine) -> Finding:
    """Whether other programs compute here too."""
    found = f"{machine.load:.1f} processes want to run, on {machine.cores} cores"
    if machine.load > machine.cores:
        return Finding(
            "load",
            "warning",
            f"{found}: other programs are computing",
            "Wait for them or stop them: the run would take longer, and so would its probe. If they stay, "
            "set OMP_WAIT_POLICY=passive in the environment: threads that wait then leave them the core.",
        )
    return Finding("load", "ok", found)


def check_memory(machine: Machine) -> Finding:
    """Whether there is main memory for more than the libraries."""
    found = f"{size(machine.memory)}, {size(machine.available)} of it available"
    if machine.available < LITTLE_MEMORY:
        return Finding(
            "memory",
            "warning",
            found,
            "Close other programs or use a larger machine; only the lab's models are sure to fit.",
        )
    return Finding("memory", "ok", found)


def check_gpu(machine: Machine) -> Finding:
    """Whether the GPU there is can be used, and multiplies in bfloat16."""
    if machine.gpus:
        found = "; ".join(
            f"{gpu.name}, {size(gpu.memory)}, {size(gpu.free)} free, "
            f"{'with' if gpu.bfloat16 else 'without'} bfloat16"
            for gpu in machine.gpus
        )
        if not all(gpu.bfloat16 for gpu in machine.gpus):
            return Finding(
                "GPU", "warning", found, "Weights are kept in float32, which takes twice the memory and time."
            )
        if any(gpu.free < gpu.memory / 2 for gpu in machine.gpus):
            return Finding("GPU", "warning", f"{found}: other programs use it", "`nvidia-smi` lists them.")
        return Finding("GPU", "ok", found)
    if machine.nvidia and machine.torch_cuda is None:
        return Finding(
            "GPU",
            "problem",
            "there is an NVIDIA GPU, and this torch was built for CPUs: the GPU is not used",
            "Install the CUDA build of torch (pytorch.org says how), or set device=cpu and accept the time.",
        )
    if machine.nvidia:
        return Finding(
            "GPU",
            "problem",
            f"there is an NVIDIA GPU, and torch, built for CUDA {machine.torch_cuda}, cannot use it",
            "See whether `nvidia-smi` works, its driver is new enough for that CUDA, and "
            "CUDA_VISIBLE_DEVICES does not hide it.",
        )
    precision = "bfloat16 (AMX)" if machine.amx else "float32"
    return Finding("GPU", "ok", f"none; the CPU computes in {precision}")


def check_disk(folder: Path, free: int | None = None) -> Finding:
    """Whether a folder can be written to, and has room.

    Args:
        folder: May not be there yet.
        free: Bytes free on its disk; None to ask.
    """
    existing = nearest_folder(folder)
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return Finding(
            "disk", "problem", f"{existing} cannot be written to", "Choose another folder with output=."
        )
    free = free_disk(folder) if free is None else free
    found = f"{size(free)} free at {existing}"
    if free < LITTLE_DISK:
        return Finding(
            "disk", "warning", found, "Make room, or choose a folder on another disk with output=."
        )
    return Finding("disk", "ok", found)


def free_disk(folder: Path) -> int:
    """Bytes free where a folder is or will be."""
    return shutil.disk_usage(nearest_folder(folder)).free


def nearest_folder(path: Path) -> Path:
    """The path, or what is there of it: its nearest parent."""
    existing = path.expanduser().absolute()
    while not existing.exists():
        existing = existing.parent
    return existing


def _cgroup_number(name: str) -> float | None:
    """A limit of the container, by version 2 of Linux's control groups; None where there is none."""
    try:
        text = (CGROUP / name).read_text(encoding="utf-8").split()
    except OSError:
        return None
    return float(text[0]) if text and text[0] != "max" else None


def _cgroup_quota() -> float | None:
    used = _cgroup_number("cpu.max")
    if used is None:
        return None
    return used / float((CGROUP / "cpu.max").read_text(encoding="utf-8").split()[1])
