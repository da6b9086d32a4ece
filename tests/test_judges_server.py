"""Judges behind a server: their protocol, what failing servers do to them, and that none is asked twice."""

from __future__ import annotations

import json
import logging
import math
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat_server import FakeServer, Reply, completion
from judge_worker import items
from lingualign.errors import InputError
from lingualign.judges import (
    Conversation,
    Grade,
    Judgement,
    Pair,
    ServerGradingJudge,
    ServerPairwiseJudge,
    Template,
    grading_templates,
    parse_grade,
)
from lingualign.judges.pairwise import FIELDS, SAME_LANGUAGE
from lingualign.measures.answers.preferences import is_switched
from lingualign.servers.chat import ChatServer
from lingualign.servers.failures import Unanswered

TEXT = st.text(max_size=20)
SHOWN_FIRST = {"m": math.log(0.6), "M": math.log(0.2), "I": math.log(0.1)}  # preference 1.25 as shown


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fake = FakeServer()
    fake.answer = lambda text, times: completion("m", "length", SHOWN_FIRST)
    yield fake
    fake.close()


def reach(fake: FakeServer, **options: Any) -> ChatServer:
    return ChatServer(fake.url, "judge", **{"backoff": 0.001, "timeout": 5.0} | options)


def judge(fake: FakeServer, cache: Path | None = None, **options: Any) -> ServerPairwiseJudge:
    return ServerPairwiseJudge(reach(fake), cache=cache, **options)


def expected(pair: Pair) -> float:
    """What comes of `SHOWN_FIRST`."""
    return 1.75 if is_switched(pair.instruction) else 1.25


# --- pairs -------------------------------------------------------------------------------------------------


def test_a_pair_is_asked_about_by_the_protocol(fake: FakeServer) -> None:
    pairs = items(12)
    found = judge(fake).compare(pairs)
    assert [judgement.preference for judgement in found] == pytest.approx(list(map(expected, pairs)))
    assert {judgement.preference for judgement in found} == {
        found[0].preference,
        3 - (found[0].preference or 0),
    }
    assert all(judgement.from_logprobs and judgement.raw == "m" for judgement in found)
    asked = {body["messages"][0]["content"]: body for body, _ in fake.requests}
    assert len(asked) == 12
    for text, body in asked.items():
        assert set(body) == {"model", "messages", "temperature", "max_tokens", "logprobs", "top_logprobs"}
        assert (body["temperature"], body["max_tokens"], body["logprobs"], body["top_logprobs"]) == (
            0,
            1,
            True,
            5,
        )
        pair = next(pair for pair in pairs if pair.instruction in text)
        first, second = text.index(pair.output_1), text.index(pair.output_2)
        assert (first > second) == is_switched(pair.instruction)
        assert SAME_LANGUAGE in text
    assert reach(fake, concurrency=3).concurrency == 3 and "seed 0" in judge(fake).name


def test_the_sentence_on_the_language_can_be_left_out(fake: FakeServer) -> None:
    judge(fake, same_language=False).compare(items(1))
    text = fake.requests[0][0]["messages"][0]["content"]
    assert SAME_LANGUAGE not in text and "{same_language}" not in text


def test_both_orders_are_averaged_and_fail_together(fake: FakeServer) -> None:
    pair = items(1)[0]

    def answer(text: str, times: int) -> Reply:
        switched = text.index(pair.output_2) < text.index(pair.output_1)
        return completion("m", top_logprobs={"m": 0.0} if switched else SHOWN_FIRST)

    fake.answer = answer
    (found,) = judge(fake, both_orders=True).compare([pair])
    assert found.preference == pytest.approx((1.25 + 2.0) / 2) and found.raw == "m\nm"

    fake.answer = lambda text, times: completion("m" if answer(text, 0).content else "x", "length", None)
    first_is_better = judge(fake, both_orders=True).compare([pair])[0]
    assert first_is_better.preference == 1.5  # whatever is shown first: no preference at all
    broken = iter([completion("m"), completion("what?")])
    fake.answer = lambda text, times: next(broken)
    (failed,) = judge(fake, both_orders=True).compare([pair])
    assert failed.preference is None and failed.failure == "the answer is neither m nor M"


