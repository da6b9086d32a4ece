"""Sampling by servers: each response once, whatever becomes of the servers or of the process that asks."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from chat_server import FakeServer, Reply, completion
from lingualign.cli.app import main
from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.lab.prompts import prompts as lab_prompts
from lingualign.lab.prompts import tasks
from lingualign.lab.responses import draw_response
from lingualign.models import load_tokenizer, resolve_spec
from lingualign.pipeline.files import read_json
from lingualign.pipeline.progress import Silent
from lingualign.pipeline.run import align
from lingualign.pipeline.sampling import server_sampler
from lingualign.pipeline.single import sample
from lingualign.pipeline.tables import read_responses
from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import Response
from lingualign.sampling import ServerSampler
from lingualign.sampling.base import request_seed
from lingualign.sampling.server import TOLD_AFTER, Batch
from lingualign.servers import ServerPool, Unanswered, request_key
from lingualign.servers import pool as pool_module
from lingualign.settings import load_config

LANGUAGES = ["en", "de", "es", "sw", "zh"]
ASKED = {
    task.prompt(language): (task, language)
    for split in ("train", "heldout")
    for task in islice(tasks(split), 40)
    for language in LANGUAGES
}
WANTED = 12 * 5 * 4  # prompts, languages, responses: what `small` samples
MODEL = str(resolve_spec("lab:aligned"))
Identity = tuple[str, str, int]


def from_lab(body: dict[str, Any]) -> Reply:
    """An answer of the lab's, drawn with the seed of the request."""
    task, language = ASKED[body["messages"][-1]["content"]]
    return completion(draw_response(task, language, random.Random(body["seed"])))


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], FakeServer]]:
    """Makes servers that answer from the lab. Waits are short."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(pool_module, "growing_wait", lambda backoff, times: min(0.005 * 2**times, 0.1))
    made: list[FakeServer] = []

    def make() -> FakeServer:
        made.append(FakeServer())
        made[-1].respond = from_lab
        return made[-1]

    yield make
    for fake in made:
        if not fake.dead:
            fake.close()


def small(*fakes: FakeServer, **settings: Any) -> RunConfig:
    """A run whose policy is behind servers."""
    urls = ",".join(fake.url for fake in fakes)
    chosen = {
        "data.limit": 12,
        "sampling.n": 4,
        "sampling.chunk_prompts": 4,
        "sampling.backend": "server",
        "sampling.server.urls": urls,
        "sampling.server.concurrency": 6,
        "sampling.server.timeout": 5,
    } | settings
    return load_config("icr", [f"{key}={value}" for key, value in chosen.items()])


def sampled(config: RunConfig, output: Path, reporter: Any = None) -> list[Response]:
    return read_responses(sample(config, output, reporter or Silent()))


def identities(responses: list[Response]) -> list[Identity]:
    return sorted((row["language"], row["prompt_id"], row["index"]) for row in responses)


def expected() -> list[Identity]:
    ids = [task.id for task in islice(tasks("train"), 12)]
    return sorted((code, prompt_id, index) for code in LANGUAGES for prompt_id in ids for index in range(4))


def keys(bodies: list[dict[str, Any]]) -> list[str]:
    return [request_key(body) for body in bodies]


def kept_answers(output: Path) -> list[str]:
    """Keys of the answers that are on the disk and in no part yet; a torn last line is none."""
    files = output.glob("responses.answers/*.jsonl")
    return [json.loads(line)["key"] for path in files for line in path.read_text().split("\n")[:-1]]


class Told(Silent):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


# --- what is asked, and what becomes of the answers --------------------------------------------------------


def test_a_request_has_the_settings_and_a_seed_of_its_own(
    fakes: Callable[[], FakeServer], tmp_path: Path
) -> None:
    fake = fakes()
    config = small(fake, **{"sampling.server.extra": "{top_k: 7}", "sampling.top_p": 0.9})
    responses = sampled(config, tmp_path / "run")
    assert identities(responses) == expected()
    bodies = [body for body, _ in fake.requests]
    assert {(b["n"], b["max_tokens"], b["temperature"], b["top_p"], b["top_k"]) for b in bodies} == {
        (1, 96, 0.8, 0.9, 7)
    }
    assert {body["model"] for body in bodies} == {MODEL}
    seeds = [body["seed"] for body in bodies]
    assert len(set(seeds)) == len(seeds) == WANTED and all(0 <= seed < 2**31 for seed in seeds)
    assert all(row["finish_reason"] == "stop" for row in responses)
    chat = ChatFormat(load_tokenizer("lab:aligned"))
    assert all(row["num_tokens"] == len(chat.response_ids(row["text"], False)) for row in responses)
    assert not (tmp_path / "run/responses.answers").exists()


def test_a_seed_depends_on_the_response_and_on_nothing_else() -> None:
    prompts = [Prompt(name, code, ()) for name in ("a", "b") for code in ("en", "de")]
    seeds = [request_seed(seed, prompt, i) for seed in (0, 1) for prompt in prompts for i in range(8)]
    assert len(set(seeds)) == len(seeds)
    assert request_seed(1, Prompt("a", "en", ({"role": "user", "content": "x"},)), 0) == seeds[32]


def test_which_server_answers_makes_no_difference(fakes: Callable[[], FakeServer], tmp_path: Path) -> None:
    one = sampled(small(fakes()), tmp_path / "one")
    many = [fakes() for _ in range(3)]
    many[1].respond = stumbling(random.Random(0), 0.3)
    assert sampled(small(*many), tmp_path / "many") == one
    assert all(fake.requests for fake in many)


def test_progress_counts_prompts_up_to_all(fakes: Callable[[], FakeServer], tmp_path: Path) -> None:
    seen: list[int] = []

    class Task:
        def update(self, done: int, total: int | None = None, detail: str = "") -> None:
            seen.append(done)

    class Counting(Silent):
        def stage(self, *_: Any, **__: Any) -> Any:
            return nullcontext(Task())

    sampled(small(fakes()), tmp_path / "run", Counting())
    assert seen == sorted(seen) and seen[-1] == 60 and len(set(seen)) > 30


def test_cut_refused_and_filtered_responses_are_recorded_and_counted(
    fakes: Callable[[], FakeServer], tmp_path: Path
) -> None:
    fake = fakes()
    told = Told()

    def respond(body: dict[str, Any]) -> Reply:
        language = ASKED[body["messages"][-1]["content"]][1]
        if language == "de":
            return completion("half of an", finish="length")
        if language == "sw":
            return Reply(400, b"longer than the context")
        return completion("half of", finish="content_filter") if language == "zh" else from_lab(body)

    fake.respond = respond
    responses = sampled(small(fake), tmp_path / "run", told)
    assert identities(responses) == expected()
    found = {
        code: {(r["text"], r["finish_reason"]) for r in responses if r["language"] == code}
        for code in LANGUAGES
    }
    assert found["de"] == {("half of an", "length")}
    assert found["sw"] == found["zh"] == {("", "length")}
    assert {reason for _, reason in found["en"]} == {"stop"}
    (warning,) = told.warnings
    assert "96 responses were refused" in warning  # 2 languages, 12 prompts, 4 responses


@pytest.mark.parametrize("concurrency", [3, 6])  # all that is under way is of that prompt, or half of it
def test_a_prompt_that_fails_everywhere_does_not_hold_up_the_others(
    fakes: Callable[[], FakeServer], tmp_path: Path, concurrency: int
) -> None:
    """One that a server's code stumbles over, say."""
    fake, told = fakes(), Told()
    poison = next(iter(islice(tasks("train"), 12))).prompt("de")
    fake.respond = lambda body: (
        Reply(500, b"crash") if body["messages"][-1]["content"] == poison else from_lab(body)
    )
    config = small(fake, **{"sampling.server.concurrency": concurrency, "sampling.server.retries": 3})
    responses = sampled(config, tmp_path / "run", told)
    assert identities(responses) == expected()
    assert sum(row["text"] == "" for row in responses) == 4 and "4 responses" in told.warnings[0]


