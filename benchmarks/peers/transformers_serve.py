"""A judge behind `transformers serve`: 805 pairs, killed in the middle and resumed.

    python benchmarks/peers/transformers_serve.py --output benchmarks/results/peers_transformers_serve.md

Installs Transformers' own OpenAI-compatible server into a throw-away virtual environment (tried on Linux with
Python 3.11; some minutes, and the package index is needed), or takes the one of --environment, which has
`transformers[serving]` in it. The judge is `lab:aligned` with an LM head that knows the answers m and M only,
one for each side of a plane through its hidden states: it judges at random, but always the same.

A process judges 805 pairs of the lab and is killed with SIGKILL half-way; a second one resumes. The server's
access log says how many requests there were. Every judgement is compared with the likeliest token by the
model's own forward pass, and the order by alpaca_eval's draw.

Exits with 1 if an item failed, was judged twice after it was kept, or differs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from lingualign.judges import Judgement, Pair, ServerPairwiseJudge, Template
from lingualign.judges.pairwise import FIELDS, SAME_LANGUAGE, WORDING
from lingualign.lab.grammar import LANGUAGES
from lingualign.lab.prompts import tasks
from lingualign.lab.responses import draw_response
from lingualign.measures.answers.preferences import head_to_head, is_switched, unswitched
from lingualign.servers.chat import ChatServer

REQUIREMENTS = ("transformers[serving]==5.23.0", "torch==2.13.0")
ITEMS = 805
CONCURRENCY = 4


def make_pairs() -> list[Pair]:
    """Pairs of different random answers to the lab's questions, its languages in turn."""
    pairs, rng = [], Random(0)
    for task, language in zip(islice(tasks("heldout"), ITEMS), cycle(LANGUAGES), strict=False):
        first = second = draw_response(task, language, rng)
        while second == first:
            second = draw_response(task, language, rng)
        pairs.append(Pair(task.prompt(language), first, second, language, task.id))
    return pairs


def save_judge(folder: Path) -> None:
    """Saves the model; see the top of the file."""
    import torch

    from lingualign.models import load_model, load_tokenizer

    model, tokenizer = load_model("lab:aligned", device="cpu"), load_tokenizer("lab:aligned")
    with torch.inference_mode():
        states = torch.stack(
            [
                model.model(input_ids=prompt_ids(tokenizer, pair)).last_hidden_state[0, -1]
                for pair in make_pairs()[:64]
            ]
        )
    normal = torch.randn(states.shape[1], generator=torch.Generator().manual_seed(0))
    centre = states.mean(0)
    normal -= centre * (normal @ centre) / (centre @ centre)
    head = torch.nn.Linear(states.shape[1], len(tokenizer), bias=False)
    with torch.no_grad():
        head.weight.zero_()
        head.weight[tokenizer.convert_tokens_to_ids("m")] = 100 * normal
        head.weight[tokenizer.convert_tokens_to_ids("M")] = -100 * normal
    model.config.tie_word_embeddings = False
    model.lm_head = head
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def prompt_ids(tokenizer: Any, pair: Pair) -> Any:
    """The judge's prompt in tokens, [1, tokens]."""
    first, second = pair.output_1, pair.output_2
    if is_switched(pair.instruction):
        first, second = second, first
    messages = Template.parse(WORDING, FIELDS).messages(
        instruction=pair.instruction, output_1=first, output_2=second, same_language=SAME_LANGUAGE
    )
    return tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]