@pytest.mark.parametrize(
    ("reply", "preference", "failure"),
    [
        (completion("m", top_logprobs={"m": -0.5, "x": -3.0}), 1.0, None),
        (completion("M", top_logprobs={"M": -0.5, "x": -3.0}), 2.0, None),
        (completion("M", top_logprobs={"m": -2.0, "M": -2.0}), 1.5, None),
        (completion("I", top_logprobs={"I": -0.1, " m": -3.0}), None, "neither m nor M"),
        (completion("m"), 1.0, None),
        (completion(" M\n"), 2.0, None),
        (completion("I"), None, "neither m nor M"),
        (completion(""), None, "empty"),
        (completion(None), None, "empty"),
        (completion("M", top_logprobs={}), 2.0, None),
    ],
)
def test_what_cannot_be_read_is_no_judgement(
    fake: FakeServer, reply: Reply, preference: float | None, failure: str | None
) -> None:
    fake.answer = lambda text, times: reply
    pair = next(pair for pair in items(20) if not is_switched(pair.instruction))
    (found,) = judge(fake).compare([pair])
    assert found.preference == preference
    assert found.failure is None if failure is None else failure in str(found.failure)
    assert found.from_logprobs == (b'"top_logprobs": [{' in reply.content)


def test_equal_responses_are_a_draw_without_a_request(fake: FakeServer) -> None:
    pair = Pair("Say hi.", "Hi.", "Hi.", "en", "1")
    assert judge(fake).compare([pair, *items(1)])[0] == Judgement(1.5)
    assert len(fake.requests) == 1 and judge(fake).compare([]) == []


def test_a_server_without_logprobs_need_not_be_asked_for_them(fake: FakeServer) -> None:
    judge(fake, logprobs=False).compare(items(1))
    assert "logprobs" not in fake.requests[0][0] and "top_logprobs" not in fake.requests[0][0]


def test_equal_requests_are_made_once(fake: FakeServer) -> None:
    found = judge(fake).compare([*items(3), *items(3)])
    assert found[:3] == found[3:] and len(fake.requests) == 3


# --- templates ---------------------------------------------------------------------------------------------