def test_a_server_that_does_not_sample_is_told_of(fakes: Callable[[], FakeServer], tmp_path: Path) -> None:
    fake, told = fakes(), Told()
    fake.respond = lambda body: from_lab(body | {"seed": 0})
    sampled(small(fake), tmp_path / "run", told)
    (note,) = told.notes
    assert f"all the same, to {TOLD_AFTER} prompts" in note


# --- servers that fail -------------------------------------------------------------------------------------


def stumbling(rng: random.Random, share: float) -> Callable[[dict[str, Any]], Reply]:
    """A server that fails a share of the requests, in every way there is."""
    lock = threading.Lock()

    def respond(body: dict[str, Any]) -> Reply:
        good = from_lab(body)
        with lock:
            if rng.random() >= share:
                return good
            return rng.choice(
                [
                    Reply(500, b"oops"),
                    Reply(503, b"busy", {"Retry-After": "0.01"}),
                    Reply(429, b"slow down", {"Retry-After": "0.01"}),
                    Reply(200, b"<html>garbage"),
                    good._replace(cut=True),
                    good._replace(delay=1.5),  # longer than the time-out
                    completion("half", finish="abort"),
                ]
            )

    return respond


def test_one_server_fails_at_random_and_the_other_dies_midway(
    fakes: Callable[[], FakeServer], tmp_path: Path
) -> None:
    flaky, dying = fakes(), fakes()
    flaky.respond = stumbling(random.Random(1), 0.2)

    def respond(body: dict[str, Any]) -> Reply:
        if len(dying.requests) == WANTED // 4:
            threading.Thread(target=dying.kill).start()
        return from_lab(body)

    dying.respond = respond
    config = small(flaky, dying, **{"sampling.server.timeout": 1})
    responses = sampled(config, tmp_path / "run")
    assert identities(responses) == expected()
    assert all(row["finish_reason"] == "stop" for row in responses)
    answered = Counter(keys(flaky.answered) + keys(dying.answered))
    asked = keys([body for fake in (flaky, dying) for body, _ in fake.requests])
    assert len(set(asked)) == WANTED and dying.dead and len(asked) > WANTED
    # An answer that reached us is asked for no more: what was sent twice was late, aborted or garbage.
    good = {key for key, times in answered.items() if times == 1}
    assert len(good) > WANTED * 0.9
    lone = sampled(small(fakes()), tmp_path / "lone")
    assert lone == responses


