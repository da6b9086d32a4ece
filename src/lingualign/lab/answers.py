"""The final answer of a response of the lab, whatever language it is said in.

Read as a person would who knows the languages and not the world: by grammar alone, right or wrong.
"""

from __future__ import annotations

from lingualign.errors import InputError
from lingualign.lab.grammar import MEANINGFUL, parse
from lingualign.lab.tasks import Task
from lingualign.records import Response


def answer(response: Response) -> str | None:
    """What the last answer statement of a response says.

    Args:
        response: To a prompt of the lab.

    Returns:
        The statement's meaning, e.g. "c=19 item=book name=maria". None where nothing is read, and for
        families whose answers are not one statement (facts and lists).

    Raises:
        InputError: The prompt is not one of the lab's.
    """
    try:
        kind = f"{Task.from_id(response['prompt_id']).family}.answer"
    except ValueError as error:
        raise InputError(
            f"Prompt {response['prompt_id']!r} is not one of the lab's: its answer cannot be read.",
            "Set answers to number, choice or boxed, or prompts=lab.",
        ) from error
    if kind not in MEANINGFUL:
        return None
    pieces = parse(response["text"], response["language"], (kind,))
    said = [piece.sentence for piece in pieces if piece.sentence is not None]
    if not said:
        return None
    _, slots = said[-1].meaning
    return " ".join(f"{slot}={_write(value)}" for slot, value in slots)


def _write(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
