"""Every recipe, end to end in the lab: pairs are made, a model is trained, and the run ends with a table."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lingualign.errors import InputError
from lingualign.measures.table import measure_tables
from lingualign.models import resolve_spec
from lingualign.pipeline import labelled
from lingualign.pipeline.files import read_json
from lingualign.pipeline.log_file import stages_in_order
from lingualign.pipeline.progress import Silent
from lingualign.pipeline.run import align, run_checked
from lingualign.pipeline.validate import describe, validate
from lingualign.prompts import ParallelPrompts, Prompt
from lingualign.records import PAIRS, read_table
from lingualign.settings import list_recipes, load_config

pytestmark = pytest.mark.usefixtures("without_report", "fewer_labels")

RECIPES = [recipe.name for recipe in list_recipes()]
SMALL = [
    "iterations=1",
    "data.limit=14",
    "sampling.n=4",
    "measures.n=4",
    "measures.max_new_tokens=24",
    "measures.bootstrap=100",
    "training.epochs=1",
    "training.guard.language_tokens=12",
]
# Samples disagree in some of the prompts that have an answer: more and hotter ones give votes to lose.
OWN = {
    "calm": ["data.limit=28", "sampling.temperature=1.2"],
    "lidr": ["sampling.n=1"],
}
FIXTURE = Path(__file__).parent / "fixtures" / "prompts"
STAGES = {
    "lidr": {"responses", "pairs", "reference", "model"},
    "clo": {"pairs", "reference", "model"},
    "translate-dpo": {"pairs", "reference", "model"},
    "sft": {"pairs", "model"},
}
ALL_STAGES = {"responses", "scores", "health", "pairs", "reference", "model"}


class Listening(Silent):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.warned: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)


@pytest.fixture(scope="module")
def finished() -> list[Path]:
    """Folders of the recipes that have run: what the next has in common with them it takes over."""
    return []


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_in_the_lab(
    name: str, finished: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled, "LAB_TRAINING_LABELS", 64)  # of rm-transfer, for the sake of time
    listening = Listening()
    config = load_config(name, [*SMALL, *OWN.get(name, []), f"output={tmp_path}"])
    measures = run_checked(validate(config), listening, shared_with=finished)
    finished.append(tmp_path)

    (table,) = measure_tables(measures)
    assert table.row_count == 6  # five languages and the mean of targets
    pairs = read_table(tmp_path / "iteration-1" / "pairs.parquet", PAIRS)
    assert {pair["language"] for pair in pairs} <= set(config.languages)
    assert {pair["language"] for pair in pairs} & set(config.target_languages)
    assert all(pair["chosen"] != pair["rejected"] for pair in pairs)
    if config.pairs.languages == "targets":
        assert "en" not in {pair["language"] for pair in pairs}
    stages = {
        stage.partition("/")[2]
        for stage in read_json(tmp_path / "manifest.json")["stages"]
        if stage.startswith("iteration-1/")
    }
    assert stages == STAGES.get(name, ALL_STAGES)
    assert any("told apart by language alone" in text for text in listening.told) == (name == "clo")

    again = Listening()
    assert align(config, again) == measures  # all of it is there


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("clo", ["translation.kind=none"], "translates responses, and translation.kind is none"),
        ("icr", ["reward.kind=none"], "chooses by scores, and reward.kind is none"),
        ("icr", ["sampling.n=1"], "sampling.n is 1"),
        ("icr", ["sampling.temperature=0"], "sampling.temperature is 0"),
        ("mapo", ["translation.kind=lab"], "cannot say"),
        ("sft", ["training.preference_weight=1"], "nothing to prefer"),
        ("translate-dpo", ["translation.kind=file", "translation.path=nowhere.jsonl"], "nowhere.jsonl"),
        ("calm", ["translation.kind=policy", "translation.model=nowhere"], "nowhere"),
        ("rm-transfer", ["reward.options.model=nowhere"], "nowhere"),
        ("oracle", [f"prompts={FIXTURE}", "languages=en,de", "measures.n=2"], "not the lab's"),
        ("lidr", [f"prompts={FIXTURE}", "languages=en,de", "measures.n=2"], "not the lab's: its translator"),
        ("mapo", ["translation.kind=model", "translation.model=lab:sft"], "is no encoder-decoder model"),
        ("lidr", ["translation.kind=policy", "translation.template=Please"], "has no {language} and {text}"),
        (
            "icr",
            ["training.lora.r=4", "training.lora.target_modules=[q_proj, v_prj]"],
            "the policy has no module v_prj",
        ),
        (
            "icr",
            ["training.lora.r=4", "training.lora.target_modules=q_proj"],
            "the policy has no module q_proj",
        ),
        ("icr", ["training.lora.r=4", "training.lora.target_modules=(q"], "is no regular expression"),
    ],
)
def test_what_a_recipe_lacks_is_said_before_anything_runs(
    recipe: str, settings: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        validate(load_config(recipe, [*SMALL, *settings, f"output={tmp_path / 'run'}"]))
    assert not (tmp_path / "run").exists()


def test_labelled_pairs_belong_to_prompts_by_their_text(tmp_path: Path) -> None:
    """The user's own English data: those of its rows whose prompt is among the run's are learned from."""
    file = tmp_path / "labelled.jsonl"
    file.write_text(
        '{"prompt": "Name a river.", "chosen": "The Rhine.", "rejected": "No."}\n'
        '{"prompt": "Name a lake.", "chosen": "Lake Victoria.", "rejected": "No."}\n'
        '{"prompt": "Name a river.", "chosen": "The Nile.", "rejected": "No."}\n',
        encoding="utf-8",
    )
    config = load_config("clo", [f"data.labelled_pairs={file}", "prompts=elsewhere", "languages=en,de"])
    asked = ParallelPrompts(
        ["r"],
        {
            "en": [Prompt("r", "en", ({"role": "user", "content": "Name a river."},))],
            "de": [Prompt("r", "de", ({"role": "user", "content": "Nenne einen Fluss."},))],
        },
    )
    (pair,) = labelled.labelled_prompts(config, asked)
    assert (pair["id"], pair["prompt_id"], pair["chosen"][0]["content"]) == ("r/en", "r", "The Rhine.")
    other = ParallelPrompts(
        ["x"], {code: [Prompt("x", code, ({"role": "user", "content": "?"},))] for code in ("en", "de")}
    )
    with pytest.raises(InputError, match="none of them is on these prompts"):
        labelled.labelled_prompts(config, other)


def test_a_reward_that_nothing_reads_is_not_trained(tmp_path: Path) -> None:
    checked = validate(load_config("clo", ["reward.kind=reward-model", f"output={tmp_path / 'run'}"]))
    assert not checked.plan.has("reward")
    assert stages_in_order(checked.plan) == list(checked.plan.fingerprints)


def test_a_reference_is_asked_for_only_where_something_reads_it(tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    shutil.copytree(resolve_spec("lab:aligned"), policy)
    tokenizer = json.loads((policy / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    last, before = sorted(vocabulary, key=vocabulary.__getitem__)[-2:]
    vocabulary[last], vocabulary[before] = vocabulary[before], vocabulary[last]
    (policy / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    settings = [f"policy={policy}", f"output={tmp_path / 'run'}", "sampling.max_new_tokens=48"]
    settings += ["measures.max_new_tokens=48", "data.limit=20"]
    with pytest.raises(InputError, match="reference is not set, and this run asks for it"):
        validate(load_config("icr", settings))
    checked = validate(load_config("cm-align", settings))  # judged by the lab's judge, which reads none
    assert describe(checked)["reference"] == "none is read"


def test_half_a_download_is_one_error(tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    shutil.copytree(resolve_spec("lab:aligned"), policy)
    (policy / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    settings = ["sampling.max_new_tokens=48", "measures.max_new_tokens=48", "data.limit=20"]
    with pytest.raises(InputError, match=r"model\.safetensors: not a readable safetensors file"):
        validate(load_config("icr", [f"policy={policy}", f"output={tmp_path / 'run'}", *settings]))
