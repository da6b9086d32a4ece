"""Exports: TRL's by TRL itself, the others by what their documentation says of their files.

The checks of LLaMA-Factory, OpenRLHF and Axolotl are written from their documented schema, apart from the
code that writes the files; `benchmarks/exports.py` loads the same exports with the real libraries.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from lingualign.cli.app import app
from lingualign.config import LoraConfig, RunConfig, TrainingConfig
from lingualign.errors import InputError
from lingualign.export.base import read_run_pairs
from lingualign.export.write import export, format_names
from lingualign.lab.models import path as lab_model
from lingualign.pipeline.files import write_text
from lingualign.records import PAIRS, REFERENCE_LOGPS, write_table
from lingualign.settings import dump_config

FORMATS = ["axolotl", "csv", "llama-factory", "openrlhf", "trl"]
NASTY = '=HYPERLINK("x")\r\nقال: \u202e "a, b"\n\u2028 \'ok\' \U0001f600'


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def pair(number: int, language: str = "en", **changes: Any) -> dict[str, Any]:
    """A pair in TRL's conversational form."""
    return {
        "id": f"p{number}/{language}",
        "prompt_id": f"p{number}",
        "language": language,
        "prompt": [message("user", f"What is {number} + 1?")],
        "chosen": [message("assistant", f"It is {number + 1}.")],
        "rejected": [message("assistant", f"It is {number}.")],
        "chosen_score": 1.5,
        "rejected_score": -0.25,
        "chosen_index": 0,
        "rejected_index": 3,
        "chosen_finished": True,
        "rejected_finished": True,
        **changes,
    }


def make_run(
    folder: Path,
    pairs: list[dict[str, Any]],
    *,
    iteration: int = 1,
    reference: bool = True,
    **training: Any,
) -> Path:
    """A run folder with the settings, the pairs and the reference log-probs of one iteration."""
    config = RunConfig(languages=["en", "de", "sw"], iterations=2, training=TrainingConfig(**training))
    write_text(folder / "config.yaml", dump_config(config))
    write_table(folder / f"iteration-{iteration}" / "pairs.parquet", pairs, PAIRS)
    if reference:
        rows = [
            {"id": found["id"], "ref_chosen_logps": -10.0 - place, "ref_rejected_logps": -20.0 - place}
            for place, found in enumerate(pairs)
        ]
        path = folder / f"iteration-{iteration}" / "reference.parquet"
        write_table(path, reversed(rows), REFERENCE_LOGPS)  # joined by id, not by place
    return folder


CONVERSATION = [
    message("system", "Be brief."),
    message("user", "Hello"),
    message("assistant", "Hello."),
    message("user", NASTY),
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    pairs = [
        pair(1),
        pair(2, "de", prompt=CONVERSATION, chosen=[message("assistant", NASTY)], rejected_finished=False),
        pair(3, "sw", rejected=[message("assistant", "- moja\n- mbili")]),
    ]
    return make_run(tmp_path / "run", pairs, beta=0.2, nll_weight=0.5)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_the_formats_are_the_files_of_the_folder() -> None:
    assert format_names() == FORMATS


@pytest.mark.parametrize("form", FORMATS)
def test_every_export_says_how_it_is_loaded_and_names_what_is_not_the_same(form: str, run: Path) -> None:
    done = export(run, form)
    assert done.folder == run / "exports" / f"{form}-iteration-1"
    assert done.written.pairs == 3 and not done.written.left_out
    readme = (done.folder / "README.md").read_text(encoding="utf-8")
    assert "3 pairs" in readme and "en, de, sw" in readme and "```" in readme
    if form != "csv":
        assert "In 1 pairs an answer was cut" in readme


# TRL: the real library.


def test_trl_loads_its_export_and_trains_on_it(tmp_path: Path) -> None:
    from datasets import load_dataset
    from trl import DPOConfig, DPOTrainer

    run = make_run(tmp_path / "run", [pair(number) for number in range(4)])
    folder = export(run, "trl").folder
    data = load_dataset("parquet", data_files=str(folder / "pairs.parquet"), split="train")
    assert data[2]["prompt"] == [message("user", "What is 2 + 1?")]
    assert data[2]["chosen"] == [message("assistant", "It is 3.")]
    assert data["ref_chosen_logps"][:] == [-10.0, -11.0, -12.0, -13.0]

    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.S)
    assert code is not None
    settings = re.search(r"DPOConfig\((.*?)\n\)", code[1], re.S)
    assert settings is not None
    arguments = eval(f"dict({settings[1]})")  # as the README has them
    assert arguments["loss_type"] == ["sigmoid", "sft"] and arguments["loss_weights"] == [1.0, 1.0]
    arguments |= {"output_dir": str(tmp_path / "trained"), "max_steps": 1, "report_to": "none"}
    arguments |= {"gradient_accumulation_steps": 1, "bf16": False, "use_cpu": True}
    trainer = DPOTrainer(model=str(lab_model("sft")), args=DPOConfig(**arguments), train_dataset=data)
    batch = next(iter(trainer.get_train_dataloader()))
    assert sorted(batch["ref_rejected_logps"].tolist()) == [-23.0, -22.0, -21.0, -20.0]
    trainer.precompute_ref_logps = True  # the README's way to the stored log-probs
    trainer.train()
    logged = trainer.state.log_history[0]
    # With -10 and -20 for reference, the chosen side's margin is what it would never be at the first step.
    assert abs(logged["rewards/margins"]) > 0.1 and logged["train_loss"] > 0


