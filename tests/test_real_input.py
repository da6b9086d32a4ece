"""The whole of `lingualign align icr` on models of four families, and real prompts.

The models are tiny and random: nothing is learned here. What is tested is that every stage takes what real
families and real prompts bring with them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from lingualign.models import load_tokenizer
from lingualign.pipeline.folder import read_parts
from lingualign.pipeline.run import align
from lingualign.prompts import ChatFormat
from lingualign.records import PAIRS, REFERENCE_LOGPS, RESPONSES, SCORES, read_table
from lingualign.settings import load_config

pytestmark = pytest.mark.usefixtures("without_report")

FIXTURE = Path(__file__).parent / "fixtures" / "prompts"
SHARED = Path(__file__).parents[2] / "shared" / "data" / "ultrafeedback"
LANGUAGES = ["en", "de", "sw", "zh"]
SMALL = [
    "languages=en,de,sw,zh",
    "iterations=1",
    "measures.n=2",
    "measures.max_new_tokens=6",
    "measures.bootstrap=100",
    "sampling.n=3",
    "sampling.max_new_tokens=6",
    "sampling.chunk_prompts=4",
    "reward.chunk_prompts=3",
    "training.batch_pairs=8",
    "training.guard.language_tokens=6",
    "device=cpu",
    # Random models seldom stop, and never write a language.
    "pairs.drop_truncated=false",
    "pairs.wrong_language=keep",
]

FamilyFolder = Callable[..., Path]


def settings(family: str, family_folder: FamilyFolder, prompts: Path, output: Path, *more: str) -> list[str]:
    models = [f"policy={family_folder(family, 0)}", f"reference={family_folder(family, 1)}"]
    return [*SMALL, *models, f"prompts={prompts}", f"output={output}", *more]


@pytest.fixture(scope="module")
def aligned(family: str, family_folder: FamilyFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of one family, from the committed prompts."""
    output = tmp_path_factory.mktemp("runs") / family
    align(load_config("icr", settings(family, family_folder, FIXTURE, output)))
    return output


def test_every_stage_leaves_its_table(aligned: Path) -> None:
    iteration = aligned / "iteration-1"
    responses, scores = (
        read_parts(iteration / "responses", RESPONSES),
        read_parts(iteration / "scores", SCORES),
    )
    prompts = {prompt_id for prompt_id, language in {(r["prompt_id"], r["language"]) for r in responses}}
    assert len(prompts) == 8  # ten, two of them held out
    keys = {(row["prompt_id"], row["language"], row["index"]) for row in responses}
    assert len(responses) == len(keys) == 8 * len(LANGUAGES) * 3
    assert {(row["prompt_id"], row["language"], row["index"]) for row in scores} == keys
    pairs = read_table(iteration / "pairs.parquet", PAIRS)
    assert {pair["language"] for pair in pairs} == set(LANGUAGES)
    reference = read_table(iteration / "reference.parquet", REFERENCE_LOGPS)
    assert [row["id"] for row in reference] == [pair["id"] for pair in pairs]
    assert set(json.loads((iteration / "health.json").read_text())) == set(LANGUAGES)


def test_measures_are_complete(aligned: Path) -> None:
    measures = json.loads((aligned / "measures.json").read_text())
    assert measures["judge"]["kind"] == "implicit"
    assert "not an independent judge" in measures["judge"]["label"]
    assert [iteration["iteration"] for iteration in measures["iterations"]] == [1]
    for decoding in ("sampled", "greedy"):
        measured = measures["iterations"][0][decoding]
        assert set(measured["languages"]) == set(LANGUAGES)
        for language in measured["languages"].values():
            assert language["n"] == 2
            assert 0 <= language["win_rate"]["low"] <= language["win_rate"]["high"] <= 1
        assert measured["target_win_rate"]["n"] == 2
    assert measures["iterations"][0]["pairs"]["de"]["prompts"] == 8


def test_the_scored_tokens_are_the_response_and_its_end(
    aligned: Path, family: str, family_folder: FamilyFolder
) -> None:
    chat = ChatFormat(load_tokenizer(str(family_folder(family, 0))))
    for row in read_parts(aligned / "iteration-1" / "responses", RESPONSES):
        for finished in (False, True):
            ids = chat.response_ids(row["text"], finished)
            text = chat.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            end = chat.tokenizer.convert_ids_to_tokens(chat.end_id) if finished else ""
            assert text == row["text"] + end


def test_pairs_and_parts_load_with_datasets(aligned: Path, tmp_path: Path) -> None:
    def load(files: str) -> Any:
        return load_dataset(
            "parquet", data_files=str(aligned / files), split="train", cache_dir=str(tmp_path)
        )

    pairs = load("iteration-1/pairs.parquet")
    assert [message["role"] for message in pairs[0]["prompt"]][-1] == "user"
    assert pairs[0]["chosen"][0]["role"] == pairs[0]["rejected"][0]["role"] == "assistant"
    assert len(load("iteration-1/responses/part-*.parquet")) == 8 * len(LANGUAGES) * 3


