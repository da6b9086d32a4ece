"""The Ray cluster of a run: one of this machine's own, or one that is there already."""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from weakref import WeakSet

from lingualign.config import RunConfig
from lingualign.errors import InputError

OBJECT_STORE = 2**29  # bytes: a few chunks are under way at a time; in /tmp where /dev/shm is smaller
STARTS = 2  # tries to start a cluster: its processes have 15 s, and the first try warms a slow disk's cache
SILENCE = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # of its C++ code, which writes to stderr past Python's logging
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # what it prints on stdout of workers that die; `Worker` tells of them
    "RAY_USAGE_STATS_ENABLED": "0",
}
CONNECT = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False)"
ANSWERS_WITHIN = 60.0  # seconds, that a cluster may take to answer before a run
_ours: list[Path | None] = []  # the connection made here: Ray's folder if the cluster was started here too
pipelines: WeakSet[Generator[Any, None, None]] = WeakSet()  # under way in this process


def check_cluster(config: RunConfig) -> None:
    """Checks, before a run, that its chunks can be computed where it says.

    Raises:
        InputError: The package is missing, or there is no such cluster.
    """
    if config.executor != "ray":
        return
    if find_spec("ray") is None or find_spec("pandas") is None:  # Ray Data imports both
        raise InputError("executor=ray: Ray Data is not installed.", "pip install 'lingualign[ray]'")
    sampling, gpus = config.sampling, config.ray.gpus or 1
    if sampling.backend == "vllm" and gpus < sampling.vllm.tensor_parallel:
        raise InputError(
            f"ray.gpus: a worker has {gpus:g}, and sampling.vllm.tensor_parallel is "
            f"{sampling.vllm.tensor_parallel}.",
            "Set both to the same number.",
        )
    address = config.ray.address
    if address is None:
        return
    if "://" in address:
        raise InputError(
            f"ray.address: {address} is an address of Ray Client, which Ray Data does not run through.",
            "Start lingualign on a machine of the cluster with ray.address=auto, or by `ray job submit`.",
        )
    if _import_ray().is_initialized():
        return
    try:  # in a process that can be stopped: where nobody answers, Ray tries for minutes
        subprocess.run(
            [sys.executable, "-c", CONNECT, address],
            check=True,
            capture_output=True,
            text=True,
            timeout=ANSWERS_WITHIN,
        )
    except subprocess.TimeoutExpired:
        raise _not_reached(address, f"no answer within {ANSWERS_WITHIN:g} s") from None
    except subprocess.CalledProcessError as error:
        raise _not_reached(address, (error.stderr.strip() or "?").splitlines()[-1]) from None


@contextmanager
def cluster(config: RunConfig) -> Iterator[None]:
    """The cluster of a run, for the time of the context; nothing where the run has none.

    Raises:
        InputError: There is no such cluster, or it cannot be started.
    """
    if config.executor == "ray":
        connect(config)
    try:
        yield
    finally:
        disconnect()


def connect(config: RunConfig) -> None:
    """Connects this process to the cluster of a run, and starts one where no address is set. A process that
    is connected already, by us or by a program that uses us, stays as it is.

    Raises:
        InputError: There is no such cluster, or it cannot be started.
    """
    ray = _import_ray()
    if ray.is_initialized():
        return
    if config.ray.address is None:
        _start(math.ceil(most_workers(config) * config.ray.cpus))
        return
    try:
        with _unmarked():
            ray.init(config.ray.address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of many types
        raise _not_reached(config.ray.address, _first_line(error)) from error
    _ours.append(None)


def disconnect() -> None:
    """Ends the connection that `connect` made; a cluster that it started ends too, and its files go.

    Pipelines that an error elsewhere has left half-way are closed first, as they cannot be without a cluster.
    """
    for pipeline in list(pipelines):
        pipeline.close()
    if not _ours:
        return
    import ray

    ray.shutdown()
    for session in filter(None, _ours):
        shutil.rmtree(session, ignore_errors=True)
    _ours.clear()


def most_workers(config: RunConfig) -> int:
    """Size to which the pool of workers may grow."""
    return config.ray.max_workers or config.ray.workers


def resources_of_worker(config: RunConfig) -> dict[str, float]:
    """By what a worker is placed in the cluster that this process is connected to: its GPUs, or its cores if
    it has none; Ray Data calls both at once experimental.

    Raises:
        InputError: A cluster of this machine's own does not have them.
    """
    import ray

    there = ray.cluster_resources()
    gpus = config.ray.gpus
    if gpus is None:
        gpus = 1.0 if config.device != "cpu" and there.get("GPU") else 0.0
    if gpus > there.get("GPU", 0.0):
        if config.ray.address is None:
            raise InputError(
                f"ray.gpus={gpus:g}: this machine has {there.get('GPU', 0):g} that Ray finds.",
                "Lower it, or give the ray.address of a cluster that has them.",
            )
        # An autoscaling cluster gets machines when it is asked for them.
        logging.getLogger(__name__).warning("workers wait until the cluster has %g GPUs for each", gpus)
    return {"num_gpus": gpus} if gpus else {"num_cpus": config.ray.cpus}


@contextmanager
def cluster_failed() -> Iterator[None]:
    """What Ray itself raises, as one error for users.

    Raises:
        InputError: The cluster is gone, or defective.
    """
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        raise InputError(
            f"The Ray cluster could not go on: {type(error).__name__}: {_first_line(error)}",
            "What is finished is kept: the same command goes on from there, with executor=local too.",
        ) from error


def _import_ray() -> Any:
    for name, value in SILENCE.items():
        os.environ.setdefault(name, value)
    import ray

    return ray


def _not_reached(address: str, why: str) -> InputError:
    return InputError(
        f"ray.address: no Ray cluster can be reached at {address}: {why}",
        "Start one with `ray start --head`, and give ray.address=auto on one of its machines. Where the "
        "cluster asks for a token, set RAY_AUTH_MODE=token here too.",
    )


def _start(cpus: int) -> None:
    """Starts a cluster of this machine's own, which ends with this process at the latest."""
    import ray

    for left in reversed(range(STARTS)):
        try:
            with _unmarked():
                started = ray.init(
                    "local",
                    num_cpus=cpus,
                    object_store_memory=OBJECT_STORE,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except Exception as error:
            ray.shutdown()
            if not left:
                raise InputError(
                    f"Ray cannot start a cluster on this machine: {_first_line(error)}",
                    "Its logs are in /tmp/ray/session_latest/logs. executor=local does without.",
                ) from error
        else:
            _ours.append(Path(started.address_info["session_dir"]))
            return


@contextmanager
def _unmarked() -> Iterator[None]:
    """Keeps `ray.init` from writing to the terminal, by whatever code, and from taking SIGTERM over."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    handler = signal.getsignal(signal.SIGTERM)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        # Elsewhere than in the main thread it cannot have been taken.
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _first_line(error: Exception) -> str:
    """What an exception says, without the pages behind it and the colours in it."""
    return re.sub(r"\x1b\[\d+m", "", (str(error).strip() or type(error).__name__).splitlines()[0])
