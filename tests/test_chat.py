from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from families import FAMILIES, SPECS, make_tokenizer
from lingualign.errors import InputError
from lingualign.prompts import ChatFormat, directive, with_directive
from lingualign.records import Message

ULTRAFEEDBACK = Path(__file__).parents[1] / ".." / "shared" / "data" / "ultrafeedback"

QUESTION: list[Message] = [{"role": "user", "content": "Name a river."}]
TURNS: list[Message] = [
    *QUESTION,
    {"role": "assistant", "content": "The Volga."},
    {"role": "user", "content": "Another."},
]

# Written out from the model cards, so that a template that changes is noticed.
GOLDEN = {
    "llama": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nName a river.<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "The Volga.<|eot_id|>",
    ),
    "qwen3": (
        "<|im_start|>user\nName a river.<|im_end|>\n<|im_start|>assistant\n",
        "The Volga.<|im_end|>",
    ),
    "gemma3": (
        "<bos><start_of_turn>user\nName a river.<end_of_turn>\n<start_of_turn>model\n",
        "The Volga.<end_of_turn>",
    ),
    "mistral": ("<s>[INST] Name a river.[/INST]", "The Volga.</s>"),
}

RESPONSES = [
    "",
    "The Volga.",
    " a space before, and two behind  ",
    "\n\nlines\n\n\n- and a list\n",
    "แม่น้ำโวลกา ยาวที่สุด",
    "نهر الفولغا هو الأطول.\u200f",
    "क्षत्रिय e\u0301 é",
    "👨‍👩‍👧‍👦 🇹🇿 🎉",
    "<b>bold</b> & </s> <|im_end|> <end_of_turn> <|eot_id|> <s>[INST]",
    "word " * 4000,
]

CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


