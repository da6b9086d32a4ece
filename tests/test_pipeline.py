"""The run folder: skip, resume, refuse, lock; and files that a kill or a bad disk leaves behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.pipeline.files import read_json, write_json, write_text
from lingualign.pipeline.fingerprints import ModelDigests, differing_parts, digest, settings_digest
from lingualign.pipeline.folder import (
    Chunk,
    ChunkProgress,
    RunFolder,
    Stage,
    open_run_folder,
    read_parts,
    split_chunks,
)
from lingualign.pipeline.lock import RunLock
from lingualign.pipeline.manifest import Manifest
from lingualign.pipeline.progress import Silent
from lingualign.pipeline.validate import check_disk, check_run_folder, find_corrupt
from lingualign.records import RESPONSES, read_table, write_table
from lingualign.settings import dump_config

CHUNKS = split_chunks(["en", "sw"], n_prompts=5, size=2)
STAGE = Stage("iteration-1/responses", {"policy": "a", "settings": "b"})


class Killed(BaseException):
    """Stands for whatever ends a process between two chunks."""


def row(prompt_id: str, language: str = "en") -> dict[str, Any]:
    return {
        "prompt_id": prompt_id,
        "language": language,
        "index": 0,
        "text": "habari ya leo " * 20,
        "finish_reason": "stop",
        "num_tokens": 3,
    }


class Computer:
    """Computes chunks, remembers which, and dies before a given one."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.computed: list[Chunk] = []
        self.dies_at = dies_at

    def __call__(
        self, chunks: Sequence[Chunk], progress: ChunkProgress
    ) -> Iterator[tuple[Chunk, list[dict[str, Any]]]]:
        for chunk in chunks:
            if len(self.computed) == self.dies_at:
                raise Killed
            self.computed.append(chunk)
            yield chunk, [row(str(number), chunk.language) for number in range(chunk.start, chunk.stop)]


@contextmanager
def opened(folder: Path) -> Iterator[RunFolder]:
    with open_run_folder(folder, "seed: 0\n", 0, {}, Silent()) as run:
        yield run


def test_chunks_cover_every_prompt_of_every_language_once() -> None:
    covered = [(chunk.language, i) for chunk in CHUNKS for i in range(chunk.start, chunk.stop)]
    assert sorted(covered) == sorted((language, i) for language in ("en", "sw") for i in range(5))
    assert [chunk.filename for chunk in CHUNKS[:2]] == ["part-en-000000.parquet", "part-sw-000000.parquet"]


