"""Merging adapters into weights: the same logits, the same type, and everything that belongs to the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from conftest import FamilyFolder
from lingualign.cli.app import app
from lingualign.errors import InputError
from lingualign.export.merge import adapter_chain, find_adapter, merge
from lingualign.models import load_model
from lingualign.pipeline.files import write_text

TOKENS = torch.arange(20)[None] * 7 % 500


def make_adapter(
    base: Path, folder: Path, dtype: torch.dtype = torch.float32, targets: Any = "all-linear"
) -> Path:
    """An adapter that changes the logits, saved with its base's path."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype)
    settings = LoraConfig(r=4, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(model, settings).save_pretrained(folder)
    return folder


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=TOKENS).logits.float()  # type: ignore[no-any-return]


def closeness(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_merged_weights_give_the_logits_of_the_adapter(
    family: str, family_folder: FamilyFolder, tmp_path: Path
) -> None:
    base = family_folder(family)
    adapter = make_adapter(base, tmp_path / "adapter")
    expected = logits(load_model(adapter, device="cpu", dtype="float32"))
    merged = AutoModelForCausalLM.from_pretrained(merge(adapter, tmp_path / "merged")).eval()
    assert closeness(logits(merged), expected) < 1e-5
    assert closeness(logits(load_model(base, device="cpu", dtype="float32")), expected) > 0.01
    assert not list((tmp_path / "merged").glob("adapter*"))


def test_tokenizer_template_and_generation_config_come_along(
    family_folder: FamilyFolder, tmp_path: Path
) -> None:
    base = family_folder("llama")
    merged = merge(make_adapter(base, tmp_path / "adapter"), tmp_path / "merged")
    ours, theirs = AutoTokenizer.from_pretrained(merged), AutoTokenizer.from_pretrained(base)
    chat = [{"role": "user", "content": "Habari? 你好"}]
    assert ours.apply_chat_template(chat, tokenize=False) == theirs.apply_chat_template(chat, tokenize=False)
    assert ours.get_vocab() == theirs.get_vocab() and ours.eos_token == theirs.eos_token
    stops = [
        json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
        for folder in (base, merged)
    ]
    assert stops[0] == stops[1]
    assert {path.suffix for path in merged.iterdir()} <= {".json", ".jinja", ".safetensors"}


def test_the_adapters_own_template_wins(family_folder: FamilyFolder, tmp_path: Path) -> None:
    base = family_folder("llama")
    adapter = make_adapter(base, tmp_path / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = "{{ messages[0]['content'] }}!"
    tokenizer.save_pretrained(adapter)
    merged = AutoTokenizer.from_pretrained(merge(adapter, tmp_path / "merged"))
    assert merged.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi!"


def test_the_type_of_the_base_is_kept(family_folder: FamilyFolder, tmp_path: Path) -> None:
    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(family_folder("llama"), dtype=torch.bfloat16).save_pretrained(base)
    AutoTokenizer.from_pretrained(family_folder("llama")).save_pretrained(base)
    adapter = make_adapter(base, tmp_path / "adapter", torch.bfloat16)
    merged = AutoModelForCausalLM.from_pretrained(merge(adapter, tmp_path / "merged"), dtype="auto").eval()
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.bfloat16}
    expected = logits(load_model(adapter, device="cpu", dtype="float32"))
    assert closeness(logits(merged.float()), expected) < 0.05  # bfloat16 has eight bits


def test_an_adapter_on_an_adapter_is_merged_with_it(family_folder: FamilyFolder, tmp_path: Path) -> None:
    base = family_folder("llama")
    lower = make_adapter(base, tmp_path / "lower")
    below = merge(lower, tmp_path / "below")
    upper = make_adapter(below, tmp_path / "upper", targets=["q_proj", "down_proj"])
    expected = logits(load_model(upper, device="cpu", dtype="float32"))
    config = json.loads((upper / "adapter_config.json").read_text())
    write_text(upper / "adapter_config.json", json.dumps({**config, "base_model_name_or_path": str(lower)}))
    assert adapter_chain(upper) == [base, lower, upper]
    merged = AutoModelForCausalLM.from_pretrained(merge(upper, tmp_path / "merged")).eval()
    assert closeness(logits(merged), expected) < 1e-5


def test_adapters_in_a_circle_are_an_error(family_folder: FamilyFolder, tmp_path: Path) -> None:
    adapter = make_adapter(family_folder("llama"), tmp_path / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    write_text(
        adapter / "adapter_config.json", json.dumps({**config, "base_model_name_or_path": str(adapter)})
    )
    with pytest.raises(InputError, match="lies, in the end, on itself"):
        merge(adapter, tmp_path / "merged")


@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's, of the same thing
def test_what_cannot_be_merged_is_refused(family_folder: FamilyFolder, tmp_path: Path) -> None:
    """Qwen3's head is its embedding: what is merged into one changes the other."""
    adapter = make_adapter(family_folder("qwen3"), tmp_path / "adapter", targets=["lm_head"])
    with pytest.raises(InputError, match=r"gives other logits|cannot be merged"):
        merge(adapter, tmp_path / "merged")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_a_run_stands_for_its_last_adapter(family_folder: FamilyFolder, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_text(run / "config.yaml", "recipe: icr\n")
    with pytest.raises(InputError, match="no trained model yet"):
        find_adapter(run)
    for number in (1, 2):
        make_adapter(family_folder("llama"), run / f"iteration-{number}" / "model")
    assert find_adapter(run) == run / "iteration-2" / "model"
    assert find_adapter(run, 1) == run / "iteration-1" / "model"
    with pytest.raises(InputError, match="no model of iteration 3"):
        find_adapter(run, 3)
    with pytest.raises(InputError, match="is no run folder"):
        find_adapter(run / "iteration-1" / "model", 1)


def test_a_whole_model_and_an_output_that_is_taken_are_errors_with_a_way_out(
    family_folder: FamilyFolder, tmp_path: Path
) -> None:
    base = family_folder("llama")
    result = CliRunner().invoke(app, ["merge", str(base), "--output", str(tmp_path / "merged")])
    assert result.exit_code == 2
    assert "whole model" in result.stderr and "use the folder as it is" in result.stderr
    write_text(tmp_path / "taken" / "notes.txt", "mine")
    adapter = make_adapter(base, tmp_path / "adapter")
    with pytest.raises(InputError, match="there is something already"):
        merge(adapter, tmp_path / "taken")
    assert (tmp_path / "taken" / "notes.txt").read_text() == "mine"


def test_the_command_merges(family_folder: FamilyFolder, tmp_path: Path) -> None:
    adapter = make_adapter(family_folder("llama"), tmp_path / "adapter")
    command = ["merge", str(adapter), "--output", str(tmp_path / "merged"), "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    assert not (tmp_path / "merged" / "README.md").exists()  # PEFT's card of the adapter does not come along