def likeliest_tokens(folder: Path, pairs: list[Pair]) -> list[str]:
    """What the model says of each pair, without a server."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        logits = [model(prompt_ids(tokenizer, pair), logits_to_keep=1).logits[0, -1] for pair in pairs]
    return [tokenizer.decode(int(found.argmax())) for found in logits]


@contextmanager
def serving(environment: Path, model: Path, log: Path) -> Iterator[str]:
    """The server, while the context is open; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [environment / "bin" / "transformers", "serve", model, "--device", "cpu"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    variables = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as handle:
        process = subprocess.Popen(command, stdout=handle, stderr=subprocess.STDOUT, env=variables)
        try:
            for _ in range(240):
                try:
                    urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                    break
                except (URLError, OSError):
                    if process.poll() is not None:
                        raise SystemExit(log.read_text()) from None
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def judge_all(url: str, model: str, cache: Path) -> list[Judgement]:
    """What the first and the second process do."""
    server = ChatServer(url, model, concurrency=CONCURRENCY)
    return ServerPairwiseJudge(server, cache=cache).compare(make_pairs())


def keys(cache: Path) -> list[str]:
    """What has been judged; a torn last line is none."""
    lines = cache.read_text(encoding="utf-8").split("\n")[:-1] if cache.exists() else []
    return [json.loads(line)["key"] for line in lines]


def count_requests(log: Path) -> int:
    """Requests that the server has answered, by its access log."""
    return log.read_text(encoding="utf-8").count('"POST /v1/chat/completions HTTP/1.1" 200')


def install(folder: Path) -> Path:
    """Makes the virtual environment."""
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    command = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", *REQUIREMENTS]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return environment


@dataclass(frozen=True)
class Run:
    """What happened.

    Attributes:
        kept: Judgements in the cache when the first process was killed.
        lost: Requests that the server had answered, and of which the process could not keep the answer.
        asked: Requests of the second process.
        again: Requests of a third one.
        seconds: Of the second process.
        judgements: By the second process.
        differences: Judgements that are not what the model's own forward pass and the order say.
        keys: Different judgements in the cache, and its lines.
    """

    kept: int
    lost: int
    asked: int
    again: int
    seconds: float
    judgements: list[Judgement]
    differences: int
    keys: tuple[int, int]


def run(environment: Path, folder: Path) -> Run:
    """Judges, kills, resumes and compares."""
    model, cache, log = folder / "judge", folder / "judge.jsonl", folder / "serve.log"
    save_judge(model)
    with serving(environment, model, log) as url:
        call = (url, str(model), cache)
        first = multiprocessing.get_context("spawn").Process(target=judge_all, args=call)
        first.start()
        while len(keys(cache)) < ITEMS // 2:
            if not first.is_alive():
                raise SystemExit("The first process has ended by itself.")
            time.sleep(0.05)
        first.kill()
        first.join()
        time.sleep(3)  # what was under way reaches the log
        kept, before = len(keys(cache)), count_requests(log)
        begin = time.monotonic()
        judgements = judge_all(*call)
        seconds, after = time.monotonic() - begin, count_requests(log)
        judge_all(*call)
        again = count_requests(log) - after
    pairs = make_pairs()
    expected = [
        unswitched({"m": 1.0, "M": 2.0}[token], is_switched(pair.instruction))
        for pair, token in zip(pairs, likeliest_tokens(model, pairs), strict=True)
    ]
    found = [judgement.preference for judgement in judgements]
    differences = sum(one != other for one, other in zip(found, expected, strict=True))
    lines = keys(cache)
    return Run(
        kept,
        before - kept,
        after - before,
        again,
        seconds,
        judgements,
        differences,
        (len(set(lines)), len(lines)),
    )


def report(found: Run) -> tuple[str, bool]:
    """The table, and whether all is as it should be."""
    failed = sum(judgement.preference is None for judgement in found.judgements)
    with_logprobs = sum(judgement.from_logprobs for judgement in found.judgements)
    result = head_to_head([judgement.preference for judgement in found.judgements])
    rows = [
        ("items", ITEMS),
        ("judged and kept when the first process was killed (SIGKILL)", found.kept),
        ("answers that were under way then, and lost", found.lost),
        ("requests of the second process", found.asked),
        ("requests of a third one", found.again),
        ("different judgements in the cache / its lines", f"{found.keys[0]} / {found.keys[1]}"),
        ("failed judgements", failed),
        ("judgements from log-probabilities", with_logprobs),
        ("judgements that differ from the model's own likeliest token", found.differences),
        ("wins / losses / win rate", f"{result.n_wins} / {result.n_wins_base} / {result.win_rate:.3f}"),
        ("items a second, second process", f"{found.asked / found.seconds:.1f}"),
    ]
    passed = (
        0 < found.kept < ITEMS
        and 0 <= found.lost <= CONCURRENCY
        and found.asked == ITEMS - found.kept
        and found.again == failed == found.differences == 0
        and found.keys == (ITEMS, ITEMS)
    )
    table = "\n".join(["| | |", "|---|--:|", *(f"| {name} | {value} |" for name, value in rows)])
    said = (
        "The server gives no log-probabilities: it ignores `logprobs` and `top_logprobs`. The token that it "
        "writes decides alone, and every judgement says so.\n\n"
        if with_logprobs == 0
        else ""
    )
    text = (
        f"# A judge behind `transformers serve`, killed and resumed\n\n"
        f"`{REQUIREMENTS[0]}`, {CONCURRENCY} requests at a time, on two CPU cores. Written by "
        f"`benchmarks/peers/transformers_serve.py`.\n\n{table}\n\n{said}"
        f"No item failed, none was judged again once it was kept, and all judgements are the model's own: "
        f"{'passed' if passed else 'MISSED'}.\n"
    )
    return text, passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--environment", type=Path, help="a virtual environment that has the server")
    parser.add_argument("--output", type=Path, help="where to write the table")
    arguments = parser.parse_args()
    os.environ["no_proxy"] = "127.0.0.1"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        text, passed = report(run(arguments.environment or install(folder), folder))
    print(text)
    if arguments.output is not None:
        arguments.output.write_text(text, encoding="utf-8")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
