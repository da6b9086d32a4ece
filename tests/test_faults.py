"""Failures that are nobody's mistake: no corrupt file, one clear message, and a resumed run ends as an
undisturbed one."""

from __future__ import annotations

import copy
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from conftest import LoadFamily
from lingualign.accidents import explain, writing
from lingualign.cli import app
from lingualign.cli.app import _terminate
from lingualign.cli.run_state import RunState
from lingualign.errors import InputError
from lingualign.logprobs import ScoredSequence, engine, sequence_logprobs
from lingualign.pipeline import integrity, manifest
from lingualign.pipeline.files import write_text
from lingualign.pipeline.folder import Stage, open_run_folder
from lingualign.pipeline.integrity import find_corrupt
from lingualign.pipeline.lock import RunLock
from lingualign.pipeline.manifest import Manifest
from lingualign.pipeline.progress import Silent
from lingualign.pipeline.run import align
from lingualign.pipeline.validate import check_disk
from lingualign.prompts import ChatFormat, Prompt
from lingualign.sampling import TransformersSampler
from lingualign.settings import load_config
from lingualign.training.arguments import last_checkpoint

pytestmark = pytest.mark.usefixtures("without_report")

FIXTURE = Path(__file__).parent / "fixtures" / "prompts"
FamilyFolder = Callable[..., Path]
STAGE = Stage("iteration-1/pairs", {"policy": "a"})
# What a finished run makes anew, or what tells the time: no artefact of a stage.
NO_ARTEFACTS = {".lock", "run.log", "report.html", "README.md", "config.yaml", "measures.json"}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def small(family_folder: FamilyFolder) -> list[str]:
    """Settings of a run that takes a second or two."""
    return [
        f"policy={family_folder('llama', 0)}", f"reference={family_folder('llama', 1)}", f"prompts={FIXTURE}",
        "languages=en,de", "iterations=1", "measures.n=2", "measures.max_new_tokens=5",
        "measures.bootstrap=100", "sampling.n=2", "sampling.max_new_tokens=5", "sampling.chunk_prompts=3",
        "reward.chunk_prompts=4", "training.batch_pairs=4", "training.epochs=2", "training.save_steps=1",
        "pairs.drop_truncated=false", "pairs.wrong_language=keep", "device=cpu", "dtype=float32",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def finished(small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that nobody disturbed. Do not write into it."""
    folder = tmp_path_factory.mktemp("faults") / "run"
    align(load_config("icr", [*small, f"output={folder}"]))
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return shutil.copytree(finished, tmp_path / "run")


def artefacts(folder: Path) -> dict[str, bytes]:
    """What the stages of a run made, by name."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    kept = {*NO_ARTEFACTS, "manifest.json", manifest.COPY}
    return {name: path.read_bytes() for name, path in found.items() if path.name not in kept}


def undo(folder: Path, *names: str) -> None:
    """Removes what a stage made; its record stays."""
    for name in names:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def resume(folder: Path) -> None:
    align(load_config(str(folder / "config.yaml"), [f"output={folder}"]))


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)


# Damaged files


def test_any_flipped_bit_of_any_artefact_is_noticed(copied: Path) -> None:
    draw = random.Random(0)
    for path in sorted(copied / name for name in artefacts(copied)):
        for _ in range(3):
            bit = draw.randrange(8 * path.stat().st_size)
            flip(path, bit)
            [damaged] = find_corrupt(copied)
            assert damaged == (path.parent if path.parent.name == "model" else path)
            flip(path, bit)
    assert find_corrupt(copied) == []


@pytest.mark.parametrize("name", ["manifest.json", manifest.COPY])
def test_a_flipped_bit_of_the_manifest_changes_nothing(
    finished: Path, copied: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    draw, expected = random.Random(0), Manifest.read(finished / "manifest.json")
    for _ in range(100):
        bit = draw.randrange(8 * (copied / name).stat().st_size)
        flip(copied / name, bit)
        assert Manifest.read(copied / "manifest.json") == expected
        flip(copied / name, bit)
    assert ("Its copy is used" in caplog.text) == (name == "manifest.json")


def test_one_file_of_each_stage_is_damaged_named_and_made_again(finished: Path, copied: Path) -> None:
    undo(copied, "iteration-1/model/config.json")
    flipped = [
        "iteration-1/responses/part-de-000003.parquet", "iteration-1/scores/part-en-000000.parquet",
        "iteration-1/health.json", "iteration-1/pairs.json", "iteration-1/reference.parquet",
        "measures/iteration-1/greedy/part-en-000000.parquet",
        "measures/iteration-0/sampled-judged/part-de-000000.parquet",
    ]  # fmt: skip
    for number, name in enumerate(flipped):
        flip(copied / name, 8001 * number)
    os.truncate(copied / "iteration-1/pairs.parquet", 100)
    result = call("align", copied / "config.yaml", f"output={copied}")
    assert result.exit_code == 2
    for name in (*flipped, "iteration-1/pairs.parquet", "iteration-1/model"):
        assert f"{copied / name}: damaged, it is not what the run wrote." in result.stderr
    assert result.stderr.count("damaged") == len(flipped) + 2
    result = call("align", copied / "config.yaml", f"output={copied}", "--recompute-corrupt")
    assert result.exit_code == 0, result.output
    assert artefacts(copied) == artefacts(finished)


def test_large_files_are_read_again_when_they_look_changed_or_on_request(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "LARGE", 10_000)
    weights = copied / "iteration-1/model/model.safetensors"
    undo(copied, "iteration-1/model")
    resume(copied)
    before = weights.stat()
    flip(weights, 8 * before.st_size - 1)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    config = [copied / "config.yaml", f"output={copied}"]
    assert call("validate", *config).exit_code == 0
    assert f"{weights.parent}: damaged" in call("validate", *config, "--deep").stderr
    os.utime(weights)
    assert f"{weights.parent}: damaged" in call("validate", *config).stderr


def test_a_folder_of_a_version_without_hashes_still_works(copied: Path) -> None:
    content = json.loads((copied / "manifest.json").read_text())
    del content["checksum"]
    for record in content["stages"].values():
        del record["files"], record["stamps"]
    (copied / "manifest.json").write_text(json.dumps(content))
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*.parquet")}
    resume(copied)
    assert before == {path: path.stat().st_mtime_ns for path in copied.rglob("*.parquet")}
    damaged = copied / "iteration-1/pairs.parquet"
    os.truncate(damaged, 300)
    assert find_corrupt(copied) == [damaged]


def test_what_is_taken_over_from_another_run_is_checked_too(finished: Path, tmp_path: Path) -> None:
    record = Manifest.read(finished / "manifest.json").stages["iteration-1/pairs"]
    stage = Stage("iteration-1/pairs", record.fingerprint)
    with open_run_folder(tmp_path / "other", "seed: 0\n", 0, {}, Silent(), [finished]) as run:
        path = run.file(stage, "iteration-1/pairs.parquet", _never, companion="iteration-1/pairs.json")
    assert find_corrupt(tmp_path / "other") == []
    shutil.copy(path, tmp_path / "copy")  # it is another name of the finished run's file
    flip(tmp_path / "copy", 12345)
    (tmp_path / "copy").replace(path)
    assert find_corrupt(tmp_path / "other") == [path]


def _never(path: Path, task: object) -> None:
    raise AssertionError("made again")


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    save_file({"weight": torch.ones(64, 64).numpy()}, path / "model.safetensors")
    torch.save({"moments": torch.ones(64, 64)}, path / "optimizer.pt")
    write_text(path / "trainer_state.json", "{}")
    return path


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json"])
def test_a_truncated_checkpoint_is_passed_over(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    older, newer = checkpoint(tmp_path, 9), checkpoint(tmp_path, 10)
    assert last_checkpoint(tmp_path) == newer
    os.truncate(newer / name, (newer / name).stat().st_size // 2)
    assert last_checkpoint(tmp_path) == older
    assert not newer.exists()
    assert ("is damaged" in caplog.text) == (name != "trainer_state.json")  # that one is written last
    flip(older / "optimizer.pt", 8 * 10_000)
    assert last_checkpoint(tmp_path) is None


# A kill between any two steps of the bookkeeping

KILLED_AT = """
import os, sys
os.fsync = lambda descriptor: None  # takes time, and is for power cuts
from pathlib import Path
from lingualign.pipeline.files import write_json, write_text
from lingualign.pipeline.folder import Chunk, Stage, open_run_folder, split_chunks
from lingualign.pipeline.progress import Silent
from lingualign.records import REFERENCE_LOGPS

CHUNKS = split_chunks(["en", "sw"], n_prompts=2, size=2)
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}

def compute(chunks, progress):
    for chunk in chunks:
        yield chunk, [{"id": chunk.filename, "ref_chosen_logps": 1.0, "ref_rejected_logps": 2.0}]

def make(path, task):
    write_json(path.with_name("training.json"), {"steps": 3})
    scratch = path.with_name("checkpoints")
    write_text(scratch / "state", "half way")
    write_text(path.with_name(".model.tmp") / "weights", "all of them")
    write_text(path.with_name(".model.tmp") / "config.json", "{}")
    path.with_name(".model.tmp").rename(path)

def run(folder):
    with open_run_folder(folder, "seed: 0", 0, {}, Silent()) as opened:
        opened.chunks(Stage("iteration-1/responses", {"policy": "a"}), CHUNKS, REFERENCE_LOGPS, compute)
        opened.file(Stage("iteration-1/model", {"policy": "b"}), "iteration-1/model", make,
                    scratch="iteration-1/checkpoints", companion="iteration-1/training.json")

def child(folder, killed_at):
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = killed_at
    def count(event, arguments):
        nonlocal left
        if event in OPERATIONS and str(folder) in str(arguments[0]):
            left -= 1
            if left == 0:
                os._exit(9)
    sys.addaudithook(count)
    try:
        run(folder)
    except BaseException as error:
        print(repr(error), flush=True)
        os._exit(1)
    os._exit(0)

def content(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    skip = {"manifest.json", ".manifest.copy", ".lock"}
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if path.name not in skip}

work = Path(sys.argv[1])
run(work / "0")  # in this process: what it imports, its children need not
killed_at, expected = 1, content(work / "0")
while (status := child(work / str(killed_at), killed_at)) == 9:
    assert child(work / str(killed_at), 0) == 0, killed_at
    assert content(work / str(killed_at)) == expected, killed_at
    killed_at += 1
assert status == 0
print(killed_at - 1, len(expected))
"""


def test_a_kill_before_any_file_operation_is_resumed_to_the_same_files(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kills, files = map(int, done.stdout.split())
    assert files == 6  # the configuration, two parts, the model's two, its log
    assert kills > 5 * files
    for number in range(kills + 1):
        assert find_corrupt(tmp_path / str(number)) == []


# A disk that is full, or may not be written


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writing beyond so many bytes of a file fails, in any library: EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("save_steps", [1, 100])  # a checkpoint does not fit, or the model
def test_weights_that_cannot_be_written(finished: Path, copied: Path, save_steps: int) -> None:
    undo(copied, "iteration-1/model", "iteration-1/training.json")
    arguments = ["align", copied / "config.yaml", f"output={copied}", f"training.save_steps={save_steps}"]
    with file_size_limit(200_000):
        result = call(*arguments)
    assert result.exit_code == 2, result.output
    assert f"{copied / 'iteration-1/model'} cannot be written: " in result.stderr
    assert "GB are free there" in result.stderr
    assert "Make room" in result.stderr
    assert not list(copied.rglob(".*.tmp"))
    resume(copied)
    assert artefacts(copied) == artefacts(finished)


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("part-de-000003.parquet", ["iteration-1/responses"]),
        ("part-en-000004.parquet", ["iteration-1/scores"]),
        ("health.json", ["iteration-1/health.json"]),
        ("pairs.parquet", ["iteration-1/pairs.parquet", "iteration-1/pairs.json"]),
        ("reference.parquet", ["iteration-1/reference.parquet"]),
        ("manifest.json", ["iteration-1/reference.parquet"]),
        ("measures.json", ["measures.json"]),
    ],
)
def test_a_file_that_does_not_fit_on_the_disk(
    finished: Path, copied: Path, name: str, gone: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    undo(copied, *gone)
    replace, fits = Path.replace, [name == "manifest.json"]  # the first one fits, the start's

    def full(path: Path, target: Path) -> Path:
        if target.name == name and not (fits and fits.pop()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        result = call("align", copied / "config.yaml", f"output={copied}")
    assert result.exit_code == 2, result.output
    assert f"/{name} cannot be written: No space left on device (" in result.stderr
    assert not list(copied.rglob(".*.tmp"))
    resume(copied)
    assert artefacts(copied) == artefacts(finished)


FULL_DISK = "mount -t tmpfs -o size={size} tmpfs {place} && cp -r {run}/. {place}/run && {command}"


def test_a_disk_that_is_really_full(copied: Path, tmp_path: Path) -> None:
    undo(copied, "iteration-1/model", "iteration-1/training.json")
    (tmp_path / "disk").mkdir()
    own_mounts = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    probe = f"mount -t tmpfs -o size=1m tmpfs {tmp_path / 'disk'}"
    if subprocess.run([*own_mounts, probe], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    size = sum(-(-path.stat().st_size // 4096) * 4096 for path in copied.rglob("*") if path.is_file())
    script = "from lingualign.cli import main; main()"
    command = f"{sys.executable} -c '{script}' align {copied}/config.yaml output={tmp_path}/disk/run; "
    command += f"status=$?; find {tmp_path}/disk -name '.*.tmp'; exit $status"
    full = FULL_DISK.format(size=size + 500_000, place=tmp_path / "disk", run=copied, command=command)
    done = subprocess.run([*own_mounts, full], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"{tmp_path}/disk/run/iteration-1/model cannot be written: " in done.stderr
    assert "Traceback" not in done.stderr
    assert ".tmp" not in done.stdout


def test_a_folder_that_may_not_be_written_is_told_before_anything_is_computed(
    small: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(tempfile.mkdtemp())  # not under tmp_path: that is closed to others
    folder.chmod(0o555)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)  # nobody: root may write anywhere
        for refuses in (lambda: check_disk(folder / "run", 0), lambda: RunLock(folder / "run").__enter__()):
            with pytest.raises(InputError, match="Permission denied"):
                refuses()
    finally:
        if root:
            os.seteuid(0)
        folder.rmdir()

    def read_only(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/somewhere/tmpx")

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    result = call("align", "icr", *small, f"output={folder}")
    assert result.exit_code == 2
    assert f"error: {folder}: Read-only file system.\n" in result.stderr
    assert not folder.exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed writing file"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 248768 vs 248660"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
        shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")]),
    ],
)
def test_every_librarys_words_for_a_full_disk_are_known(tmp_path: Path, error: Exception) -> None:
    explained = explain(error, tmp_path / "model")
    assert explained is not None
    assert explained.message.startswith(f"{tmp_path / 'model'} cannot be written: ")
    assert "GB are free there" in explained.message


def test_other_errors_are_left_alone(tmp_path: Path) -> None:
    assert explain(ValueError("no space")) is None
    assert explain(ConnectionResetError(errno.ECONNRESET, "reset")) is None
    with pytest.raises(InputError, match="x cannot be written: Input/output error"), writing(tmp_path / "x"):
        raise OSError(errno.EIO, "Input/output error", "x.tmp")


# No memory


@contextmanager
def little_memory(model: torch.nn.Module, most: int) -> Iterator[list[int]]:
    """A model that runs out of memory with more tokens in a pass; yields the sizes of those that did."""
    failed = []

    def check(module: torch.nn.Module, _: object, inputs: Mapping[str, Any]) -> None:
        tokens = inputs["input_ids"].numel()
        if tokens > most:
            failed.append(tokens)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nAnd more.")

    handle = model.register_forward_pre_hook(check, with_kwargs=True)
    try:
        yield failed
    finally:
        handle.remove()


def sequences() -> list[ScoredSequence]:
    draw = random.Random(1)
    rows = [([draw.randrange(3, 90) for _ in range(5 + n % 4)], range(3, 6 + n)) for n in range(30)]
    return [ScoredSequence(prompt, list(response)) for prompt, response in rows]


@pytest.mark.parametrize("packs", [True, False])
def test_scoring_goes_on_with_less_memory(
    load_family: LoadFamily, packs: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, rows = copy.deepcopy(load_family("llama")), sequences()
    monkeypatch.setattr(engine, "can_pack", lambda *_: packs)
    expected = sequence_logprobs(model, rows, 4096)
    with little_memory(model, 100) as failed:
        found = sequence_logprobs(model, rows, 4096)
        first = len(failed)
        assert sequence_logprobs(model, rows, 4096) == pytest.approx(found, abs=1e-4)
    assert found == pytest.approx(expected, abs=1e-4)
    assert 0 < first <= 4
    assert len(failed) == first  # what was learned is kept
    assert caplog.text.count("scoring goes on with reward.batch_tokens=") == first
    with little_memory(model, 10), pytest.raises(InputError, match="scoring a single response") as told:
        sequence_logprobs(model, rows[-1:], 4096)
    assert "And more" not in str(told.value)


def test_sampling_goes_on_with_less_memory(
    load_family: LoadFamily, family_folder: FamilyFolder, caplog: pytest.LogCaptureFixture
) -> None:
    from lingualign.models import load_tokenizer

    model, chat = load_family("llama"), ChatFormat(load_tokenizer(family_folder("llama", 0)))
    prompts = [
        Prompt(id=str(n), language="en", messages=[{"role": "user", "content": "Why? " * (1 + n % 5)}])
        for n in range(12)
    ]

    def sample(sampler: TransformersSampler) -> list[list[str]]:
        found = sampler.sample(prompts, n=3, temperature=1.0, max_new_tokens=8, seed=0)
        return [[response["text"] for response in responses] for responses in found]

    expected = sample(TransformersSampler(model, chat))
    longest = max(len(chat.prompt_ids(prompt.messages)) for prompt in prompts)
    with little_memory(model, 2 * longest) as failed:
        sampler = TransformersSampler(model, chat)
        assert sample(sampler) == expected
        first = len(failed)
        assert sample(sampler) == expected
    assert 0 < first <= 4
    assert len(failed) == first
    assert caplog.text.count("sampling goes on with sampling.batch_tokens=") == first
    with little_memory(model, 5), pytest.raises(InputError, match="sampling a single response"):
        sample(TransformersSampler(model, chat))


def test_training_without_memory_names_the_settings(
    finished: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undo(copied, "iteration-1/model")

    def no_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with monkeypatch.context() as patch:
        patch.setattr("lingualign.training.trainer.PreferenceTrainer.compute_loss", no_memory)
        result = call("align", copied / "config.yaml", f"output={copied}")
    assert result.exit_code == 2, result.output
    assert "iteration-1/model: out of memory (CUDA out of memory.)" in result.stderr
    assert "training.micro_batch_pairs" in result.stderr
    assert "training.gradient_checkpointing" in result.stderr
    resume(copied)
    assert artefacts(copied) == artefacts(finished)


# A clock that jumps


def test_jumps_of_the_clock_change_nothing(
    finished: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undo(copied, "iteration-1/reference.parquet", "iteration-1/responses/part-de-000003.parquet")
    year, wall = 366 * 24 * 3600, time.time
    jumps = cycle([year, -year])

    def jumping() -> float:
        return wall() + next(jumps)

    future = wall() + year
    for path in copied.rglob("*"):
        os.utime(path, (future, future))
    kept = {path: path.stat().st_ino for path in copied.rglob("*.parquet")}
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", jumping)
        patch.setattr("lingualign.pipeline.folder.now", lambda: str(datetime.fromtimestamp(jumping(), UTC)))
        resume(copied)
    assert artefacts(copied) == artefacts(finished)
    assert all(path.stat().st_ino == number for path, number in kept.items())
    records = Manifest.read(copied / "manifest.json").stages
    assert all(record.status == "done" and record.seconds >= 0 for record in records.values())


@given(st.lists(st.tuples(st.floats(-1e7, 1e7), st.integers(0, 100)), min_size=1, max_size=30))
def test_the_time_that_is_left_is_never_negative(moments: list[tuple[float, int]]) -> None:
    state = RunState({"iteration-1/responses": None, "iteration-2/responses": 5.0}, moments[0][0])
    stage = state.begin("iteration-1/responses", 100, "prompts", 0, moments[0][0])
    for now, done in moments:
        stage.progress(done, None, "", now)
        assert state.left(now)[0] >= 0


# Ctrl-C, SIGTERM, and two runs at once


class Interrupting(Silent):
    """A reporter that gets the process a signal when a stage begins that has not begun before."""

    def __init__(self, how: signal.Signals, begun: set[str]) -> None:
        self._how, self._begun = how, begun

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "chunks", done: int = 0) -> Iterator[Any]:
        with super().stage(name, total, unit, done) as task:
            if name not in self._begun:
                self._begun.add(name)
                signal.raise_signal(self._how)
            yield task


def test_a_signal_in_every_stage_ends_the_run_cleanly(
    finished: Path, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {how: signal.getsignal(how) for how in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)
    output, begun, ends = tmp_path / "run", set[str](), []
    arguments = ["align", "icr", *small, f"output={output}"]
    ways = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}
    try:
        while True:
            how = list(ways)[len(ends) % 2]
            monkeypatch.setattr("lingualign.cli.align.make_reporter", lambda _, h=how: Interrupting(h, begun))
            result = call(*arguments)
            ends.append(result.exit_code)
            if result.exit_code == 0:
                break
            assert (result.exit_code, result.stderr) == (
                ways[how][0],
                f"\n{ways[how][1]}; run the same command to resume\n",
            )
            assert not list(output.rglob(".*.tmp"))
            with RunLock(output):  # nobody holds it
                pass
    finally:
        for how, handler in before.items():
            signal.signal(how, handler)
    assert len(ends) == len(Manifest.read(output / "manifest.json").stages) + 1
    assert artefacts(output) == artefacts(finished)


def test_sigterm_ends_a_process_and_meanwhile_no_other_gets_the_folder(
    small: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "run"
    arguments = ["align", "icr", *small, f"output={output}"]
    command = [sys.executable, "-c", "from lingualign.cli import main; main()", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        while not any(output.glob("measures/iteration-0/sampled/part-*.parquet")):
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGSTOP)
        second = call(*arguments)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=300)
    assert second.exit_code == 2
    assert f"another run is writing into this folder (process {process.pid} on " in second.stderr
    assert process.returncode == 143, stderr
    assert stderr.endswith("terminated; run the same command to resume\n")
    assert find_corrupt(output) == []
    assert not (output / "measures.json").exists()
