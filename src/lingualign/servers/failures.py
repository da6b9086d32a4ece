"""What becomes of a request that has no answer."""

from __future__ import annotations

from lingualign.errors import InputError


class Unanswered(InputError):
    """One request has failed every time, though the server could be reached."""


class Refused(Exception):
    """The server will not have this one request: 400, 413 or 422."""


class Failed(Exception):
    """One try has failed.

    Attributes:
        problem: In words, without the key.
        reached: The server was there, or the connection was cut.
        busy: It has too much to do.
        lasting: Another try will not change it: a wrong key, a wrong address, a model that is not there.
        denied: It does not let us in: 401 or 403.
        wait: Seconds that the server asks to wait.
    """

    def __init__(
        self,
        problem: str,
        reached: bool = True,
        busy: bool = False,
        lasting: bool = False,
        denied: bool = False,
        wait: float = 0.0,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.reached = reached
        self.busy = busy
        self.lasting = lasting
        self.denied = denied
        self.wait = wait
