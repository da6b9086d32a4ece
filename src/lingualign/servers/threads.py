"""A function applied to many items at a time, for functions that wait for a server."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from itertools import islice
from threading import Event
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

BACKLOG = 2  # items taken for each thread: what is in hand, and what it finds when it is free


def concurrently(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, stopped: Event
) -> Generator[Result]:
    """Applies a function to items in threads.

    Items are taken from their iterable as threads become free, in the caller's thread, so there may be
    millions of them.

    Args:
        function: Called in threads. When it raises, or the caller stops, what waits is not done any more, and
            what is under way is waited for.
        items: What it is called with.
        threads: How many.
        stopped: Set when what is under way should not begin anything else.

    Yields:
        What it returned, in the order in which that was ready.
    """
    stopped.clear()
    problems: list[Exception] = []

    def guarded(item: Item) -> Result:
        if stopped.is_set():
            raise CancelledError
        try:
            return function(item)
        except Exception as error:
            problems.append(error)
            stopped.set()  # at once: results are looked at later
            raise

    pool = ThreadPoolExecutor(threads)
    todo, waiting = iter(items), set[Future[Result]]()
    try:
        while True:
            room = BACKLOG * threads - len(waiting)
            waiting |= {pool.submit(guarded, item) for item in islice(todo, room)}
            if not waiting:
                return
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ready:
                yield future.result()
    except BaseException as error:
        stopped.set()  # nobody waits for a further try then
        if problems and isinstance(error, Exception):
            raise problems[0] from None  # and not what was given up for it
        raise
    finally:
        pool.shutdown(cancel_futures=True)
