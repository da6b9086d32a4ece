from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lingualign.config import LoraConfig, RunConfig
from lingualign.errors import InputError
from lingualign.settings import Recipe, dump_config, list_recipes, load_config
from lingualign.yaml_files import YamlError, dump_yaml, parse_yaml

OWN_MODEL = ["policy=models/policy", "reference=models/reference"]


def failure(recipe_or_yaml: str | None, *overrides: str) -> InputError:
    with pytest.raises(InputError) as error:
        load_config(recipe_or_yaml, list(overrides))
    return error.value


@pytest.fixture
def run_yaml(tmp_path: Path) -> Path:
    return tmp_path / "run.yaml"


# Layers


def test_without_arguments_it_is_icr_in_the_lab() -> None:
    config = load_config(None, [])
    assert config == load_config("icr", [])
    assert (config.recipe, config.policy, config.prompts) == ("icr", "lab:aligned", "lab")


def test_the_lab_has_settings_of_its_own() -> None:
    lab, own = load_config("icr", []), load_config("icr", OWN_MODEL)
    assert lab.sampling.max_new_tokens < own.sampling.max_new_tokens
    assert lab.training.learning_rate > own.training.learning_rate
    assert own.training.learning_rate == 5e-7
    assert own.sampling.n == 10  # of the recipe; the default is 8


def test_layers_in_their_order(run_yaml: Path) -> None:
    run_yaml.write_text("sampling:\n  max_new_tokens: 50\n  n: 5\n", encoding="utf-8")
    config = load_config(str(run_yaml), ["sampling.n=6"])
    lab = load_config("icr", [])
    assert config.sampling.n == 6  # the command line over the file
    assert config.sampling.max_new_tokens == 50  # the file over the lab
    assert config.data.limit == lab.data.limit  # the lab over the recipe
    assert config.iterations == 2


def test_policy_of_the_file_decides_about_the_lab(run_yaml: Path) -> None:
    run_yaml.write_text("policy: models/policy\n", encoding="utf-8")
    assert load_config(str(run_yaml), []).training.learning_rate == 5e-7
    assert load_config(str(run_yaml), ["policy=lab:sft"]).training.learning_rate > 5e-7


def test_home_in_the_run_folder(run_yaml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(run_yaml.parent))
    run_yaml.write_text("output: ~/runs/mine\n", encoding="utf-8")
    assert load_config(str(run_yaml), []).run_folder == run_yaml.parent / "runs" / "mine"


def test_a_section_with_nothing_in_it_changes_nothing(run_yaml: Path) -> None:
    run_yaml.write_text("sampling:\n  # n: 4\ntraining:\n  lora:\n", encoding="utf-8")
    assert load_config(str(run_yaml), []) == load_config("icr", [])
    run_yaml.write_text("", encoding="utf-8")
    assert load_config(str(run_yaml), []) == load_config("icr", [])


def test_optional_section_is_filled_and_emptied(run_yaml: Path) -> None:
    run_yaml.write_text("training: {lora: {r: 4}}\n", encoding="utf-8")
    assert load_config(str(run_yaml), ["training.lora.alpha=8"]).training.lora == LoraConfig(r=4, alpha=8)
    assert load_config(str(run_yaml), ["training.lora=null"]).training.lora is None
    assert load_config(None, ["training.lora={}"]).training.lora == LoraConfig()


# Values of the command line


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("languages=en,de,sw", ["en", "de", "sw"]),
        ("languages=en, no", ["en", "no"]),
        ("languages=[en, no]", ["en", "no"]),
        ("training.learning_rate=1e-6", 1e-6),
        ("data.fresh=true", True),
        ("data.limit=null", None),
        ("policy=007", "007"),
        ("policy=C: my models", "C: my models"),
        ("output=2024", Path("2024")),
        ("measures.prompts=null", None),
        ("translation.kind=none", "none"),
        ("training.lora.target_modules=q_proj,v_proj", ["q_proj", "v_proj"]),
        ("training.lora.target_modules=all-linear", "all-linear"),
        ("pairs.length_control.unit=tokens", "tokens"),
        ("pairs.length_control={method: none}", {"method": "none", "unit": "chars"}),
    ],
)
def test_values_as_their_setting_takes_them(override: str, expected: Any) -> None:
    key = override.partition("=")[0]
    value: Any = load_config(None, [override])
    for part in key.split("."):
        value = getattr(value, part)
    assert (value.model_dump() if hasattr(value, "model_dump") else value) == expected


