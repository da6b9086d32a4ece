"""The watch over a training: warns at signs of collapse, ends it, or goes back to where all was well.

What a sign is stands in `lingualign.training.signs`. Here are the answers that the language is read from, and
what follows from a sign.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from lingualign.config import TrainingConfig
from lingualign.languages import LanguageIdentifier
from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import Pair
from lingualign.training.arguments import step_of
from lingualign.training.signs import RIGHT_LANGUAGE, SignName, Watch, shares_of

OnWarn = Callable[[str], None]

REMEDIES: dict[SignName, str] = {
    "chosen_fall": "A larger training.nll_weight holds them; so does a smaller training.learning_rate.",
    "saturated": "Fewer training.epochs would do; look at what tells the pairs apart.",
    "margin": "A larger training.beta, a smaller training.learning_rate or fewer training.epochs hold it.",
    "language": "Look at the languages of the pairs (pairs.wrong_language) and at training.learning_rate.",
}


class Answers:
    """Greedy answers of the model in training to some prompts of its pairs, in every language of them.

    Args:
        config: Of the training; `guard` says how many, and how long.
        pairs: Preferences; the first prompts of each language are answered.
        chat: Chat format of the model.
        source_language: Of the run.
    """

    def __init__(
        self, config: TrainingConfig, pairs: Sequence[Pair], chat: ChatFormat, source_language: str
    ) -> None:
        self._guard, self._chat = config.guard, chat
        room = config.max_length - self._guard.language_tokens
        by_language: dict[str, dict[str, Prompt]] = {}
        for pair in pairs if self._guard.language_steps else ():
            prompts = by_language.setdefault(pair["language"], {})
            wanted = len(prompts) < self._guard.language_prompts and pair["prompt_id"] not in prompts
            if wanted and len(chat.prompt_ids(pair["prompt"])) <= room:
                prompts[pair["prompt_id"]] = Prompt(
                    pair["prompt_id"], pair["language"], tuple(pair["prompt"])
                )
        self._prompts = {code: list(prompts.values()) for code, prompts in by_language.items() if prompts}
        self._identifier = LanguageIdentifier([*by_language, source_language])

    def shares(self, model: nn.Module) -> dict[str, float]:
        """The share of answers in the language of their prompt, by language; none if nothing is asked.

        An answer whose language cannot be told is not in it: gibberish has none. Answers that are numbers
        or code are so at the start too, which is what they are compared with.
        """
        from lingualign.sampling import TransformersSampler

        if not self._prompts:
            return {}
        mode = model.training
        model.eval()
        sampler = TransformersSampler(model, self._chat)
        asked = [prompt for prompts in self._prompts.values() for prompt in prompts]
        answers = sampler.sample(
            asked, n=1, temperature=0, max_new_tokens=self._guard.language_tokens, seed=0
        )
        model.train(mode)
        told = [self._identifier.identify(answer["text"]) for (answer,) in answers]
        return {
            language: sum(
                found == language
                for prompt, found in zip(asked, told, strict=True)
                if prompt.language == language
            )
            / len(prompts)
            for language, prompts in self._prompts.items()
        }


class Guard(TrainerCallback):
    """Reads what is logged, and acts on signs of collapse.

    No checkpoint is written at the step of a sign that ends the training. A training that is killed behind
    it goes on before the sign, and comes to it again.

    Attributes:
        stopped_at: Step at which a sign ended the training; None where none did.
        rolled_back_to: Step whose weights the training ended with, 0 for those it started from; None where
            they are the last.

    Args:
        trainer: Whom to watch.
        config: Of its training.
        answers: What tells of languages.
        on_warn: Told of every sign, in words.
    """

    def __init__(
        self, trainer: Trainer, config: TrainingConfig, answers: Answers, on_warn: OnWarn | None
    ) -> None:
        self._trainer, self._guard, self._on_warn = trainer, config.guard, on_warn
        self._answers = answers
        self._watch = Watch(config)
        self.stopped_at: int | None = None
        self.rolled_back_to: int | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Catches up with the history of an earlier start, or asks the policy as it starts."""
        for entry in state.log_history:
            self._watch.see(entry)
        if not state.log_history:
            self._ask()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Asks the policy every so many steps, and after the last."""
        every = self._guard.language_steps
        if every and (state.global_step % every == 0 or state.global_step >= state.max_steps):
            should_log = control.should_log
            self._ask()
            control.should_log = should_log  # of the step itself: what logs the shares has turned it off

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Looks for signs in what has been logged, and acts on them."""
        new = self._watch.see(state.log_history[-1])
        follows = self._end(args, state, control) if self._watch.signs and self.stopped_at is None else ""
        for sign in new:
            if self._on_warn is not None and state.is_world_process_zero:
                self._on_warn(f"training, step {sign.step}: {sign}.{follows} {REMEDIES[sign.name]}")

    def _end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> str:
        """Ends the training if signs are to end it, and says so."""
        if self._guard.action == "warn":
            return ""
        self.stopped_at = state.global_step
        control.should_training_stop = True
        control.should_save = False
        if self._guard.action == "stop":
            return " Training ends here."
        good = min(sign.good for sign in self._watch.signs)
        steps = {step_of(path): path for path in Path(str(args.output_dir)).glob("checkpoint-*")}
        self.rolled_back_to = max((step for step in steps if step <= good), default=0)
        if self.rolled_back_to:
            # The Trainer's own way back, which knows adapters and sharded weights.
            args.load_best_model_at_end = True
            state.best_model_checkpoint = str(steps[self.rolled_back_to])
            return f" Training ends here, with the weights of step {self.rolled_back_to}."
        return " Training ends here, with the weights it started from: there is no checkpoint before it."

    def record(self) -> dict[str, Any]:
        """What was found, as plain values for `training.json`."""
        return {
            "action": self._guard.action,
            "signs": [sign.as_dict() for sign in self._watch.signs],
            "stopped_at": self.stopped_at,
            "rolled_back_to": self.rolled_back_to,
            "right_language": shares_of(self._trainer.state.log_history),
        }

    def _ask(self) -> None:
        if self._trainer.is_fsdp_enabled or self._trainer.is_deepspeed_enabled:
            return  # no process has all weights
        asks = self._trainer.is_world_process_zero()
        (shares,) = broadcast_object_list([self._answers.shares(self._trainer.model) if asks else {}])
        if shares:
            self._trainer.log({RIGHT_LANGUAGE + language: share for language, share in shares.items()})
