"""The lab: its grammar, judge and translator agree in every language; its prompts are kept apart."""

from itertools import islice
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lingualign.errors import InputError
from lingualign.lab.corpus import conversations
from lingualign.lab.grammar import LANGUAGES, grammar, parse, render
from lingualign.lab.judge import WEIGHTS, judge
from lingualign.lab.preferences import english_preferences
from lingualign.lab.prompts import prompts, tasks, with_directive
from lingualign.lab.responses import draw_sentences
from lingualign.lab.tasks import FAMILIES, Style, Task
from lingualign.lab.translate import translate

GOOD = Style(right=True, complete=True, worked=True, numbered=True)


def test_every_language_says_the_same_things():
    english = grammar("en").data
    for language in LANGUAGES:
        data = grammar(language).data
        assert data["language"] == language
        assert data["sentences"].keys() == english["sentences"].keys()
        assert data["prompts"].keys() == english["prompts"].keys()
        for kind, wordings in data["sentences"].items():
            assert len(wordings) == len(english["sentences"][kind]), (language, kind)
        for entry, words in data["lexicon"].items():
            assert words.keys() == english["lexicon"][entry].keys(), (language, entry)


def test_no_two_words_of_a_slot_are_said_alike():
    for language in LANGUAGES:
        words = grammar(language)
        for entry in words.data["lexicon"]:
            if entry in ("item", "category"):
                continue
            said = [words.word(entry, value).lower() for value in words.data["lexicon"][entry]]
            assert len(set(said)) == len(said), (language, entry)


@given(st.integers(0, 10**6), st.sampled_from(LANGUAGES), st.sampled_from(LANGUAGES))
def test_judgement_does_not_depend_on_the_language_and_translation_is_exact(seed, source, target):
    rng = Random(seed)
    task = next(islice(tasks("train", seed), seed % 16, None))
    sentences = draw_sentences(task, rng)
    said, other = render(sentences, source), render(sentences, target)
    assert translate(said, source, target) == other
    judged = judge(task.id, source, said)
    assert judged.traits["clean"] == 1 and judged.language == source
    assert judged.traits == judge(task.id, target, other).traits


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_judge_sees_each_trait_of_each_family(name, language):
    family, rng = FAMILIES[name], Random(name)
    for _ in range(20):
        task = Task(name, family.draw(rng))
        good = family.answer(task.args, GOOD, rng)
        applicable = judge(task.id, language, render(good, language)).traits
        assert applicable["right"] == 1
        for trait in ("right", "complete", "worked", "numbered"):
            if applicable[trait] is None:
                continue
            style = Style(**{**GOOD.__dict__, trait: False})
            spoiled = judge(task.id, language, render(family.answer(task.args, style, rng), language)).traits
            assert applicable[trait] == 1 and spoiled[trait] == 0, (trait, task)
            rest = {t: v for t, v in spoiled.items() if t != trait}
            assert rest == {t: v for t, v in applicable.items() if t != trait}, (trait, task)


def test_rewards_by_hand():
    """The weights that apply to a sum: 0.30 + 2 * 0.20 + 4 * 0.10 = 1.10 (no parts, no numbering)."""
    task = "sum.anna.apple.3.5.none"
    best = judge(task, "en", "With pleasure!\n3 + 5 = 8\nAnna now has 8 apples.")
    assert best.reward == pytest.approx(1)
    bare = judge(task, "en", "Anna now has 8 apples.")
    assert bare.reward == pytest.approx((1.10 - 0.20 - 0.20) / 1.10)
    wrong = judge(task, "en", "Anna now has 9 apples.")
    assert wrong.reward == pytest.approx((1.10 - 0.20 - 0.20 - 0.30) / 1.10)
    padded = judge(
        task,
        "en",
        "I am not quite sure. There is a lot that one could say about this topic. "
        "Anna now has 8 apples. Anna now has 8 apples.",
    )
    assert padded.reward == pytest.approx((1.10 - 0.20 - 0.20 - 0.30) / 1.10)
    assert [t for t in ("confident", "focused", "concise") if padded.traits[t]] == []