def test_the_last_of_equal_overrides_wins() -> None:
    assert load_config(None, ["seed=1", "seed=2"]).seed == 2


# Bad settings


@pytest.mark.parametrize(
    ("override", "remedy"),
    [
        ("training.lerning_rate=1", "Did you mean training.learning_rate?"),
        ("learning_rate=1", "Did you mean training.learning_rate?"),
        ("sampling.tempereture=1", "Did you mean sampling.temperature?"),
        ("measures.temprature=1", "Did you mean measures.temperature?"),
        ("smapling.n=4", "Did you mean sampling?"),
        ("polcy=x", "Did you mean policy?"),
        ("training.lr=1", "There are training.objective, training.preference_weight,"),
        ("training.lora.rank=1", "There are training.lora.r, training.lora.alpha,"),
        ("sampling={k: 4}", "There are sampling.n,"),
        ("xyz=1", "There are recipe, output, policy,"),
    ],
)
def test_unknown_key(override: str, remedy: str) -> None:
    error = failure(None, override)
    assert "there is no such setting" in error.message
    assert error.remedy.startswith(remedy)


def test_unknown_key_in_a_file_names_the_file(run_yaml: Path) -> None:
    run_yaml.write_text("training:\n  lerning_rate: 1\n", encoding="utf-8")
    error = failure(str(run_yaml))
    assert error.message == f"{run_yaml}: training.lerning_rate: there is no such setting."
    assert error.remedy == "Did you mean training.learning_rate?"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sampling.n=0", "sampling.n is 0; it should be greater than or equal to 1."),
        ("sampling.n=many", "sampling.n is 'many'; it should be a valid integer"),
        ("sampling.temperature=-1", "sampling.temperature is -1; it should be greater than or equal to 0."),
        (
            "reward.kind=explicit",
            "reward.kind is 'explicit'; there is no such kind.",
        ),
        ("data.fresh=perhaps", "data.fresh is 'perhaps'; it should be a valid boolean"),
        ("training=5", "training is 5; it should be a valid dictionary"),
        ("languages=de,es", "languages: the source language en must be among them."),
        ("languages=en", "languages: at least one target language"),
        ("languages=en,de,de", "languages: a language is listed twice."),
        ("seed=4294967296", "seed is 4294967296; it should be less than 4294967296."),
        ("training.learning_rate=inf", "training.learning_rate is 'inf'; it should be a finite number."),
        ("measures.temperature=inf", "measures.temperature is 'inf'; it should be a finite number."),
        ("languages=en,german", "languages: 'german' is not a known language code."),
        ("translation.kind=server", "translation.url: kind 'server' needs it."),
        ("training.beta=[1", "training.beta=[1: the value is not valid YAML"),
        ("seed", "'seed' is not a setting."),
    ],
)
def test_bad_value(override: str, message: str) -> None:
    assert failure(None, override).message.startswith(message)


def test_bad_values_are_named_together_with_what_they_mean() -> None:
    error = failure(None, "sampling.n=0", "training.beta=-1")
    assert "sampling.n is 0" in error.message
    assert "training.beta is -1" in error.message
    assert "responses a prompt" in error.remedy


def test_unknown_language_is_suggested() -> None:
    assert "Did you mean sw (Swahili)" in failure(None, "languages=en,swa").remedy


def test_unknown_recipe() -> None:
    error = failure("irc")
    assert error.message == "There is no recipe 'irc'."
    assert error.remedy.startswith("Did you mean icr? Recipes: calm, clo")
    assert "There is no recipe 'xyz'" in failure(None, "recipe=xyz").message


