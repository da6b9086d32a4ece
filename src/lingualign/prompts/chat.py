"""From messages and text to token ids, by one rule for sampling, scoring and training.

A prompt is rendered with the model's own chat template, up to the point where the answer begins; a response
is its text, and the end token if generation had finished. The two are encoded apart and joined as ids. So a
response has the same tokens whatever stands before it, and no token spans the boundary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from lingualign.errors import InputError
from lingualign.records import Message

# What a template raises that refuses a conversation, that is wrong, or that the sandbox it runs in stops.
REFUSALS = (
    TemplateError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)

_QUESTION: Message = {"role": "user", "content": "Question"}
_ANSWER: Message = {"role": "assistant", "content": "SentinelAnswer"}


class ChatFormat:
    """How one model's conversations become tokens.

    Attributes:
        end_id: Id of the token that ends an answer: what the chat template puts right after one, or the
            tokenizer's EOS where it puts none.

    Args:
        tokenizer: A `transformers` tokenizer, with its chat template.
        base_model_prompts: Write prompts as plain text where the tokenizer has no chat template: the contents
            of the messages, each followed by an empty line. A chat template is used where there is one.

    Raises:
        InputError: There is no chat template and `base_model_prompts` is off, the template cannot be
            rendered, or no token ends an answer.

    Example:
        >>> chat = ChatFormat(load_tokenizer("lab:aligned"))
        >>> prompt = chat.prompt_ids([{"role": "user", "content": "What is 3 + 4?"}])
        >>> response = chat.response_ids("3 + 4 = 7", finished=True)
        >>> response[-1] == chat.end_id
        True
    """

    def __init__(self, tokenizer: Any, base_model_prompts: bool = False) -> None:
        self.tokenizer = tokenizer
        self._name = getattr(tokenizer, "name_or_path", "") or "the tokenizer"
        self._has_template = bool(tokenizer.chat_template)
        if not self._has_template and not base_model_prompts:
            raise InputError(
                f"{self._name} has no chat template.",
                "Give an instruction-tuned model, or set base_model_prompts=true for plain text prompts.",
            )
        self._header, after_answer = self._probe() if self._has_template else ("", "")
        self.end_id = self._end_token(after_answer)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation up to where the assistant's answer begins, with a BOS at most once.

        Raises:
            InputError: The chat template refuses the conversation (a system message, say).
        """
        if self._has_template:
            # Templates write the BOS themselves, so the tokenizer must not add another.
            return self._encode(self._render(messages, add_generation_prompt=True) + self._header)
        ids = self._encode("".join(f"{message['content']}\n\n" for message in messages))
        return [self.tokenizer.bos_token_id, *ids] if self._adds_bos() else ids

    def response_ids(self, text: str, finished: bool) -> list[int]:
        """Ids of a response, with the end token if it was finished.

        A special token's name inside the text (`</s>` in an answer about HTML, to Mistral) is text.
        """
        ids = self._encode(text, split_special_tokens=True)
        return [*ids, self.end_id] if finished else ids

    def stop_ids(self, generation_config: Any = None) -> list[int]:
        """Ids that end generation: the end token, those of the generation config, the tokenizer's EOS."""
        configured = getattr(generation_config, "eos_token_id", None)
        configured = configured if isinstance(configured, list | tuple) else [configured]
        found = [self.end_id, *configured, self.tokenizer.eos_token_id]
        return list(dict.fromkeys(int(token) for token in found if token is not None))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of response ids, without the end token and other special tokens, and otherwise as it is."""
        kept = [token for token in ids if token != self.end_id]
        return str(self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _encode(self, text: str, **options: bool) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False, **options)["input_ids"])

    def _render(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    [dict(message) for message in messages],
                    tokenize=False,
                    add_generation_prompt=add_generation_prompt,
                )
            )
        except REFUSALS as error:
            roles = ", ".join(message["role"] for message in messages)
            raise InputError(
                f"The chat template of {self._name} refuses a conversation of {roles}: {error}",
                "Change the prompts to what the model takes, or the template.",
            ) from error

    def _probe(self) -> tuple[str, str]:
        """What the template lacks before an answer, and what it writes after one.

        Some templates ignore `add_generation_prompt`. Most of them need nothing (Mistral: the answer follows
        `[/INST]`); for the others the header is taken from a conversation that has an answer. Its trailing
        spaces are left out: tokenizers put a space into the token of the word that follows.
        """
        asked = self._render([_QUESTION], add_generation_prompt=True)
        silent = self._render([_QUESTION], add_generation_prompt=False)
        try:
            answered = self._render([_QUESTION, _ANSWER], add_generation_prompt=False)
        except InputError:  # a template that knows no answers can still ask
            return "", ""
        before, found, after = answered.rpartition(_ANSWER["content"])
        if not found:
            return "", ""
        header = ""
        if asked == silent and before.startswith(silent):
            header = before.removeprefix(silent).rstrip(" ")
        return header, after

    def _end_token(self, after_answer: str) -> int:
        """The first special token after an answer; whitespace may stand before it and after it."""
        special = {
            token_id
            for token_id, token in self.tokenizer.added_tokens_decoder.items()
            if not token.content.isspace()  # Gemma has added tokens for runs of newlines
        }
        for token_id in self._encode(after_answer):
            if token_id in special:
                return token_id
        if self.tokenizer.eos_token_id is None:
            raise InputError(
                f"{self._name}: no token ends an answer; the chat template writes none, and there is no EOS.",
                "Set eos_token in its tokenizer_config.json.",
            )
        return int(self.tokenizer.eos_token_id)

    def _adds_bos(self) -> bool:
        """Whether the tokenizer puts its BOS before a text by itself."""
        bos = self.tokenizer.bos_token_id
        return bos is not None and self.tokenizer("a", verbose=False)["input_ids"][0] == bos