def test_another_language_is_seen_and_costs_most_of_the_reward():
    task = "sum.anna.apple.3.5.none"
    german = judge(task, "es", "Anna hat jetzt 8 Äpfel.")
    assert (german.language, german.traits["language"]) == ("de", 0)
    assert german.reward == pytest.approx(0.2 * judge(task, "de", "Anna hat jetzt 8 Äpfel.").reward)
    mixed = judge(task, "de", "Mit Vergnügen! Anna now has 8 apples.")
    assert mixed.language is None and mixed.traits["language"] == 0


@pytest.mark.parametrize("text", ["", "   ", "Lorem ipsum.", "8", "Anna now has 8 appl", "1. \n2. \n", "🙂"])
def test_what_is_not_of_the_world_is_worth_little(text):
    judged = judge("sum.anna.apple.3.5.none", "en", text)
    assert judged.reward <= 0.2
    assert judged.traits["right"] == 0 and judged.traits["clean"] == 0


@given(st.text(max_size=80), st.sampled_from(LANGUAGES))
def test_any_text_can_be_judged_and_translated(text, language):
    assert 0 <= judge("list.fruit.2.colour.3.none", language, text).reward <= 1
    assert "".join("".join(piece.text for piece in parse(text, language)).split()) == "".join(text.split())
    translate(text, language, "en")


def test_about_another_subject_is_wrong():
    said = "The capital of Kenya is Nairobi. The country is in Africa."
    assert judge("country.kenya.capital.continent.none", "en", said).traits["right"] == 1
    assert judge("country.egypt.capital.continent.none", "en", said).traits["right"] == 0


def test_held_out_prompts_never_occur_in_training():
    train = {task.id for task in islice(tasks("train"), 4000)}
    heldout = {task.id for task in islice(tasks("heldout"), 800)}
    assert len(train) == 4000 and len(heldout) == 800 and not train & heldout
    assert {Task.from_id(prompt_id).family for prompt_id in heldout} == set(FAMILIES)
    asked = {conversation.prompt for conversation in islice(conversations(0), 3000)}
    for prompt_id in heldout:
        assert Task.from_id(prompt_id).prompt("en") not in asked


def test_prompts_are_parallel_and_slices_are_disjoint():
    first, second = prompts("train", 40, ["en", "sw"]), prompts("train", 40, ["en", "sw"], start=40)
    assert len(set(first.ids)) == 40 and not set(first.ids) & set(second.ids)
    assert [p.id for p in first.by_language["sw"]] == first.ids
    assert Task.from_id(first.ids[0]).prompt("sw") == first.by_language["sw"][0].messages[0]["content"]
    with pytest.raises(InputError, match="the lab has no fr"):
        prompts("train", 1, ["en", "fr"])


@pytest.mark.parametrize("prompt_id", ["", "sum", "nonsense.1.none", "sum.anna.apple.3.5.never"])
def test_an_id_from_elsewhere_is_refused(prompt_id):
    with pytest.raises(ValueError, match="not the id of a prompt of the lab"):
        judge(prompt_id, "en", "x")


def test_directives_are_in_the_prompts_language():
    assert with_directive("Wo?", "de", "en") == "Antworte auf Englisch.\n\nWo?"
    assert with_directive("Where?", "en", "sw") == "Answer in Swahili.\n\nWhere?"


def test_english_preferences_prefer_what_the_judge_prefers():
    pairs = english_preferences(50)
    assert len(pairs) == 50
    for pair in pairs:
        prompt_id = pair["id"].removesuffix("/en")
        rewards = [judge(prompt_id, "en", pair[side][0]["content"]).reward for side in ("chosen", "rejected")]
        assert rewards[0] > rewards[1]


def test_weights_cover_what_the_judge_reports():
    traits = judge("sum.anna.apple.3.5.none", "en", "").traits
    assert set(traits) == set(WEIGHTS) | {"language"}
