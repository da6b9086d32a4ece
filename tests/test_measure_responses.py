"""`lingualign measure` on files of answers, and a language model as the judge of a run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from chat_server import FakeServer, Reply, completion
from conftest import FamilyFolder
from lingualign.cli import app
from lingualign.lab.judge import judge
from lingualign.lab.prompts import prompts
from lingualign.lab.responses import draw_response
from lingualign.lab.tasks import Task
from lingualign.languages import LanguageIdentifier
from lingualign.measures.answers.compare import Reader, compare_answers
from lingualign.measures.answers.files import Answer, Match

SWAHILI = "Mji mkuu wa Kenya ni Nairobi, na watu wengi wanaishi huko pamoja na familia zao."
ENGLISH = "The capital of Kenya is Nairobi, and many people live there with their families."
FIXTURE = Path(__file__).parent / "fixtures" / "prompts"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answers_file(path: Path, outputs: list[str], **fields: str) -> Path:
    rows = [{"instruction": f"Swali {i}?", "output": text, **fields} for i, text in enumerate(outputs)]
    path.write_text(json.dumps(rows, ensure_ascii=False))
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    ours = answers_file(tmp_path / "ours.json", [f"{SWAHILI} Namba {i}." for i in range(8)])
    theirs = answers_file(tmp_path / "theirs.json", [f"{ENGLISH} Number {i}." for i in range(8)])
    return ours, theirs


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.close()


def prefers_swahili(text: str, times: int) -> Reply:
    """The judge is nearly sure that the answer in Swahili is better, wherever it is shown."""
    first = text.index("Mji mkuu") < text.index("The capital")
    return completion(
        "m" if first else "M", top_logprobs={"m": -0.1, "M": -4.0} if first else {"M": -0.1, "m": -4.0}
    )


def test_the_language_of_answers_needs_no_judge(files: tuple[Path, Path], tmp_path: Path) -> None:
    ours, theirs = files
    result = call(
        "measure", "--responses", ours, "--baseline", theirs, "--languages", "sw", "-o", tmp_path / "o"
    )
    assert result.exit_code == 0, result.output
    assert "0.0 -> 100.0*" in result.stdout
    measured = json.loads((tmp_path / "o" / "measures.json").read_text())["answers"]
    swahili = measured["languages"]["sw"]
    assert swahili["wins"] is None
    assert swahili["changes"]["right_language"]["difference"]["mean"] == 1.0
    assert swahili["baseline"]["language"]["off_target"]["mean"] == 1.0
    assert swahili["model"]["confusion"]["lpr"]["mean"] == 1.0


def test_one_file_alone_is_measured_too_and_printed_as_markdown(files: tuple[Path, Path]) -> None:
    result = call(
        "measure", "responses", "--responses", files[0], "--languages", "sw", "--format", "markdown"
    )
    assert result.exit_code == 0, result.output
    assert "| sw | 8 | 100.0 | 100.0 | 100.0 | 0 |" in result.stdout


def test_json_is_one_line_with_everything(files: tuple[Path, Path]) -> None:
    result = call("measure", "--responses", files[0], "--languages", "sw", "--json")
    event = json.loads(result.stdout.splitlines()[-1])
    assert event["event"] == "answers"
    assert event["languages"]["sw"]["model"]["prompts"] == 8


def test_a_server_judges_and_no_item_twice(
    files: tuple[Path, Path], tmp_path: Path, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    server.answer = prefers_swahili
    command = [
        *("measure", "--responses", files[0], "--baseline", files[1], "--languages", "sw"),
        *("--judge", "server", "-o", tmp_path / "o", f"measures.server.url={server.url}"),
        *("measures.server.model=judge", "measures.server.api_key_env=MY_KEY"),
    ]
    result = call(*command)
    assert result.exit_code == 0, result.output
    wins = json.loads((tmp_path / "o" / "measures.json").read_text())["answers"]["languages"]["sw"]["wins"]
    sure = 1 / (1 + np.exp(-3.9))
    assert wins["win_rate"] == pytest.approx(sure)
    assert wins["discrete_win_rate"] == 1.0
    assert (wins["n_total"], wins["n_failed"]) == (8, 0)
    assert wins["p_adjusted"] < 0.05
    assert len(server.requests) == 8
    assert {key for _, key in server.requests} == {"Bearer sk-very-secret"}
    assert not any(b"sk-very-secret" in path.read_bytes() for path in (tmp_path / "o").iterdir())
    again = call(*command)
    assert again.exit_code == 0
    assert len(server.requests) == 8
    # What was judged once can be measured from its annotations, without any judge.
    annotated = call(
        *("measure", "--responses", files[0], "--baseline", files[1], "--languages", "sw", "--json"),
        *("--annotations", tmp_path / "o" / "annotations.json"),
    )
    same = json.loads(annotated.stdout.splitlines()[-1])["languages"]["sw"]["wins"]
    assert same == wins


def test_a_failed_judgement_is_counted_and_not_guessed(
    files: tuple[Path, Path], tmp_path: Path, server: FakeServer
) -> None:
    server.answer = lambda text, times: (
        completion("Well") if "Swali 3?" in text else prefers_swahili(text, times)
    )
    result = call(
        *(
            "measure",
            "--responses",
            files[0],
            "--baseline",
            files[1],
            "--languages",
            "sw",
            "--judge",
            "server",
        ),
        *("-o", tmp_path / "o", f"measures.server.url={server.url}", "measures.server.model=judge"),
    )
    assert result.exit_code == 0, result.output
    assert "1 judgements failed and do not count" in result.stderr
    wins = json.loads((tmp_path / "o" / "measures.json").read_text())["answers"]["languages"]["sw"]["wins"]
    assert (wins["n_total"], wins["n_failed"]) == (7, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--languages", ""], "names no language"),
        (["--languages", "xx"], "xx"),
        (["--judge", "lab"], "there is one file of answers"),
        (
            [
                "--judge",
                "server",
                "--baseline",
                "{theirs}",
                "measures.server.url=http://x/v1",
                "measures.server.model=m",
            ],
            "--output",
        ),
        (["--judge", "server", "--baseline", "{theirs}", "-o", "{out}"], "measures.server.url"),
        (["--judge", "lab", "--baseline", "{theirs}"], "not one of the lab's"),
        (["--judge", "reward-model", "--baseline", "{theirs}"], "measures.reward_model"),
        (["--annotations", "{theirs}", "--baseline", "{theirs}"], "output_1"),
        (["--baseline", "none.json"], "none.json: no such file"),
        (["measures.identifer=x"], "identifier"),
    ],
)
def test_bad_input_is_one_clear_error(
    files: tuple[Path, Path], tmp_path: Path, arguments: list[str], message: str
) -> None:
    filled = [each.format(theirs=files[1], out=tmp_path / "o") for each in arguments]
    if "--languages" not in filled:
        filled += ["--languages", "sw"]
    result = call("measure", "--responses", files[0], *filled)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_annotations_of_other_answers_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    rows = [{"instruction": "Swali 0?", "output_1": "x", "output_2": "y", "preference": 2.0}]
    (tmp_path / "annotations.json").write_text(json.dumps(rows))
    result = call(
        *("measure", "--responses", files[0], "--baseline", files[1], "--languages", "sw"),
        *("--annotations", tmp_path / "annotations.json"),
    )
    assert result.exit_code == 2
    assert "has no judgement of" in result.stderr


@pytest.mark.parametrize("of_its_own", [False, True])
def test_length_control_removes_the_advantage_of_padding_alone(of_its_own: bool) -> None:
    # The model pads the baseline's answers, or answers of its own that are as good, with up to four sentences
    # that say nothing. The judge knows which answer is better, and likes long ones.
    held, draw = prompts("heldout", 300, ["en"]), Random(0)
    filler = " I am happy to help you with this and with all other questions."
    matches, preferences = [], []
    for prompt in held.by_language["en"]:
        task = Task.from_id(prompt.id)
        base = draw_response(task, "en", draw)
        other = draw_response(task, "en", draw) if of_its_own else base
        padded = other + filler * draw.randint(0, 4)
        quality = judge(prompt.id, "en", other).reward - judge(prompt.id, "en", base).reward
        longer = np.tanh((len(padded) - len(base)) / 150)
        preferences.append(1 + 1 / (1 + np.exp(-(2 * quality + 2 * longer))))
        sides = [Answer(prompt.id, "en", text, None, "") for text in (padded, base)]
        matches.append(Match(prompt.id, *sides))
    reader = Reader(LanguageIdentifier(["en"]))
    wins = compare_answers({"en": matches}, {"en": preferences}, reader, resamples=500)["languages"]["en"][
        "wins"
    ]
    assert wins["interval"]["low"] > 0.6
    controlled = wins["length_controlled"]["interval"]
    assert controlled["mean"] == pytest.approx(0.5, abs=0.05)
    assert controlled["high"] - controlled["low"] < 0.12


def test_a_run_judged_by_a_server(family_folder: FamilyFolder, tmp_path: Path, server: FakeServer) -> None:
    server.answer = lambda text, times: completion("m", top_logprobs={"m": -0.2, "M": -1.9})
    result = call(
        *("align", "icr", f"policy={family_folder('llama', 0)}", f"reference={family_folder('llama', 1)}"),
        *(f"prompts={FIXTURE}", "languages=en,de,sw", "iterations=1", "measures.n=2", "device=cpu"),
        *("measures.max_new_tokens=5", "measures.bootstrap=100", "sampling.n=2", "sampling.max_new_tokens=5"),
        *("pairs.drop_truncated=false", "pairs.wrong_language=keep", "training.learning_rate=0.01"),
        *("measures.judge=server", f"measures.server.url={server.url}", "measures.server.model=judge"),
        f"output={tmp_path / 'run'}",
    )
    assert result.exit_code == 0, result.output
    measures = json.loads((tmp_path / "run" / "measures.json").read_text())
    assert measures["judge"]["label"] == "a language model (judge)"
    german = measures["iterations"][0]["sampled"]["languages"]["de"]
    assert german["reward"] is None
    assert 0.0 < german["win_rate"]["mean"] < 1.0
    asked = len(server.requests)
    assert 0 < asked <= 12  # two prompts, three languages, two decodings, one order; equal answers are a draw
    assert measures["iterations"][0]["verdict"]["verdict"] in ("ship", "do not ship")


def test_a_model_behind_no_server_is_one_error_before_anything_is_sampled(
    family_folder: FamilyFolder, tmp_path: Path
) -> None:
    assert "NO_SUCH_KEY" not in os.environ
    result = call(
        *("align", "icr", f"policy={family_folder('llama', 0)}", f"reference={family_folder('llama', 1)}"),
        *(f"prompts={FIXTURE}", "languages=en,de,sw", "measures.n=2", "measures.judge=server"),
        *("measures.server.url=http://127.0.0.1:9/v1", "measures.server.model=judge"),
        *("measures.server.api_key_env=NO_SUCH_KEY", f"output={tmp_path / 'run'}"),
    )
    assert result.exit_code == 2
    assert "NO_SUCH_KEY" in result.stderr
    assert not (tmp_path / "run").exists()
