"""The card of a trained model: true to the run's files, readable by the Hub, harmless whatever names hold."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from lingualign.config import LoraConfig, RunConfig, TrainingConfig
from lingualign.export.citations import METHODS, citations
from lingualign.export.markdown import escape, fence
from lingualign.export.model_card import write_merged_card, write_model_card
from lingualign.export.repeat import differing_settings, hub_id, repeat_command, short
from lingualign.measures.verdict import run_verdict
from lingualign.pipeline.files import write_json, write_text
from lingualign.pipeline.fingerprints import ModelDigests
from lingualign.pipeline.sharing import link
from lingualign.settings import dump_config, list_recipes, load_config

pytestmark = pytest.mark.usefixtures("without_report")

LANGUAGES = ["en", "de", "pt-BR"]
EVIL = "x|y <script>alert(1)</script> `a` [l](javascript:b) \u202etxt\n# title"


def interval(mean: float, spread: float = 0.05) -> dict[str, float]:
    return {"mean": mean, "low": mean - spread, "high": mean + spread, "n": 40}


def decoding(wins: float | None, right: float) -> dict[str, Any]:
    language = {
        "win_rate": None if wins is None else interval(wins),
        "right_language": right,
        "traits": {"right": 0.5},
        "mean_length": 80.0,
    }
    win_rate = None if wins is None else interval(wins)
    return {"languages": {code: dict(language) for code in LANGUAGES}, "target_win_rate": win_rate}


def make_run(folder: Path, wins: float = 0.6, judge: str = "lab", **settings: Any) -> Path:
    """A measured run folder with one iteration, its model a few small files."""
    config = load_config("icr", []).model_copy(update={"languages": LANGUAGES, "iterations": 1, **settings})
    model = folder / "iteration-1" / "model"
    write_text(folder / "config.yaml", dump_config(config))
    write_text(model / "model.safetensors", "weights")
    write_text(model / "config.json", "{}")
    if config.training.lora:
        write_text(model / "adapter_config.json", "{}")
    write_json(folder / "manifest.json", {"versions": {"torch": "2.13.0"}})
    write_json(folder / "iteration-1" / "training.json", {"steps": [{"loss": 1.25}, {"loss": 0.75}]})
    start, after = decoding(None, 0.9), decoding(wins, 0.95)
    measured = {"sampled": after, "greedy": after}
    verdict = run_verdict(config.measures.retention, "en", {"sampled": start, "greedy": start}, measured)
    pairs = {"prompts": 30, "candidates": 240, "removed": {"duplicate": 11, "truncated": 2}, "pairs": 29}
    write_json(
        folder / "measures.json",
        {
            "judge": {"kind": judge, "label": "of another machine"},
            "source_language": "en",
            "languages": LANGUAGES,
            "held_out_prompts": 40,
            "temperature": 0.6,
            "start": {"sampled": start, "greedy": start},
            "iterations": [
                {
                    "iteration": 1,
                    "pairs": {code: {**pairs, "dropped": {"tie": 1}} for code in LANGUAGES},
                    **measured,
                    "verdict": verdict.as_dict(),
                }
            ],
        },
    )
    return folder


def card_of(run: Path) -> ModelCard:
    return ModelCard.load(write_model_card(run, 1))


def test_the_card_says_what_the_files_say(tmp_path: Path) -> None:
    text = card_of(make_run(tmp_path)).text
    assert (
        "| German (de) | 60.0 [55.0, 65.0] | 60.0 [55.0, 65.0] | 50.0 -> 50.0 | 90.0 -> 95.0 | 80 -> 80 |"
        in text
    )
    assert "| German (de) | 30 | 240 | 13 | 1 | 29 |" in text
    assert "On 40 held-out prompts" in text and "Verdict: ship" in text and "Do not ship" not in text
    assert "2 steps" in text and "first step 1.250, of the last 0.750" in text and "torch 2.13.0" in text
    assert "the lab's exact judge" in text and "of another machine" not in text


def test_the_metadata_is_what_the_hub_reads(tmp_path: Path) -> None:
    data = card_of(make_run(tmp_path)).data
    assert data.language == ["en", "de", "pt"] and data.library_name == "transformers"
    assert data.tags == ["lingualign", "icr", "dpo", "multilingual"]
    assert data.license is None and data.datasets is None and data.base_model is None
    assert data.eval_results is not None and data.model_name == "aligned-icr-iteration-1"
    found = {
        (result.dataset_config, result.metric_name.split(";")[0]): result for result in data.eval_results
    }
    assert len(found) == 2 * len(LANGUAGES)
    result = found["de", "Wins over the starting model in %, greedy"]
    assert result.metric_value == 60.0 and result.metric_type == "win_rate"
    assert "judge: the lab's exact judge" in result.metric_name


def test_wins_by_the_signal_trained_on_are_no_evaluation_results(tmp_path: Path) -> None:
    card = card_of(make_run(tmp_path, judge="implicit"))
    assert card.data.eval_results is None and "model-index" not in card.content
    assert "have them judged by somebody else" in card.text


def test_a_model_that_should_not_ship_says_so_at_the_top(tmp_path: Path) -> None:
    text = card_of(make_run(tmp_path, wins=0.4)).text
    assert "Do not ship this model" in text.split("## Measures")[0]
    assert "**no**" in text


def test_an_adapter_is_loaded_and_named_as_one(tmp_path: Path) -> None:
    policy = str(tmp_path / "hub" / "models--org--Base-1B" / "snapshots" / "0f3a")
    run = make_run(tmp_path / "run", policy=policy, training=TrainingConfig(lora=LoraConfig(r=4)))
    card = card_of(run)
    assert card.data.library_name == "peft" and card.data.base_model == "org/Base-1B"
    assert card.data["base_model_relation"] == "adapter" and "lora" in (card.data.tags or [])
    assert "AutoPeftModelForCausalLM" in card.text and "lingualign merge" in card.text
    merged = tmp_path / "merged"
    write_text(merged / "model.safetensors", "weights")
    assert write_merged_card(run / "iteration-1" / "model", merged) == merged / "README.md"
    card = ModelCard.load(merged / "README.md")
    assert card.data.library_name == "transformers" and card.data["base_model_relation"] == "finetune"
    assert "merged into the weights" in card.text and "AutoPeft" not in card.text


def test_an_adapter_of_no_measured_run_has_no_card_to_bring(tmp_path: Path) -> None:
    write_text(tmp_path / "adapter" / "adapter_config.json", "{}")
    write_text(tmp_path / "merged" / "model.safetensors", "weights")
    assert write_merged_card(tmp_path / "adapter", tmp_path / "merged") is None
    run = make_run(tmp_path / "run")
    (run / "measures.json").unlink()
    assert write_merged_card(run / "iteration-1" / "model", tmp_path / "merged") is None
    assert not (tmp_path / "merged" / "README.md").exists()


def test_the_same_run_elsewhere_has_the_same_card_and_it_names_no_place(tmp_path: Path) -> None:
    settings = {"policy": str(tmp_path / "secret" / "aligned"), "prompts": "/home/me/prompts"}
    one = card_of(make_run(tmp_path / "one", **settings)).content
    two = card_of(make_run(tmp_path / "two", **settings)).content
    assert one == two
    assert str(tmp_path) not in one and "/home/me" not in one and "aligned" in one


def test_the_card_changes_no_hash_and_a_linked_model_keeps_its_own_card(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one")
    model = run / "iteration-1" / "model"
    before = ModelDigests()(model)
    write_model_card(run, 1)
    assert ModelDigests()(model) == before
    other = make_run(tmp_path / "two", wins=0.4)
    shutil.rmtree(other / "iteration-1" / "model")
    link(model, other / "iteration-1" / "model")  # as a comparison shares a trained model
    assert os.path.samefile(model / "README.md", other / "iteration-1" / "model" / "README.md")
    write_model_card(other, 1)
    assert "Verdict: ship" in (model / "README.md").read_text(encoding="utf-8")
    assert "do not ship" in (other / "iteration-1" / "model" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in model.iterdir() if path.name.startswith(".")] == []


def test_a_card_of_pefts_or_trls_making_does_not_remain(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    write_text(
        run / "iteration-1" / "model" / "README.md", "# Model Card for Model ID\n[More Information Needed]"
    )
    assert "More Information Needed" not in card_of(run).content


def test_names_with_pipes_html_and_marks_of_direction_are_shown_and_nothing_else(tmp_path: Path) -> None:
    run = make_run(tmp_path, policy=EVIL)
    measures = json.loads((run / "measures.json").read_text(encoding="utf-8"))
    measures["iterations"][0]["verdict"]["guards"][0]["name"] = EVIL
    measures["iterations"][0]["verdict"]["sentence"] = EVIL
    write_json(run / "measures.json", measures)
    card = card_of(run)
    markdown = MarkdownIt("commonmark").enable("table")
    html = markdown.render(card.text)
    assert "<script" not in html and "href=" not in html and html.count("<h1>") == 1
    prose = re.sub(r"<pre>.*?</pre>", "", html, flags=re.S)
    assert "\u202e" not in prose
    assert "x|y &lt;script&gt;alert(1)&lt;/script&gt; `a` [l](javascript:b) txt # title" in prose
    columns = {row.count("<t") - 1 for row in re.findall(r"<tr>.*?</tr>", html, re.S)}
    assert len(columns) <= 3  # measures, guards and pairs: no pipe has made a column more


def test_the_command_repeats_the_run() -> None:
    config = load_config(
        "cm-align",
        [
            "policy=lab:aligned",
            "languages=en,sw",
            "training.lora.r=8",
            "reward.kind=implicit",
            "seed=7",
            "measures.server.url=https://host/v1",
            "output=runs/elsewhere",
        ],
    )
    words = shlex.split(repeat_command(config).replace("\\\n", ""))
    assert words[:3] == ["lingualign", "align", "cm-align"]
    assert "measures.server.url=URL" in words
    again = load_config(words[2], [word for word in words[3:] if not word.startswith("measures.server.url")])
    without = {"output": None, "measures": config.measures}
    assert again.model_copy(update=without) == config.model_copy(update=without)


@pytest.mark.parametrize("recipe", [recipe.name for recipe in list_recipes()])
def test_a_recipe_as_it_is_needs_no_setting_to_repeat(recipe: str) -> None:
    assert list(differing_settings(load_config(recipe, []))) == []


def test_what_is_cited_stands_in_the_recipe_too() -> None:
    """The address of a method's paper is in its recipe's comment; a recipe without one has no entry."""
    for recipe in list_recipes():
        addresses = set(re.findall(r"https://arxiv\.org/abs/[\d.]+", recipe.description))
        cited = {url for entry in METHODS.get(recipe.name, []) for url in re.findall(r"url = {(.*?)}", entry)}
        assert {url for url in cited if "arxiv" in url} <= addresses, recipe.name
        assert cited or not addresses, recipe.name
    assert ["rafailov2023direct" in entry for entry in citations("icr", "dpo")] == [False, True]
    assert citations("random", None) == []


def test_places_are_cut_and_names_on_the_hub_kept() -> None:
    assert hub_id("/x/models--a--b-c/snapshots/1") == "a/b-c" and hub_id("/x/models/b") is None
    assert short("../other/model") == "model" and short("models/mine") == "models/mine"


def test_markdown_is_escaped() -> None:
    assert escape("2.13.0+cpu (sampled)") == "2.13.0+cpu (sampled)"
    assert escape("- a\n1. b") == r"\- a 1. b" and escape("see https://x.org") == r"see https\://x.org"
    assert fence("a ``` b").startswith("````\n")


def test_a_run_ends_with_its_cards_and_resuming_changes_nothing(tmp_path: Path) -> None:
    from lingualign.pipeline.run import align

    small = ["iterations=1", "languages=en,sw", "data.limit=6", "sampling.n=2", "measures.n=4"]
    small += ["sampling.max_new_tokens=48", "measures.max_new_tokens=16", "measures.bootstrap=100"]
    config = load_config("random", [*small, "training.epochs=1", "training.lora.r=2", f"output={tmp_path}"])
    align(config)
    model = tmp_path / "iteration-1" / "model"
    card = (model / "README.md").read_text(encoding="utf-8")
    assert "Swahili (sw)" in card and "training.lora.r=2" in card and "adapter" in card
    assert "More Information Needed" not in card  # PEFT's own
    trained = (model / "adapter_model.safetensors").stat().st_mtime_ns
    align(config)
    assert (model / "README.md").read_text(encoding="utf-8") == card
    assert (model / "adapter_model.safetensors").stat().st_mtime_ns == trained


def test_a_run_config_of_another_version_is_told(tmp_path: Path) -> None:
    from lingualign.errors import InputError

    run = make_run(tmp_path)
    write_text(run / "config.yaml", "recipe: icr\nunknown: 1\n")
    with pytest.raises(InputError, match="not the settings of a run of this version"):
        write_model_card(run, 1)
    assert RunConfig.model_validate({"recipe": "icr"})
