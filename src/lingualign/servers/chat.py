"""Chat completions of a language model behind an OpenAI-compatible server.

What passes is tried again with growing waits: 429, errors of the server, time-outs, cut connections, answers
that are not JSON. What does not pass is an error at once: a wrong key, a wrong address, a redirection. The
key comes from an environment variable, and whatever a server answers is cleared of it before anybody sees it.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from email.message import Message as EmailMessage
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage, HTTPResponse, IncompleteRead
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from lingualign.errors import InputError
from lingualign.records import Message
from lingualign.servers.failures import Failed, Refused, Unanswered
from lingualign.servers.threads import Item, Result, concurrently

TRANSIENT = frozenset({408, 409, 425, 429})  # and all from 500 on
BUSY = frozenset({429, 503})  # of the server, whatever it was asked
REFUSED_TEXT = frozenset({400, 413, 422})  # of one request: longer than the model's context, for example
BROKEN_OFF = frozenset({"abort", "error"})  # finish_reason of a server that could not go on
LONGEST_WAIT = 60.0  # seconds
LOOK = 30.0  # seconds that a list of models may take
LARGEST = 64 * 2**20  # bytes of an answer; a thousand times what a long one with log-probabilities has
PIECE = 2**16  # bytes read at a time
REMEDY = "Check the address, the model's name, the key, and that the server is up; then start again."


@dataclass(frozen=True)
class Completion:
    """What a model answered.

    Attributes:
        text: Empty where the server gave none.
        finished: The model ended it, and no limit of length and no filter did.
        refused: A filter of the server did, or it did not have the request.
        top_logprobs: Log-probabilities in nats of the likeliest first tokens; None where the server gave
            none, asked or not.
    """

    text: str
    finished: bool
    top_logprobs: Mapping[str, float] | None = None
    refused: bool = False


class ChatServer:
    """A model behind a server.

    Args:
        url: Address of the API up to `/v1`; requests go to `{url}/chat/completions`. Redirections are not
            followed: the key is for this host.
        model: Name of the model there.
        api_key_env: Name of the environment variable that holds the key; None sends none. It is read here and
            appears in no message.
        concurrency: Requests under way at a time.
        retries: Further tries of a request.
        timeout: Seconds without a sign of the server.
        backoff: Seconds before the first further try, doubled for each one after it; `Retry-After` is heeded
            where it is longer. At most a minute.

    Raises:
        InputError: The URL is not one of http or https or has a key in it, or the environment variable holds
            no usable key.
    """

    def __init__(
        self,
        url: str,
        model: str,
        api_key_env: str | None = None,
        concurrency: int = 8,
        retries: int = 5,
        timeout: float = 120.0,
        backoff: float = 1.0,
    ) -> None:
        parts = urlsplit(url)
        if "@" in parts.netloc or parts.query:
            raise InputError(
                "The address of a server has a user, a password or a query in it.",
                "Addresses appear in messages: put the key into an environment variable.",
            )
        if parts.scheme not in ("http", "https"):
            raise InputError(
                f"{url}: not the address of a server.", "Give one like http://localhost:8000/v1."
            )
        self.base = url.rstrip("/")
        self.url = self.base + "/chat/completions"
        self.model = model
        self.concurrency = concurrency
        self.retries = retries
        self.timeout = timeout
        self.backoff = backoff
        self._key = _read_key(api_key_env)
        self._opener = build_opener(_NoRedirection)
        self._stopped = threading.Event()

    def body(self, messages: Sequence[Message], **options: Any) -> dict[str, Any]:
        """A request: the model, a conversation, and options such as `temperature` by the API's names."""
        return {"model": self.model, "messages": list(messages), **options}

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result]:
        """Applies a function that calls `complete` to all items, as many at a time as `concurrency` says.

        Args:
            function: Called in threads. When it raises, or the caller stops, what waits is not sent any more.
            items: What it is called with.

        Yields:
            What it returned, in the order of the items.
        """
        early, following = dict[int, Result](), 0

        def numbered(item: tuple[int, Item]) -> tuple[int, Result]:
            return item[0], function(item[1])

        for number, result in concurrently(numbered, enumerate(items), self.concurrency, self._stopped):
            early[number] = result
            while following in early:
                yield early.pop(following)
                following += 1

    def complete(self, body: Mapping[str, Any]) -> Completion:
        """Sends one request until it is answered.

        Args:
            body: From `body`.

        Raises:
            InputError: The server cannot be reached, or refuses all requests of this kind.
            Unanswered: It can be reached, and every try has failed.
            Refused: It refuses this one.
        """
        attempt = 0
        while True:
            try:
                return self.attempt(body)
            except Failed as failure:
                if failure.lasting or attempt == self.retries:
                    unanswered = failure.reached and not failure.lasting
                    raise self.error(Unanswered if unanswered else InputError, failure.problem) from None
                wait = max(growing_wait(self.backoff, attempt), min(failure.wait, LONGEST_WAIT))
            attempt += 1
            if self._stopped.wait(wait):
                raise CancelledError

    def attempt(self, body: Mapping[str, Any]) -> Completion:
        """Sends one request once.

        Raises:
            Failed: There is no answer.
            Refused: The server refuses this one.
        """
        try:
            choice = json.loads(self.exchange("/chat/completions", body))["choices"][0]
            content, reason = choice["message"]["content"], choice["finish_reason"]
            if not isinstance(content, str | None):
                raise TypeError(f"content: text is expected, not {type(content).__name__}")
            if reason in BROKEN_OFF:
                raise Failed(f"the server has broken off, finish_reason {reason!r}")
            return Completion(
                # JSON can write half a surrogate pair, which no file can hold.
                self._clean((content or "").encode("utf-8", "replace").decode()),
                finished=reason not in ("length", "content_filter"),
                top_logprobs=_first_logprobs(choice),
                refused=reason == "content_filter",
            )
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError):
            raise Failed("the answer is not a chat completion") from None

    def models(self) -> dict[str, str] | None:
        """The models that the server offers (`GET /models`).

        Returns:
            By name, where each was loaded from, or nothing where it does not say; None where it does not
            name any.

        Raises:
            Failed: It cannot be reached, or does not let us in.
        """
        try:
            entries = json.loads(self.exchange("/models", timeout=min(LOOK, self.timeout)))["data"]
            named = [(str(entry["id"]), str(entry.get("root") or "")) for entry in entries]
            return {self._clean(name): self._clean(root) for name, root in named} or None
        except Failed as failure:
            if not failure.reached or failure.denied:
                raise
            return None  # `transformers serve` has 500 for it where there is no cache of models
        except (Refused, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None

    def exchange(
        self, path: str, body: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> bytes:
        """Sends one request to any place of the API, once.

        Args:
            path: Under the API's address.
            body: What is posted; None gets.
            timeout: Seconds, where not those of the server.

        Returns:
            The body of the answer, as it came.

        Raises:
            Failed: There is no answer.
            Refused: The server refuses this one.
        """
        data = None if body is None else json.dumps(body).encode()
        request = Request(self.base + path, data, {"Content-Type": "application/json"})
        if self._key:
            request.add_header("Authorization", f"Bearer {self._key}")
        try:
            with self._opener.open(request, timeout=timeout or self.timeout) as response:
                return _read(response, timeout or self.timeout)
        except HTTPError as error:
            code = error.code
            problem = self._clean(f"{code} {error.reason}{_detail(error, self._key)}")
            if code in REFUSED_TEXT:
                raise Refused(problem) from None
            raise Failed(
                problem,
                busy=code in BUSY,
                lasting=code not in TRANSIENT and code < 500,
                denied=code in (401, 403),
                wait=_retry_after(error.headers),
            ) from None
        except (URLError, OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            # urllib wraps what goes wrong before an answer is awaited.
            cut = isinstance(reason, ConnectionResetError | BrokenPipeError)
            problem = self._clean(str(reason) or type(reason).__name__)
            raise Failed(problem, reached=cut or not isinstance(error, URLError)) from None

    def error(self, kind: type[InputError], problem: str) -> InputError:
        """An error for the user, that names the server."""
        return kind(self._clean(f"{self.url}: {problem}."), REMEDY)

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def growing_wait(backoff: float, times: int) -> float:
    """Seconds to wait after something has failed a few times more than once: doubled each time."""
    return min(backoff * 2.0 ** min(times, 20), LONGEST_WAIT)


def _read(response: HTTPResponse, seconds: float) -> bytes:
    """The body of an answer, as long as it keeps to a size and a time: a server may send without end.

    Args:
        response: Its status and headers are here.
        seconds: For the whole body. Servers send it when it is ready, so this is no limit to thinking.

    Raises:
        Failed: It is larger or slower.
    """
    pieces, size, end = list[bytes](), 0, time.monotonic() + seconds
    while piece := response.read1(PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > LARGEST:
            raise Failed(f"the answer is larger than {LARGEST >> 20} MiB")
        if time.monotonic() > end:
            raise Failed(f"the answer was not complete {seconds:g} seconds after it had begun")
    if response.length:  # `read1` does not say that a body was cut off
        raise IncompleteRead(b"".join(pieces), response.length)
    return b"".join(pieces)


class _NoRedirection(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Makes no request of it: the redirection is then an error."""


def _first_logprobs(choice: Mapping[str, Any]) -> dict[str, float] | None:
    """The likeliest first tokens, where the server names any."""
    tokens = (choice.get("logprobs") or {}).get("content") or []
    entries = (tokens[0].get("top_logprobs") or []) if tokens else []
    found = {str(entry["token"]): float(entry["logprob"]) for entry in entries}
    if not all(value < math.inf for value in found.values()):
        raise ValueError("a log-probability is not a number")
    return {token: value for token, value in found.items() if value > -math.inf} or None


def _read_key(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise InputError(
            f"The environment variable {variable} holds no usable key.",
            f"Set {variable} to the server's key.",
        )
    return key


def _detail(error: HTTPError, key: str) -> str:
    """What the server says about an error, in short."""
    try:
        text = error.read(100_000).decode(errors="replace").replace("\\/", "/")
    except (OSError, HTTPException):
        return ""
    # Before it is cut, or the first half of a key could be left.
    text = " ".join((text.replace(key, "***") if key else text).split())[:300]
    return f" ({text})" if text else ""


def _retry_after(headers: EmailMessage) -> float:
    """Seconds that the server asks to wait, which it names or gives the date of; 0 where it does neither."""
    value = headers.get("Retry-After", "0")
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