def test_the_trained_model_loads_and_is_another_one(
    aligned: Path, family: str, family_folder: FamilyFolder
) -> None:
    model = AutoModelForCausalLM.from_pretrained(aligned / "iteration-1" / "model")
    start = AutoModelForCausalLM.from_pretrained(family_folder(family, 0))
    changed = [
        not parameter.equal(before)
        for (_, parameter), (_, before) in zip(
            model.named_parameters(), start.named_parameters(), strict=True
        )
    ]
    assert any(changed)
    tokenizer = AutoTokenizer.from_pretrained(aligned / "iteration-1" / "model")
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(family_folder(family, 0)).chat_template


def test_the_pairs_train_in_trl_unchanged(
    aligned: Path, family: str, family_folder: FamilyFolder, tmp_path: Path
) -> None:
    from trl import DPOConfig, DPOTrainer

    folder = family_folder(family, 0)
    pairs = load_dataset(
        "parquet",
        data_files=str(aligned / "iteration-1" / "pairs.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None:  # TRL pads, and these families leave it to the user with what
        tokenizer.pad_token = tokenizer.eos_token
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        args=DPOConfig(
            output_dir=str(tmp_path / "trl"),
            max_steps=1,
            per_device_train_batch_size=2,
            report_to="none",
            use_cpu=True,
            bf16=False,
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=pairs,
        processing_class=tokenizer,
    )
    assert trainer.train().training_loss > 0


def test_a_finished_run_computes_nothing_and_says_the_same(
    aligned: Path, family: str, family_folder: FamilyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("lingualign.pipeline.bench.load_model", refuse)
    before = {
        path: path.read_bytes() for path in aligned.rglob("*") if path.suffix in (".parquet", ".safetensors")
    }
    measures = align(load_config("icr", settings(family, family_folder, FIXTURE, aligned)))
    assert measures == json.loads((aligned / "measures.json").read_text())
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data/ultrafeedback is not there")
def test_real_prompts(family: str, family_folder: FamilyFolder, tmp_path: Path) -> None:
    more = [
        "languages=en,de,es,sw,th,zh",
        "data.limit=4",
        "sampling.n=2",
        "sampling.max_new_tokens=4",
        "measures.max_new_tokens=4",
    ]
    config = load_config("icr", settings(family, family_folder, SHARED, tmp_path / "run", *more))
    measures = align(config)
    assert set(measures["iterations"][0]["greedy"]["languages"]) == {"en", "de", "es", "sw", "th", "zh"}
    pairs = read_table(tmp_path / "run" / "iteration-1" / "pairs.parquet", PAIRS)
    assert {pair["language"] for pair in pairs} <= set(config.languages)
    assert len(pairs) <= 4 * 6


ODD = {
    "short": {"en": "Why?", "ar": "لماذا؟", "th": "ทำไม"},
    "marks": {
        "en": "What does \u201cnai\u0308ve\u201d mean?",
        "ar": "ما مَعْنَى كَلِمَة \u200fnaïve\u200f؟",
        "th": "คำว่า ผู้ใหญ่ แปลว่าอะไร",
    },
    "emoji": dict.fromkeys(("en", "ar", "th"), "Explain 👩🏽‍🔬 and 🇰🇪 in one line 🙏"),  # left untranslated
    "lines": {
        "en": "First line\n\n\n  Second line\n",
        "ar": "السطر الأول\n\n\n  السطر الثاني\n",
        "th": "บรรทัดแรก\n\n\n  บรรทัดที่สอง\n",
    },
    "long": {
        "en": "Summarise: " + "the sea is wide and the night is long. " * 200,
        "ar": "لخص: " + "البحر واسع والليل طويل. " * 9,
        "th": "สรุป: " + "ทะเลกว้างและค่ำคืนยาวนาน " * 9,
    },
}


def test_prompts_of_any_length_and_script(family: str, family_folder: FamilyFolder, tmp_path: Path) -> None:
    """A dozen to four thousand tokens; right to left, combining marks, emoji, empty lines, untranslated."""
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    for language in ("en", "ar", "th"):
        rows = [{"id": name, "prompt": ODD[name][language]} for name in reversed(ODD)]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (prompts / f"{language}.jsonl").write_text(text, encoding="utf-8")
    more = ["languages=en,ar,th", "sampling.n=2", "measures.n=2"]
    run = tmp_path / "run"
    align(load_config("icr", settings(family, family_folder, prompts, run, *more)))
    chat = ChatFormat(load_tokenizer(str(family_folder(family, 0))))
    lengths = [
        len(chat.prompt_ids([{"role": "user", "content": text}]))
        for row in ODD.values()
        for text in row.values()
    ]
    assert min(lengths) < 30
    assert 3500 < max(lengths) < 4096
    answered = {
        (row["prompt_id"], row["language"])
        for row in read_parts(run / "iteration-1" / "responses", RESPONSES)
    }
    measured = {"short", "marks"}  # the last two of the files are held out
    assert answered == {
        (name, language) for name in ODD if name not in measured for language in ("en", "ar", "th")
    }
    for pair in read_table(run / "iteration-1" / "pairs.parquet", PAIRS):
        name, language = pair["id"].split("/")
        assert pair["prompt"] == [{"role": "user", "content": ODD[name][language]}]
