"""`lingualign plan`: the arithmetic by hand, what must never go down, and what it says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from lingualign.cli import app
from lingualign.config import RunConfig
from lingualign.models import load_tokenizer
from lingualign.pipeline.validate import validate
from lingualign.planning.cost import (
    StageCost,
    micro_pairs,
    sampling_cost,
    shards_for,
    spread,
    training_memory,
)
from lingualign.planning.counting import PROMPT_TOKENS, Said, count
from lingualign.planning.forecast import Forecast, forecast
from lingualign.planning.hardware import DATA_SHEETS, Device, Hardware, find_device
from lingualign.planning.operations import (
    Seconds,
    attention_flops,
    body_weights,
    decode_step,
    forward_flops,
    key_bytes,
    mean_context,
    training_pass_flops,
)
from lingualign.planning.sizes import PUBLISHED, shape_of_size, shape_of_spec
from lingualign.planning.work import Counts, Work, run_work
from lingualign.settings import list_recipes, load_config
from lingualign.setup.memory import training_bytes
from lingualign.setup.shape import Shape, llama_parameters, read_shape, trained_parameters

# Llama 3.1 8B: 32 layers, 4096 wide, MLP 14336, 8 key heads of 128, vocabulary 128256, untied.
LLAMA_8B = Shape(8_030_261_248, 2, 32, 4096, 14336, 1024, 128256, 131072, "LlamaForCausalLM")
# Bytes, bytes a second, and FLOP/s forward, decoding and training of a device with round numbers.
ROUND = Device("round", 1e12, 1e12, 1e14, 1e14, 1e14, eager_layer=0, eager_step=0)
COUNTS = Counts((1000,), 100, 200.0, 300.0, 300.0, 400.0)


def configured(*overrides: str) -> RunConfig:
    return load_config("icr", ["policy=none", "prompts=none", "iterations=1", *overrides])


def planned(counts: Counts = COUNTS, gpus: int = 1, device: str = "H200", *overrides: str) -> Forecast:
    hardware = Hardware(find_device(device), gpus)
    return forecast(configured(*overrides), counts, hardware, LLAMA_8B, LLAMA_8B)


def named(found: Forecast, stage: str) -> StageCost:
    return next(cost for cost in found.stages if cost.stage == stage)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["plan", *[str(argument) for argument in arguments]])


def test_weights_of_a_model_by_hand() -> None:
    # Attention 2 * 4096 * (4096 + 1024) and MLP 3 * 4096 * 14336 a layer.
    assert body_weights(LLAMA_8B) == 32 * (41_943_040 + 176_160_768) == 6_979_321_856
    # The published count: with two tables of 128256 * 4096, and 65 norms.
    assert llama_parameters(32, 4096, 14336, 1024, 128256, tied=False) == LLAMA_8B.parameters


def test_floating_point_operations_by_hand() -> None:
    # 2 a weight and token, of the head where a token is predicted; 4 * width * context a layer for attention.
    products = 2 * (6_979_321_856 * 100 + 128256 * 4096 * 10)
    assert forward_flops(LLAMA_8B, 100, 10, 0) == products
    assert attention_flops(LLAMA_8B, 100, 50) == 4 * 4096 * 32 * 100 * 50
    assert training_pass_flops(LLAMA_8B, 100, 10, 0, frozen=False, recomputes=False) == 3 * products
    assert training_pass_flops(LLAMA_8B, 100, 10, 0, frozen=True, recomputes=False) == 2 * products
    assert training_pass_flops(LLAMA_8B, 100, 10, 0, frozen=False, recomputes=True) == 4 * products


def test_a_step_of_decoding_by_hand() -> None:
    # Keys and values of a token: 2 * 32 layers * 1024 wide * 2 bytes.
    assert key_bytes(LLAMA_8B, 2) == 131_072
    step = decode_step(ROUND, LLAMA_8B, rows=1, context=1000, engine=False)
    weights = 6_979_321_856 + 128256 * 4096
    # One row: the weights are read, 2 bytes each; the arithmetic, 2 FLOPs each, is part of that time.
    assert step.compute == pytest.approx(2 * weights / 1e14)
    assert step.compute + step.weights == pytest.approx(2 * weights / 1e12)
    assert step.keys == pytest.approx(1000 * 131_072 / 1e12)
    assert step.bound == "weights"
    # 1000 rows: the arithmetic takes longer than the reading.
    many = decode_step(ROUND, LLAMA_8B, rows=1000, context=10, engine=False)
    assert many.compute == pytest.approx(1000 * 2 * weights / 1e14)
    assert many.weights == 0
    assert many.bound == "compute"


def test_the_optimiser_and_the_weights_by_hand() -> None:
    run = configured("training.gradient_checkpointing=true", "training.micro_batch_pairs=1")
    alone, eight = (training_bytes(run, LLAMA_8B, 2, 512, shards) for shards in (1, 8))
    # In float32: weights 4, gradients 4, moments 8; and autocast's copy, 2. All of it is shared out.
    states = 18 * LLAMA_8B.parameters
    gathered = 2 * LLAMA_8B.parameters / 32 * 2
    assert alone > states
    assert alone - eight == pytest.approx(states * 7 / 8 - gathered)


def test_what_tokens_look_at() -> None:
    # A prompt of 4 alone: 2 on average; one response of 2 behind it: 4 tokens at 2, 2 tokens at 5.
    assert mean_context(4, 0, 1) == 2
    assert mean_context(4, 2, 1) == pytest.approx((4 * 2 + 2 * 5) / 6)


def test_measured_rates_are_interpolated() -> None:
    device = replace(ROUND, by_rows=((1.0, 1e9), (100.0, 1e11)))
    assert device.product_rate(1) == 1e9
    assert device.product_rate(10) == pytest.approx(1e10)
    assert device.product_rate(1000) == 1e11


def test_sampling_reads_the_weights_for_every_step_of_every_batch() -> None:
    run = configured("sampling.batch_tokens=1000", "sampling.max_new_tokens=100")
    shape = shape_of_size(1e9)
    work = Work("responses", "sample", 64, 10, 100.0, 100.0, limit=100, chunk=64)
    seconds, *_ = sampling_cost(work, run, shape, Hardware(ROUND), 2e9)
    # 640 responses, 1000 // 200 = 5 at a time, 100 steps each.
    step = decode_step(ROUND, shape, 5, 150.0, engine=False)
    assert seconds.keys == pytest.approx(128 * 100 * step.keys)
    assert seconds.compute + seconds.weights >= 128 * 100 * (step.compute + step.weights)


def test_starting_goes_on_beside_the_work_where_a_device_overlaps_it() -> None:
    apart = Seconds(compute=3.0, starting=2.0, disk=1.0)
    assert apart.total == 6.0
    assert replace(apart, overlapped=True).total == 4.0
    assert replace(apart, link=5.0).total == 8.0


def test_pieces_wait_for_the_largest_of_them() -> None:
    def piece(prompts: float) -> Seconds:
        return Seconds(compute=prompts)

    work = Work("responses", "sample", 3 * 100, 1, 1, 1, chunk=64, languages=3)
    assert spread(work, 1, piece)[0].total == pytest.approx(300)
    assert spread(work, 2, piece)[0].total == pytest.approx(150)
    seconds, used = spread(work, 100, piece)
    assert (seconds.total, used) == (pytest.approx(64), 6)


def test_a_model_is_shared_by_as_few_devices_as_have_room() -> None:
    hardware = Hardware(replace(ROUND, memory=100.0), 8)
    assert shards_for(hardware, lambda shards: 89 / shards) == (1, True)
    assert shards_for(hardware, lambda shards: 300 / shards) == (4, True)
    assert shards_for(hardware, lambda shards: 3000 / shards) == (8, False)


def test_pairs_of_a_pass_divide_those_of_a_process() -> None:
    run = configured("training.batch_pairs=24", "training.micro_batch_pairs=5")
    assert micro_pairs(run, 1) == 4
    assert micro_pairs(run, 8) == 3
    assert micro_pairs(run, 24) == 1


@pytest.mark.parametrize("known", PUBLISHED)
def test_a_published_size_has_its_published_shape(known: tuple[Any, ...]) -> None:
    shape = shape_of_size(llama_parameters(*known))
    assert (shape.layers, shape.hidden, shape.key_values, shape.vocabulary) == (
        known[0],
        known[1],
        known[3],
        known[4],
    )
    assert shape.intermediate == known[2]


@given(st.floats(1e6, 1e12))
@settings(max_examples=50, deadline=None)
def test_a_shape_has_the_parameters_that_were_asked_for(parameters: float) -> None:
    shape = shape_of_size(parameters)
    tied = parameters < 4e9
    has = llama_parameters(
        shape.layers, shape.hidden, shape.intermediate, shape.key_values, shape.vocabulary, tied
    )
    assert has == pytest.approx(parameters, rel=0.05)


def test_the_stages_are_those_of_the_run_itself(tmp_path: Path) -> None:
    for recipe in list_recipes():
        run = load_config(recipe.name, ["data.limit=8", "measures.n=4", f"output={tmp_path / recipe.name}"])
        counts, _ = count(run, Said())
        names = [work.stage for work in run_work(run, counts)]
        assert set(names) == set(validate(run).plan.fingerprints), recipe.name
        assert len(names) == len(set(names))


def test_prompts_are_counted_with_the_tokenizer() -> None:
    run = load_config("icr", ["data.limit=8", "languages=en,de"])
    counts, assumed = count(run, Said())
    assert counts.prompts == (8, 8)
    assert 5 < counts.prompt_tokens < 100
    assert counts.response_tokens == 48
    assert counts.labels == 300
    assert "counted with the policy's tokenizer" in "; ".join(assumed)
    said, _ = count(run, Said(prompts=100, prompt_tokens=7, response_tokens=1000))
    assert (said.prompts, said.prompt_tokens, said.response_tokens) == ((100, 100), 7, 96)
    away, _ = count(configured(), Said(prompts=5))
    assert away.prompt_tokens == PROMPT_TOKENS


def test_a_configuration_is_enough_of_a_model(tmp_path: Path) -> None:
    whole = shape_of_spec("lab:aligned")
    folder = tmp_path / "model"
    folder.mkdir()
    source = Path(load_tokenizer("lab:aligned").name_or_path) / "config.json"
    (folder / "config.json").write_text(source.read_text())
    assert shape_of_spec(folder) == whole == read_shape("lab:aligned")


COUNT = st.builds(
    Counts,
    prompts=st.tuples(st.integers(1, 5000)),
    heldout=st.just(50),
    prompt_tokens=st.floats(1, 1000),
    response_tokens=st.floats(1, 1000),
    measured_tokens=st.just(100.0),
    longest_prompt=st.just(1000.0),
)
KNOWN = st.sampled_from(sorted(DATA_SHEETS))


@given(COUNT, KNOWN, st.integers(1, 40), st.integers(1, 40), st.sampled_from(["transformers", "vllm"]))
@settings(max_examples=30, deadline=None)
def test_more_gpus_are_never_slower(counts: Counts, device: str, few: int, more: int, backend: str) -> None:
    backend = f"sampling.backend={backend}"
    slow, fast = planned(counts, few, device, backend), planned(counts, few + more, device, backend)
    if slow.fits:  # else models are spread over more GPUs to have room
        assert fast.fits
        assert fast.seconds <= slow.seconds * (1 + 1e-9)


@given(COUNT, KNOWN, st.integers(1, 16), st.integers(1, 5000), st.sampled_from(["transformers", "vllm"]))
@settings(max_examples=30, deadline=None)
def test_more_prompts_are_never_cheaper(
    counts: Counts, device: str, gpus: int, further: int, backend: str
) -> None:
    backend = f"sampling.backend={backend}"
    more = replace(counts, prompts=(counts.prompts[0] + further,))
    small, large = (planned(c, gpus, device, backend) for c in (counts, more))
    assert large.seconds >= small.seconds * (1 - 1e-9)
    assert large.disk >= small.disk
    for a, b in zip(small.stages, large.stages, strict=True):
        assert b.read >= a.read
        assert b.generated >= a.generated
        assert b.flops >= a.flops


@given(st.floats(1e9, 1e11), st.integers(1, 64), st.integers(1, 64), st.booleans())
@settings(max_examples=30, deadline=None)
def test_an_adapter_never_takes_more_memory(
    parameters: float, rank: int, gpus: int, recomputes: bool
) -> None:
    shape, device = shape_of_size(parameters), find_device("H100")
    work = Work("model", "train", 100, 2, 200.0, 300.0)
    checkpointing = f"training.gradient_checkpointing={str(recomputes).lower()}"
    full, adapter = (
        configured(checkpointing, *further) for further in ((), (f"training.lora={{r: {rank}}}",))
    )
    assert training_memory(work, adapter, shape, device, gpus) <= training_memory(
        work, full, shape, device, gpus
    )
    assert trained_parameters(shape, adapter.training) < trained_parameters(shape, full.training)


def test_what_does_not_fit_is_said_with_the_remedy() -> None:
    tight = planned(COUNTS, 1, "H100")
    assert not tight.fits
    assert not named(tight, "iteration-1/model").fits
    assert any(
        advice.startswith("Training does not fit") and "training.lora" in advice for advice in tight.advice
    )
    adapter = planned(COUNTS, 1, "H100", "training.lora={r: 16}", "training.gradient_checkpointing=true")
    assert adapter.fits
    assert planned(COUNTS, 8, "H100").fits


def test_small_batches_are_told_of() -> None:
    assert any("sampling.backend=vllm" in advice for advice in planned().advice)
    engine = planned(COUNTS, 1, "H200", "sampling.backend=vllm")
    assert not any("sampling.backend" in advice for advice in engine.advice)
    assert named(engine, "iteration-1/responses").seconds < named(planned(), "iteration-1/responses").seconds


def test_settings_that_use_all_gpus_are_named_until_they_are_there() -> None:
    wanted = planned(COUNTS, 8).settings
    assert wanted["executor"] == "ray"
    assert wanted["ray.workers"] == 8
    assert wanted["training.launch.config"] == "fsdp2"
    overrides = [f"{key}={value}" for key, value in wanted.items()]
    assert planned(COUNTS, 8, "H200", *overrides).settings == {}
    assert planned(COUNTS, 1).settings == {}


def test_the_command_needs_neither_model_nor_prompts() -> None:
    result = call(
        "icr", "policy=none", "prompts=none", "languages=en,de,sw", "--model-params", "8e9",
        "--gpus", "8xH200", "--prompts", "1000", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert set(found) == {
        "event", "hardware", "gpus", "model", "stages", "total", "settings", "advice", "assumptions",
    }  # fmt: skip
    assert (found["event"], found["hardware"], found["gpus"]) == ("plan", "8xH200", 8)
    keys = {
        "stage", "tokens_read", "tokens_generated", "flops", "seconds", "gpu_hours", "gpus", "gpus_a_model",
        "memory_bytes", "disk_bytes", "scratch_bytes", "bound", "fits",
    }  # fmt: skip
    assert all(set(stage) == keys for stage in found["stages"])
    total = found["total"]
    assert total["seconds"] == pytest.approx(sum(stage["seconds"] for stage in found["stages"]))
    assert total["gpu_hours"] == pytest.approx(8 * total["seconds"] / 3600)
    responses = next(stage for stage in found["stages"] if stage["stage"] == "iteration-1/responses")
    assert responses["tokens_generated"] == 1000 * 3 * 10 * 512
    assert responses["tokens_read"] == 1000 * 3 * PROMPT_TOKENS


def test_the_table_has_every_stage_and_what_is_assumed() -> None:
    result = call("data.limit=16", "iterations=1", "--gpus", "2xA100")
    assert result.exit_code == 0, result.output
    for said in (
        "iteration-1/responses",
        "measures/iteration-1/greedy",
        "GPU-hours",
        "bound by",
        "Assumed: ",
    ):
        assert said in result.output


def test_numbers_of_your_own_gpu() -> None:
    own = call(
        "--gpus", "2xMine", "--flops", "989.5e12", "--memory", "141e9", "--bandwidth", "4.8e12", "--json"
    )
    known = call("--gpus", "2xH200", "--json")
    seconds = [json.loads(result.output)["total"]["seconds"] for result in (own, known)]
    assert json.loads(own.output)["hardware"] == "2xMine"
    assert seconds[0] == pytest.approx(seconds[1], rel=0.2)  # links apart


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gpus", "8xH20O"], "Did you mean H200?"),
        (["--gpus", "0xH200"], "not a number of GPUs and their name"),
        (["--gpus", "8x"], "not a number of GPUs and their name"),
        ([], "on what is this run to be planned?"),
        (["--gpus", "4xMine", "--flops", "4e14"], "--memory and --bandwidth"),
        (["--gpus", "H100", "--memory", "-1"], "above zero"),
        (["--gpus", "H100", "--model-params", "3"], "--model-params 3"),
        (["--gpus", "H100", "--prompts", "0"], "--prompts 0"),
        (["--gpus", "H100", "--response-tokens", "-5"], "--response-tokens -5"),
        (["--gpus", "H100", "policy=nowhere"], "--model-params 8e9"),
        (
            ["--gpus", "H100", "--model-params", "1e9", "prompts=nowhere", "data.limit=null"],
            "--prompts 10000",
        ),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], said: str) -> None:
    result = call("icr", *arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_this_machine_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from lingualign.planning import calibrate

    monkeypatch.setattr(calibrate, "BUDGET", 0.01)
    result = call("data.limit=8", "iterations=1", f"output={tmp_path / 'run'}", "--gpus", "cpu", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.output.splitlines()[-1])
    assert found["hardware"] == "this machine"
    assert 0.1e9 < found["total"]["memory_bytes"] < 10e9
    assert 0.1 < found["total"]["seconds"] < 1e5
    assert all(stage["seconds"] > 0 for stage in found["stages"])
    assert not (tmp_path / "run").exists()
