"""A language model behind an OpenAI-compatible server as translator."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from lingualign.servers.chat import ChatServer
from lingualign.servers.failures import Refused
from lingualign.translation.template import TAGGED, Template

logger = logging.getLogger(__name__)


class ServerTranslator:
    """Translates by chat completions, greedily.

    What passes is tried again: 429, errors of the server, timeouts, answers that are not JSON. When a request
    fails every time, an error is raised rather than a translation given up, because the next ones would fail
    too. A text that the server refuses (400, 413, 422) has no translation; the reason is logged.

    Args:
        url: Address of the API up to `/v1`; see `ChatServer`.
        model: Name of the model there.
        template: See `PolicyTranslator`; the assistant's turn is not begun for the model here, as servers do
            not agree on how.
        api_key_env: Name of the environment variable that holds the key; None sends none.
        concurrency: Requests under way at a time.
        retries: Further tries of a request.
        max_new_tokens: Most tokens of an answer (`max_tokens`).
        timeout: Seconds without a sign of the server.
        backoff: Seconds before the first further try; see `ChatServer`.

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
        self.server = ChatServer(url, model, api_key_env, concurrency, retries, timeout, backoff)
        self.template = Template(template)
        self.max_new_tokens = max_new_tokens

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | None]:
        """See `Translator.translate`. The source language is the model's to see.

        Raises:
            InputError: The server cannot be reached, goes on failing, or refuses all requests of this kind.
        """
        return list(self.server.map(lambda text: self._translate(text, target), texts))

    def _translate(self, text: str, target: str) -> str | None:
        messages = self.template.messages(text, target)
        try:
            answer = self.server.complete(
                self.server.body(messages, temperature=0, max_tokens=self.max_new_tokens)
            )
        except Refused as refusal:
            logger.warning("%s refused a text of %d characters: %s", self.server.url, len(text), refusal)
            return None
        return self.template.read(answer.text, answer.finished)