def test_the_reference_columns_are_the_numbers_that_trl_computes(tmp_path: Path) -> None:
    from datasets import load_dataset
    from trl import DPOConfig, DPOTrainer

    from lingualign.models import load_model, load_tokenizer
    from lingualign.prompts import ChatFormat
    from lingualign.training.reference import reference_logps

    pairs = [pair(number) for number in range(4)]
    run = make_run(tmp_path / "run", pairs, reference=False)
    model = lab_model("sft")
    chat = ChatFormat(load_tokenizer(model))
    rows = reference_logps(load_model(model, device="cpu", dtype="float32"), pairs, chat, max_length=512)
    write_table(run / "iteration-1" / "reference.parquet", rows, REFERENCE_LOGPS)
    data = load_dataset("parquet", data_files=str(export(run, "trl").folder / "pairs.parquet"), split="train")
    columns = ["ref_chosen_logps", "ref_rejected_logps"]
    config = DPOConfig(
        output_dir=str(tmp_path / "trained"),
        precompute_ref_log_probs=True,
        report_to="none",
        bf16=False,
        use_cpu=True,
        model_init_kwargs={"dtype": "float32"},
    )
    with pytest.raises(ValueError, match="duplicated columns"):
        DPOTrainer(model=str(model), args=config, train_dataset=data)
    trainer = DPOTrainer(model=str(model), args=config, train_dataset=data.remove_columns(columns))
    for column in columns:
        assert trainer.train_dataset[column][:] == pytest.approx([row[column] for row in rows], abs=1e-4)


