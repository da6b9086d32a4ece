"""Trackers: what they are told, where they write, and that nothing that is computed depends on them."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainingArguments
from transformers.integrations import get_reporting_integration_callbacks
from typer.testing import CliRunner, Result

from conftest import FamilyFolder
from lingualign.cli import app
from lingualign.config import TRACKERS, TrainingConfig
from lingualign.errors import InputError
from lingualign.models import load_model, load_tokenizer
from lingualign.pipeline.tracked_measures import measured_values, track_measures
from lingualign.pipeline.validate import check_run_folder
from lingualign.prompts import ChatFormat
from lingualign.records import Pair
from lingualign.settings import load_config
from lingualign.tracking import check_trackers, run_name, tensorboard_folder, tracked
from lingualign.training import TrainingResult, reference_logps, train
from lingualign.training.arguments import training_arguments

pytestmark = pytest.mark.usefixtures("without_report")

MEASURES: dict[str, Any] = {
    "start": {
        name: {
            "languages": {"de": {"win_rate": None, "right_language": 0.5}},
            "target_win_rate": None,
        }
        for name in ("sampled", "greedy")
    },
    "iterations": [
        {
            "iteration": number,
            "sampled": {
                "languages": {"de": {"win_rate": {"mean": 0.5 + number / 10}, "right_language": None}},
                "target_win_rate": {"mean": 0.6},
            },
            "greedy": {
                "languages": {"de": {"win_rate": {"mean": 0.7}, "right_language": 1.0}},
                "target_win_rate": {"mean": None},
            },
        }
        for number in (1, 2)
    ],
}


class Stopped(Exception):
    """Stands for whatever ends a training."""


def make_pairs(count: int) -> list[Pair]:
    return [
        Pair(
            id=f"p{i}/en",
            prompt_id=f"p{i}",
            language="en",
            prompt=[{"role": "user", "content": f"Name {i} rivers"}],
            chosen=[{"role": "assistant", "content": f"The answer is {i}." + " Thank you!" * (i % 4)}],
            rejected=[{"role": "assistant", "content": "No."}],
            chosen_score=1.0,
            rejected_score=0.0,
            chosen_index=0,
            rejected_index=1,
            chosen_finished=True,
            rejected_finished=True,
        )
        for i in range(count)
    ]


@pytest.fixture
def fit(family_folder: FamilyFolder, tmp_path: Path) -> Callable[..., TrainingResult]:
    """`fit(run, trackers)` trains the tiny Llama for eight steps, into an iteration of a run folder."""
    policy = family_folder("llama")
    chat = ChatFormat(load_tokenizer(policy))
    pairs = make_pairs(16)
    rows = reference_logps(load_model(policy, device="cpu"), pairs, chat, max_length=256)

    def run(name: str, trackers: list[str], stop_at: int | None = None) -> TrainingResult:
        output = tmp_path / name / "iteration-1"

        def on_step(done: int, total: int, metrics: Any) -> None:
            if done == stop_at:
                raise Stopped

        return train(
            TrainingConfig(
                learning_rate=1e-3, batch_pairs=2, max_length=256, save_steps=2, report_to=trackers
            ),
            pairs,
            rows,
            policy=policy,
            chat=chat,
            output=output,
            seed=0,
            device="cpu",
            on_step=on_step,
            on_log=lambda log: (output / "training.json").write_text(json.dumps(log)),
        )

    return run


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard reads: tag -> step -> value."""
    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]
    }


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_tensorboard_is_told_what_training_json_says_and_nothing_else_changes(
    fit: Callable[..., TrainingResult], tmp_path: Path
) -> None:
    before = os.environ.copy()
    fit("plain", [])
    fit("told", ["tensorboard"])
    assert files(tmp_path / "plain/iteration-1") == files(tmp_path / "told/iteration-1")
    assert [path.name for path in (tmp_path / "plain").iterdir()] == ["iteration-1"]
    assert os.environ == before
    steps = json.loads((tmp_path / "told/iteration-1/training.json").read_text())["steps"]
    assert len(steps) == 8
    told = scalars(tmp_path / "told/tensorboard/iteration-1")
    for name in ("loss", "margin", "accuracy", "learning_rate"):
        assert told[f"train/{name}"] == {step["step"]: pytest.approx(step[name], rel=1e-6) for step in steps}


