"""The same model behind several servers: requests go to those that are up, and none is lost with one.

A request that fails is tried again, elsewhere where it can be. A server that cannot be reached, that says it
is busy, or that fails several times in a row is put aside for a while that grows; then one request tries it.
Only when all are down is there an error. The numbers that are constants here are ours.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

from lingualign.errors import InputError
from lingualign.records import Message
from lingualign.servers.chat import LONGEST_WAIT, ChatServer, Completion, growing_wait
from lingualign.servers.failures import Failed, Refused, Unanswered
from lingualign.servers.threads import Item, Result, concurrently

PATIENCE = 3  # failures in a row until a server is put aside
NAMED = 5  # models of a server that a message names
RESUMES = "then run the same command again: it resumes."

Prepare = Callable[[ChatServer], None]


@dataclass
class _Address:
    """A server, and how it is doing.

    Attributes:
        server: The server.
        under_way: Requests that it is answering.
        failures: In a row.
        asides: How often it was put aside since it last answered.
        until: Time (monotonic) until which it is.
        trial: It gets one request at a time, until it answers one.
        looked: It was looked at since it was last put aside.
        models: That it offers, as `ChatServer.models` gives them; None where it does not say.
        unfit: It does not have the model, and could not be made to.
        answers: It has answered something since it was last put aside.
        known: A request that it has answered.
        down: It is given up, unless it answers one of the requests that still try it.
        missed: Somebody was told that it does not answer.
        problem: The last one.
    """

    server: ChatServer
    under_way: int = 0
    failures: int = 0
    asides: int = 0
    until: float = 0.0
    trial: bool = True
    looked: bool = False
    models: Mapping[str, str] | None = None
    unfit: bool = False
    answers: bool = False
    known: Mapping[str, Any] | None = None
    down: bool = False
    missed: bool = False
    problem: str = ""

    @property
    def lacks_model(self) -> bool:
        """It names its models, and this one is not among them. Some servers load what they do not name."""
        return self.models is not None and self.server.model not in self.models


class ServerPool:
    """A model behind one or more servers.

    Attributes:
        notes: What the user should know of the servers, as lines; whoever has shown one takes it out.

    Args:
        urls: Addresses of the API up to `/v1`.
        model: Name of the model, the same at all of them.
        api_key_env: Name of the environment variable that holds the key; see `ChatServer`.
        concurrency: Requests under way at a time, at each address.
        retries: Further tries of a request, for each address there is; and of an address that is put aside,
            before it counts as down.
        timeout: Seconds without a sign of a server.
        backoff: Seconds before the first further try, doubled for each one after it, at most a minute.
        prepare: Called with a server before it is asked anything, and again when it comes back. Raises
            `Failed` or `Refused` where the server will not do.
        serve: How to serve the model, for the error that it is not served: an imperative sentence without
            its full stop.

    Raises:
        InputError: There is no address, or `ChatServer` refuses one.
    """

    def __init__(
        self,
        urls: Sequence[str],
        model: str,
        api_key_env: str | None = None,
        concurrency: int = 32,
        retries: int = 5,
        timeout: float = 600.0,
        backoff: float = 1.0,
        prepare: Prepare | None = None,
        serve: str = "Serve the model under that name",
    ) -> None:
        if not urls:
            raise InputError("No address of a server is given.", "Give one like http://localhost:8000/v1.")
        self.model = model
        self.concurrency = concurrency
        self.retries = retries
        self.backoff = backoff
        self.notes: list[str] = []
        self._prepare = prepare
        self._serve = serve
        self._addresses = [
            _Address(ChatServer(url, model, api_key_env, concurrency, retries, timeout, backoff))
            for url in urls
        ]
        self._changed = threading.Condition()
        self._stopped = threading.Event()

    def body(self, messages: Sequence[Message], **options: Any) -> dict[str, Any]:
        """A request; see `ChatServer.body`."""
        return self._addresses[0].server.body(messages, **options)

    def stream(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result]:
        """Applies a function that calls `ask` to items, as many at a time as the servers take together.

        See `concurrently`: results come in the order in which they are ready.
        """
        return concurrently(function, items, self.concurrency * len(self._addresses), self._stopped)

    def ask(self, body: Mapping[str, Any]) -> Completion:
        """Sends a request, here or there, until it is answered. Threads may call it at once.

        Args:
            body: From `body`.

        Raises:
            InputError: All servers are down.
            Unanswered: They answer other requests, and every try of this one has failed.
            Refused: A server that answers other requests refuses this one.
        """
        tries, last = 0, None
        while True:
            last = self._take(avoid=last)
            try:
                self._look_at(last)
                answer = last.server.attempt(body)
            except Refused as refusal:
                if last.answers:
                    self._let_go(last)
                    raise
                # Of a server that has answered nothing: a matter of the server and not of the text.
                failure = Failed(str(refusal), lasting=last.lacks_model)
            except Failed as failed:
                failure = failed
            except BaseException:
                self._let_go(last)
                raise
            else:
                self._answered(last, body)
                return answer
            of_this = failure.reached and not failure.busy and not failure.lasting
            if not (of_this and self._fine_otherwise(last)):
                self._failed(last, failure)
            if of_this:
                tries += 1
                if tries > self.retries * len(self._addresses):
                    raise last.server.error(Unanswered, failure.problem)
                if self._stopped.wait(growing_wait(self.backoff, tries - 1)):
                    raise CancelledError

    def _take(self, avoid: _Address | None) -> _Address:
        """Waits for a server that has room, another one than where the last try has failed if it can be."""
        with self._changed:
            while not self._stopped.is_set():
                now = time.monotonic()
                free = [
                    address
                    for address in self._addresses
                    if address.until <= now and address.under_way < (1 if address.trial else self.concurrency)
                ]
                if free:
                    chosen = min(free, key=lambda address: (address is avoid, address.under_way))
                    chosen.under_way += 1
                    return chosen
                waits = [address.until - now for address in self._addresses if address.until > now]
                self._changed.wait(min([*waits, 1.0]))
        raise CancelledError

    def _look_at(self, address: _Address) -> None:
        """Before the first request, and when a server has come back: which models it names, and `prepare`."""
        if address.looked:
            return
        try:
            if self._prepare is not None:
                self._prepare(address.server)
        except (Refused, Failed) as problem:
            address.unfit = isinstance(problem, Refused) or problem.lasting
            raise Failed(str(problem), lasting=True) if address.unfit else problem from None
        address.models = address.server.models()
        with self._changed:
            address.looked = True
            if not address.lacks_model and address.models and not address.asides:
                address.trial = False  # it has what is asked for, so all may come at once
                self._changed.notify_all()

    def _let_go(self, address: _Address) -> None:
        with self._changed:
            address.under_way -= 1
            self._changed.notify_all()

    def _fine_otherwise(self, address: _Address) -> bool:
        """Whether a server that would be given up still answers what it has answered before.

        All that is under way may be about one prompt that its code stumbles over.
        """
        if address.known is None or address.asides < self.retries:
            return False
        try:
            address.server.attempt({**address.known, "max_tokens": 1})
        except (Failed, Refused):
            return False
        self._answered(address, address.known)
        return True

    def _answered(self, address: _Address, body: Mapping[str, Any]) -> None:
        with self._changed:
            address.known = body
            if not address.answers and address.lacks_model:
                self.notes.append(
                    f"{address.server.base} does not name {self.model} among its models "
                    f"({_names(address.models)}), and answers all the same."
                )
            if address.missed:
                self.notes.append(f"{address.server.base} answers again.")
            address.missed = address.unfit = False
            address.under_way -= 1
            address.failures = address.asides = 0
            address.trial, address.answers, address.down = False, True, False
            self._changed.notify_all()

    def _failed(self, address: _Address, failure: Failed) -> None:
        """Puts a server aside if it has to be.

        Raises:
            InputError: No other one is left.
        """
        with self._changed:
            now = time.monotonic()
            address.under_way -= 1
            address.failures += 1
            address.problem = " ".join(failure.problem.split())
            if failure.lasting and address.lacks_model:
                address.unfit = True
                address.problem = (
                    f"{self.model} is not served there, but {_names(address.models)} ({address.problem})"
                )
            gone = failure.busy or failure.lasting or not failure.reached
            if address.until <= now and (gone or address.trial or address.failures >= PATIENCE):
                wait = max(growing_wait(self.backoff, address.asides), min(failure.wait, LONGEST_WAIT))
                address.until = now + (LONGEST_WAIT if failure.lasting else wait)
                address.asides += 1
                address.trial, address.looked, address.answers = True, False, False
                address.down = address.down or failure.lasting or address.asides > self.retries
                if not address.missed and not failure.busy and (failure.lasting or not failure.reached):
                    address.missed = True
                    self.notes.append(f"{address.server.base} is tried again later: {address.problem}")
            self._changed.notify_all()
            if all(address.down for address in self._addresses):
                raise self._all_down()

    def _all_down(self) -> InputError:
        lines = "".join(f"\n  {address.server.base}: {address.problem}" for address in self._addresses)
        unfit = any(address.unfit for address in self._addresses)
        remedy = self._serve if unfit else "See that the servers are up, and check addresses and key"
        return InputError(f"No server answers:{lines}", f"{remedy}; {RESUMES}")


def _names(models: Mapping[str, str] | None) -> str:
    """Some of the models of a server."""
    names = [" ".join(name.split()) for name in models or {}]
    return ", ".join(names[:NAMED]) + (" and others" if len(names) > NAMED else "")
