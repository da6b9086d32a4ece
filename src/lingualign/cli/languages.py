"""`lingualign languages`: the codes that are known."""

from __future__ import annotations

from lingualign.cli.arguments import Json
from lingualign.cli.reporters import make_reporter


def command(json: Json = False) -> None:
    """Lists the languages by BCP-47 code, with their name in English and in themselves, and their script.

    lingualign languages
    """
    from lingualign.languages import LANGUAGES

    if json:
        listed = [language.__dict__ for language in LANGUAGES.values()]
        make_reporter(json).result("languages", {"languages": listed})
        return
    for language in LANGUAGES.values():
        print(f"{language.code:<8} {language.name:<24} {language.script:<6} {language.endonym}")
