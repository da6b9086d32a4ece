"""The exact translator: the same meaning in another language, and the same one of several wordings."""

from __future__ import annotations

from lingualign.lab.grammar import grammar, parse


def translate(text: str, source: str, target: str) -> str:
    """Translates a response of the lab.

    Args:
        text: A response.
        source: The language it should be in; sentences in other languages of the lab are read as well.
        target: The language to say it in.

    Returns:
        The translation. What no grammar can read is kept as it is.
    """
    words = grammar(target)
    return "\n".join(
        piece.text.strip() if piece.sentence is None else words.render(piece.sentence)
        for piece in parse(text, source)
    )
