"""Finding, loading and comparing models: what is wrong is said, and said before weights are read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from conftest import FamilyFolder
from families import make_family
from lingualign.errors import InputError
from lingualign.models import check_compatible, load_model, load_tokenizer, resolve_device, resolve_spec


@pytest.fixture
def adapter(family_folder: FamilyFolder, tmp_path: Path) -> Path:
    """An adapter that changes its base, saved without a tokenizer."""
    base = AutoModelForCausalLM.from_pretrained(family_folder("llama"))
    torch.manual_seed(0)
    settings = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(base, settings).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.arange(10, 30)[None]).logits


def test_loads_every_family(family: str, family_folder: FamilyFolder, family_model: PreTrainedModel) -> None:
    model = load_model(str(family_folder(family)), device="cpu")
    assert not model.training
    assert model.dtype == torch.float32
    assert torch.equal(logits(model), logits(family_model))


def test_half_precision_files_load_in_the_type_asked_for(family_folder: FamilyFolder, tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(family_folder("llama"), dtype=torch.float16).save_pretrained(
        tmp_path
    )
    assert load_model(tmp_path, device="cpu").dtype == torch.float32
    assert load_model(tmp_path, device="cpu", dtype="bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize("amx", [True, False])
def test_the_precision_is_the_machines(
    family_folder: FamilyFolder, monkeypatch: pytest.MonkeyPatch, amx: bool
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": amx})
    expected = torch.bfloat16 if amx else torch.float32
    assert load_model(family_folder("llama"), device="cpu").dtype == expected
    assert load_model(family_folder("llama"), device="cpu", dtype="float32").dtype == torch.float32


def test_adapter_is_put_on_its_base(adapter: Path, family_folder: FamilyFolder) -> None:
    model = load_model(adapter, device="cpu")
    assert isinstance(model, PeftModel)
    plain = load_model(family_folder("llama"), device="cpu")
    assert not torch.allclose(logits(model), logits(plain))
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(plain))


def test_adapter_has_the_tokenizer_of_its_base_or_its_own(adapter: Path, family_folder: FamilyFolder) -> None:
    base = AutoTokenizer.from_pretrained(family_folder("llama"))
    assert load_tokenizer(adapter).get_vocab() == base.get_vocab()
    base.add_tokens(["<new>"])
    base.save_pretrained(adapter)
    assert "<new>" in load_tokenizer(adapter).get_vocab()


def test_adapter_without_its_base(adapter: Path) -> None:
    config = adapter / "adapter_config.json"
    settings = json.loads(config.read_text()) | {"base_model_name_or_path": "gone/base"}
    config.write_text(json.dumps(settings))
    with pytest.raises(InputError, match=r"base model of this adapter is missing: gone/base"):
        load_model(adapter)


def test_same_vocabulary_is_compatible(family_folder: FamilyFolder, adapter: Path) -> None:
    check_compatible(family_folder("llama"), family_folder("llama", 1))
    check_compatible(adapter, family_folder("llama"))


def test_padded_embeddings_are_compatible(family_folder: FamilyFolder, tmp_path: Path) -> None:
    check_compatible(family_folder("qwen3"), make_family("qwen3", tmp_path, vocab_size=640))


def test_other_vocabulary_names_both_models_and_reads_no_weights(
    family_folder: FamilyFolder, tmp_path: Path
) -> None:
    policy = shutil.copytree(family_folder("llama"), tmp_path / "policy")
    (policy / "model.safetensors").write_bytes(b"not weights")
    reference = family_folder("mistral")
    with pytest.raises(InputError) as caught:
        check_compatible(policy, reference)
    assert str(policy) in caught.value.message and str(reference) in caught.value.message
    assert "vocabularies" in caught.value.message and caught.value.remedy


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "no such model folder"),
        ([], "no model in this folder"),
        (["config.json"], "no \\*.safetensors weights"),
        (["config.json", "pytorch_model.bin"], "no \\*.safetensors weights"),
    ],
)
def test_folder_without_a_model(files: list[str] | None, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    if files is not None:
        folder.mkdir()
        for name in files:
            (folder / name).write_text("{}")
    with pytest.raises(InputError, match=message) as caught:
        resolve_spec(folder)
    assert caught.value.remedy


def test_unknown_lab_model() -> None:
    with pytest.raises(InputError, match="lab:nonesuch"):
        resolve_spec("lab:nonesuch")


def test_broken_files_are_one_clear_error(family_folder: FamilyFolder, tmp_path: Path) -> None:
    folder = shutil.copytree(family_folder("llama"), tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(InputError, match="cannot load this folder"):
        load_model(folder, device="cpu")
    (folder / "config.json").write_text('{"model_type": "nonesuch"}')
    with pytest.raises(InputError, match="cannot load this folder"):
        load_model(folder, device="cpu")
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(InputError, match="cannot load this folder"):
        load_tokenizer(folder)


def test_model_files_with_code_need_trust(family_folder: FamilyFolder, tmp_path: Path) -> None:
    folder = shutil.copytree(family_folder("llama"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(InputError, match="trust_remote_code"):
        load_model(folder, device="cpu")
    assert not (tmp_path / "ran").exists()


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(InputError, match="'tpux' is not a device"):
        resolve_device("tpux")
    with pytest.raises(InputError, match="cuda:99 is not available"):
        resolve_device("cuda:99")