def test_missing_file() -> None:
    assert failure("nowhere/run.yaml").message == "nowhere/run.yaml: no such file."
    assert failure("run.yml").message == "run.yml: no such file."


def test_unreadable_file(tmp_path: Path, run_yaml: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    assert "folder.yaml cannot be read" in failure(str(tmp_path / "folder.yaml")).message
    run_yaml.write_bytes(b"policy: \xff\xfe")
    assert "run.yaml cannot be read" in failure(str(run_yaml)).message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nsampling: [n\n", r"run\.yaml, line [23]: "),
        ("seed: 1\npolicy: a\nseed: 2\n", r"run\.yaml, line 3: seed is given twice\."),
        ("- seed\n", r"run\.yaml: settings are written as `key: value`"),
        ("just text\n", r"run\.yaml: settings are written as `key: value`"),
        (
            "policy: !!python/object/apply:os.getcwd []\n",
            r"run\.yaml, line 1: could not determine a constructor",
        ),
        ("training.beta: 0.5\n", r"run\.yaml: training\.beta is written as on the command line\."),
        ("recipe: [icr]\n", r"There is no recipe \"\['icr'\]\"\."),
    ],
)
def test_malformed_file(run_yaml: Path, text: str, message: str) -> None:
    run_yaml.write_text(text, encoding="utf-8")
    assert re.search(message, failure(str(run_yaml)).message)


# Round trip


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [*OWN_MODEL, "output=runs/1e5", "data.id_field=1e5", "measures.prompts=null"],
        [
            "languages=en,no,de",
            "training.lora={}",
            "training.lora.target_modules=q,v",
            "sampling.n=3",
            "seed=9",
        ],
    ],
)
def test_what_is_dumped_makes_the_same_configuration(run_yaml: Path, overrides: list[str]) -> None:
    config = load_config("icr", overrides)
    run_yaml.write_text(dump_config(config), encoding="utf-8")
    assert load_config(str(run_yaml), []) == config


def test_what_is_dumped_is_complete() -> None:
    config = load_config(None, [])
    assert yaml.safe_load(dump_config(config)) == config.model_dump(mode="json")
    assert list(yaml.safe_load(dump_config(config))) == list(RunConfig.model_fields)


# Recipes


def test_recipes_describe_themselves() -> None:
    recipes = list_recipes()
    assert "icr" in [recipe.name for recipe in recipes]
    for recipe in recipes:
        assert recipe.summary
        assert "\n\n" in recipe.description
        assert load_config(recipe.name, OWN_MODEL).recipe == recipe.name


def test_summary_is_the_first_line() -> None:
    assert Recipe("x", "One.\n\nMore.").summary == "One."


# YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[no, on, yes, y, off]", ["no", "on", "yes", "y", "off"]),
        ("[true, False]", [True, False]),
        ("[5e-7, 1E6, 1., .5, -2.5e+3]", [5e-7, 1e6, 1.0, 0.5, -2500.0]),
        ("[1:30, 1_000, 0x1f, 2024-01-01]", ["1:30", "1_000", "0x1f", "2024-01-01"]),
        ("[0, 7, -12]", [0, 7, -12]),
        ("[~, null, ]", [None, None]),
        ("", None),
    ],
)
def test_yaml_is_read_by_the_core_schema(text: str, value: Any) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize("text", ["a: [", "a: 1\nb: 2\na: 3", "{[1]: 2}", "a: \x07", "--- 1\n--- 2"])
def test_yaml_that_is_not_valid(text: str) -> None:
    with pytest.raises(YamlError):
        parse_yaml(text)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), st.lists, max_leaves=5))
def test_yaml_round_trip(value: Any) -> None:
    assert parse_yaml(dump_yaml(value)) == value


@pytest.mark.parametrize("text", ["no", "1e5", "1:30", "null", "", "5", "true", "yes", "0x1f", "~", "1_000"])
def test_text_stays_text_for_either_version_of_yaml(text: str) -> None:
    assert parse_yaml(dump_yaml([text])) == [text]
    assert yaml.safe_load(dump_yaml([text])) == [text]