def test_a_finished_stage_is_skipped(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        run.chunks(STAGE, CHUNKS, RESPONSES, Computer())
    again = Computer()
    with opened(tmp_path) as run:
        folder = run.chunks(STAGE, CHUNKS, RESPONSES, again)
    assert again.computed == []
    assert len(read_parts(folder, RESPONSES)) == 10


@pytest.mark.parametrize("dies_at", range(len(CHUNKS)))
def test_a_killed_stage_goes_on_at_its_first_missing_chunk(tmp_path: Path, dies_at: int) -> None:
    with pytest.raises(Killed), opened(tmp_path) as run:
        run.chunks(STAGE, CHUNKS, RESPONSES, Computer(dies_at))
    assert Manifest.read(tmp_path / "manifest.json").stages[STAGE.name].status == "started"
    rest = Computer()
    with opened(tmp_path) as run:
        run.chunks(STAGE, CHUNKS, RESPONSES, rest)
    assert rest.computed == CHUNKS[dies_at:]
    assert Manifest.read(tmp_path / "manifest.json").stages[STAGE.name].status == "done"


def test_a_deleted_part_of_a_finished_stage_is_made_again(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        folder = run.chunks(STAGE, CHUNKS, RESPONSES, Computer())
    (folder / CHUNKS[3].filename).unlink()
    again = Computer()
    with opened(tmp_path) as run:
        run.chunks(STAGE, CHUNKS, RESPONSES, again)
    assert again.computed == [CHUNKS[3]]


def test_another_fingerprint_is_refused_and_named_and_nothing_is_touched(tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        folder = run.chunks(STAGE, CHUNKS, RESPONSES, Computer())
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    other = Stage(STAGE.name, {"policy": "another", "settings": "b"})
    with (
        opened(tmp_path) as run,
        pytest.raises(
            InputError, match="made by another configuration: iteration-1/responses had another policy"
        ),
    ):
        run.chunks(other, CHUNKS, RESPONSES, Computer())
    assert before == {path: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_files_that_no_manifest_vouches_for_are_not_used(tmp_path: Path) -> None:
    write_table(tmp_path / STAGE.name / CHUNKS[0].filename, [row("stranger")], RESPONSES)
    with opened(tmp_path) as run:
        folder = run.chunks(STAGE, CHUNKS, RESPONSES, Computer())
    assert "stranger" not in {found["prompt_id"] for found in read_parts(folder, RESPONSES)}


def test_a_file_stage_is_made_once(tmp_path: Path) -> None:
    made = []

    def make(path: Path, task: object) -> None:
        made.append(path)
        write_text(path, "made")

    for _ in range(2):
        with opened(tmp_path) as run:
            run.file(STAGE, "iteration-1/pairs.json", make)
    assert made == [tmp_path / "iteration-1/pairs.json"]


def test_what_was_made_just_before_the_kill_is_not_made_again(tmp_path: Path) -> None:
    def make_then_die(path: Path, task: object) -> None:
        write_text(path, "made")
        raise Killed

    with pytest.raises(Killed), opened(tmp_path) as run:
        run.file(STAGE, "model", make_then_die)
    with opened(tmp_path) as run:
        assert run.file(STAGE, "model", make_then_die).read_text() == "made"
    assert Manifest.read(tmp_path / "manifest.json").stages[STAGE.name].status == "done"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    write_json(tmp_path / "measures.json", {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "measures.json", {"a": float("nan")})
    with pytest.raises(Exception, match=r"Expected|convert"):
        write_table(tmp_path / "part.parquet", [{**row("1"), "index": "not a number"}], RESPONSES)
    assert read_json(tmp_path / "measures.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["measures.json"]


def test_leftovers_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    leftover = tmp_path / "iteration-1" / ".pairs.parquet.123.tmp"
    leftover.parent.mkdir()
    leftover.write_text("half a file")
    with opened(tmp_path):
        assert not leftover.exists()


def _hold(folder: Path, ready: Any, done: Any) -> None:
    with RunLock(folder):
        ready.set()
        done.wait(30)


def test_two_runs_cannot_write_into_one_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, ready, done))
    holder.start()
    try:
        assert ready.wait(30)
        with pytest.raises(
            InputError, match=f"another run is writing into this folder .process {holder.pid} on"
        ):
            RunLock(tmp_path).__enter__()
    finally:
        done.set()
        holder.join()
    with RunLock(tmp_path):  # free again
        pass


def test_a_killed_run_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from lingualign.pipeline.lock import RunLock\n"
        "with RunLock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    with RunLock(tmp_path):
        pass


def _damage_footer(data: bytes) -> bytes:
    return data[:-12] + b"XXXXXXXXXXXX"


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip_a_bit(data: bytes) -> bytes:
    place = data.index(b"habari") + 3
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("damage", [_damage_footer, _cut, _flip_a_bit, lambda data: b""])
def test_damaged_parts_are_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    with opened(tmp_path) as run:
        folder = run.chunks(STAGE, CHUNKS, RESPONSES, Computer())
    assert find_corrupt(tmp_path) == []
    path = folder / CHUNKS[1].filename
    path.write_bytes(damage(path.read_bytes()))
    assert find_corrupt(tmp_path) == [path]
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_table(path, RESPONSES)


def test_a_model_cut_short_is_named(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    model = tmp_path / "iteration-1" / "model"
    model.mkdir(parents=True)
    save_file({"weight": np.ones((8, 8), dtype=np.float32)}, model / "model.safetensors")
    assert find_corrupt(tmp_path) == []
    with (model / "model.safetensors").open("rb+") as handle:
        handle.truncate(100)
    assert find_corrupt(tmp_path) == [model]


def _config(folder: Path, **settings: Any) -> RunConfig:
    return RunConfig(output=folder, **settings)


def _recorded(folder: Path, **settings: Any) -> None:
    write_text(folder / "config.yaml", dump_config(_config(folder, **settings)))


def test_another_configuration_is_refused_and_the_settings_are_named(tmp_path: Path) -> None:
    _recorded(tmp_path)
    with pytest.raises(InputError) as error:
        check_run_folder(tmp_path, _config(tmp_path, seed=1, sampling={"n": 4}))
    assert "made by another configuration: seed was 0, now 1; sampling.n was 8, now 4" in error.value.message
    assert "output=" in error.value.remedy


def test_settings_of_how_and_not_what_may_change_on_resume(tmp_path: Path) -> None:
    _recorded(tmp_path)
    changed = _config(
        tmp_path, iterations=3, device="cpu", sampling={"batch_tokens": 99}, training={"micro_batch_pairs": 1}
    )
    check_run_folder(tmp_path, changed)


def test_a_lora_section_that_comes_or_goes_is_another_configuration(tmp_path: Path) -> None:
    _recorded(tmp_path)
    with pytest.raises(InputError, match=r"training\.lora"):
        check_run_folder(tmp_path, _config(tmp_path, training={"lora": {"r": 4}}))


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not a run folder"):
        check_run_folder(tmp_path, _config(tmp_path))
    with pytest.raises(InputError, match="is a file"):
        check_run_folder(tmp_path / "thesis.tex", _config(tmp_path))


def test_a_manifest_that_is_not_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"stages": 7}')
    with pytest.raises(InputError, match=r"manifest\.json: stages"):
        Manifest.read(tmp_path / "manifest.json")
    (tmp_path / "manifest.json").write_text('{"stages"')
    with pytest.raises(InputError, match="not readable as JSON"):
        Manifest.read(tmp_path / "manifest.json")


def test_too_small_a_disk_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"may need 10{9}\.0 GB"):
        check_disk(tmp_path / "runs" / "x", 10**18)
    assert list(tmp_path.iterdir()) == []
    check_disk(tmp_path / "runs" / "x", 1)


def test_digests_do_not_depend_on_the_order_of_keys_and_depend_on_everything_else() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": "1"})
    assert settings_digest(RunConfig().sampling, "batch_tokens") == settings_digest(
        RunConfig(sampling={"batch_tokens": 5}).sampling, "batch_tokens"
    )
    assert differing_parts({"a": "1", "gone": "3"}, {"a": "2", "b": "2"}) == ["a", "b", "gone"]


def test_model_digests_follow_the_content_and_read_a_file_once(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"1")
    (tmp_path / "config.json").write_text("{}")
    digests = ModelDigests()
    first = digests(tmp_path)
    (tmp_path / "README.md").write_text("about")
    assert digests(tmp_path) == first
    known = ModelDigests(digests.cache)
    stat = weights.stat()
    weights.write_bytes(b"2")
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # looks unchanged: the kept hash is used
    assert known(tmp_path) == first
    assert ModelDigests()(tmp_path) != first