def test_a_server_that_comes_back_is_asked_again(fakes: Callable[[], FakeServer], tmp_path: Path) -> None:
    steady, other, told = fakes(), fakes(), Told()
    steady.respond = lambda body: from_lab(body)._replace(delay=0.01)
    other.respond = lambda body: Reply(401, b"no") if len(other.requests) < 3 else from_lab(body)
    pool_module_wait = pool_module.LONGEST_WAIT
    pool_module.LONGEST_WAIT = 0.05
    try:
        assert identities(sampled(small(steady, other), tmp_path / "run", told)) == expected()
    finally:
        pool_module.LONGEST_WAIT = pool_module_wait
    assert len(other.answered) > 3
    assert any("is tried again later: 401" in note for note in told.notes)
    assert any("answers again" in note for note in told.notes)


def test_requests_are_dealt_over_the_servers_within_their_limits(
    fakes: Callable[[], FakeServer], tmp_path: Path
) -> None:
    servers = [fakes() for _ in range(3)]
    for fake in servers:
        fake.models = [{"id": MODEL}]
        fake.respond = lambda body: from_lab(body)._replace(delay=0.02)
    sampled(small(*servers, **{"sampling.server.concurrency": 3}), tmp_path / "run")
    assert [fake.busiest for fake in servers] == [3, 3, 3]
    assert all(WANTED / 5 < len(fake.requests) < WANTED / 2 for fake in servers)


