"""A language model behind an OpenAI-compatible server as translator."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from lingualign.errors import InputError
from lingualign.translation.template import TAGGED, Template

TRANSIENT = frozenset({408, 409, 425, 429})  # and all from 500 on
REFUSED_TEXT = frozenset({400, 413, 422})  # of one request: longer than the model's context, for example
LONGEST_WAIT = 60.0  # seconds

logger = logging.getLogger(__name__)


class ServerTranslator:
    """Translates by chat completions, greedily.

    What passes is tried again: 429, errors of the server, timeouts, answers that are not JSON. When a request
    fails every time, an error is raised rather than a translation given up, because the next ones would fail
    too. A text that the server refuses (400, 413, 422) has no translation; the reason is logged.

    Args:
        url: Address of the API up to `/v1`; requests go to `{url}/chat/completions`. Redirections are not
            followed: the key is for this host.
        model: Name of the model there.
        template: See `PolicyTranslator`; the assistant's turn is not begun for the model here, as servers do
            not agree on how.
        api_key_env: Name of the environment variable that holds the key; None sends none. It is read here and
            appears in no message.
        concurrency: Requests under way at a time.
        retries: Further tries of a request.
        max_new_tokens: Most tokens of an answer (`max_tokens`).
        timeout: Seconds without a sign of the server.
        backoff: Seconds before the first further try, doubled for each one after it; `Retry-After` is heeded
            where it is longer. At most a minute.

    Raises:
        InputError: The URL is not one of http or https, or the environment variable holds no usable key.
    """

    name = "server"

    def __init__(
        self,
        url: str,
        model: str,
        template: str = TAGGED,
        api_key_env: str | None = None,
        concurrency: int = 8,
        retries: int = 5,
        max_new_tokens: int = 4096,
        timeout: float = 120.0,
        backoff: float = 1.0,
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise InputError(
                f"{url}: not the address of a server.", "Give one like http://localhost:8000/v1."
            )
        self.url = url.rstrip("/") + "/chat/completions"
        self.model = model
        self.template = Template(template)
        self.concurrency = concurrency
        self.retries = retries
        self.max_new_tokens = max_new_tokens
        self.timeout = timeout
        self.backoff = backoff
        self._key = _read_key(api_key_env)
        self._opener = build_opener(_NoRedirection)

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | None]:
        """See `Translator.translate`. The source language is the model's to see.

        Raises:
            InputError: The server cannot be reached, goes on failing, or refuses all requests of this kind.
        """
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            return list(pool.map(lambda text: self._translate(text, target), texts))
        finally:
            pool.shutdown(cancel_futures=True)  # after an error, what waits is not sent any more

    def _translate(self, text: str, target: str) -> str | None:
        body = json.dumps(
            {
                "model": self.model,
                "messages": self.template.messages(text, target),
                "temperature": 0,
                "max_tokens": self.max_new_tokens,
            }
        ).encode()
        problem = ""
        for attempt in range(self.retries + 1):
            wait = self.backoff * 2**attempt
            try:
                answer, finished = self._ask(body)
                return self.template.read(answer, finished)
            except HTTPError as error:
                problem = f"{error.code} {error.reason}{self._detail(error)}"
                if error.code in REFUSED_TEXT:
                    logger.warning("%s refused a text of %d characters: %s", self.url, len(text), problem)
                    return None
                if error.code not in TRANSIENT and error.code < 500:
                    break
                wait = max(wait, _retry_after(error.headers))
            except (URLError, OSError, HTTPException) as error:
                problem = str(getattr(error, "reason", error)) or type(error).__name__
            except (ValueError, LookupError, TypeError):
                problem = "the answer is not a chat completion"
            if attempt < self.retries:
                time.sleep(min(wait, LONGEST_WAIT))
        raise InputError(
            f"{self.url}: {problem}.",
            "Check the address, the model's name, the key, and that the server is up; then start again.",
        )

    def _ask(self, body: bytes) -> tuple[str, bool]:
        """One request: the answer, and whether the model ended it."""
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        with self._opener.open(Request(self.url, body, headers), timeout=self.timeout) as response:
            choice = json.load(response)["choices"][0]
        content, reason = choice["message"]["content"], choice["finish_reason"]
        if not isinstance(content, str | None):
            raise TypeError(f"content: text is expected, not {type(content).__name__}")
        return content or "", reason not in ("length", "content_filter")

    def _detail(self, error: HTTPError) -> str:
        """What the server says about an error, in short."""
        try:
            text = " ".join(error.read(2000).decode(errors="replace").split())[:300]
        except (OSError, HTTPException):
            return ""
        return f" ({text.replace(self._key, '***') if self._key else text})" if text else ""


class _NoRedirection(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Makes no request of it: the redirection is then an error."""


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


def _retry_after(headers: Any) -> float:
    """Seconds that the server asks to wait; 0 where it names none (or a date)."""
    try:
        return float(headers.get("Retry-After", 0))
    except ValueError:
        return 0.0
