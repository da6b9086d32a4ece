"""Sampling from two `transformers serve`, one behind a proxy that fails, one killed in the middle.

    python benchmarks/peers/transformers_serve_sampling.py \\
        --output benchmarks/results/peers_transformers_serve_sampling.md

Two of Transformers' own OpenAI-compatible servers (transformers_serve.py says how they are installed) serve
`lab:aligned`. Before the first is a proxy that fails a fifth of the requests at random: errors of the server,
garbage, half a body, a cut connection, or no answer until the client has given up. The second is killed with
SIGKILL when a third of all responses have been answered. `lingualign sample` asks both for four responses to
16 prompts in five languages; another start of the same command finds everything done.

Exits with 1 if a response is missing, was asked for again after it had arrived, or is there twice.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from transformers_serve import REQUIREMENTS, count_requests, install, serving

from lingualign.pipeline.tables import read_responses
from lingualign.records import Response

LANGUAGES, PROMPTS, SAMPLES = 5, 16, 4
WANTED = LANGUAGES * PROMPTS * SAMPLES
CONCURRENCY = 3  # at each server
TIMEOUT = 20  # seconds
SHARE = 0.2
FAILURES = ("500", "503", "garbage", "half a body", "cut connection", "no answer")
COMMAND = [sys.executable, "-c", "from lingualign.cli import main; main()", "sample"]


def save_model(folder: Path) -> None:
    """Saves the policy. `transformers serve` samples only if the generation config says so."""
    from transformers import GenerationConfig

    from lingualign.models import load_model, load_tokenizer

    model, tokenizer = load_model("lab:aligned", device="cpu"), load_tokenizer("lab:aligned")
    kept = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=True, top_k=0, eos_token_id=kept.eos_token_id, pad_token_id=kept.pad_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class FailingProxy:
    """Passes requests on, and fails some of them.

    Attributes:
        passed: Requests whose answer was passed on whole.
        failed: What became of the others.
    """

    def __init__(self, target: str) -> None:
        self.passed = 0
        self.failed: Counter[str] = Counter()
        outer, lock, rng = self, threading.Lock(), random.Random(0)
        host = urlsplit(target).netloc

        class Handler(BaseHTTPRequestHandler):
            wbufsize = -1

            def do_GET(self) -> None:
                self._send(*self._ask("GET", b""))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    failure = rng.choice(FAILURES) if rng.random() < SHARE else None
                    if failure is not None:
                        outer.failed[failure] += 1
                if failure in ("500", "503"):
                    self._send(int(failure), b"out of order")
                elif failure == "no answer":
                    time.sleep(TIMEOUT + 1)
                elif failure != "cut connection":
                    status, content = self._ask("POST", body)
                    if failure == "garbage":
                        content = b"<html>Welcome</html>"
                    if self._send(status, content, cut=failure == "half a body") and failure is None:
                        with lock:
                            outer.passed += status == 200

            def _ask(self, method: str, body: bytes) -> tuple[int, bytes]:
                connection = HTTPConnection(host, timeout=120)
                connection.request(method, self.path, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                return response.status, response.read()

            def _send(self, status: int, content: bytes, cut: bool = False) -> bool:
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content[: len(content) // 2 if cut else None])
                    self.wfile.flush()
                except OSError:
                    return False
                return True

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@contextmanager
def failing(target: str) -> Iterator[FailingProxy]:
    """A proxy, while the context is open."""
    proxy = FailingProxy(target)
    try:
        yield proxy
    finally:
        proxy.http.shutdown()
        proxy.http.server_close()


def kill_server(url: str) -> None:
    """Ends the server of an address at once: a child of this process."""
    port = str(urlsplit(url).port)
    next(child for child in psutil.Process().children() if port in child.cmdline()).kill()


@dataclass(frozen=True)
class Run:
    """What happened.

    Attributes:
        passed: Answers that the proxy passed on whole.
        failed: Requests that it failed, by how.
        killed_at: Answers of both servers when the second was killed.
        second: Answers of the second server, by its log.
        seconds: Of the command.
        responses: What is there at the end.
        again: Requests of another start of the command.
        leftovers: Files of answers that were left behind.
    """

    passed: int
    failed: Counter[str]
    killed_at: int
    second: int
    seconds: float
    responses: list[Response]
    again: int
    leftovers: int


def run(environment: Path, folder: Path) -> Run:
    """Samples while the servers fail."""
    model, output = folder / "policy", folder / "run"
    logs = [folder / "first.log", folder / "second.log"]
    save_model(model)
    with (
        serving(environment, model, logs[0]) as first,
        serving(environment, model, logs[1]) as second,
        failing(first) as proxy,
    ):
        settings = [
            f"policy={model}",
            "prompts=lab",
            f"data.limit={PROMPTS}",
            f"sampling.n={SAMPLES}",
            "sampling.max_new_tokens=96",
            "measures.max_new_tokens=96",
            "sampling.chunk_prompts=4",
            "sampling.backend=server",
            f"sampling.server.urls={proxy.url},{second}",
            f"sampling.server.concurrency={CONCURRENCY}",
            f"sampling.server.timeout={TIMEOUT}",
        ]
        command = [*COMMAND, *settings, "--output", str(output)]
        start = time.monotonic()
        process = subprocess.Popen(command)
        while (killed_at := proxy.passed + count_requests(logs[1])) < WANTED // 3:
            if process.poll() is not None:
                raise SystemExit("The command has ended by itself.")
            time.sleep(0.05)
        kill_server(second)
        if process.wait():
            raise SystemExit("The command has failed.")
        seconds = time.monotonic() - start
        time.sleep(1)
        before = proxy.passed + sum(proxy.failed.values())
        subprocess.run(command, check=True)
        again = proxy.passed + sum(proxy.failed.values()) - before
        return Run(
            proxy.passed,
            proxy.failed,
            killed_at,
            count_requests(logs[1]),
            seconds,
            read_responses(output / "responses"),
            again,
            len(list(output.rglob("*.jsonl"))),
        )


def report(found: Run) -> tuple[str, bool]:
    """The table, and whether all is as it should be."""
    identities = {(row["language"], row["prompt_id"], row["index"]) for row in found.responses}
    whole = sum(row["finish_reason"] == "stop" for row in found.responses)
    different = len({row["text"] for row in found.responses})
    arrived, there = found.passed + found.second, len(found.responses)
    rows = [
        ("responses wanted", WANTED),
        ("responses at the end / different prompts, languages and indices", f"{there} / {len(identities)}"),
        ("with an end / different texts", f"{whole} / {different}"),
        ("answers of both servers when the second was killed (SIGKILL)", found.killed_at),
        ("requests that the proxy failed", sum(found.failed.values())),
        ("of them: " + ", ".join(FAILURES), ", ".join(str(found.failed[name]) for name in FAILURES)),
        ("answers that the proxy passed on whole", found.passed),
        ("answers of the second server", found.second),
        ("answers beyond those wanted: under way when the second was killed", arrived - WANTED),
        ("requests of another start of the command", found.again),
        ("files of answers left behind", found.leftovers),
        ("seconds", f"{found.seconds:.0f}"),
    ]
    passed = (
        there == len(identities) == WANTED
        and 0 <= arrived - WANTED <= CONCURRENCY
        and 0 < found.second < WANTED
        and sum(found.failed.values()) > 0
        and found.again == found.leftovers == 0
    )
    table = "\n".join(["| | |", "|---|--:|", *(f"| {name} | {value} |" for name, value in rows)])
    text = (
        "# Sampling from two `transformers serve`, one failing, one killed\n\n"
        f"`{REQUIREMENTS[0]}`, {CONCURRENCY} requests at a time at each, on two CPU cores that had other "
        "work too. Written by `benchmarks/peers/transformers_serve_sampling.py`.\n\n"
        f"{table}\n\n"
        "All responses are there, none twice, and none was asked for again once its answer had arrived: "
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