def test_without_a_reference_there_are_no_reference_columns(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    run = make_run(tmp_path / "run", [pair(1)], reference=False, objective="simpo")
    table = pq.read_table(export(run, "trl").folder / "pairs.parquet")
    assert table.column_names == PAIRS.names


def test_pairs_without_reference_log_probs_are_left_out_for_trl_with_a_count(run: Path) -> None:
    path = run / "iteration-1" / "reference.parquet"
    write_table(
        path, [{"id": "p1/en", "ref_chosen_logps": -1.0, "ref_rejected_logps": -2.0}], REFERENCE_LOGPS
    )
    done = export(run, "trl")
    assert done.written.pairs == 1 and list(done.written.left_out.values()) == [2]
    assert "2 pairs are left out" in (done.folder / "README.md").read_text(encoding="utf-8")


# The others: their documented schema.


def test_llama_factory_gets_a_sharegpt_preference_dataset(run: Path) -> None:
    folder = export(run, "llama-factory").folder
    [(name, entry)] = json.loads((folder / "dataset_info.json").read_text()).items()
    assert entry["formatting"] == "sharegpt" and entry["ranking"] is True
    assert entry["columns"] == {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
    rows = json.loads((folder / entry["file_name"]).read_text(encoding="utf-8"))
    assert isinstance(rows, list) and len(rows) == 3
    for row in rows:
        speakers = [turn["from"] for turn in row["conversations"]]
        spoken = speakers[1:] if speakers[0] == "system" else speakers
        assert spoken[::2] == ["human"] * len(spoken[::2]) and spoken[1::2] == ["gpt"] * len(spoken[1::2])
        assert len(spoken) % 2 == 1  # the human has the last word
        assert row["chosen"]["from"] == row["rejected"]["from"] == "gpt"
    assert rows[1]["conversations"][-1]["value"] == NASTY and rows[1]["chosen"]["value"] == NASTY
    settings = yaml.safe_load((folder / "train.yaml").read_text(encoding="utf-8"))
    assert settings["stage"] == "dpo" and settings["dataset"] == name and settings["dataset_dir"] == "."
    assert (settings["pref_loss"], settings["pref_beta"], settings["pref_ftx"]) == ("sigmoid", 0.2, 0.5)
    assert settings["model_name_or_path"] == str(lab_model("aligned"))


def test_prompts_that_llama_factory_would_skip_are_left_out_with_a_count(tmp_path: Path) -> None:
    twice = [message("user", "One."), message("user", "Two.")]
    late = [
        message("user", "One."),
        message("assistant", "Yes."),
        message("system", "x"),
        message("user", "?"),
    ]
    run = make_run(tmp_path / "run", [pair(1), pair(2, prompt=twice), pair(3, prompt=late)])
    done = export(run, "llama-factory")
    assert done.written.pairs == 1 and list(done.written.left_out.values()) == [2]
    rows = json.loads((done.folder / "pairs.json").read_text(encoding="utf-8"))
    assert [row["id"] for row in rows] == ["p1/en"]


def test_openrlhf_gets_lists_of_messages_and_a_command_that_names_their_keys(run: Path) -> None:
    folder = export(run, "openrlhf").folder
    rows = read_jsonl(folder / "pairs.jsonl")
    for row in rows:
        # RewardDataset renders prompt + chosen and prompt + rejected with the chat template.
        whole = row["prompt"] + row["chosen"]
        assert all(set(turn) == {"role", "content"} for turn in whole + row["rejected"])
        assert whole[-1]["role"] == "assistant" and whole[-2]["role"] == "user"
        assert "margin" not in row
    assert rows[1]["chosen"][0]["content"] == NASTY
    readme = (folder / "README.md").read_text(encoding="utf-8")
    command = re.search(r"```bash\n(.*?)```", readme, re.S)
    assert command is not None
    words = shlex.split(command[1])
    options = dict(pairwise(words))
    assert options["--data.dataset"] == "pairs.jsonl" and "--data.apply_chat_template" in words
    keys = [options[f"--data.{name}_key"] for name in ("prompt", "chosen", "rejected")]
    assert keys == ["prompt", "chosen", "rejected"]
    assert options["--model.beta"] == "0.2" and options["--model.nll_loss_coef"] == "0.5"


def test_axolotl_gets_messages_and_a_configuration_of_its_chat_template_strategy(run: Path) -> None:
    folder = export(run, "axolotl").folder
    config = yaml.safe_load((folder / "train.yaml").read_text(encoding="utf-8"))
    assert config["rl"] == "dpo" and config["chat_template"] == "tokenizer_default"
    [data] = config["datasets"]
    assert data["type"] == "chat_template.default" and data["ds_type"] == "json"
    role, content = (data["message_property_mappings"][name] for name in ("role", "content"))
    known = {name for names in data["roles"].values() for name in names}
    rows = read_jsonl(folder / data["path"])
    for row in rows:
        assert all(turn[role] in known and turn[content] for turn in row[data["field_messages"]])
        assert row[data["field_messages"]][-1][role] == "user"
        for side in (data["field_chosen"], data["field_rejected"]):
            assert row[side][role] == "assistant" and row[side][content]
    assert rows[1]["chosen"]["content"] == NASTY
    assert config["dpo_loss_type"] == ["sigmoid", "sft"] and config["dpo_loss_weights"] == [1.0, 0.5]
    assert config["rl_beta"] == 0.2


def test_empty_answers_that_axolotl_stops_at_are_left_out_and_stripped_ones_named(tmp_path: Path) -> None:
    pairs = [pair(1, chosen=[message("assistant", " yes")]), pair(2, rejected=[message("assistant", "")])]
    done = export(make_run(tmp_path / "run", pairs), "axolotl")
    assert done.written.pairs == 1 and list(done.written.left_out.values()) == [1]
    assert "1 answers begin or end with white space" in (done.folder / "README.md").read_text()


def test_csv_keeps_every_text_and_holds_no_formula(run: Path) -> None:
    path = export(run, "csv").folder / "pairs.csv"
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 3
    assert rows[1]["chosen"] == "'" + NASTY and rows[2]["rejected"] == "'- moja\n- mbili"
    assert not any(
        row[name].startswith(("=", "+", "-", "@")) for row in rows for name in ("prompt", "chosen")
    )
    assert rows[1]["prompt"].startswith("[system]\nBe brief.\n\n[user]\nHello")
    assert float(rows[0]["rejected_score"]) == -0.25 and float(rows[2]["ref_chosen_logps"]) == -12.0


def test_the_readmes_line_takes_the_apostrophes_of_csv_away(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    texts = ["=1+1", "'quoted'", "''", "plain", "-5 °C", "@you", "+49 1", "\ttab", "a\nb", "NA", "=x\ny"]
    pairs = [pair(n, chosen=[message("assistant", text)]) for n, text in enumerate(texts)]
    folder = export(make_run(tmp_path / "run", pairs), "csv").folder
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.S)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1].replace("'pairs.csv'", repr(str(folder / "pairs.csv"))), {"pandas": pandas}, names)
    assert list(names["pairs"]["chosen"]) == texts


