"""What a run will cost: memory from shapes, and time from a short probe of its own work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lingualign.models import load_tokenizer, resolve_spec
from lingualign.pairs.base import Side, make_pair
from lingualign.pipeline.manifest import Manifest
from lingualign.pipeline.run import run_checked
from lingualign.pipeline.validate import CheckedRun, validate
from lingualign.prompts import ChatFormat, Prompt
from lingualign.settings import load_config
from lingualign.setup.estimate import LEAST, MOST, Estimate, estimate_from, estimate_run, expected_longest
from lingualign.setup.memory import footprint, training_bytes
from lingualign.setup.probe import Rates
from lingualign.setup.shape import Shape, read_shape, trained_parameters
from lingualign.setup.training_step import numbered, training_seconds

LARGE = Shape(8_000_000_000, 2, 32, 4096, 14336, 1024, 128256, 8192, "LlamaForCausalLM")
SMALL = [
    "data.limit=12",
    "iterations=1",
    "sampling.n=4",
    "measures.n=12",
    "measures.bootstrap=100",
    "training.epochs=1",
]
RATES = Rates(
    loading=1.0,
    prompt_token=0.001,
    step=0.01,
    token=0.001,
    lengths=[10, 20, 30],
    unfinished=[False, False, False],
    score_token=0.002,
    judge_token=0.0001,
    pairing=0.01,
    pairs=5.0,
    forward_token=0.001,
    training_token=0.004,
    trained=True,
    text_bytes=80.0,
    write=1e9,
)


def lab(folder: Path, recipe: str = "icr", *settings: str) -> CheckedRun:
    return validate(load_config(recipe, [*SMALL, f"output={folder}", *settings]))


def seconds(estimate: Estimate) -> dict[str, float]:
    return {stage.name: stage.low / LEAST for stage in estimate.stages}


@pytest.mark.slow
@pytest.mark.usefixtures("fewer_labels")
def test_the_estimate_of_a_run_in_the_lab_is_of_the_right_size(tmp_path: Path) -> None:
    checked = lab(tmp_path / "run")
    estimate = estimate_run(checked)
    assert not (tmp_path / "run").exists()  # a probe leaves nothing behind
    run_checked(checked)
    took = sum(record.seconds for record in Manifest.read(tmp_path / "run" / "manifest.json").stages.values())
    assert estimate.low / 3 < took < estimate.high * 3
    assert {stage.name for stage in estimate.stages} == set(checked.plan.fingerprints)
    written = sum(path.stat().st_size for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert estimate.disk_low / 3 < written < 3 * estimate.disk_high
    assert 0.3e9 < estimate.memory_low <= estimate.memory_high < 10e9


def test_twice_the_work_takes_twice_the_time(tmp_path: Path) -> None:
    once = seconds(estimate_from(lab(tmp_path / "a"), RATES))
    longer = seconds(estimate_from(lab(tmp_path / "b", "icr", "data.limit=24"), RATES))
    for stage in ("scores", "reference"):
        name = f"iteration-1/{stage}"
        # The prompts differ a little in length; loading takes the same.
        assert longer[name] - RATES.loading == pytest.approx(2 * (once[name] - RATES.loading), rel=0.1)
    assert longer["measures/iteration-0/greedy"] == pytest.approx(once["measures/iteration-0/greedy"])


def test_responses_that_the_probe_cut_widen_the_range(tmp_path: Path) -> None:
    checked = lab(tmp_path)
    seen = estimate_from(checked, RATES)
    cut = estimate_from(checked, replace(RATES, unfinished=[False, True, True]))
    assert cut.low == seen.low
    assert cut.high > 1.5 * seen.high
    assert "2 cut before their end" in cut.assumptions[0]
    assert seen.high / seen.low == pytest.approx(MOST / LEAST)


def test_what_is_not_measured_is_said(tmp_path: Path) -> None:
    untried = replace(RATES, trained=False, pairing=None, judge_token=None)
    estimate = estimate_from(lab(tmp_path), untried)
    said = "; ".join(estimate.assumptions)
    assert "none was tried" in said
    assert "one translation a prompt" in said
    assert "the judge's server left out" in said
    assert not [stage for stage in estimate.stages if stage.name.endswith("-judged")]


def test_a_stage_that_is_done_costs_nothing_more(tmp_path: Path) -> None:
    checked = lab(tmp_path)
    rest = estimate_from(replace(checked, done=["iteration-1/responses"]), RATES)
    assert "iteration-1/responses" not in {stage.name for stage in rest.stages}


def test_a_method_that_samples_nothing_costs_no_sampling(tmp_path: Path) -> None:
    names = set(seconds(estimate_from(lab(tmp_path, "clo"), RATES)))
    assert "iteration-1/responses" not in names
    assert {"iteration-1/pairs", "iteration-1/model", "measures/iteration-1/sampled"} <= names


def test_the_longest_of_many_draws() -> None:
    lengths = np.array([1.0, 2.0, 3.0, 4.0])
    draws = np.random.default_rng(0).choice(lengths, size=(20_000, 3)).max(axis=1)
    assert expected_longest(lengths, 1) == pytest.approx(2.5)
    assert expected_longest(lengths, 3) == pytest.approx(draws.mean(), abs=0.02)
    assert expected_longest(lengths, 1000) == pytest.approx(4.0)


def test_memory_of_training_all_weights_is_sixteen_bytes_a_parameter_and_activations() -> None:
    config = load_config("icr", ["policy=a", "reference=b"])
    without = training_bytes(config, LARGE, 4, tokens=1) - 16 * LARGE.parameters
    assert 0 < without < 0.01 * 16 * LARGE.parameters
    longer = training_bytes(config, LARGE, 2, tokens=2048) - training_bytes(config, LARGE, 2, tokens=1024)
    assert longer > 10e9  # what a forward pass keeps grows with its tokens
    checkpointed = load_config("icr", ["policy=a", "reference=b", "training.gradient_checkpointing=true"])
    assert training_bytes(checkpointed, LARGE, 2, 2048) < training_bytes(config, LARGE, 2, 2048) - longer
    adapter = load_config("icr", ["policy=a", "reference=b", "training.lora.r=16"])
    assert training_bytes(adapter, LARGE, 2, 1) < 2.5 * LARGE.parameters


def test_adapter_and_attention_parameters_are_those_of_the_models() -> None:
    from lingualign.training.policy import trainable_policy

    folder = resolve_spec("lab:aligned")
    shape = read_shape(folder)
    for setting in ("training.lora.r=4", "training.train_modules=attention", "training.epochs=1"):
        training = load_config("icr", [setting]).training
        model = trainable_policy(folder, training, device="cpu", dtype="float32", trust_remote_code=False)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert trained_parameters(shape, training) == trained, setting


def test_the_peak_names_the_work_that_needs_most() -> None:
    config = load_config("icr", ["policy=a", "reference=b"])
    needs = footprint(config, LARGE, LARGE, 2, cpu=False, tokens=512)
    assert needs.largest == "training"
    assert needs.peak == needs.training
    sampled = load_config("icr", ["policy=a", "reference=b", "sampling.batch_tokens=10000000"])
    assert footprint(sampled, LARGE, LARGE, 2, cpu=False, tokens=512).largest == "sampling"


def test_a_training_step_is_timed_unless_its_pairs_are_too_long(tmp_path: Path) -> None:
    prompt = Prompt("1", "en", ({"role": "user", "content": "Is it?"},))
    pair = make_pair(prompt, Side("Yes."), Side("No."))
    pairs = [numbered(pair, number) for number in range(4)]
    assert len({each["chosen"][0]["content"] for each in pairs}) == 4
    chat = ChatFormat(load_tokenizer("lab:aligned"))
    small = ["training.batch_pairs=2", "training.micro_batch_pairs=2", "training.epochs=1"]
    for length, timed in ((512, True), (3, False)):
        config = load_config("icr", [*small, f"training.max_length={length}"])
        seconds = training_seconds(config, pairs, resolve_spec("lab:aligned"), chat, tmp_path / "checkpoints")
        assert (seconds is not None and 0 < seconds < 60) == timed
    assert not list(tmp_path.rglob("*.safetensors"))  # nothing is kept
