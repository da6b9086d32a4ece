"""Final answers: what is read, and that it is the same in every language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingualign.answers import MARKERS, boxed, choice, extractor, last_number
from lingualign.errors import InputError
from lingualign.lab.grammar import LANGUAGES, grammar, render, say
from lingualign.lab.tasks import FAMILIES, Task
from lingualign.lab.translate import translate
from lingualign.languages import resolve
from lingualign.records import Response


def response(text: str, language: str = "en", prompt_id: str = "p1") -> Response:
    return Response(
        prompt_id=prompt_id, language=language, index=0, text=text, finish_reason="stop", num_tokens=1
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so 1,234.5 then 7", "7"),  # FD4
        ("costs $1,234", "1234"),  # FD4
        ("no number at all", None),  # FD4 has 0.0
        ("", None),
        ("It is 7.", "7"),
        ("7.0 or 7.0004", "7"),
        ("1,234,567.25 francs", "1234567.25"),
        ("12,34,567 rupees", "1234567"),
        ("12,50 Euro", "12.5"),
        ("1, 2, 3", "3"),
        ("1,2,3", "3"),
        ("x = -5", "-5"),
        ("x = −5", "-5"),
        ("pages 3-5", "5"),
        ("-0.0001", "0"),
        ("答案是１２", "12"),
        ("উত্তর ১,২৩৪", "1234"),
        ("कुल ४२ है", "42"),
    ],
)
def test_last_number(text: str, number: str | None) -> None:
    assert last_number(text) == number
    assert extractor("number")(response(text)) == number


@given(st.integers(-(10**9), 10**9), st.integers(0, 999))
def test_a_number_is_the_same_however_it_is_written(whole: int, thousandths: int) -> None:
    sign, size = ("-" if whole < 0 else ""), abs(whole)
    plain = last_number(f"{sign}{size}.{thousandths:03d}")
    assert plain == last_number(f"It costs {sign}{size:,}.{thousandths:03d}0 in all.")
    assert plain is not None and float(plain) == pytest.approx(float(f"{sign}{size}.{thousandths:03d}"))


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Answer:B", "B"),
        ("Answer: B", "B"),
        ("Answer:(B)", "B"),
        ("Answer：B", "B"),
        ("So the final answer: B.", "B"),
        ("Answer:\nB", "B"),
        ("Answer: A, no. Answer: C", "C"),
        ("Answer: C. Answer:", "C"),
        ("Answer:  B", None),
        ("Answer: Because", None),
        ("Answer: b", None),
        ("B", None),
        ("答案: B", None),
    ],
)
def test_choice(text: str, letter: str | None) -> None:
    assert choice(text, "en") == letter
    assert extractor("choice")(response(text)) == letter


def test_choice_knows_the_markers_of_the_paper() -> None:
    said = {
        "zh": "答案:B是对的",
        "fr": "Réponse: B",
        "de": "Antwort: B",
        "it": "Risposta: B",
        "ja": "答え：B",
    }
    assert {choice(text, language) for language, text in said.items()} == {"B"}
    assert choice("答案：B", "zh-Hant") == "B"


def test_every_marker_is_one_of_a_known_language_and_is_read() -> None:
    for language, marker in MARKERS.items():
        assert resolve(language).code == language
        assert choice(f"{marker}: D", language) == "D"


def test_choice_without_a_marker_says_so() -> None:
    with pytest.raises(InputError, match="no answer marker is known for br"):
        choice("Answer: B", "br")


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"so \boxed{42}.", "42"),
        (r"\boxed{1} and then \boxed{ 1,234.0 }", "1234"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed {x_{1}}", "x_{1}"),
        (r"\boxed{7} \boxed{8", "7"),
        (r"\boxed{\boxed{3}}", "3"),
        (r"\boxed{ }", None),
        ("42", None),
    ],
)
def test_boxed(text: str, content: str | None) -> None:
    assert boxed(text) == content
    assert extractor("boxed")(response(text)) == content


SAID = {
    "sum.anna.apple.3.5.hello": ("sum.answer", {"name": "anna", "item": "apple", "c": 8}),
    "price.apple.2.4.none": ("price.answer", {"b": 4, "item": "apple", "c": 8}),
    "compare.lion.rabbit.none": ("compare.answer", {"first": "lion", "second": "rabbit"}),
    "sort.up.7.2.9.none": ("sort.answer", {"numbers": (2, 7, 9)}),
}


@pytest.mark.parametrize("prompt_id", SAID)
def test_the_labs_answer_is_the_same_in_every_language(prompt_id: str) -> None:
    assert Task.from_id(prompt_id).family in FAMILIES
    kind, slots = SAID[prompt_id]
    sentences = [say("open"), say("hedge"), say(kind, **slots), say("close")]  # type: ignore[arg-type]
    texts = {language: render(sentences, language) for language in LANGUAGES}
    read = extractor("lab")
    answers = {read(response(text, language, prompt_id)) for language, text in texts.items()}
    assert len(answers) == 1 and None not in answers
    assert read(response(texts["en"], "de", prompt_id)) in answers  # in the wrong language too
    assert read(response(translate(texts["sw"], "sw", "zh"), "zh", prompt_id)) in answers


def test_the_labs_answer_is_the_last_statement_right_or_wrong() -> None:
    first, last = (
        say("compare.answer", first=a, second=b) for a, b in (("lion", "rabbit"), ("rabbit", "lion"))
    )
    text = render([first, last], "de")
    assert extractor("lab")(response(text, "de", "compare.lion.rabbit.none")) == "first=rabbit second=lion"


def test_the_lab_has_no_answer_of_facts_lists_and_noise() -> None:
    read = extractor("lab")
    text = grammar("en").render(say("animal.habitat", animal="lion", habitat="savannah"))
    assert read(response(text, "en", "animal.lion.habitat.food.none")) is None
    assert read(response("8!", "en", "sum.anna.apple.3.5.hello")) is None


def test_the_lab_reads_answers_to_its_own_prompts_only() -> None:
    with pytest.raises(InputError, match="not one of the lab's"):
        extractor("lab")(response("8", "en", "mgsm-1"))
