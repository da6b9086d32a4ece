"""`executor: ray`: the same bytes as in one process, whatever dies or stops on the way."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from lingualign.errors import InputError
from lingualign.pipeline import ray_cluster
from lingualign.pipeline.bench import Workbench
from lingualign.pipeline.folder import Chunk, Progress
from lingualign.pipeline.progress import Silent, Task
from lingualign.pipeline.ray_cluster import check_cluster, connect
from lingualign.pipeline.ray_executor import AHEAD, TRIES, Desk, Worker, compute_on_ray, quiet_console
from lingualign.pipeline.run import align
from lingualign.pipeline.sampling import SamplingWork
from lingualign.settings import load_config, load_reward

pytestmark = pytest.mark.usefixtures("without_report")

SETTINGS = [
    *("data.limit=8", "measures.n=2", "iterations=1", "languages=en,de,sw", "dtype=float32", "sampling.n=2"),
    *("sampling.max_new_tokens=24", "measures.max_new_tokens=8"),
    *("sampling.chunk_prompts=4", "reward.chunk_prompts=4"),  # six parts
]
ON_RAY = ["executor=ray", "ray.workers=2"]
RESPONSES, SCORES, NEXT = "iteration-1/responses", "iteration-1/scores", "iteration-1/health"
# Ray's processes import jsonschema, which spends two seconds on a package for notebooks if it is there.
WITHOUT = "rfc3987_syntax.py"


class Stopped(BaseException):
    """Stands for whatever ends a run."""


class Watch(Silent):
    """Calls a function when a stage starts (0) and whenever it has written a part (1, 2, ...)."""

    def __init__(self, folder: Path, saw: Callable[[str, int], object]) -> None:
        self.folder, self.saw = folder, saw

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "chunks", done: int = 0) -> Iterator[Task]:
        watch, before = self, len(parts(self.folder, name))

        class Watched:
            written = before

            def update(self, done: int, total: int | None = None, detail: str = "") -> None:
                written = len(parts(watch.folder, name))
                if written > self.written:
                    self.written = written
                    watch.saw(name, written - before)

        self.saw(name, 0)
        yield Watched()


def run(folder: Path, saw: Callable[[str, int], object], *settings: str) -> None:
    """Aligns until the watcher stops it."""
    config = load_config("icr", [*SETTINGS, f"output={folder}", *settings])
    with pytest.raises(Stopped):
        align(config, Watch(folder, saw))


def stop_at(stage: str, parts: int = 0) -> Callable[[str, int], None]:
    def saw(name: str, part: int) -> None:
        if (name, part) == (stage, parts):
            raise Stopped

    return saw


def parts(folder: Path, *stages: str) -> dict[str, bytes]:
    return {
        f"{stage}/{file.name}": file.read_bytes()
        for stage in stages
        for file in (folder / stage).glob("*.parquet")
    }


def workers() -> list[psutil.Process]:
    """The processes of the pool that have started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it has just ended
            if " ".join(process.cmdline()).startswith("ray::MapWorker"):
                found.append(process)
    return found


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads; a worker has as many as `ray.cpus`."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cluster for all tests: runs find it there, and leave it."""
    import ray

    stub = tmp_path_factory.mktemp("without")
    (stub / WITHOUT).write_text("raise ImportError\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(stub), prepend=os.pathsep)
        patch.setenv("RAY_worker_niceness", "0")  # Ray's is 15: on a busy machine workers hardly get a turn
        connect(load_config("icr", ON_RAY))
        ray_cluster._ours.clear()
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped before it sampled. Copy it."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    run(folder, stop_at(RESPONSES))
    return folder


@pytest.fixture(scope="module")
def sampled(begun: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, stopped before it scored. Copy it."""
    folder = shutil.copytree(begun, tmp_path_factory.mktemp("sampled") / "run")
    run(folder, stop_at(SCORES))
    return folder


@pytest.fixture(scope="module")
def undisturbed(sampled: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The parts of the run in one process."""
    folder = shutil.copytree(sampled, tmp_path_factory.mktemp("undisturbed") / "run")
    run(folder, stop_at(NEXT))
    return parts(folder, RESPONSES, SCORES)


@pytest.mark.slow
def test_a_run_stopped_here_goes_on_with_ray_to_the_same_bytes_while_workers_are_killed(
    cluster: None,
    begun: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = shutil.copytree(begun, tmp_path / "run")
    run(folder, stop_at(RESPONSES, 1))
    assert len(parts(folder, RESPONSES)) == 1
    pulled, killed = [0], list[str]()
    items = SamplingWork.items

    def counted(work: SamplingWork, chunks: Any) -> Iterator[Any]:
        for item in items(work, chunks):
            pulled[0] += 1
            yield item

    def saw(name: str, part: int) -> None:
        if name == RESPONSES:
            assert pulled[0] <= part + AHEAD * 2 + 1  # 1: it was asked for when this part came
        if name in (RESPONSES, SCORES) and part == 1:
            workers()[0].kill()
            killed.append(name)
        stop_at(NEXT)(name, part)

    monkeypatch.setattr(SamplingWork, "items", counted)
    run(folder, saw, *ON_RAY)
    assert killed == [RESPONSES, SCORES]
    assert parts(folder, RESPONSES, SCORES) == undisturbed


def test_a_run_stopped_on_ray_goes_on_here_to_the_same_bytes(
    cluster: None, sampled: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    folder = shutil.copytree(sampled, tmp_path / "run")
    run(folder, stop_at(SCORES, 2), *ON_RAY)
    assert 2 <= len(parts(folder, SCORES)) < 6
    run(folder, stop_at(NEXT))
    assert parts(folder, RESPONSES, SCORES) == undisturbed


OWN_REWARD = """
from pydantic import BaseModel
from lingualign.errors import InputError

class Settings(BaseModel):
    pass

class TooMuch(Exception):
    def __init__(self, number, unit):  # cannot be pickled
        super().__init__(f"{number} {unit}")

class Reward:
    def score(self, batch):
        if batch == [0]:
            raise InputError("The score is unknown.", "Ask again.")
        raise TooMuch(3, "apples")

def make(settings, tools):
    return Reward()
"""


class Scores:
    """Work of the reward alone."""

    anywhere = True

    def __init__(self, *batches: int) -> None:
        self.batches = batches

    def items(self, chunks: Sequence[Chunk]) -> Iterator[list[int]]:
        for number in self.batches:
            yield [number]

    def open(self, bench: Workbench) -> Callable[[Any, Progress], Iterable[Any]]:
        reward = load_reward(bench.config).make(None, None)
        return lambda batch, progress: reward.score(batch)


def test_what_a_reward_of_the_users_raises_in_a_worker_is_raised_here(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray import cloudpickle

    (tmp_path / "own.py").write_text(OWN_REWARD)
    monkeypatch.chdir(tmp_path)  # where the path of the reward begins, for workers too
    config = load_config("icr", ["reward.kind=./own.py", *ON_RAY, "ray.workers=1"])
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        with pytest.raises(InputError) as wrong:
            list(compute_on_ray(Scores(0), config)([Chunk("en", 0, 1)], lambda *progress: None))
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert (wrong.value.message, wrong.value.remedy) == ("The score is unknown.", "Ask again.")


def test_an_error_that_cannot_travel_is_sent_as_one_that_says_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.py").write_text(OWN_REWARD)
    monkeypatch.chdir(tmp_path)
    config = load_config("icr", ["reward.kind=./own.py"])
    sent = Worker(Scores(), config, None, str(tmp_path), 1)._do((7, pickle.dumps([1])), times=1)
    back = pickle.loads(pickle.dumps(sent))
    assert back.index == 7
    assert (type(back.error), str(back.error)) == (RuntimeError, "TooMuch: 3 apples")
    assert "in score" in back.trace


def test_ray_data_is_kept_off_the_terminal_and_not_from_who_listens_to_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import ray.data

    logger, heard = logging.getLogger(ray.data.__name__), io.StringIO()
    (console,) = (handler for handler in logger.handlers if handler.name == "console")
    before, listening = console.level, logging.StreamHandler(heard)
    logger.addHandler(listening)
    try:
        with quiet_console():
            assert console.level == logging.CRITICAL
            logger.warning("a slow operator")
        assert capsys.readouterr().err == ""
    finally:
        logger.removeHandler(listening)
    assert heard.getvalue() == "a slow operator\n"
    assert console.level == before < logging.CRITICAL


def test_a_chunk_at_which_every_worker_dies_ends_the_run() -> None:
    worker = Worker(Scores(), load_config("icr", []), None, ".", 1)
    error = worker._do((0, b""), times=TRIES + 1).error
    assert isinstance(error, InputError)
    assert "workers died" in error.message


def test_a_ticket_gets_the_same_item_until_its_result_is_there() -> None:
    async def story() -> None:
        desk = Desk()
        dead = asyncio.ensure_future(desk.take(5))  # asks before there is one, and dies
        again = asyncio.ensure_future(desk.take(5))
        await asyncio.sleep(0)
        dead.cancel()
        await desk.put((0, b"first"))
        await desk.put((1, b"second"))
        assert await again == ((0, b"first"), 1)
        assert await desk.take(5) == ((0, b"first"), 2)
        assert await desk.take(6) == ((1, b"second"), 1)
        await desk.done(5)
        assert await desk.take(5) is None

    asyncio.run(story())


def test_an_address_of_ray_client_is_refused() -> None:
    with pytest.raises(InputError, match="Ray Client"):
        check_cluster(load_config("icr", ["executor=ray", "ray.address=ray://head:10001"]))


@pytest.mark.parametrize("within", [1.0, 60.0])
def test_an_address_where_nobody_answers_is_named_before_the_run(
    monkeypatch: pytest.MonkeyPatch, within: float
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(ray_cluster, "ANSWERS_WITHIN", within)
    address = "127.0.0.1:9" if within == 1 else "no cluster"  # where it waits, and what it refuses
    with pytest.raises(InputError) as wrong:
        check_cluster(load_config("icr", ["executor=ray", f"ray.address={address}"]))
    assert wrong.value.message.startswith(f"ray.address: no Ray cluster can be reached at {address}: ")
    assert ("no answer within 1 s" in wrong.value.message) == (within == 1)


def test_a_worker_has_the_gpus_that_vllm_shares_a_model_over() -> None:
    settings = ["executor=ray", "sampling.backend=vllm", "sampling.vllm.tensor_parallel=4"]
    check_cluster(load_config("icr", [*settings, "ray.gpus=4"]))
    with pytest.raises(InputError, match=r"ray\.gpus: a worker has 1"):
        check_cluster(load_config("icr", settings))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"lingualign\[ray\]"):
        check_cluster(load_config("icr", ["executor=ray"]))


def test_fewer_workers_at_most_than_at_least_are_refused() -> None:
    with pytest.raises(InputError, match=r"ray.*max_workers is 1"):
        load_config("icr", ["ray.workers=2", "ray.max_workers=1"])
