"""Sampling with vLLM: what it is asked, what becomes of its answers, and when its engine has to go."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from conftest import FamilyFolder
from fake_vllm import LLM, install
from lingualign.config import RunConfig
from lingualign.errors import InputError
from lingualign.models import load_model
from lingualign.pipeline.bench import LoadedModels
from lingualign.pipeline.run import align
from lingualign.pipeline.tables import read_responses
from lingualign.prompts import ChatFormat, Prompt
from lingualign.records import Response
from lingualign.sampling import TransformersSampler, VllmEngine, VllmSampler
from lingualign.sampling.base import request_seed
from lingualign.settings import load_config

PROMPTS = [
    Prompt(name, "en", ({"role": "user", "content": text},))
    for name, text in (("a", "Hi"), ("b", "Name three rivers. " * 10), ("c", "题" * 9))
]


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    return install(monkeypatch)


@pytest.fixture(scope="module")
def base(family_folder: FamilyFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose end token is likely, so that some responses end and some are cut."""
    source, folder = family_folder("llama"), tmp_path_factory.mktemp("base")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    with torch.no_grad():
        model.lm_head.weight[ChatFormat(tokenizer).end_id] = model.lm_head.weight.sum(dim=0) / 6
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters on it that change what it says, as the trainer saves them."""
    folders = []
    for seed, rank in ((0, 4), (1, 8)):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(base)
        model = get_peft_model(model, LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM"))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.5)
        folders.append(tmp_path_factory.mktemp(f"adapter-{seed}"))
        model.save_pretrained(folders[-1])
    return folders


def chat_of(base: Path) -> ChatFormat:
    return ChatFormat(AutoTokenizer.from_pretrained(base))


def sample(
    engine: VllmEngine, policy: Path, prompts: list[Prompt] = PROMPTS, **options: Any
) -> list[list[Response]]:
    settings: dict[str, Any] = {"n": 4, "temperature": 1.0, "max_new_tokens": 12, "seed": 0} | options
    return VllmSampler(engine, policy, chat_of(engine.base)).sample(prompts, **settings)


def test_greedy_responses_are_those_of_transformers(
    vllm: type[LLM], base: Path, adapters: list[Path]
) -> None:
    engine = VllmEngine(base, lora_rank=8)
    for policy in (base, *adapters, base):
        ours = TransformersSampler(load_model(policy, device="cpu", dtype="float32"), chat_of(base))
        expected = ours.sample(PROMPTS, n=1, temperature=0, max_new_tokens=12, seed=0)
        assert sample(engine, policy, n=1, temperature=0) == expected
    assert len(vllm.made) == 1  # one engine, whichever adapter
    texts = [sample(engine, policy, n=1, temperature=0)[1][0]["text"] for policy in (base, *adapters)]
    assert len(set(texts)) == 3


def test_each_response_has_a_request_and_a_seed_of_its_own(vllm: type[LLM], base: Path) -> None:
    engine = VllmEngine(base)
    responses = sample(engine, base)
    assert vllm.made[0].calls == [12]
    assert [[(r["prompt_id"], r["language"], r["index"]) for r in rows] for rows in responses] == [
        [(prompt.id, "en", index) for index in range(4)] for prompt in PROMPTS
    ]
    reasons = Counter(row["finish_reason"] for rows in responses for row in rows)
    assert set(reasons) == {"stop", "length"}
    chat = chat_of(base)
    for row in (row for rows in responses for row in rows):
        assert row["num_tokens"] == 12 if row["finish_reason"] == "length" else row["num_tokens"] < 12
        assert chat.tokenizer.decode([chat.end_id]) not in row["text"]
    assert len({row["text"] for row in responses[0]}) > 1
    # Nothing else that is sampled makes a difference.
    assert sample(engine, base, PROMPTS[::-1]) == responses[::-1]
    assert [rows[:2] for rows in responses] == sample(engine, base, n=2)
    assert sample(engine, base, seed=1) != responses
    assert len({request_seed(0, prompt, index) for prompt in PROMPTS for index in range(4)}) == 12


def test_progress_tells_of_all_responses(vllm: type[LLM], base: Path) -> None:
    told: list[tuple[int, int]] = []
    sample(VllmEngine(base), base, progress=lambda done, total: told.append((done, total)))
    assert told == [(12, 12)]


def test_the_engine_is_started_as_the_settings_say(vllm: type[LLM], base: Path) -> None:
    options = {"max_num_seqs": 7, "dtype": "float16"}
    VllmEngine(
        base, lora_rank=9, dtype="bfloat16", tensor_parallel=2, memory=0.5, max_model_len=99, options=options
    )
    assert vllm.made[0].arguments == {
        "model": str(base),
        "dtype": "float16",  # an option goes before what is set elsewhere
        "tensor_parallel_size": 2,
        "gpu_memory_utilization": 0.5,
        "max_model_len": 99,
        "enable_prefix_caching": True,
        "enable_lora": True,
        "max_lora_rank": 16,
        "max_num_seqs": 7,
    }


def test_what_does_not_fit_is_one_error(vllm: type[LLM], base: Path) -> None:
    engine = VllmEngine(base, max_model_len=30)
    with pytest.raises(InputError, match=r"Prompt b in en has \d+ tokens, and vLLM .* room for 30"):
        sample(engine, base)
    with pytest.raises(InputError, match=r"vLLM cannot start .* Free memory"):
        VllmEngine(base)
    engine.close()
    with pytest.raises(InputError, match=r"vLLM cannot start .* unexpected keyword argument 'max_len'"):
        VllmEngine(base, options={"max_len": 3})


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    monkeypatch.setattr("lingualign.sampling.vllm_backend.find_spec", lambda name: None)
    config = load_config("icr", ["sampling.backend=vllm", f"output={tmp_path / 'run'}"])
    with pytest.raises(InputError, match=r"pip install 'lingualign\[vllm\]'"):
        align(config)
    assert not (tmp_path / "run").exists()


def loaded(base: Path, **settings: Any) -> LoadedModels:
    config = load_config("icr", [f"policy={base}", *(f"{key}={value}" for key, value in settings.items())])
    return LoadedModels(config)


def test_an_engine_stays_while_its_base_does(
    vllm: type[LLM], base: Path, adapters: list[Path], family_folder: FamilyFolder
) -> None:
    models = loaded(base, **{"training.lora": "{r: 8}"})
    first = models.engine(base)
    assert models.engine(adapters[0]) is first and models.engine(adapters[1]) is first
    other = models.engine(family_folder("qwen3"))
    assert other is not first and vllm.running == vllm.made[1:]


def test_an_engine_is_started_anew_for_an_adapter_that_was_not_foreseen(
    vllm: type[LLM], base: Path, adapters: list[Path]
) -> None:
    models = loaded(base)
    assert models.engine(base).lora_rank == 0
    assert models.engine(adapters[0]).lora_rank == 8
    assert len(vllm.made) == 2 and len(vllm.running) == 1


def test_an_engine_and_models_are_never_in_memory_together(vllm: type[LLM], base: Path) -> None:
    models = loaded(base)
    models.get(base)
    models.engine(base)
    assert models._loaded == {} and len(vllm.running) == 1
    models.get(base)
    assert vllm.running == []
    models.engine(base)
    models.keep()
    assert vllm.running == [] and len(vllm.made) == 2


def test_models_that_are_not_kept_leave_memory(base: Path, family_folder: FamilyFolder) -> None:
    models = loaded(base)
    kept, dropped = models.get(base), weakref.ref(models.get(family_folder("qwen3")))
    models.keep(base)
    assert dropped() is None
    assert models.get(base) is kept


def test_keeping_what_there_is_collects_no_garbage(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = loaded(base)
    models.get(base)
    monkeypatch.setattr(gc, "collect", lambda: pytest.fail("a collection takes as long as scoring many rows"))
    models.keep(base)


def small_run(output: Path, **settings: Any) -> RunConfig:
    chosen = {
        "data.limit": 4,
        "sampling.n": 4,
        "sampling.backend": "vllm",
        "reward.kind": "random",
        "iterations": 1,
        "measures.n": 2,
        "training.epochs": 1,
        "output": output,
    } | settings
    return load_config("icr", [f"{key}={value}" for key, value in chosen.items()])


@pytest.mark.usefixtures("without_report")
def test_a_run_that_samples_with_vllm(vllm: type[LLM], tmp_path: Path) -> None:
    measures = align(small_run(tmp_path / "run", **{"training.lora": "{r: 8}"}))
    assert len(read_responses(tmp_path / "run/iteration-1/responses")) == 4 * 5 * 4
    assert (tmp_path / "run/iteration-1/model/adapter_config.json").is_file()
    assert len(measures["iterations"]) == 1
    # One for the start and its responses, which the reference model ended; one for the trained adapter.
    first, second = vllm.made
    assert [sum(engine.calls) for engine in (first, second)] == [2 * 5 * 2 + 4 * 5 * 4, 2 * 5 * 2]
    assert first.arguments["model"] == second.arguments["model"] and len(second._adapters) == 1
    made = len(vllm.made)
    align(small_run(tmp_path / "run", **{"training.lora": "{r: 8}", "sampling.vllm.memory": 0.5}))
    assert len(vllm.made) == made
    with pytest.raises(InputError, match=r"sampling\.vllm\.max_model_len"):
        align(small_run(tmp_path / "run", **{"training.lora": "{r: 8}", "sampling.vllm.max_model_len": 200}))