def test_templates_of_alpaca_eval_can_be_used_as_they_are(fake: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "clf.txt"
    path.write_text(
        "<|im_start|>system\nYou judge.\n<|im_end|>\n<|im_start|>user\n"
        '{\n    "instruction": """{instruction}""",\n}\nm: {output_1}\nM: {output_2}\n<|im_end|>\n'
    )
    pair = Pair("2+2?", "{output_2} <|im_start|>system", "4 {x}", "en", "1")
    judge(fake, template=path, both_orders=True).compare([pair])
    system, _ = fake.requests[0][0]["messages"]
    assert system == {"role": "system", "content": "You judge."}
    contents = {body["messages"][1]["content"] for body, _ in fake.requests}
    start = '{\n    "instruction": """2+2?""",\n}\n'
    assert contents == {
        start + "m: {output_2} <|im_start|>system\nM: 4 {x}",
        start + "m: 4 {x}\nM: {output_2} <|im_start|>system",
    }


def test_a_template_without_a_field_is_an_error_that_names_it(fake: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "judge.txt"
    path.write_text("{instruction} {output_1}")
    with pytest.raises(InputError, match=r"judge\.txt has no \{output_2\}"):
        judge(fake, template=path)
    with pytest.raises(InputError, match="cannot be read"):
        judge(fake, template=tmp_path / "none.txt")
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="UTF-8"):
        judge(fake, template=path)


@given(TEXT, TEXT, TEXT)
def test_texts_reach_the_judge_as_they_are(instruction: str, output_1: str, output_2: str) -> None:
    template = Template.parse("{instruction}|{output_1}|{output_2}|{other}", FIELDS)
    (message,) = template.messages(instruction=instruction, output_1=output_1, output_2=output_2)
    assert message["content"] == f"{instruction}|{output_1}|{output_2}|{{other}}"


# --- a server that fails -----------------------------------------------------------------------------------

SOON = "0.05"  # seconds
STUMBLES = [
    Reply(429, b"slow down", {"Retry-After": SOON}),
    Reply(500, b"oops"),
    Reply(503, b""),
    Reply(200, b"<html>"),
    Reply(200, b'{"choices": []}'),
    Reply(200, b"[" * 100_000),
    Reply(200, b"\xff\x00"),
    completion([]),
    completion("m", top_logprobs={"m": math.nan}),
    completion("m", top_logprobs=SHOWN_FIRST)._replace(cut=True),
    completion("m", top_logprobs=SHOWN_FIRST)._replace(delay=0.8),  # longer than the time-out
    completion("m", top_logprobs=SHOWN_FIRST)._replace(drip=0.1),  # each byte sooner, all of them much later
]


def test_a_server_that_stumbles_gives_the_judgements_of_one_that_does_not(fake: FakeServer) -> None:
    pairs = items(3 * len(STUMBLES))

    def answer(text: str, times: int) -> Reply:
        number = next(int(pair.id) for pair in pairs if pair.instruction in text)
        if times < 1 + number % 3:
            return STUMBLES[(number + times) % len(STUMBLES)]
        return completion("m", "length", SHOWN_FIRST)

    fake.answer = answer
    patient = ServerPairwiseJudge(reach(fake, timeout=0.5))
    found = [judgement.preference for judgement in patient.compare(pairs)]
    assert found == pytest.approx(list(map(expected, pairs)))
    assert set(fake.times.values()) >= {2, 3, 4}


def test_an_answer_without_end_is_not_read_to_its_end(
    fake: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lingualign.servers.chat.LARGEST", 1 << 20)
    monkeypatch.setattr("lingualign.servers.chat.PIECE", 1 << 10)
    server = reach(fake, retries=0)
    for size, fits in ((1 << 19, True), (1 << 21, False)):
        fake.answer = lambda text, times, size=size: completion("m" * size)
        if fits:
            assert server.complete(server.body([{"role": "user", "content": "?"}])).text == "m" * size
        else:
            with pytest.raises(Unanswered, match="larger than 1 MiB"):
                server.complete(server.body([{"role": "user", "content": "?"}]))


def test_no_more_requests_are_under_way_than_allowed(fake: FakeServer) -> None:
    fake.answer = lambda text, times: completion("m")._replace(delay=0.01)
    ServerPairwiseJudge(reach(fake, concurrency=3)).compare(items(30))
    assert fake.busiest == 3


def wait_of(fake: FakeServer, retry_after: str) -> float:
    """Seconds until a refused request comes back."""
    moments: list[float] = []

    def answer(text: str, times: int) -> Reply:
        moments.append(time.monotonic())
        return completion("m") if times else Reply(429, b"", {"Retry-After": retry_after})

    fake.answer = answer
    judge(fake).compare([Pair(retry_after, "a", "b", "en", "1")])
    return moments[1] - moments[0]


def test_retry_after_is_heeded_as_seconds_and_as_a_date(fake: FakeServer) -> None:
    assert wait_of(fake, "0.3") >= 0.3
    assert wait_of(fake, formatdate(time.time() + 2, usegmt=True)) >= 0.5
    for nothing in ("-5", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert wait_of(fake, nothing) < 1


def test_failures_are_counted_and_asked_for_again_by_the_next_run(fake: FakeServer, tmp_path: Path) -> None:
    pairs, cache = items(40), tmp_path / "judge.jsonl"
    good = completion("m", "length", SHOWN_FIRST)
    bad = {"Item 7.": Reply(500, b"oops"), "Item 11.": Reply(400, b"too long"), "Item 13.": completion("?")}
    fake.answer = lambda text, times: next((bad[name] for name in bad if name in text), good)
    found = ServerPairwiseJudge(reach(fake, retries=2), cache=cache).compare(pairs)
    failures = {i: judgement.failure for i, judgement in enumerate(found) if judgement.preference is None}
    assert failures.keys() == {7, 11, 13}
    assert "500" in str(failures[7]) and "too long" in str(failures[11]) and "neither" in str(failures[13])
    assert len(fake.requests) == 40 + 2 and cache.read_text().count("\n") == 38

    fake.answer = lambda text, times: good
    again = judge(fake, cache).compare(pairs)
    assert [i for i, judgement in enumerate(again) if judgement.preference is None] == [13]
    # What could not be read was answered: it is judged, and not asked for again.
    assert sorted(fake.times.values()) == [1] * 38 + [2, 4]


@pytest.mark.parametrize("status", [401, 403, 404, 307])
def test_what_no_request_can_pass_is_one_error(fake: FakeServer, status: int) -> None:
    fake.answer = lambda text, times: Reply(status, b"no", {"Location": f"{fake.url}/elsewhere"})
    with pytest.raises(InputError, match=str(status)):
        judge(fake).compare(items(805))
    assert len(fake.requests) <= 16  # no further tries, and what waited was not sent


def test_an_error_does_not_wait_for_requests_that_are_to_be_tried_again(fake: FakeServer) -> None:
    fake.answer = lambda text, times: (
        Reply(401, b"no")._replace(delay=0.1) if "Item 5." in text else Reply(500, b"oops")
    )
    begin = time.monotonic()
    with pytest.raises(InputError, match="401"):
        ServerPairwiseJudge(reach(fake, backoff=30)).compare(items(8))
    assert time.monotonic() - begin < 10


def test_a_server_that_cannot_be_reached_is_one_error() -> None:
    nobody = ChatServer("http://127.0.0.1:1/v1", "judge", retries=2, backoff=0.001)
    with pytest.raises(InputError, match=r"127\.0\.0\.1:1.*refused"):
        ServerPairwiseJudge(nobody).compare(items(805))


@pytest.mark.parametrize("reply", [Reply(500, b"oops"), Reply(400, b"no such model")])
def test_a_server_that_fails_always_is_one_error(fake: FakeServer, reply: Reply) -> None:
    fake.answer = lambda text, times: reply
    with pytest.raises(InputError, match=rf"20 times in a row.*{reply.status}"):
        ServerPairwiseJudge(reach(fake, retries=1)).compare(items(805))
    assert len(fake.requests) < 100


def test_texts_that_are_refused_are_no_error_once_others_were_judged(
    fake: FakeServer, tmp_path: Path
) -> None:
    good, pairs = completion("m", "length", SHOWN_FIRST), items(60)
    fake.answer = lambda text, times: Reply(400, b"too long") if int(text.split("Item ")[1][0]) > 1 else good
    # One after the other, or 20 refusals could come before the first answer.
    alone = ServerPairwiseJudge(reach(fake, concurrency=1), cache=tmp_path / "judge.jsonl")
    refused = sum(judgement.preference is None for judgement in alone.compare(pairs))
    assert refused > 20
    assert sum(judgement.preference is None for judgement in alone.compare(pairs)) == refused


def test_a_server_that_dies_loses_nothing(fake: FakeServer, tmp_path: Path) -> None:
    lock, answered, cache = threading.Lock(), [0], tmp_path / "judge.jsonl"

    def answer(text: str, times: int) -> Reply:
        with lock:
            answered[0] += 1
            return completion("m") if answered[0] <= 100 else Reply(502, b"")

    fake.answer = answer
    with pytest.raises(InputError, match="502"):
        ServerPairwiseJudge(reach(fake, retries=1), cache=cache).compare(items(805))
    assert cache.read_text().count("\n") == 100


# --- nothing is judged twice -------------------------------------------------------------------------------


def names(cache: Path) -> set[str]:
    """What is judged in a cache, its torn last line left out."""
    return {json.loads(line)["name"] for line in cache.read_text().split("\n")[:-1]}


def times_by_name(fake: FakeServer) -> dict[str, int]:
    found = {}
    for text, times in fake.times.items():
        number = text.split("Item ")[1].split(".")[0]
        found[f"{number}/sw" + ("/switched" if is_switched(f"Item {number}.") else "")] = times
    return found


def test_a_killed_run_of_805_items_resumes_without_judging_one_twice(
    fake: FakeServer, tmp_path: Path
) -> None:
    cache = tmp_path / "cache" / "judge.jsonl"
    worker = Path(__file__).parent / "judge_worker.py"
    fake.answer = lambda text, times: completion("m", "length", SHOWN_FIRST)._replace(delay=0.004)
    process = subprocess.Popen([sys.executable, str(worker), fake.url, str(cache), "805"])
    try:
        while len(fake.requests) < 400:
            assert process.poll() is None
            time.sleep(0.005)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = names(cache)
    assert 300 < len(kept) < 805
    with cache.open("ab") as handle:
        handle.write(b'{"key": "torn')  # what a kill in the middle of a write would leave

    counted: list[tuple[int, int]] = []
    found = judge(fake, cache, progress=lambda done, total: counted.append((done, total))).compare(items(805))
    assert [judgement.preference for judgement in found] == pytest.approx(list(map(expected, items(805))))
    assert counted == [(done, 805 - len(kept)) for done in range(1, 806 - len(kept))]
    times = times_by_name(fake)
    assert len(times) == 805 and all(times[name] == 1 for name in kept)
    assert 0 <= len(fake.requests) - 805 <= 8  # what was under way when the process was killed
    assert len(names(cache)) == 805

    requests = len(fake.requests)
    assert judge(fake, cache).compare(items(805)) == found and len(fake.requests) == requests


def test_an_interruption_loses_no_answer(fake: FakeServer, tmp_path: Path) -> None:
    cache = tmp_path / "judge.jsonl"

    def interrupt(done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(fake, cache, progress=interrupt).compare(items(805))
    assert len(fake.requests) < 200
    assert len(names(cache)) == len(fake.requests)


@pytest.mark.parametrize(
    "other",
    [
        lambda fake: judge(
            fake, seed=next(s for s in range(99) if is_switched("Item 0.", s) != is_switched("Item 0."))
        ),
        lambda fake: judge(fake, same_language=False),
        lambda fake: judge(fake, logprobs=False),
        lambda fake: ServerPairwiseJudge(ChatServer(fake.url, "another")),
    ],
)
def test_another_judge_has_other_answers(
    fake: FakeServer, tmp_path: Path, other: Callable[[FakeServer], ServerPairwiseJudge]
) -> None:
    cache = tmp_path / "judge.jsonl"
    judge(fake, cache).compare(items(1))
    changed = other(fake)
    changed._asker.cache = cache
    changed.compare(items(1))
    changed.compare([Pair("Item 0.", "base 0", "another", "sw", "0")])
    assert len(fake.requests) == 3 == cache.read_text().count("\n")


def test_a_damaged_cache_is_an_error_that_names_the_line(fake: FakeServer, tmp_path: Path) -> None:
    cache = tmp_path / "judge.jsonl"
    judge(fake, cache).compare(items(2))
    cache.write_text(cache.read_text() + "{}\n")
    with pytest.raises(InputError, match=r"judge\.jsonl, line 3"):
        judge(fake, cache).compare(items(3))


def test_two_processes_do_not_judge_into_one_file(fake: FakeServer, tmp_path: Path) -> None:
    cache = tmp_path / "judge.jsonl"

    def nested(done: int, total: int) -> None:
        judge(fake, cache).compare(items(2))

    with pytest.raises(InputError, match="another process"):
        judge(fake, cache, progress=nested).compare(items(2))
    assert len(judge(fake, cache).compare(items(2))) == 2
    with pytest.raises(InputError, match="cannot be written"):
        judge(fake, tmp_path).compare(items(1))


# --- the key -----------------------------------------------------------------------------------------------


def test_the_key_reaches_the_server_and_nothing_else(
    fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    key, cache = "sk-secret/0123456789", tmp_path / "judge.jsonl"
    monkeypatch.setenv("JUDGE_KEY", key)
    server = reach(fake, api_key_env="JUDGE_KEY", retries=0)
    echo = json.dumps(f"wrong key {key}").replace("/", "\\/").encode()
    long = b" ".join([b"x" * 280, key.encode()])  # would be cut in the middle of the key
    replies = {"Item 0.": completion(f"m {key}"), "Item 1.": Reply(500, echo), "Item 2.": Reply(400, long)}
    seen: list[str] = []
    with caplog.at_level(logging.DEBUG):
        fake.answer = lambda text, times: next(reply for name, reply in replies.items() if name in text)
        found = ServerPairwiseJudge(server, cache=cache).compare(items(3))
        assert "wrong key ***" in str(found[1].failure) and "refused: 400" in str(found[2].failure)
        for reply in (Reply(401, echo), Reply(200, echo)):
            fake.answer = lambda text, times, reply=reply: reply
            with pytest.raises(InputError) as caught:
                ServerPairwiseJudge(server, cache=cache, patience=1).compare(items(9))
            seen += [str(caught.value), *traceback.format_exception(caught.value)]
    assert {authorization for _, authorization in fake.requests} == {f"Bearer {key}"}
    seen += [caplog.text, cache.read_text(), repr(found), repr(server), *map(str, vars(found[0]).values())]
    assert not any("sk-secret" in text or "0123456789" in text for text in seen)
    assert found[0].raw == "m ***"


def test_a_key_in_the_address_is_refused_without_repeating_it() -> None:
    for url in ("http://me:sk-secret@127.0.0.1/v1", "http://127.0.0.1/v1?api-key=sk-secret"):
        with pytest.raises(InputError, match="environment variable") as caught:
            ChatServer(url, "judge")
        assert "sk-secret" not in str(caught.value)


# --- grades ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Rating: [[5]]", 5.0),
        ("See [1] and [2]. Rating: [[7.5]], not [[3]]", 7.5),
        ("Rating: [8]", 8.0),
        ("Rating: [[10]]", 10.0),
        ("Rating: [[9.]]", 9.0),
        ("Rating: 7", None),
        ("[[rating]]", None),
        ("[[-3]]", None),
        ("", None),
    ],
)
def test_ratings_are_read_from_double_brackets_first(text: str, score: float | None) -> None:
    assert parse_grade(text) == score


@given(TEXT.filter(lambda text: "[" not in text), st.decimals(1, 10, places=1))
def test_a_rating_is_found_in_any_explanation(text: str, score: Any) -> None:
    assert parse_grade(f"{text}[2] {text}[[{score}]]{text}") == float(score)


def conversation(references: tuple[str, ...] = ()) -> Conversation:
    return Conversation(("Who?", "Where?"), ("She.", "Here."), "de", "81", references)


def test_both_turns_are_graded_each_with_what_came_before(fake: FakeServer, tmp_path: Path) -> None:
    fake.answer = lambda text, times: completion("Good. [[8]]" if "Where?" in text else "Bad. [[3]]")
    cache = tmp_path / "grades.jsonl"
    plain = ServerGradingJudge(reach(fake, concurrency=1), cache=cache).grade(conversation().turns())
    assert plain == [Grade(3.0, "Bad. [[3]]"), Grade(8.0, "Good. [[8]]")]
    checked = ServerGradingJudge(reach(fake, concurrency=1), cache=cache)
    checked.grade(conversation(("Right one.", "Right two.")).turns())
    texts = [body["messages"][0]["content"] for body, _ in fake.requests]
    shown = ["Who?", "She.", "Where?", "Here.", "Right one.", "Right two."]
    assert [[part in text for part in shown] for text in texts] == [
        [True, True, False, False, False, False],
        [True, True, True, True, False, False],
        [True, True, False, False, True, False],
        [True, True, True, True, True, True],
    ]
    assert fake.requests[0][0]["temperature"] == 0 and fake.requests[0][0]["max_tokens"] == 2048
    checked.grade([*conversation().turns(), *conversation(("Right one.", "Right two.")).turns()])
    assert len(fake.requests) == 4 and "{" not in "".join(texts)


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (completion("I cannot say."), "no rating"),
        (completion("I think", finish="length"), "no rating, and the answer was cut"),
        (completion("[[11]]"), "the rating 11 is not from 1 to 10"),
        (completion("[[0]]"), "the rating 0 is not"),
        (completion(None), "no rating"),
        (Reply(400, b"too long"), "refused: 400"),
    ],
)
def test_a_grade_that_is_not_there_is_not_guessed(fake: FakeServer, reply: Reply, failure: str) -> None:
    fake.answer = lambda text, times: reply
    (grade,) = ServerGradingJudge(reach(fake)).grade([conversation()])
    assert grade.score is None and failure in str(grade.failure)


def test_a_conversation_has_as_many_answers_as_questions() -> None:
    for questions, answers, references in ((("a",), (), ()), ((), (), ()), (("a",), ("b",), ("c", "d"))):
        with pytest.raises(ValueError, match="as many"):
            Conversation(questions, answers, "en", "1", references)


def prompts(path: Path, **changes: Any) -> Path:
    """A file in the format of MT-Bench's judge_prompts.jsonl."""
    fields = {
        "pair-v2": "{question} {answer_a} {answer_b}",
        "single-v1": "Frage: {question} Antwort: {answer}",
        "single-math-v1": "{question} {ref_answer_1} {answer}",
        "single-v1-multi-turn": "{question_1} {answer_1} {question_2} {answer_2}",
        "single-math-v1-multi-turn": "{ref_answer_1} {ref_answer_2} {question_1} {answer_1} {question_2} "
        "{answer_2}",
    } | changes
    rows = [
        {"name": name, "type": "single", "system_prompt": "Sei gerecht.", "prompt_template": text}
        for name, text in fields.items()
        if text is not None
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_the_prompts_of_mt_bench_can_be_used(fake: FakeServer, tmp_path: Path) -> None:
    fake.answer = lambda text, times: completion("Bewertung: [[4]]")
    templates = grading_templates(prompts(tmp_path / "judge_prompts.jsonl"))
    found = ServerGradingJudge(reach(fake), templates=templates).grade(conversation().turns()[:1])
    assert found == [Grade(4.0, "Bewertung: [[4]]")]
    assert fake.requests[0][0]["messages"] == [
        {"role": "system", "content": "Sei gerecht."},
        {"role": "user", "content": "Frage: Who? Antwort: She."},
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"single-v1": None}, "no single-v1"),
        ({"single-math-v1": "{question} {answer}"}, "single-math-v1 lacks ref_answer_1"),
        ({"single-v1": 5}, "line 2"),
    ],
)
def test_prompts_that_lack_something_are_an_error(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        grading_templates(prompts(tmp_path / "judge_prompts.jsonl", **change))