# What is exported, and where to.


def test_only_the_languages_and_the_iteration_that_were_asked_for(run: Path) -> None:
    write_table(run / "iteration-2" / "pairs.parquet", [pair(9, "de")], PAIRS)
    assert [row["id"] for row in read_run_pairs(run).pairs] == ["p9/de"]
    found = read_run_pairs(run, iteration=1, languages=["sw", "de"])
    assert [row["id"] for row in found.pairs] == ["p2/de", "p3/sw"] and found.languages == ["de", "sw"]


def test_an_export_takes_the_place_of_an_earlier_one_and_of_nothing_else(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    export(run, "trl", output)
    export(run, "openrlhf", output, languages=["sw"])
    assert sorted(path.name for path in output.iterdir()) == ["README.md", "pairs.jsonl"]
    write_text(output / "trained" / "config.json", "{}")
    with pytest.raises(InputError, match="beside an earlier export: trained"):
        export(run, "openrlhf", output)
    assert (output / "trained" / "config.json").is_file()
    write_text(tmp_path / "mine" / "README.md", "# My notes")
    with pytest.raises(InputError, match="something else"):
        export(run, "trl", tmp_path / "mine")
    assert (tmp_path / "mine" / "README.md").read_text() == "# My notes"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out", "run"]


def test_an_adapter_comes_along_to_trl(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [pair(1)], lora=LoraConfig(r=4, alpha=8))
    code = (export(run, "trl", tmp_path / "out").folder / "README.md").read_text(encoding="utf-8")
    assert "LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules='all-linear'" in code
    assert "train_dataset=pairs, peft_config=adapter)" in code


def test_an_export_that_fails_leaves_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [pair(1, prompt=[message("assistant", "Hello.")])])
    with pytest.raises(InputError, match=r"No pair of .* can be exported to LLaMA-Factory"):
        export(run, "llama-factory", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "trlx"], "there is no such format"),
        (["--to", "trl", "--iteration", "7"], "no pairs of iteration 7"),
        (["--to", "trl", "--languages", "sw,fr"], "no pairs in fr"),
    ],
)
def test_wrong_arguments_are_told_with_what_there_is(run: Path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["export", str(run), *arguments])
    assert result.exit_code == 2
    assert said in result.stderr and ("->" in result.stderr)


def test_a_folder_that_is_no_run_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["export", str(tmp_path), "--to", "csv"])
    assert result.exit_code == 2 and "is no run folder" in result.stderr


def test_the_command_says_what_it_wrote(run: Path, tmp_path: Path) -> None:
    command = ["export", str(run), "--to", "csv", "--languages", "sw", "--output", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "1 pairs of iteration 1 in sw" in result.stdout and str(tmp_path / "out") in result.stdout


@pytest.mark.parametrize("form", ["trl", "llama-factory", "openrlhf", "axolotl"])
def test_a_run_without_a_preference_term_brings_no_settings_of_one(form: str, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [pair(1)], reference=False, preference_weight=0.0, nll_weight=1.0)
    folder = export(run, form).folder
    written = "".join(path.read_text("utf-8") for path in folder.iterdir() if path.suffix in (".md", ".yaml"))
    assert "trained on the chosen answers alone" in written
    assert not re.search(r"(pref_|rl_|model\.)?beta\b", written)
