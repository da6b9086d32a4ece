"""Asks what a run needs: at a terminal question by question, else from flags and defaults alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import typer

from lingualign.errors import InputError
from lingualign.setup import answers as check
from lingualign.setup.answers import Answers

Value = TypeVar("Value")


class Asker:
    """Gets answers, each checked at once.

    A flag's wrong value is an error. A wrong answer at the terminal is explained, and asked for again.

    Args:
        given: Name of a flag -> what was given with it.
        interactive: Whether somebody is there to answer. Else defaults are taken.
    """

    def __init__(self, given: Mapping[str, str | None], interactive: bool) -> None:
        self._given = given
        self.interactive = interactive

    def get(
        self, flag: str, question: str, default: str | None, check_answer: Callable[[str], Value]
    ) -> Value:
        """One answer.

        Args:
            flag: Name of the flag that gives it.
            question: What to ask, without a question mark.
            default: What Enter stands for; None where there has to be an answer.
            check_answer: Makes the value of what was said, or raises InputError.

        Raises:
            InputError: The flag's value is wrong; or nobody is there to answer, and there is no default.
        """
        given = self._given.get(flag)
        if given is not None:
            return self._named(flag, given, check_answer)
        if not self.interactive:
            if default is None:
                raise InputError(f"{question}: not given.", f"Give it with --{flag}.")
            return self._named(flag, default, check_answer)
        while True:
            said = typer.prompt(question, default=default)
            try:
                return check_answer(said)
            except InputError as error:
                typer.echo(f"  {error}", err=True)

    def is_given(self, flag: str) -> bool:
        """Whether a flag was given."""
        return self._given.get(flag) is not None

    @staticmethod
    def _named(flag: str, text: str, check_answer: Callable[[str], Value]) -> Value:
        try:
            return check_answer(text)
        except InputError as error:
            raise InputError(f"--{flag} {text}: {error.message}", error.remedy) from None


def ask(asker: Asker) -> Answers:
    """Asks for a whole run: the method, the models, the prompts, the languages, the judge, the folder."""
    recipe = asker.get("recipe", "Method (`lingualign recipes` lists them)", "icr", check.check_recipe)
    found = Answers(recipe)
    defaults = found.config()
    policy = asker.get(
        "policy", "Folder of the aligned model, or the lab's", defaults.policy, check.check_policy
    )
    found.settings["policy"] = policy
    found.settings["reference"] = _reference(asker, found, policy, defaults.reference)
    own_model = not check.in_lab(policy)
    languages = asker.get(
        "prompts", "Prompts: a file or folder, or `lab`", None if own_model else "lab", _prompts(found)
    )
    prompts = found.settings["prompts"]
    source = "en"
    if "en" not in languages or asker.is_given("source-language"):
        source = asker.get(
            "source-language",
            "Language that the model is well aligned in",
            "en" if "en" in languages else None,
            lambda text: _among(text.strip(), languages),
        )
    targets = ",".join(code for code in languages if code != source)
    codes = asker.get(
        "languages",
        "Languages to improve",
        targets,
        lambda text: check.check_languages(text, prompts, source),
    )
    found.settings |= {"languages": ",".join(codes), "source_language": source}
    config = found.config()
    if prompts != "lab" and (check.needs_labelled_pairs(config) or asker.is_given("labelled-pairs")):
        found.settings["data.labelled_pairs"] = asker.get(
            "labelled-pairs",
            f"File of labelled pairs in {source} (prompt, chosen, rejected)",
            None,
            lambda text: check.check_labelled_pairs(text, source),
        )
    if prompts != "lab" or asker.is_given("judge"):
        _judge(asker, found)
    found.settings["output"] = asker.get(
        "output-folder", "Folder for the run", check.free_output(recipe), check.check_output
    )
    return found


def _reference(asker: Asker, found: Answers, policy: str, default: str) -> str:
    """The reference: the lab's in the lab; else asked for; the policy itself where the method needs none."""
    question = "Folder of the model before its preference tuning"
    if check.in_lab(policy):
        proposed: str | None = default
    elif check.needs_reference(found.config()):
        proposed = None
    else:
        question = f"{question} (the method does without; the implicit judge needs it)"
        proposed = policy
    return asker.get("reference", question, proposed, lambda text: check.check_reference(text, policy))


def _prompts(found: Answers) -> Callable[[str], list[str]]:
    """Checks prompts, and gives the languages that they are in."""

    def check_answer(text: str) -> list[str]:
        languages = check.prompt_languages(text.strip())
        found.settings["prompts"] = text.strip()
        return languages

    return check_answer


def _among(code: str, languages: list[str]) -> str:
    if code not in languages:
        raise InputError(
            f"there are no prompts in {code!r}, but in {', '.join(languages)}.", "Name one of these."
        )
    return code


def _judge(asker: Asker, found: Answers) -> None:
    """Who says which of two answers is better."""
    kind = asker.get(
        "judge",
        "Judge: implicit (the policy's own reward), server (a language model) or reward-model",
        "implicit",
        check.check_judge,
    )
    found.settings["measures.judge"] = kind
    if kind == "reward-model":
        found.settings["measures.reward_model"] = asker.get(
            "judge-model", "Folder of the reward model", None, check.check_filled
        )
    if kind == "server":
        found.settings["measures.server.url"] = asker.get(
            "judge-url", "Address of the judge's server, up to /v1", None, check.check_url
        )
        found.settings["measures.server.model"] = asker.get(
            "judge-model", "The judge's name there", None, check.check_filled
        )
        key = asker.get(
            "judge-key-env", "Environment variable with its key (Enter: none)", "", lambda text: text.strip()
        )
        if key:
            found.settings["measures.server.api_key_env"] = key