@pytest.fixture(scope="module", params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tokenizer(name: str, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    """A family's tokenizer, saved and loaded, as a user's is."""
    folder = tmp_path_factory.mktemp(name)
    make_tokenizer(name).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def with_template(template: str | None, family: str = "qwen3", **changes: Any) -> PreTrainedTokenizerFast:
    tokenizer = copy.deepcopy(make_tokenizer(family))
    tokenizer.chat_template = template
    for attribute, value in changes.items():
        setattr(tokenizer, attribute, value)
    return tokenizer


def text_of(chat: ChatFormat, ids: list[int]) -> str:
    return str(chat.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


# The four families


def test_golden_tokens_of_a_question_and_its_answer(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    chat = ChatFormat(tokenizer)
    prompt, answer = GOLDEN[name]
    prompt_ids, response_ids = chat.prompt_ids(QUESTION), chat.response_ids("The Volga.", finished=True)
    assert text_of(chat, prompt_ids) == prompt
    assert text_of(chat, response_ids) == answer
    assert text_of(chat, prompt_ids + response_ids) == prompt + answer
    assert response_ids[-1] == tokenizer.convert_tokens_to_ids(SPECS[name].end)


def test_prompt_ids_are_those_of_transformers(tokenizer: PreTrainedTokenizerFast) -> None:
    for messages in (QUESTION, TURNS):
        expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert ChatFormat(tokenizer).prompt_ids(messages) == expected


def test_bos_stands_at_most_once(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    ids = ChatFormat(tokenizer).prompt_ids(TURNS)
    if SPECS[name].bos is None:
        assert tokenizer.bos_token_id is None
    else:
        assert ids.count(tokenizer.bos_token_id) == 1
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id  # it would have been added twice


@pytest.mark.parametrize("text", RESPONSES)
def test_a_response_decodes_to_itself_and_its_end_token(
    name: str, tokenizer: PreTrainedTokenizerFast, text: str
) -> None:
    chat = ChatFormat(tokenizer)
    finished, cut = chat.response_ids(text, finished=True), chat.response_ids(text, finished=False)
    assert finished == [*cut, chat.end_id]
    assert text_of(chat, finished) == text + SPECS[name].end
    assert chat.decode(finished) == chat.decode(cut) == text


def test_names_of_special_tokens_in_a_response_are_text(tokenizer: PreTrainedTokenizerFast) -> None:
    chat = ChatFormat(tokenizer)
    ids = chat.response_ids("".join(tokenizer.all_special_tokens), finished=False)
    assert not set(ids) & set(tokenizer.all_special_ids)
    # and the prompts that come after are still rendered with special tokens
    assert chat.prompt_ids(QUESTION) == ChatFormat(tokenizer).prompt_ids(QUESTION)
    assert set(chat.prompt_ids(QUESTION)) & set(tokenizer.all_special_ids)


def test_stop_ids(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    chat = ChatFormat(tokenizer)
    of_family = tokenizer.convert_tokens_to_ids(SPECS[name].stop)
    assert set(chat.stop_ids(SimpleNamespace(eos_token_id=of_family))) == set(of_family)
    assert set(chat.stop_ids(SimpleNamespace(eos_token_id=5))) == {chat.end_id, tokenizer.eos_token_id, 5}
    for nothing in (None, SimpleNamespace(), SimpleNamespace(eos_token_id=None)):
        assert set(chat.stop_ids(nothing)) == {chat.end_id, tokenizer.eos_token_id}
    assert chat.stop_ids()[0] == chat.end_id


def test_real_prompts_are_rendered_whole(tokenizer: PreTrainedTokenizerFast) -> None:
    if not ULTRAFEEDBACK.is_dir():
        pytest.skip(f"the real prompts of {ULTRAFEEDBACK} are not here")
    chat = ChatFormat(tokenizer)
    for language in ("bn", "en", "th", "zh"):
        lines = (ULTRAFEEDBACK / f"{language}.jsonl").read_text(encoding="utf-8").split("\n")[:30]
        for line in lines:
            content = json.loads(line)["instruction"]
            assert content.strip() in text_of(chat, chat.prompt_ids([{"role": "user", "content": content}]))


# Other templates


def test_template_without_generation_prompt_gets_the_header_of_its_answers() -> None:
    chat = ChatFormat(with_template(CHATML))
    assert text_of(chat, chat.prompt_ids(QUESTION)) == GOLDEN["qwen3"][0]
    assert text_of(chat, chat.prompt_ids(TURNS)).endswith("Another.<|im_end|>\n<|im_start|>assistant\n")


def test_header_ends_without_the_space_that_belongs_to_the_answer() -> None:
    line = "{{ 'Human' if m.role == 'user' else 'Assistant' }}: {{ m.content }}\n"
    template = "{% for m in messages %}" + line + "{% endfor %}"
    chat = ChatFormat(with_template(template))
    assert text_of(chat, chat.prompt_ids(QUESTION)) == "Human: Name a river.\nAssistant:"


@pytest.mark.parametrize(
    "after", ["<|im_end|>", "<|im_end|>\n", "<|im_end|>\n\n<|endoftext|>", " \n<|im_end|> "]
)
def test_end_token_is_found_among_whitespace(after: str) -> None:
    template = CHATML.replace("<|im_end|>\n", after)
    chat = ChatFormat(with_template(template, eos_token="<|endoftext|>"))
    assert chat.end_id == chat.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert text_of(chat, chat.response_ids("Volga", finished=True)) == "Volga<|im_end|>"


def test_whitespace_tokens_are_no_end_tokens() -> None:
    tokenizer = with_template(CHATML.replace("<|im_end|>\n", "\n\n<|im_end|>"))
    tokenizer.add_tokens(["\n\n"])  # as Gemma's tokenizer has
    assert ChatFormat(tokenizer).end_id == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_end_token_that_is_not_marked_as_special() -> None:
    tokenizer = with_template(CHATML.replace("<|im_end|>", "<|done|>"))
    tokenizer.add_tokens(["<|done|>"])
    chat = ChatFormat(tokenizer)
    ids = chat.response_ids("Volga", finished=True)
    assert ids[-1] == tokenizer.convert_tokens_to_ids("<|done|>")
    assert chat.decode(ids) == "Volga"


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.content }}\n{% endfor %}",  # nothing but a line break
        "{{ messages[0].content }}",  # knows one turn
        "{% if messages | length > 1 %}{{ raise_exception('one turn') }}{% endif %}{{ messages[0].content }}",
    ],
)
def test_end_token_falls_back_to_eos(template: str) -> None:
    chat = ChatFormat(with_template(template))
    assert chat.end_id == chat.tokenizer.eos_token_id
    assert text_of(chat, chat.prompt_ids(QUESTION)).startswith("Name a river.")


def test_no_token_to_end_with() -> None:
    with pytest.raises(InputError, match="no token ends an answer"):
        ChatFormat(with_template("{{ messages[0].content }}", eos_token=None))


def test_conversation_that_the_template_refuses(tmp_path: Path) -> None:
    chat = ChatFormat(make_tokenizer("mistral"))
    with pytest.raises(InputError, match=r"refuses a conversation of user, user: .*must alternate"):
        chat.prompt_ids(QUESTION + QUESTION)


# Base models


@pytest.mark.parametrize("template", [None, ""])
def test_no_chat_template_is_an_error_unless_asked_for(template: str | None) -> None:
    tokenizer = with_template(template, name_or_path="models/base")
    with pytest.raises(InputError) as error:
        ChatFormat(tokenizer)
    assert error.value.message == "models/base has no chat template."
    assert "base_model_prompts=true" in error.value.remedy


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_text_prompts(family: str) -> None:
    chat = ChatFormat(with_template(None, family), base_model_prompts=True)
    bos = SPECS[family].bos or ""
    assert text_of(chat, chat.prompt_ids(QUESTION)) == f"{bos}Name a river.\n\n"
    assert chat.end_id == chat.tokenizer.eos_token_id


def test_base_model_prompts_leave_a_chat_template_in_use() -> None:
    chat = ChatFormat(make_tokenizer("qwen3"), base_model_prompts=True)
    assert text_of(chat, chat.prompt_ids(QUESTION)) == GOLDEN["qwen3"][0]


# Directives


def test_directive_names_the_language_in_english() -> None:
    assert "Swahili" in directive("sw")
    assert directive("zh", "Answer in {language}.") == "Answer in Chinese."


def test_directive_stands_before_the_last_user_message() -> None:
    asked = with_directive(TURNS, "de", "en", "Answer in {language}.")
    assert asked[:2] == tuple(TURNS[:2])
    assert asked[2] == {"role": "user", "content": "Answer in German.\n\nAnother."}
    assert TURNS[2]["content"] == "Another."


def test_source_language_needs_no_directive() -> None:
    assert with_directive(TURNS, "en", "en") == tuple(TURNS)


def test_directive_keeps_braces_of_the_prompt() -> None:
    messages: list[Message] = [{"role": "user", "content": "Explain {language} and {x}."}]
    assert with_directive(messages, "de", "en")[0]["content"].endswith("\n\nExplain {language} and {x}.")


def test_template_without_a_place_for_the_language() -> None:
    with pytest.raises(InputError, match="does not say where"):
        directive("de", "Answer in German.")
