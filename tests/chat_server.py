"""An OpenAI-compatible server in this process that answers, and fails, as a test wants it."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Reply(NamedTuple):
    """What is sent: `delay` seconds late; `cut`: the connection ends half-way; `drip`: seconds before each
    byte of the body."""

    status: int
    content: bytes
    headers: Mapping[str, str] = {}
    delay: float = 0.0
    cut: bool = False
    drip: float = 0.0


def completion(content: Any, finish: str = "stop", top_logprobs: Mapping[str, float] | None = None) -> Reply:
    choice: dict[str, Any] = {
        "message": {"role": "assistant", "content": content},
        "finish_reason": finish,
        "logprobs": None,
    }
    if top_logprobs is not None:
        entries = [{"token": token, "logprob": value} for token, value in top_logprobs.items()]
        choice["logprobs"] = {"content": [{"token": content, "logprob": 0.0, "top_logprobs": entries}]}
    return Reply(200, json.dumps({"choices": [choice]}).encode())


class _Server(ThreadingHTTPServer):
    request_queue_size = 64  # a connection that finds the queue full tries again after a second


class FakeServer:
    """`answer` maps the first message of a request, and how often it came before, to a reply.

    `respond` maps a whole request to one and goes before it. `models` are named by GET /models; None is
    500, as `transformers serve` can have it. What is posted elsewhere is kept in `posts`; `post` answers it.
    """

    def __init__(self) -> None:
        self.answer: Callable[[str, int], Reply] = lambda text, times: completion(text)
        self.respond: Callable[[dict[str, Any]], Reply] | None = None
        self.models: list[dict[str, Any]] | None = None
        self.post: Callable[[str, dict[str, Any]], Reply] = lambda path, body: Reply(404, b"{}")
        self.posts: list[tuple[str, dict[str, Any]]] = []
        self.answered: list[dict[str, Any]] = []  # requests whose answer was sent to its end
        self.dead = False
        self.requests: list[tuple[dict[str, Any], str | None]] = []
        self.times: Counter[str] = Counter()
        self.busiest = 0  # most requests under way at a time
        self._busy = 0
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            wbufsize = -1  # one packet a reply: the second of two would wait for the first's acknowledgement

            def do_GET(self) -> None:
                known = outer.models
                if known is None or not self.path.endswith("/models"):
                    self._send(Reply(500, b"{}"))
                else:
                    self._send(Reply(200, json.dumps({"data": known}).encode()))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not self.path.endswith("/chat/completions"):
                    with lock:
                        outer.posts.append((self.path, body))
                    self._send(outer.post(self.path, body))
                    return
                text = body["messages"][0]["content"]
                with lock:
                    times = outer.times[text]
                    outer.times[text] += 1
                    outer.requests.append((body, self.headers["Authorization"]))
                    outer._busy += 1
                    outer.busiest = max(outer.busiest, outer._busy)
                reply = outer.respond(body) if outer.respond else outer.answer(text, times)
                time.sleep(reply.delay)
                with lock:  # before the answer: the client's next request can be faster than the rest here
                    outer._busy -= 1
                if outer.dead:
                    return  # the connection ends without an answer
                if self._send(reply) and reply.status == 200 and not reply.cut:
                    with lock:
                        outer.answered.append(body)

            def _send(self, reply: Reply) -> bool:
                try:
                    self.send_response(reply.status)
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(reply.content)))
                    self.end_headers()
                    content = reply.content[: len(reply.content) // 2 if reply.cut else None]
                    step = 1 if reply.drip else max(len(content), 1)
                    for piece in (content[i : i + step] for i in range(0, len(content), step)):
                        time.sleep(reply.drip)
                        self.wfile.write(piece)
                        self.wfile.flush()
                except OSError:
                    return False  # the client has gone
                return True

            def log_message(self, *_: Any) -> None:
                pass

        self.http = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def kill(self) -> None:
        """As SIGKILL does: connections end, and no new ones are taken."""
        self.dead = True
        self.close()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