def test_all_servers_down_is_one_error_and_the_command_resumes(
    fakes: Callable[[], FakeServer], tmp_path: Path
) -> None:
    fake, gone = fakes(), fakes()
    gone.close()
    gone.dead = True
    config = small(fake, gone, **{"sampling.server.retries": 1})
    fake.respond = lambda body: from_lab(body) if len(fake.requests) < 60 else Reply(500, b"oops")
    with pytest.raises(InputError) as caught:
        sampled(config, tmp_path / "run")
    assert fake.url in caught.value.message and gone.url in caught.value.message
    assert "500" in caught.value.message and "refused" in caught.value.message
    assert "the same command again: it resumes" in caught.value.remedy
    before, fake.respond = len(fake.answered), from_lab
    assert identities(sampled(config, tmp_path / "run")) == expected()
    assert len(fake.answered) == WANTED and len(set(keys(fake.answered))) == WANTED and before < WANTED


def test_servers_that_are_not_there_end_the_command_with_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    settings = ["sampling.backend=server", "sampling.server.urls=http://127.0.0.1:9/v1"]
    settings += ["sampling.server.retries=0", "data.limit=2"]
    monkeypatch.setattr(sys, "argv", ["lingualign", "sample", *settings, "--output", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capfd.readouterr().err
    assert ended.value.code == 2
    assert "error: No server answers:\n  http://127.0.0.1:9/v1:" in told and "Traceback" not in told


# --- the model at the servers ------------------------------------------------------------------------------


def test_a_model_that_is_not_served_is_named_with_how_to_serve_it(
    fakes: Callable[[], FakeServer], tmp_path: Path
) -> None:
    fake = fakes()
    fake.models = [{"id": "other"}, {"id": "another"}]
    fake.respond = lambda body: Reply(404, b'{"message": "The model does not exist."}')
    with pytest.raises(InputError) as caught:
        sampled(small(fake, **{"sampling.server.model": "mine-{iteration}"}), tmp_path / "run")
    assert "mine-0 is not served there, but other, another" in caught.value.message
    assert f"`vllm serve {MODEL} --served-model-name mine-0`; then run" in caught.value.remedy
    assert len(fake.requests) == 1


def test_a_server_that_is_pinned_to_another_model_answers_nothing(
    fakes: Callable[[], FakeServer], tmp_path: Path
) -> None:
    """As `transformers serve MODEL` does, whose list is of other things."""
    fake = fakes()
    fake.models = []
    fake.respond = lambda body: Reply(400, b"Server is pinned to 'other'")
    with pytest.raises(InputError, match="pinned to 'other'"):
        sampled(small(fake, **{"sampling.server.retries": 1}), tmp_path / "run")
    assert kept_answers(tmp_path / "run") == []


def test_a_server_that_loads_what_it_does_not_name_is_no_error(
    fakes: Callable[[], FakeServer], tmp_path: Path
) -> None:
    """As `transformers serve` does, which names what is in a cache."""
    fake, silent, told = fakes(), fakes(), Told()
    fake.models, silent.models = [{"id": "cached/model"}], []
    assert identities(sampled(small(fake, silent), tmp_path / "run", told)) == expected()
    assert told.warnings == []
    (note,) = told.notes
    assert "does not name" in note and "cached/model" in note


def test_a_refusal_before_any_answer_is_asked_about_elsewhere(
    fakes: Callable[[], FakeServer], tmp_path: Path
) -> None:
    pinned, good = fakes(), fakes()
    pinned.respond = lambda body: Reply(400, b"pinned to another")
    responses = sampled(small(pinned, good), tmp_path / "run")
    assert identities(responses) == expected() and all(row["finish_reason"] == "stop" for row in responses)
    assert len(pinned.requests) < 30


def adapter(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    config = {"base_model_name_or_path": "lab:aligned", "r": 8, "peft_type": "LORA"}
    (path / "adapter_config.json").write_text(json.dumps(config))
    return path


def ask_one(config: RunConfig, policy: Path) -> list[list[Response]]:
    sampler = server_sampler(config, policy, 1, ChatFormat(load_tokenizer("lab:aligned")))
    asked = lab_prompts("train", 1, ["en"]).by_language["en"]
    return sampler.sample(asked, n=2, temperature=1.0, max_new_tokens=9, seed=0)


def test_an_adapter_is_loaded_once_at_every_server(fakes: Callable[[], FakeServer], tmp_path: Path) -> None:
    fake, policy = fakes(), adapter(tmp_path, "first")
    fake.models = [{"id": MODEL}]

    def load(path: str, body: dict[str, Any]) -> Reply:
        assert path == "/v1/load_lora_adapter" and fake.models is not None
        fake.models.append({"id": body["lora_name"], "root": body["lora_path"], "parent": MODEL})
        return Reply(200, b"Success: LoRA adapter added successfully.")

    fake.post = load
    config = small(fake, **{"sampling.server.load_adapters": True})
    for _ in range(2):
        assert len(ask_one(config, policy)[0]) == 2
    assert fake.posts == [("/v1/load_lora_adapter", {"lora_name": str(policy), "lora_path": str(policy)})]
    assert {body["model"] for body, _ in fake.requests} == {str(policy)}
    assert ask_one(config, Path(MODEL)) and len(fake.posts) == 1  # the base is no adapter


def test_an_adapter_that_cannot_be_loaded_is_an_error_that_says_why(
    fakes: Callable[[], FakeServer], tmp_path: Path
) -> None:
    fake, policy = fakes(), adapter(tmp_path, "first")
    fake.models = [{"id": MODEL}, {"id": "lora-1", "root": "/elsewhere"}]
    settings = {"sampling.server.load_adapters": True}
    with pytest.raises(InputError, match="404") as caught:
        ask_one(small(fake, **settings), policy)
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True vllm serve" in caught.value.remedy
    with pytest.raises(InputError, match="another adapter under the name lora-1, from /elsewhere"):
        ask_one(small(fake, **settings, **{"sampling.server.model": "lora-{iteration}"}), policy)
    fake.respond = lambda body: Reply(404, b"no such model")
    with pytest.raises(InputError) as caught:
        ask_one(small(fake), policy)
    assert f"--enable-lora --lora-modules {policy}={policy}" in caught.value.remedy


# --- processes that end ------------------------------------------------------------------------------------


def test_a_process_that_is_killed_costs_only_what_is_under_way(
    fakes: Callable[[], FakeServer], tmp_path: Path
) -> None:
    fake, output = fakes(), tmp_path / "run"
    fake.respond = lambda body: from_lab(body)._replace(delay=0.02)
    config = small(fake)
    settings = ["data.limit=12", "sampling.n=4", "sampling.chunk_prompts=4", "sampling.backend=server"]
    settings += [f"sampling.server.urls={fake.url}", "sampling.server.concurrency=6"]
    code = "from lingualign.cli import main; main()"
    command = [sys.executable, "-c", code, "sample", *settings, "--output", str(output)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        while len(fake.requests) < WANTED // 2:
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(0.1)  # what was under way is answered, to nobody
    first = len(fake.requests)
    parts, kept = read_responses(output / "responses"), set(kept_answers(output))
    for path in output.glob("responses.answers/*.jsonl"):
        with path.open("ab") as handle:
            handle.write(b'{"key": "torn')  # what a kill in the middle of a write would leave
    had = len(parts) + len(kept - written(output, parts))
    assert parts and kept and 0 <= first - had <= 6  # as many as are under way at a time

    responses = sampled(config, output)
    assert identities(responses) == expected()
    second = keys([body for body, _ in fake.requests[first:]])
    assert kept.isdisjoint(second) and len(second) == WANTED - had
    assert not (output / "responses.answers").exists()
    assert responses == sampled(small(fakes()), tmp_path / "undisturbed")


def test_an_interruption_loses_no_answer(fakes: Callable[[], FakeServer], tmp_path: Path) -> None:
    fake, output = fakes(), tmp_path / "run"
    fake.respond = lambda body: from_lab(body)._replace(delay=0.01)

    class Interrupting(Silent):
        def stage(self, *_: Any, **__: Any) -> Any:
            return nullcontext(self)

        def update(self, done: int, total: int | None = None, detail: str = "") -> None:
            if done == 20:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sampled(small(fake), output, Interrupting())
    assert WANTED // 4 < len(fake.requests) < WANTED
    assert identities(sampled(small(fake), output)) == expected()
    assert len(fake.requests) == WANTED


def written(output: Path, parts: list[Response]) -> set[str]:
    """Keys of answers whose part was written and whose file was still there: none, or those of one part."""
    asked = {(row["prompt_id"], row["language"]) for row in parts}
    names = {f"{language}/{prompt_id}/{index}" for prompt_id, language in asked for index in range(4)}
    lines = [
        json.loads(line)
        for path in output.glob("responses.answers/*.jsonl")
        for line in path.read_text().split("\n")[:-1]
    ]
    return {row["key"] for row in lines if row["name"] in names}


def test_another_name_or_field_is_refused_and_another_address_is_not(
    fakes: Callable[[], FakeServer], tmp_path: Path
) -> None:
    sampled(small(fakes()), tmp_path / "run")
    other = fakes()
    sampled(small(other, **{"sampling.server.concurrency": 2}), tmp_path / "run")
    assert other.requests == []
    for settings in ({"sampling.server.model": "x"}, {"sampling.server.extra": "{top_k: 1}"}):
        with pytest.raises(InputError, match=next(iter(settings)).replace(".", r"\.")):
            sampled(small(other, **settings), tmp_path / "run")


def test_answers_of_a_complete_part_are_neither_on_the_disk_nor_in_memory(
    fakes: Callable[[], FakeServer], tmp_path: Path
) -> None:
    fake = fakes()
    pool = ServerPool([fake.url], MODEL, concurrency=4)
    sampler = ServerSampler(pool, ChatFormat(load_tokenizer("lab:aligned")))
    asked = lab_prompts("train", 30, ["en"]).by_language["en"]
    taken = []

    def batches() -> Iterator[Batch]:
        for number in range(30):
            taken.append(number)
            yield Batch(asked[number : number + 1], tmp_path / f"{number}.jsonl")

    options: dict[str, Any] = {"n": 4, "temperature": 1.0, "max_new_tokens": 9, "seed": 0}
    done: list[int] = []
    with closing(sampler.sample_batches(batches(), **options)) as found:
        for number, responses in found:
            done.append(number)
            assert [row["index"] for row in responses[0]] == [0, 1, 2, 3]
            # Two items a thread are taken ahead: eight requests, of two batches or three.
            assert len(taken) - len(done) <= 3
            assert len(list(tmp_path.iterdir())) <= 4
    assert sorted(done) == list(range(30)) and list(tmp_path.iterdir()) == []


def test_millions_of_items_are_not_taken_at_once(fakes: Callable[[], FakeServer]) -> None:
    pool = ServerPool(["http://127.0.0.1:9/v1"], "m", concurrency=3)
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    with closing(pool.stream(lambda number: number * 2, items())) as stream:
        assert sorted(islice(stream, 50)) != []
    assert len(taken) <= 50 + 6


def test_a_failure_that_others_do_not_share_is_not_an_error_of_all(fakes: Callable[[], FakeServer]) -> None:
    fake = fakes()
    fake.answer, fake.respond = (
        lambda text, times: Reply(500, b"") if text == "bad" else completion(text),
        None,
    )
    pool = ServerPool([fake.url], "m", retries=2, concurrency=2)

    def ask(text: str) -> str:
        try:
            return pool.ask(pool.body([{"role": "user", "content": text}])).text
        except Unanswered as error:
            return error.message

    found = set(pool.stream(ask, ["good", "bad", *map(str, range(20))]))
    assert {"good", *map(str, range(20))} < found and any("500" in text for text in found)
    assert fake.times["bad"] == 3


# --- the key -----------------------------------------------------------------------------------------------


def test_the_key_is_sent_and_written_nowhere(
    fakes: Callable[[], FakeServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    key = "sk-secret-0123456789"
    monkeypatch.setenv("SERVER_KEY", key)
    fake, rude, told = fakes(), fakes(), Told()
    fake.models = [{"id": f"model-of-{key}"}]
    fake.respond = lambda body: completion(f"{from_lab(body).status} {key}")
    rude.respond = lambda body: Reply(403, f"no, {key}".encode())
    config = small(fake, rude, **{"sampling.server.api_key_env": "SERVER_KEY"})
    responses = sampled(config, tmp_path / "run", told)
    assert {authorization for _, authorization in fake.requests} == {f"Bearer {key}"}
    fake.respond = rude.respond
    with pytest.raises(InputError, match="403") as caught:
        sampled(config, tmp_path / "other", told)
    texts = [row["text"] for row in responses] + told.notes + [str(caught.value), *capfd.readouterr()]
    assert not any(key in text for text in texts) and "***" in str(caught.value)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(key.encode() in path.read_bytes() for path in files)


# --- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"sampling.server.model": "m-{step}"}, "sampling.server.model.*step"),
        ({"sampling.server.extra": "{seed: 1}"}, "sampling.server.extra.*seed"),
        ({"sampling.server.urls": ""}, "sampling.server.urls"),
        ({"sampling.vllm.options": "{model: x}"}, "sampling.vllm.options.*model"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], problem: str) -> None:
    chosen = {"sampling.backend": "server", "sampling.server.urls": "http://x/v1"} | settings
    with pytest.raises(InputError, match=problem):
        load_config("icr", [f"{key}={value}" for key, value in chosen.items()])


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"sampling.server.urls": "gpu:8000"}, "not the address of a server"),
        ({"sampling.server.urls": "http://me:pw@gpu/v1"}, "a password"),
        ({"sampling.server.api_key_env": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE"),
    ],
)
def test_addresses_and_keys_are_checked_before_a_run_starts(
    settings: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    chosen = {"sampling.backend": "server", "sampling.server.urls": "http://x/v1"} | settings
    config = load_config("icr", [f"{key}={value}" for key, value in chosen.items()])
    with pytest.raises(InputError, match=problem):
        align(config.model_copy(update={"output": tmp_path / "run"}))
    assert not (tmp_path / "run").exists()


# --- a whole run -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_report")
def test_a_run_whose_policies_are_served(fakes: Callable[[], FakeServer], tmp_path: Path) -> None:
    servers = [fakes(), fakes()]
    settings = {
        "data.limit": 6,
        "sampling.chunk_prompts": 3,
        "sampling.server.model": "policy-{iteration}",
        "reward.kind": "random",
        "iterations": 1,
        "measures.n": 4,
        "training.epochs": 1,
        "output": tmp_path / "run",
    }
    measures = align(small(*servers, **settings))
    run = tmp_path / "run"
    asked = Counter(body["model"] for fake in servers for body, _ in fake.requests)
    answers = 4 * 5 * 2  # held-out prompts, languages, decodings
    assert asked == {"policy-0": 6 * 5 * 4 + answers, "policy-1": answers}
    assert len(read_responses(run / "iteration-1/responses")) == 6 * 5 * 4
    assert measures == read_json(run / "measures.json") and len(measures["iterations"]) == 1
    assert not list(run.rglob("*.answers")) and (run / "iteration-1/model/config.json").is_file()
    before = sum(asked.values())
    align(small(*servers, **settings))
    assert sum(len(fake.requests) for fake in servers) == before
