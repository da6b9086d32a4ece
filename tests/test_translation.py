"""Translators: what they answer, what they count as failed, and how likely they find a translation."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sentencepiece
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer, NllbTokenizer

from chat_server import FakeServer, Reply, completion
from conftest import LoadFamily
from families import TEXT, make_tokenizer
from lingualign.errors import InputError
from lingualign.lab import TRANSLATE
from lingualign.lab.corpus import translations
from lingualign.lab.grammar import LANGUAGES as LAB_LANGUAGES
from lingualign.lab.grammar import render
from lingualign.lab.prompts import tasks
from lingualign.lab.responses import draw_sentences
from lingualign.languages import LANGUAGES
from lingualign.models import load_model, load_tokenizer
from lingualign.prompts import ChatFormat
from lingualign.translation import (
    ExactTranslator,
    FileTranslator,
    MaskingTranslator,
    ServerTranslator,
    StoredTranslator,
    Translator,
)
from lingualign.translation.codes import ISO_639_3, language_code
from lingualign.translation.mask import SPELLINGS, mask, unmask
from lingualign.translation.policy import PolicyTranslator
from lingualign.translation.seq2seq import Seq2SeqTranslator, load_seq2seq
from lingualign.translation.template import TAGGED, Template


class Fake:
    """Translates by a function; remembers what it was asked."""

    name = "fake"

    def __init__(self, function: Callable[[str], str | None]) -> None:
        self.function = function
        self.asked: list[str] = []

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str | None]:
        self.asked += texts
        return [self.function(text) for text in texts]


# --- exact -------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**6), st.sampled_from(LAB_LANGUAGES), st.sampled_from(LAB_LANGUAGES))
def test_the_exact_translator_says_the_same_in_another_language(seed: int, source: str, target: str) -> None:
    task = next(islice(tasks("train", seed), seed % 16, None))
    sentences = draw_sentences(task, Random(seed))
    translator: Translator = ExactTranslator()
    assert translator.translate([render(sentences, source), ""], source, target) == [
        render(sentences, target),
        "",
    ]


def test_the_exact_translator_names_a_language_that_the_lab_lacks() -> None:
    with pytest.raises(InputError, match="has no fr"):
        ExactTranslator().translate(["Hello."], "en", "fr")


# --- template ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "finished", "translation"),
    [
        ("<translated>Hallo</translated>", True, "Hallo"),
        ("Sure!\n<translated>\n Hallo\nWelt \n</translated> Note: informal.", True, "Hallo\nWelt"),
        ("<translated>Hallo</translated> and so on", False, "Hallo"),  # cut, but not in the translation
        ("<translated><translated>Hallo</translated>", True, "Hallo"),
        ("<translated>Hallo", True, None),
        ("Hallo</translated>", True, None),
        ("Hallo", True, None),
        ("<translated> </translated>", True, None),
    ],
)
def test_a_tagged_answer_needs_its_tags(answer: str, finished: bool, translation: str | None) -> None:
    assert Template(TAGGED).read(answer, finished) == translation


@pytest.mark.parametrize(
    ("answer", "finished", "translation"),
    [("Hallo\nWelt\n", True, "Hallo\nWelt"), ("Hallo Wel", False, None), (" \n", True, None)],
)
def test_without_tags_the_answer_is_taken_whole(answer: str, finished: bool, translation: str | None) -> None:
    assert Template(TRANSLATE).read(answer, finished) == translation


def test_a_prompt_names_the_language_and_takes_the_text_as_it_is() -> None:
    (message,) = Template(TRANSLATE).messages("a {text} in {language}", "sw")
    assert message == {"role": "user", "content": "Translate to Swahili:\na {text} in {language}"}
    assert "<sentence>Hi</sentence>" in Template().messages("Hi", "de")[0]["content"]
    with pytest.raises(InputError, match=r"has no \{text\}"):
        Template("Translate to {language}.")


# --- policy ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def llama(load_family: LoadFamily) -> tuple[Any, ChatFormat]:
    return load_family("llama"), ChatFormat(make_tokenizer("llama"))


def test_a_policy_is_asked_with_the_opening_tag_and_read_to_the_closing_one(
    llama: tuple[Any, ChatFormat], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, chat = llama
    written = {"one": "eins</translated>", "two": "zwei", "three": "drei</translated> ..."}
    seen = []

    def decode(model: Any, prompts: list[list[int]], *args: Any, **options: Any) -> list[list[int]]:
        assert options["temperature"] == 0
        texts = [chat.tokenizer.decode(ids) for ids in prompts]
        seen.extend(texts)
        answers = [next(a for key, a in written.items() if f"<sentence>{key}<" in text) for text in texts]
        return [chat.response_ids(answer, finished=True) for answer in answers]

    monkeypatch.setattr("lingualign.sampling.transformers_backend.decode", decode)
    translator = PolicyTranslator(model, chat)
    assert translator.translate(list(written), "en", "de") == ["eins", None, "drei"]
    assert all("into German" in text and text.endswith("<translated>") for text in seen)


@pytest.mark.parametrize("template", [TAGGED, TRANSLATE])
def test_likelihoods_of_a_policy_are_those_of_a_plain_loop(
    llama: tuple[Any, ChatFormat], template: str
) -> None:
    model, chat = llama
    pairs = [
        ("Three rivers.", "Drei Flüsse."),
        ("42", "Die Antwort ist 42, denn sechs mal sieben."),
        ("", "x"),
    ]
    found = PolicyTranslator(model, chat, template).likelihoods(pairs, "en", "de")
    wide = type(model)(model.config).double().eval()
    wide.load_state_dict(model.state_dict())
    for (text, translation), (total, count) in zip(pairs, found, strict=True):
        prompt = chat.prompt_ids(Template(template).messages(text, "de"))
        if template == TAGGED:
            prompt += chat.response_ids("<translated>", finished=False)
            response = chat.response_ids(f"{translation}</translated>", finished=False)
        else:
            response = chat.response_ids(translation, finished=True)
        with torch.no_grad():
            logps = wide(input_ids=torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        expected = sum(float(logps[len(prompt) - 1 + at, token]) for at, token in enumerate(response))
        assert count == len(response)
        assert total == pytest.approx(expected, abs=1e-3)


def test_the_lab_s_translator_learns_from_exact_translations() -> None:
    exact, pairs = ExactTranslator(), Counter()
    for conversation in islice(translations(0), 300):
        asked, text = conversation.prompt.split("\n", 1)
        (target,) = (c for c in LAB_LANGUAGES if asked == f"Translate to {LANGUAGES[c].name}:")
        sources = [c for c in LAB_LANGUAGES if exact.translate([conversation.response], target, c) == [text]]
        assert len(sources) == 1 and sources[0] != target
        pairs["en" in (sources[0], target)] += 1
        (read,) = ExactTranslator().translate([text], sources[0], target)
        assert read == conversation.response
    assert 0.4 < pairs[True] / pairs.total() < 0.6


def test_the_lab_s_translator_translates() -> None:
    policy = load_model("lab:translator", device="cpu", dtype="float32")
    translator = PolicyTranslator(
        policy, ChatFormat(load_tokenizer("lab:translator")), TRANSLATE, max_new_tokens=200
    )
    for source, target in (("en", "sw"), ("zh", "en")):
        rng = Random(f"{source}/{target}")
        sentences = [draw_sentences(task, rng) for task in islice(tasks("heldout"), 12)]
        texts = [render(said, source) for said in sentences]
        expected = [render(said, target) for said in sentences]
        found = translator.translate(texts, source, target)
        assert sum(map(str.__eq__, expected, [x or "" for x in found])) >= 9
        # A translation is likelier than that of another text.
        right = translator.likelihoods(list(zip(texts, expected, strict=True)), source, target)
        wrong = translator.likelihoods(list(zip(texts, expected[::-1], strict=True)), source, target)
        assert all(r[0] > w[0] for r, w in zip(right, wrong, strict=True))


# --- encoder-decoder ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def m2m_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> M2M100Tokenizer:
    folder = tmp_path_factory.mktemp("m2m")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT),
        model_prefix=str(folder / "sp"),
        vocab_size=240,
        model_type="bpe",
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sp.model"))
    vocabulary = {token: place for place, token in enumerate(("<s>", "<pad>", "</s>", "<unk>"))}
    for place in range(pieces.get_piece_size()):
        vocabulary.setdefault(pieces.id_to_piece(place), len(vocabulary))
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    return M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "sp.model"))


@pytest.fixture(scope="module")
def nllb_tokenizer() -> NllbTokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=240, special_tokens=special, show_progress=False)
    )
    trained = json.loads(tokenizer.to_str())["model"]
    return NllbTokenizer(vocab=trained["vocab"], merges=[tuple(merge) for merge in trained["merges"]])


def make_seq2seq(tokenizer: Any, seed: int = 1, **overrides: Any) -> M2M100ForConditionalGeneration:
    """Random weights; the end token is likely enough that some translations end."""
    size = max(language_code(tokenizer, code)[1] for code in ("zu", "af", "zh")) + 1
    settings: dict[str, Any] = {
        "vocab_size": max(size, len(tokenizer)),
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 128,
        "init_std": 0.3,
        "tie_word_embeddings": False,
        **overrides,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = M2M100ForConditionalGeneration(M2M100Config(**settings)).eval()
    with torch.no_grad():
        model.lm_head.weight[tokenizer.eos_token_id] *= 2.0
        model.lm_head.weight[tokenizer.pad_token_id] = 0.0  # no trained model writes it
    return model


@pytest.fixture(scope="module", params=["m2m", "nllb"])
def seq2seq(request: pytest.FixtureRequest) -> tuple[M2M100ForConditionalGeneration, Any]:
    tokenizer = request.getfixturevalue(f"{request.param}_tokenizer")
    # Seeds under which some translations end and some do not.
    return make_seq2seq(tokenizer, {"m2m": 2, "nllb": 9}[request.param]), tokenizer


def plain_logps(model: Any, source: list[int], target: list[int]) -> torch.Tensor:
    """Log-probabilities [target, vocabulary] behind each decoder token of one row."""
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([target]), use_cache=False
        ).logits
    return logits[0].log_softmax(-1)


def in_float64(model: Any) -> Any:
    wide = M2M100ForConditionalGeneration(model.config).double().eval()
    wide.load_state_dict(model.state_dict())
    return wide


def test_seq2seq_likelihoods_are_those_of_a_plain_loop_whatever_the_batch(seq2seq: Any) -> None:
    model, tokenizer = seq2seq
    pairs = [(TEXT[0], TEXT[2]), ("Name", "Nenne"), (TEXT[1], "drei"), ("Name", TEXT[3]), ("Name", "")]
    found = Seq2SeqTranslator(model, tokenizer).likelihoods(pairs, "en", "de")
    for budget in (1, 60):
        again = Seq2SeqTranslator(model, tokenizer, budget).likelihoods(pairs, "en", "de")
        assert [count for _, count in again] == [count for _, count in found]
        assert [total for total, _ in again] == pytest.approx([total for total, _ in found], abs=1e-3)
    tokenizer.src_lang = language_code(tokenizer, "en")[0]
    german, wide = language_code(tokenizer, "de")[1], in_float64(model)
    for (text, translation), (total, count) in zip(pairs, found, strict=True):
        scored = [*tokenizer(translation, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        logps = plain_logps(wide, tokenizer(text)["input_ids"], [2, german, *scored[:-1]])
        assert count == len(scored)
        expected = sum(float(logps[1 + at, token]) for at, token in enumerate(scored))
        assert total == pytest.approx(expected, abs=1e-3)


def test_the_name_of_a_special_token_is_text(seq2seq: Any) -> None:
    model, tokenizer = seq2seq
    translator = Seq2SeqTranslator(model, tokenizer)
    written = translator._encode(["six </s> seven <pad> deu_Latn"], add_special_tokens=False)[0]
    assert not set(written) & {
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
        language_code(tokenizer, "de")[1],
    }


def test_padding_makes_no_translation_likelier(seq2seq: Any) -> None:
    """MAPO's published code divides by the padded length: of two references with the same cross-entropy a
    token, the short one scores better."""
    _, tokenizer = seq2seq
    uniform = make_seq2seq(tokenizer, init_std=0.0)
    pairs = [("Name", "drei"), ("Name", TEXT[2])]
    (short, few), (long, many) = Seq2SeqTranslator(uniform, tokenizer).likelihoods(pairs, "en", "de")
    entropy = torch.tensor(float(uniform.config.vocab_size)).log().item()
    assert few < many
    assert [-short / few, -long / many] == pytest.approx([entropy, entropy], rel=1e-5)


def test_seq2seq_translation_is_greedy_whatever_the_batch(seq2seq: Any) -> None:
    model, tokenizer = seq2seq
    # What a real folder brings along must not matter.
    model.generation_config.update(num_beams=5, max_length=200, early_stopping=True)
    lines = [*TEXT[:3], "Name", "Danke", "three rivers", "six times seven", "the answer", "Europe"]
    translator = Seq2SeqTranslator(model, tokenizer)
    found = translator.translate(lines, "en", "de")
    assert found == Seq2SeqTranslator(model, tokenizer, 1).translate(lines, "en", "de")
    tokenizer.src_lang = language_code(tokenizer, "en")[0]
    german, wide = language_code(tokenizer, "de")[1], in_float64(model)
    for line, translation in zip(lines, found, strict=True):
        source = tokenizer(line)["input_ids"]
        written: list[int] = []
        while (not written or written[-1] != 2) and len(written) < translator.room(len(source)):
            written.append(int(plain_logps(wide, source, [2, german, *written])[-1].argmax()))
        text = tokenizer.decode(written[:-1], skip_special_tokens=True).strip()
        assert translation == ((text or None) if written[-1] == 2 else None)
    assert any(found) and None in found


def test_seq2seq_keeps_line_breaks_and_fails_with_any_line(
    seq2seq: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = Seq2SeqTranslator(*seq2seq)
    monkeypatch.setattr(
        translator, "_translate_lines", lambda lines, *_: [None if x == "bad" else x.upper() for x in lines]
    )
    assert translator.translate(["a\n\n  - b \n- c\n", "a\nbad", "", "\n"], "en", "de") == [
        "A\n\n  - B \n- C\n",
        None,
        "",
        "\n",
    ]


def test_seq2seq_fails_on_what_its_positions_cannot_hold(seq2seq: Any) -> None:
    model, tokenizer = seq2seq
    translator = Seq2SeqTranslator(model, tokenizer)
    assert translator.translate(["three " * 200], "en", "de") == [None]
    ((total, count),) = translator.likelihoods([("three " * 200, "drei " * 200)], "en", "de")
    assert count == model.config.max_position_embeddings - 2 and total < 0


def test_a_seq2seq_folder_is_loaded_and_any_other_refused(
    seq2seq: Any, tmp_path: Path, family_folder: Callable[..., Path]
) -> None:
    model, tokenizer = seq2seq
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = Seq2SeqTranslator(load_seq2seq(tmp_path, device="cpu"), load_tokenizer(tmp_path))
    pair = [(TEXT[0], TEXT[2])]
    found, expected = (t.likelihoods(pair, "en", "de") for t in (loaded, Seq2SeqTranslator(model, tokenizer)))
    assert found[0] == pytest.approx(expected[0])
    with pytest.raises(InputError, match="encoder-decoder"):
        load_seq2seq(family_folder("llama"))


def test_nllb_knows_languages_by_iso_code_and_script(nllb_tokenizer: NllbTokenizer) -> None:
    expected = {
        "de": "deu_Latn", "ja": "jpn_Jpan", "zh": "zho_Hans", "zh-Hant": "zho_Hant", "ko": "kor_Hang",
        "ar": "arb_Arab", "fa": "pes_Arab", "sw": "swh_Latn", "pt-BR": "por_Latn", "no": "nob_Latn",
        "az": "azj_Latn", "ne": "npi_Deva", "ms": "zsm_Latn", "sq": "als_Latn", "mn": "khk_Cyrl",
    }  # fmt: skip
    for code, token in expected.items():
        assert language_code(nllb_tokenizer, code) == (token, nllb_tokenizer.convert_tokens_to_ids(token))
    assert lacking(nllb_tokenizer) == {"br", "fy", "la"}


def test_m2m_knows_languages_by_their_own_code(m2m_tokenizer: M2M100Tokenizer) -> None:
    for code, name in {"de": "de", "zh-Hans": "zh", "pt-PT": "pt", "nso": "ns"}.items():
        assert language_code(m2m_tokenizer, code) == (name, m2m_tokenizer.get_lang_id(name))
    # It writes Chinese in simplified characters, and no Basque.
    assert {"zh-Hant", "eu", "te"} <= lacking(m2m_tokenizer)
    with pytest.raises(InputError, match=r"no Basque \(eu, Latn\)"):
        language_code(m2m_tokenizer, "eu")


def lacking(tokenizer: Any) -> set[str]:
    missing = set()
    for code in LANGUAGES:
        try:
            language_code(tokenizer, code)
        except InputError:
            missing.add(code)
    return missing


def test_every_language_has_its_iso_codes() -> None:
    assert {code.split("-")[0] for code in LANGUAGES} == set(ISO_639_3)


# --- server ------------------------------------------------------------------------------------------------


class Server(FakeServer):
    def translator(self, template: str = "{language}:{text}", **options: Any) -> ServerTranslator:
        return ServerTranslator(self.url, "some-model", template, backoff=0.001, **options)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    yield server
    server.close()


def test_a_server_that_stumbles_still_answers_in_order(server: Server) -> None:
    stumbles = [
        Reply(500, b"oops"),
        Reply(429, b""),
        Reply(200, b"<html>"),
        Reply(200, b'{"choices": []}'),
        Reply(503, b""),
        completion([]),
    ]

    def answer(text: str, times: int) -> Reply:
        number = int(text.removeprefix("German:"))
        return stumbles[number % 6] if times < number % 4 else completion(f"<{number}>")

    server.answer = answer
    texts = [str(number) for number in range(30)]
    assert server.translator().translate(texts, "en", "de") == [f"<{text}>" for text in texts]
    body, authorization = server.requests[0]
    assert body["model"] == "some-model" and body["temperature"] == 0 and authorization is None


def test_answers_of_a_server_are_read_like_those_of_a_policy(server: Server) -> None:
    answers = {
        "a": completion("<translated>A</translated>"),
        "b": completion("B"),
        "c": completion(None),
        "d": completion("<translated>D", finish="length"),
    }
    server.answer = lambda text, times: answers[text[-1]]
    tagged = server.translator("<translated> {language}:{text}")
    assert tagged.translate(list("abcd"), "en", "de") == ["A", None, None, None]
    server.answer = lambda text, times: completion("whole", finish="length" if text[-1] == "a" else "stop")
    assert server.translator().translate(list("ab"), "en", "de") == [None, "whole"]


def test_a_text_that_the_server_refuses_has_failed(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.answer = lambda text, times: (
        Reply(400, b"context too long") if "long" in text else completion("ok")
    )
    with caplog.at_level(logging.WARNING):
        assert server.translator().translate(["long", "short"], "en", "de") == [None, "ok"]
    assert "context too long" in caplog.text and len(server.requests) == 2


def test_a_server_that_never_answers_is_an_error_and_no_failed_text(server: Server) -> None:
    server.answer = lambda text, times: Reply(500, b"oops")
    with pytest.raises(InputError, match="500"):
        server.translator(retries=2).translate(["a"], "en", "de")
    assert len(server.requests) == 3
    with pytest.raises(InputError, match="refused"):
        ServerTranslator("http://127.0.0.1:1/v1", "m", retries=1, backoff=0.001).translate(["a"], "en", "de")
    with pytest.raises(InputError, match="not the address"):
        ServerTranslator("file:///etc/passwd", "m")


def test_the_key_reaches_the_server_and_no_message(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-secret\n")
    translator = server.translator(api_key_env="SOME_KEY", concurrency=1)
    assert translator.translate(["a"], "en", "de") == ["German:a"]
    assert server.requests[0][1] == "Bearer sk-secret"
    server.answer = lambda text, times: Reply(401, b"wrong key sk-secret")
    with pytest.raises(InputError, match="401") as caught:
        translator.translate([str(number) for number in range(100)], "en", "de")
    assert "sk-secret" not in str(caught.value) and "wrong key" in str(caught.value)
    assert len(server.requests) < 50  # no further tries, and what waited was not sent
    made = len(server.requests)
    server.answer = lambda text, times: Reply(307, b"", {"Location": f"{server.url}/elsewhere"})
    with pytest.raises(InputError, match="307"):
        translator.translate(["a"], "en", "de")
    assert len(server.requests) == made + 1
    for value in ("", "clé"):
        monkeypatch.setenv("SOME_KEY", value)
        with pytest.raises(InputError, match="SOME_KEY"):
            server.translator(api_key_env="SOME_KEY")


# --- file --------------------------------------------------------------------------------------------------

ROWS = [
    {"source_language": "en", "target_language": "de", "text": "one", "translation": "eins"},
    {"source_language": "de", "target_language": "en", "text": "one", "translation": "won"},
    {"source_language": "en", "target_language": "de", "text": "two,\nor 2", "translation": "zwei"},
    {"source_language": "en", "target_language": "de", "text": "three", "translation": None},
]


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".csv":
        quoted = [['"' + (value or "") + '"' for value in row.values()] for row in rows]
        path.write_text("\n".join(map(",".join, [list(rows[0]), *quoted])))
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.parquet"])
def test_translations_are_looked_up_in_a_file(tmp_path: Path, name: str) -> None:
    translator = FileTranslator(write_rows(tmp_path / name, ROWS))
    texts = ["two,\nor 2", "one", "three", "four"]
    assert translator.translate(texts, "en", "de") == ["zwei", "eins", None, None]
    assert translator.translate(["one"], "de", "en") == ["won"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"translation": "another"}, "line 2: a second"),
        ({"target_language": "ger"}, "line 2: 'ger'"),
        ({"text": 7}, "line 2: text is not text"),
        ({"text": None}, "line 2: text is not text"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FileTranslator(write_rows(tmp_path / "t.jsonl", [ROWS[0], ROWS[0] | change]))


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1: translation is missing"):
        FileTranslator(write_rows(tmp_path / "t.jsonl", [dict(islice(ROWS[0].items(), 3))]))


# --- mask --------------------------------------------------------------------------------------------------


def test_the_worked_example() -> None:
    text = "Run `pip install x` and solve $a+b$."
    masked, kept = mask(text)
    assert masked == "Run <<0>> and solve <<1>>."
    assert kept == ["`pip install x`", "$a+b$"]
    assert unmask("Löse <<1>> und starte <<0>>.", kept) == "Löse $a+b$ und starte `pip install x`."
    assert unmask("Löse << 1 >> und starte <<0>>.", kept) == "Löse $a+b$ und starte `pip install x`."
    for broken in ("Löse <<1>>.", "<<0>> <<1>> <<1>>", "<<0>> <<1>> <<2>>", "<<0> <<1>>", ""):
        assert unmask(broken, kept) is None


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("So:\n```python\nx = `1`\n\n$y$\n```\nDone.", "So:\n<<0>>\nDone."),
        ("So:\n```\nx = 1", "So:\n<<0>>"),
        ("``a ` b`` and `c`", "<<0>> and <<1>>"),
        (r"\(x\) and \[y" "\n" r"z\] and $$w" "\n$$", "<<0>> and <<1>> and <<2>>"),
        ("It costs $5, not $10 or US$20/US$30.", "It costs $5, not $10 or US$20/US$30."),
        ("See https://a.org/b_(c)?d=1, or (http://x.de).", "See <<0>>, or (<<1>>)."),
        ("见 https://a.org/b。好", "见 <<0>>。好"),
        ("<p class='x'>Hi<br/> 1 < 2</p><!-- no -->", "<<0>>Hi<<1>> 1 < 2<<2>><<3>>"),
        ('{"name": "Ada",\n  "born": {"in": "London"}}', '{<<0>>: "Ada",\n  <<1>>: {<<2>>: "London"}}'),
        ('He said "yes": I do.', 'He said "yes": I do.'),
        ("Already <<3>> here", "Already <<0>> here"),
    ],
)
def test_what_is_masked(text: str, masked: str) -> None:
    found, kept = mask(text)
    assert found == masked
    assert unmask(found, kept) == text


FRAGMENTS = [
    "`x`", "```", "``", "$a$", "$$", "$5", "\\(", "\\)", "\\[", "\\]", "https://a.b/c.", "<b>", "</b>", "<",
    ">", "<<", ">>", "<<0>>", "<<1", "0>>", "[", "]", "[1]", "[0", "⟦0⟧", "⟦", '{"k": 1}', '"', "\n", " ",
    ":", ",", "0", "word", "字", "<!--", "-->",
]  # fmt: skip


@given(
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=5)), max_size=30).map("".join),
    st.sampled_from(SPELLINGS),
)
def test_masking_loses_nothing(text: str, spelling: str) -> None:
    masked, kept = mask(text, spelling)
    assert unmask(masked, kept, spelling) == text
    assert mask(masked, spelling)[0].count(spelling.split("{}")[0]) >= len(kept)


@given(st.lists(st.sampled_from(["`a`", "$b$", "https://c.de", "<i>"]), min_size=1, max_size=6), st.randoms())
def test_the_order_of_placeholders_is_free(kept: list[str], rng: Random) -> None:
    _, found = mask(" and ".join(kept))
    assert found == kept
    places = list(range(len(kept)))
    rng.shuffle(places)
    moved = " und ".join(f"<<{place}>>" for place in places)
    assert unmask(moved, found) == " und ".join(kept[place] for place in places)
    assert unmask(moved.replace("<<0>>", ""), found) is None


def test_a_lost_placeholder_has_a_second_try_in_another_spelling() -> None:
    inner = Fake(lambda text: None if "bad" in text else text.replace("<<0>>", "").upper())
    translator = MaskingTranslator(inner)
    assert translator.translate(["run `x`", "plain", "bad", "bad `x`", "`x` 1", ""], "en", "de") == [
        "RUN `x`",
        "PLAIN",
        None,
        None,
        "`x` 1",  # no letters to translate
        "",
    ]
    assert inner.asked == ["run <<0>>", "plain", "bad", "bad <<0>>", "run [0]", "bad [0]"]
    assert MaskingTranslator(inner, attempts=1).translate(["run `x`"], "en", "de") == [None]
    with pytest.raises(ValueError, match="attempts"):
        MaskingTranslator(inner, attempts=9)


# --- store -------------------------------------------------------------------------------------------------


def test_what_is_stored_is_not_translated_again(tmp_path: Path) -> None:
    inner = Fake(lambda text: None if text == "bad" else text.upper())
    seen: list[tuple[int, int]] = []
    translator = StoredTranslator(inner, tmp_path, chunk=2, progress=lambda *at: seen.append(at))
    texts = ["a", "b", "a", "", " \n", "bad", "c", "d", "b"]
    expected = ["A", "B", "A", "", " \n", None, "C", "D", "B"]
    assert translator.translate(texts, "en", "de") == expected
    assert inner.asked == ["a", "b", "bad", "c", "d"] and seen == [(2, 5), (4, 5), (5, 5)]
    assert translator.translate(["a", "e"], "en", "de") == ["A", "E"] and inner.asked[5:] == ["e"]
    again = Fake(lambda text: text)
    assert StoredTranslator(again, tmp_path).translate(texts, "en", "de") == expected
    assert again.asked == []
    assert StoredTranslator(again, tmp_path).translate(["a"], "en", "sw") == ["a"] and again.asked == ["a"]
    parts = sorted(tmp_path.glob("en-de-*.parquet"))
    assert len(parts) == 4
    looked_up = [FileTranslator(part).translate(["c"], "en", "de") for part in parts]
    assert ["C"] in looked_up


def test_a_killed_run_repeats_at_most_a_chunk(tmp_path: Path) -> None:
    def killed(text: str) -> str:
        if text == "7":
            raise KeyboardInterrupt
        return text * 2

    texts = [str(number) for number in range(10)]
    with pytest.raises(KeyboardInterrupt):
        StoredTranslator(Fake(killed), tmp_path, chunk=3).translate(texts, "en", "de")
    resumed = Fake(lambda text: text * 2)
    assert StoredTranslator(resumed, tmp_path, chunk=3).translate(texts, "en", "de") == [t * 2 for t in texts]
    assert resumed.asked == ["6", "7", "8", "9"]


def test_a_damaged_file_of_the_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "en-de-0.parquet").write_bytes(b"half")
    with pytest.raises(InputError, match="en-de-0"):
        StoredTranslator(Fake(str), tmp_path)
