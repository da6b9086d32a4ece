"""Asks a server many things, each of them once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lingualign.errors import InputError
from lingualign.servers.chat import REMEDY, ChatServer, Completion
from lingualign.servers.failures import Refused, Unanswered
from lingualign.servers.store import AnswerStore, request_key

Progress = Callable[[int, int], None]  # (requests done, of how many that were not known before)


@dataclass(frozen=True)
class Ask:
    """A request, with a name for people.

    Attributes:
        name: What is judged.
        body: See `ChatServer.body`.
    """

    name: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class NoAnswer:
    """A request that has failed.

    Attributes:
        reason: In words.
    """

    reason: str


class Asker:
    """Asks a server, and keeps every answer at once.

    A failed request is not kept: the next run asks again. A server that is down, or that refuses everything,
    is one error and not a failure for each item.

    Args:
        server: Whom to ask.
        cache: JSON-lines file of answers; None keeps none. See `AnswerStore`.
        progress: Called with the requests done, and of all that were not known, after each of them.
        patience: So many failed requests one after the other are an error. A refusal counts only while none
            of the requests has an answer: after that it is a matter of the text.
    """

    def __init__(
        self,
        server: ChatServer,
        cache: Path | None = None,
        progress: Progress | None = None,
        patience: int = 20,
    ) -> None:
        self.server = server
        self.cache = cache
        self.progress = progress
        self.patience = patience

    def ask(self, asks: Sequence[Ask]) -> list[Completion | NoAnswer]:
        """Asks what is not known yet; equal requests are made once.

        Returns:
            An answer or a failure for each request, in order.

        Raises:
            InputError: The server cannot be reached, refuses all requests, or goes on failing; or the cache
                cannot be read or written. All answers until then are kept.
        """
        keys = [request_key(ask.body) for ask in asks]
        with AnswerStore(self.cache) as store:
            found: dict[str, Completion | NoAnswer] = {}
            found |= {key: known for key in keys if (known := store.get(key)) is not None}
            todo = {key: ask for key, ask in zip(keys, asks, strict=True) if key not in found}
            watch = _Watch(self.server.url, self.patience, answered=bool(found))

            def one(item: tuple[str, Ask]) -> Completion | NoAnswer:
                key, ask = item
                try:
                    answer = self.server.complete(ask.body)
                except (Refused, Unanswered) as error:
                    reason = error.message if isinstance(error, Unanswered) else f"refused: {error}"
                    watch.failed(reason, refused=isinstance(error, Refused))
                    return NoAnswer(reason)
                watch.answered()
                store.put(key, ask.name, answer)  # here, so that an interruption loses no answer
                return answer

            # Closed before the store is, whatever happens: threads may still have answers to keep.
            with closing(self.server.map(one, todo.items())) as answers:
                for done, (key, answer) in enumerate(zip(todo, answers, strict=True), 1):
                    found[key] = answer
                    if self.progress is not None:
                        self.progress(done, len(todo))
        return [found[key] for key in keys]


class _Watch:
    """Notices a server that answers nothing."""

    def __init__(self, url: str, patience: int, answered: bool) -> None:
        self.url = url
        self.patience = patience
        self._any = answered
        self._in_a_row = 0
        self._lock = threading.Lock()

    def answered(self) -> None:
        with self._lock:
            self._any, self._in_a_row = True, 0

    def failed(self, reason: str, refused: bool) -> None:
        with self._lock:
            if refused and self._any:
                return
            self._in_a_row += 1
            if self._in_a_row >= self.patience:
                raise InputError(
                    f"{self.url} has failed {self._in_a_row} times in a row, the last time so: {reason}",
                    f"{REMEDY} What has been judged is kept.",
                )