def test_a_resumed_training_goes_on_in_the_same_curve(
    fit: Callable[..., TrainingResult], tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        fit("run", ["tensorboard"], stop_at=5)
    folder = tmp_path / "run/tensorboard/iteration-1"
    assert max(scalars(folder)["train/loss"]) in (4, 5)
    result = fit("run", ["tensorboard"])
    assert result.resumed_at == 4
    steps = json.loads((tmp_path / "run/iteration-1/training.json").read_text())["steps"]
    assert scalars(folder)["train/loss"] == {s["step"]: pytest.approx(s["loss"], rel=1e-6) for s in steps}
    assert len(steps) == 8


def test_a_whole_run_is_the_same_with_a_tracker_and_keeps_a_log(
    family_folder: FamilyFolder, tmp_path: Path
) -> None:
    settings = [
        f"policy={family_folder('llama', 0)}",
        f"reference={family_folder('llama', 1)}",
        f"prompts={Path(__file__).parent / 'fixtures' / 'prompts'}",
        *("languages=en,de", "iterations=1", "device=cpu", "pairs.drop_truncated=false"),
        *("measures.n=2", "measures.max_new_tokens=5", "measures.bootstrap=100"),
        *("sampling.n=2", "sampling.max_new_tokens=5", "pairs.wrong_language=keep"),
    ]
    plain, told = tmp_path / "plain", tmp_path / "told"
    assert call("align", "icr", *settings, f"output={plain}").exit_code == 0
    result = call("align", "icr", *settings, f"output={told}", "training.report_to=tensorboard", "--json")
    assert result.exit_code == 0, result.output
    shared = {".parquet", ".safetensors", ".json"}
    names = [
        path.relative_to(plain)
        for path in plain.rglob("*")
        if path.suffix in shared and path.name != "manifest.json"
    ]
    assert len(names) > 15
    assert all((plain / name).read_bytes() == (told / name).read_bytes() for name in names)
    assert sorted(path.name for path in (told / "tensorboard").iterdir()) == [*("iteration-1", "measures")]
    measured = measured_values(json.loads((told / "measures.json").read_text()))
    for tag, values in scalars(told / "tensorboard/measures").items():
        assert values == {n: pytest.approx(found[tag]) for n, found in measured.items() if tag in found}

    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[0]["event"] == "plan"
    stages = [event for event in events if event["event"] == "stage"]
    started = [event["name"] for event in stages if event["status"] == "started"]
    assert started == events[0]["stages"]
    log = (told / "run.log").read_text()
    assert all(f"{name}: done in" in log for name in started)
    assert log.count(" run: start: ") == log.count(" run: end: after ") == 1
    assert (plain / "run.log").exists()


def test_runs_are_named_and_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "runs/icr"
    assert run_name(run / "iteration-2") == "icr/iteration-2"
    assert run_name(tmp_path / "work") == "work"
    assert tensorboard_folder(run / "iteration-2") == run / "tensorboard/iteration-2"
    assert tensorboard_folder(tmp_path / "work") == tmp_path / "work/tensorboard"
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "/logs")
    assert tensorboard_folder(run / "iteration-2") == Path("/logs/icr/iteration-2")


def test_an_unknown_tracker_suggests() -> None:
    result = call("validate", "training.report_to=wandbb")
    assert result.exit_code == 2
    assert "there is no tracker 'wandbb': did you mean wandb" in result.stderr
    assert "there are tensorboard, wandb, mlflow, trackio" in call("validate", "training.report_to=x").stderr
    assert load_config(None, ["training.report_to=tensorboard,wandb,tensorboard"]).training.report_to == [
        "tensorboard",
        "wandb",
    ]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_tracker_that_is_not_installed_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = ["tensorboard", "mlflow"]
    monkeypatch.setattr("transformers.integrations.get_available_reporting_integrations", lambda: installed)
    check_trackers(["mlflow", "tensorboard"])
    output = tmp_path / "run"
    for command in ("validate", "align"):
        result = call(command, f"output={output}", "training.report_to=tensorboard,wandb,trackio")
        assert result.exit_code == 2
        assert "training.report_to: wandb and trackio cannot be imported." in result.stderr
        assert "pip install wandb trackio" in result.stderr
    assert not output.exists()


def test_it_may_change_when_a_run_is_resumed(tmp_path: Path) -> None:
    from lingualign.settings import dump_config

    config = load_config(None, [f"output={tmp_path}"])
    (tmp_path / "config.yaml").write_text(dump_config(config))
    check_run_folder(tmp_path, load_config(None, [f"output={tmp_path}", "training.report_to=tensorboard"]))
    with pytest.raises(InputError, match=r"training\.epochs"):
        check_run_folder(tmp_path, load_config(None, [f"output={tmp_path}", "training.epochs=2"]))


def arguments(folder: Path, **settings: Any) -> TrainingArguments:
    return training_arguments(
        TrainingConfig(**settings), folder, [1] * 32, 0, cpu=True, mixed=False, kind=TrainingArguments
    )


def test_arguments_of_every_tracker_reach_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "transformers.integrations.get_available_reporting_integrations", lambda: list(TRACKERS)
    )
    made = arguments(tmp_path / "icr/iteration-1/checkpoints", report_to=list(TRACKERS))
    assert made.report_to == list(TRACKERS)
    assert (made.run_name, made.project) == ("icr/iteration-1", "lingualign")
    assert made.trackio_space_id is None  # or it would be published
    names = [callback.__name__ for callback in get_reporting_integration_callbacks(made.report_to)]
    assert names == ["TensorBoardCallback", "WandbCallback", "MLflowCallback", "TrackioCallback"]
    assert arguments(tmp_path / "icr/iteration-1/checkpoints").report_to == []


