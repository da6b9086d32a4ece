"""What a server sends back: half an answer, garbage, deep nesting, huge numbers, hostile headers."""

from __future__ import annotations

import json
import math
import socket
import threading
from pathlib import Path
from typing import Any

from drawing import damaged, json_values, texts
from hypothesis import strategies as st
from sandbox import Finding

from lingualign.errors import InputError
from lingualign.servers.chat import ChatServer, Refused

KEY = "LINGUALIGN_FUZZ_KEY"
SECRET = "sk-1234567890abcdef"


def _body(text: Any, reason: Any, logprobs: Any) -> bytes:
    choice = {"message": {"content": text}, "finish_reason": reason, "logprobs": logprobs}
    return json.dumps({"choices": [choice]}).encode()


TOKENS = st.lists(
    st.fixed_dictionaries(
        {"token": texts() | json_values(), "logprob": st.floats() | st.just(10**400) | json_values()}
    ),
    max_size=3,
)
LOGPROBS = json_values() | st.builds(lambda found: {"content": [{"top_logprobs": found}]}, TOKENS)
BODIES = st.one_of(
    damaged(st.builds(_body, texts(), st.sampled_from(("stop", "length", None)), LOGPROBS)),
    st.builds(_body, json_values(), json_values(), LOGPROBS),
    json_values().map(lambda value: json.dumps(value).encode()),
    st.just(f'{{"error": "{SECRET}"}}'.encode()),
    st.binary(max_size=40),
)
HEADERS = st.lists(
    st.sampled_from(
        (
            "Content-Type: application/json",
            "Content-Type: \x1b[31m; charset=nope",
            "Retry-After: nan",
            "Retry-After: -1",
            "Retry-After: 1e400",
            "Retry-After: Mon, 01 Jan 0001 00:00:00 +2359",
            "Retry-After: Fri, 31 Dec 9999 23:59:59 -2359",
            "Retry-After: Xyz, 99 Foo 9999 99:99:99 +9999",
            "Content-Encoding: gzip",
            "X: " + "y" * 70_000,
            "Location: http://127.0.0.1:1/",
            "Location: file:///etc/passwd",
            "broken header",
            "Transfer-Encoding: chunked",
        )
    ),
    max_size=3,
)
STATUS = st.sampled_from(
    (
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 500 x",
        "HTTP/1.1 429 slow",
        "HTTP/1.1 400 no",
        "HTTP/1.1 302 go",
        "HTTP/1.1 401 " + SECRET,
        "HTTP/9.9 abc",
        "garbage",
        "HTTP/1.1 99999 x",
        "HTTP/1.1 204 x",
        "",
    )
)
CASES = st.fixed_dictionaries(
    {
        "status": STATUS,
        "headers": HEADERS,
        "body": BODIES,
        "length": st.sampled_from(("right", "right", "long", "short", "none", "nonsense")),
    }
)


class _Server:
    """Sends one prepared answer to whoever connects."""

    def __init__(self) -> None:
        self.answer = b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                try:
                    connection.settimeout(2)
                    self._read(connection)
                    connection.sendall(self.answer)
                except OSError:
                    continue

    @staticmethod
    def _read(connection: socket.socket) -> None:
        content = b""
        while b"\r\n\r\n" not in content:
            content += connection.recv(65536)
        head, _, body = content.partition(b"\r\n\r\n")
        length = next(
            int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        while len(body) < length:
            body += connection.recv(65536)


_SERVER: list[_Server] = []


def check(case: dict[str, Any], folder: Path) -> None:
    """An answer is text and finite numbers; an error is one of ours, and names no key."""
    import os

    if not _SERVER:
        _SERVER.append(_Server())
    os.environ[KEY] = SECRET
    head = [case["status"], *case["headers"]]
    size = {"right": len(case["body"]), "long": len(case["body"]) + 9, "short": len(case["body"]) // 2}.get(
        case["length"]
    )
    if case["length"] != "none":
        head.append(f"Content-Length: {'x' if size is None else size}")
    _SERVER[0].answer = "\r\n".join(head).encode() + b"\r\n\r\n" + case["body"]
    server = ChatServer(
        f"http://127.0.0.1:{_SERVER[0].port}/v1", "m", KEY, retries=0, timeout=2.0, backoff=0.0
    )
    try:
        found = server.complete(server.body([{"role": "user", "content": "x"}]))
    except (InputError, Refused) as error:
        if SECRET in str(error):
            raise Finding("an error names the key") from error
        return
    found.text.encode()
    if SECRET in found.text:
        raise Finding("an answer has the key in it")
    if not all(math.isfinite(value) for value in (found.top_logprobs or {}).values()):
        raise Finding(f"log-probabilities {found.top_logprobs}")
