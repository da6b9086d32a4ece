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
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from email.message import Message as EmailMessage
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPMessage
from typing import IO, Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from lingualign.errors import InputError
from lingualign.records import Message

TRANSIENT = frozenset({408, 409, 425, 429})  # and all from 500 on
REFUSED_TEXT = frozenset({400, 413, 422})  # of one request: longer than the model's context, for example
LONGEST_WAIT = 60.0  # seconds
REMEDY = "Check the address, the model's name, the key, and that the server is up; then start again."

Item = TypeVar("Item")
Result = TypeVar("Result")


class Unanswered(InputError):
    """One request has failed every time, though the server could be reached."""


class Refused(Exception):
    """The server will not have this one request: 400, 413 or 422."""


@dataclass(frozen=True)
class Completion:
    """What a model answered.

    Attributes:
        text: Empty where the server gave none.
        finished: The model ended it, and no limit of length and no filter did.
        top_logprobs: Log-probabilities in nats of the likeliest first tokens; None where the server gave
            none, asked or not.
    """

    text: str
    finished: bool
    top_logprobs: Mapping[str, float] | None = None


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
        self.url = url.rstrip("/") + "/chat/completions"
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
        self._stopped.clear()
        problems: list[Exception] = []

        def guarded(item: Item) -> Result:
            if self._stopped.is_set():
                raise CancelledError
            try:
                return function(item)
            except Exception as error:
                problems.append(error)
                self._stopped.set()  # at once: results are looked at in order, and later
                raise

        pool = ThreadPoolExecutor(self.concurrency)
        try:
            yield from pool.map(guarded, items)
        except Exception:
            raise problems[0] from None  # and not that another request was given up for it
        except BaseException:
            self._stopped.set()  # nobody waits for a further try then
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def complete(self, body: Mapping[str, Any]) -> Completion:
        """Sends one request until it is answered.

        Args:
            body: From `body`.

        Raises:
            InputError: The server cannot be reached, or refuses all requests of this kind.
            Unanswered: It can be reached, and every try has failed.
            Refused: It refuses this one.
        """
        data = json.dumps(body).encode()
        problem = ""
        for attempt in range(self.retries + 1):
            wait = self.backoff * 2**attempt
            reached = True
            try:
                return self._ask(data)
            except HTTPError as error:
                problem = f"{error.code} {error.reason}{_detail(error, self._key)}"
                if error.code in REFUSED_TEXT:
                    raise Refused(self._clean(problem)) from None
                if error.code not in TRANSIENT and error.code < 500:
                    raise self._error(InputError, problem) from None
                wait = max(wait, _retry_after(error.headers))
            except (URLError, OSError, HTTPException) as error:
                reason = getattr(error, "reason", error)
                # urllib wraps what goes wrong before an answer is awaited.
                cut = isinstance(reason, ConnectionResetError | BrokenPipeError)
                reached = cut or not isinstance(error, URLError)
                problem = str(reason) or type(reason).__name__
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                problem = "the answer is not a chat completion"
            if attempt < self.retries and self._stopped.wait(min(wait, LONGEST_WAIT)):
                raise CancelledError
        raise self._error(Unanswered if reached else InputError, problem) from None

    def _ask(self, data: bytes) -> Completion:
        request = Request(self.url, data, {"Content-Type": "application/json"})
        if self._key:
            request.add_header("Authorization", f"Bearer {self._key}")
        with self._opener.open(request, timeout=self.timeout) as response:
            choice = json.load(response)["choices"][0]
        content, reason = choice["message"]["content"], choice["finish_reason"]
        if not isinstance(content, str | None):
            raise TypeError(f"content: text is expected, not {type(content).__name__}")
        text = self._clean(content or "")
        return Completion(text, reason not in ("length", "content_filter"), _first_logprobs(choice))

    def _error(self, kind: type[InputError], problem: str) -> InputError:
        return kind(self._clean(f"{self.url}: {problem}."), REMEDY)

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


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
    except ValueError:
        return 0.0