class Calls(ModuleType):
    """A tracker's module that remembers how it was called, and reaches no network."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.calls: list[tuple[str, Any, Any]] = []
        self.run: Any = None
        self.config = SimpleNamespace(update=lambda *args, **kwargs: None)

    def init(self, **settings: Any) -> Any:
        self.calls.append(("init", settings, dict(os.environ)))
        self.run = SimpleNamespace(
            log=lambda values, step=None: self.calls.append(("log", step, values)), finish=self.finish
        )
        return self.run

    def finish(self) -> None:
        self.calls.append(("finish", None, None))
        self.run = None

    # mlflow's names of the same
    def search_experiments(self, filter_string: str) -> list[Any]:
        self.calls.append(("experiment", filter_string, None))
        return [SimpleNamespace(experiment_id="7")]

    def start_run(self, **settings: Any) -> Any:
        self.calls.append(("init", settings, None))

    def log_metrics(self, values: Any, step: int) -> None:
        self.calls.append(("log", step, values))

    def end_run(self) -> None:
        self.finish()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Calls]]:
    """`module(name)` stands in for a tracker that is not installed."""

    def make(name: str) -> Calls:
        stand_in = Calls(name)
        monkeypatch.setitem(sys.modules, name, stand_in)
        return stand_in

    yield make


def test_variables_of_a_training_are_the_users_or_ours_and_do_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Callable[[str], Calls]
) -> None:
    wandb = module("wandb")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    before = os.environ.copy()
    with tracked(["wandb", "tensorboard"], tmp_path / "icr/iteration-1"):
        assert os.environ["WANDB_PROJECT"] == "mine"
        assert os.environ["MLFLOW_EXPERIMENT_NAME"] == "lingualign"
        wandb.init()
    assert os.environ == before
    assert wandb.calls[-1][0] == "finish"  # so the next iteration has a curve of its own
    with tracked([], tmp_path):
        assert os.environ == before


def test_measures_are_flattened_by_iteration() -> None:
    assert measured_values(MEASURES) == {
        0: {"right_language/sampled/de": 0.5, "right_language/greedy/de": 0.5},
        **{
            number: {
                "win_rate/sampled/de": 0.5 + number / 10,
                "win_rate/sampled/targets": 0.6,
                "win_rate/greedy/de": 0.7,
                "right_language/greedy/de": 1.0,
            }
            for number in (1, 2)
        },
    }


def refuse(text: str) -> None:
    raise AssertionError(text)


def test_tensorboard_is_told_the_measures_once(tmp_path: Path) -> None:
    folder = tmp_path / "icr"
    folder.mkdir()
    track_measures(["tensorboard"], folder, MEASURES, refuse)
    told = scalars(folder / "tensorboard/measures")
    assert told["win_rate/sampled/de"] == {1: pytest.approx(0.6), 2: pytest.approx(0.7)}
    assert told["right_language/greedy/de"] == {0: 0.5, 1: 1.0, 2: 1.0}
    (folder / "measures.json").write_text(json.dumps(MEASURES))
    written = files(folder)
    track_measures(["tensorboard"], folder, MEASURES, refuse)
    assert files(folder) == written
    more = copy.deepcopy(MEASURES)
    more["iterations"].append({**more["iterations"][0], "iteration": 3})
    track_measures(["tensorboard"], folder, more, refuse)
    assert set(scalars(folder / "tensorboard/measures")["win_rate/sampled/de"]) == {1, 2, 3}
    track_measures([], folder, {}, refuse)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("wandb", {"project": "lingualign", "name": "icr/measures"}),
        ("trackio", {"project": "lingualign", "name": "icr/measures"}),
        (
            "mlflow",
            {
                "run_id": None,
                "experiment_id": "7",
                "run_name": "icr/measures",
                "nested": False,
                "tags": None,
                "description": None,
            },
        ),
    ],
)
def test_other_trackers_get_the_measures_by_their_own_calls(
    tmp_path: Path, name: str, settings: dict[str, Any], module: Callable[[str], Calls]
) -> None:
    tracker = module(name)
    track_measures([name], tmp_path / "icr", MEASURES, refuse)
    calls = [call for call in tracker.calls if call[0] != "experiment"]
    assert calls[0][:2] == ("init", settings)
    assert [(call[1], call[2]) for call in calls[1:-1]] == list(measured_values(MEASURES).items())
    assert calls[-1][0] == "finish"


def test_a_tracker_that_fails_costs_a_warning(tmp_path: Path, module: Callable[[str], Calls]) -> None:
    told: list[str] = []
    module("wandb").init = lambda **settings: print(1 / 0)  # type: ignore[method-assign]
    track_measures(["wandb", "tensorboard"], tmp_path, MEASURES, told.append)
    assert told == ["wandb could not be told the measures: ZeroDivisionError: division by zero"]
    assert scalars(tmp_path / "tensorboard/measures")
