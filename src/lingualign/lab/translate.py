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
    result = ""
    own_line = False
    for piece in parse(text, source):
        numbered = piece.sentence is not None and piece.sentence.position is not None
        if result:
            result += "\n" if numbered or own_line else words.space
        if piece.sentence is None:
            result += piece.text.strip()
        else:
            if numbered and piece.sentence.kind != "list.part":
                result += f"{piece.sentence.position}. "
            result += words.render(piece.sentence)
        own_line = numbered
    return result
