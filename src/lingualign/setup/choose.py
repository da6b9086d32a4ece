"""From answers to a run: what the recipe says, what the user said, and what fits model and machine."""

from __future__ import annotations

from dataclasses import dataclass

from lingualign.config import RunConfig
from lingualign.setup.answers import Answers, count_prompts, in_lab
from lingualign.setup.commented import commented_yaml
from lingualign.setup.machine import look_at_machine
from lingualign.setup.shape import run_shapes
from lingualign.setup.suggest import Suggestion, changed, room_of, suggest


@dataclass(frozen=True)
class Chosen:
    """A run as it will be written.

    Attributes:
        config: Complete.
        suggestions: What was chosen for the model and the machine.
    """

    config: RunConfig
    suggestions: list[Suggestion]

    def text(self, name: str) -> str:
        """The run as a commented YAML file of that name."""
        reasons = {suggestion.key: suggestion.reason for suggestion in self.suggestions}
        return commented_yaml(self.config, reasons, name)


def choose(answers: Answers) -> Chosen:
    """Completes answers to a run. In the lab nothing is chosen: its settings fit its models."""
    config = answers.config()
    if in_lab(config.policy):
        return Chosen(config, [])
    prompts = count_prompts(config.prompts, config.languages, config.source_language)
    room = room_of(look_at_machine(), config.device, config.dtype)
    policy, reference = run_shapes(config)
    suggestions = suggest(config, policy, reference, room, prompts)
    return Chosen(changed(config, {s.key: s.value for s in suggestions}), suggestions)
