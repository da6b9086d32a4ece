"""AlpacaEval's win rates: lingualign against alpaca_eval 0.6.6 on the same annotation files.

    python benchmarks/peers/alpaca_eval.py --output benchmarks/results/peers_alpaca_eval.md

Installs the peer into a throw-away virtual environment (tried on Linux with Python 3.11; about a minute, and
the package index is needed). alpaca_eval imports `pkg_resources`, hence setuptools below 81; scikit-learn is
the last version before the interface that alpaca_eval uses was deprecated.

lingualign writes synthetic annotations, alpaca_eval reads them, computes, and writes them again, and
lingualign reads what it wrote. The difficulties and gamed baselines that alpaca_eval would download from its
hub are synthetic too: the peer's download function is replaced by one that returns local files.

Exits with 1 if a win rate, in percent, differs by more than the tolerance.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lingualign.measures.answers.alpaca_files import (
    comparison_of,
    read_annotations,
    read_gamed_baseline,
    write_annotations,
)
from lingualign.measures.answers.length_controlled import (
    BASELINE,
    joint_difficulty,
    length_controlled_win_rate,
    predict_win_rate,
)
from lingualign.measures.answers.preferences import (
    head_to_head,
    is_switched,
    preference_of_logprobs,
    unswitched,
)

REQUIREMENTS = ("alpaca_eval==0.6.6", "scikit-learn==1.7.2", "setuptools<81")
TOLERANCE = 0.05  # points
INSTRUCTIONS = 805
JOINT_MODELS, JOINT_INSTRUCTIONS = ("gamed-verbose", "a", "b", "c"), 60

PEER = """
import json, logging, math, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import numpy as np, pandas as pd
from patsy import dmatrix
from alpaca_eval import utils
from alpaca_eval.completion_parsers import logprob_parser
from alpaca_eval.metrics import get_length_controlled_winrate, get_winrate, glm_winrate
from alpaca_eval.processors import RandomSwitchTwoColumnsProcessor

logging.disable(logging.WARNING)
folder = Path(sys.argv[1])
glm_winrate.hf_hub_download = lambda repo_id, filename, **kwargs: folder / filename
found = {}
for file in sorted(folder.glob("*.annotations.json")):
    rows = utils.load_or_convert_to_dataframe(file)
    case = {key: float(value) for key, value in get_winrate(rows).items()}
    for name in ("minimal", "noreg", "v1"):
        result = get_length_controlled_winrate(
            rows, glm_name="length_controlled_" + name, save_weights_dir=folder / "weights")
        case["lc_" + name] = float(result["length_controlled_winrate"])
        case["lc_se_" + name] = float(result["lc_standard_error"])
    utils.convert_to_dataframe(rows.drop(columns="glm_preference")).to_json(
        folder / file.name.replace("annotations", "again"), orient="records", indent=2)
    found[file.name.split(".")[0]] = case
path = folder / "weights" / "length_controlled_v1" / "baseline_baseline.csv"
models = list(pd.read_csv(path, index_col=0).index)
pairwise = {a + " " + b: 100 * float(glm_winrate.predict_winrate(a, b, path)) for a in models for b in models}

given = json.loads((folder / "judge.json").read_text())
frame = pd.DataFrame(given["judged"])
shown = RandomSwitchTwoColumnsProcessor(
    ["output_1", "output_2"], fn_replace_if_switch=lambda rows: rows, seed=given["seed"],
    fn_replace_if_unswitch=lambda rows: rows.assign(preference=3 - rows["preference"]),
    random_seed_columns=["instruction"], _switch_column="is_switched_outputs")
frame = shown.preprocess(frame.drop(columns="logprobs"))
frame["preference"] = [
    logprob_parser({"logprobs": {"content": [{"top_logprobs": [
        {"token": token, "logprob": value} for token, value in row["logprobs"].items()]}]}},
        numerator_token="m", denominator_tokens=["m", "M"], is_binarize=False)[0]
    for row in given["judged"]]
preferences = [None if math.isnan(value) else value for value in shown.postprocess(frame)["preference"]]

joint = pd.DataFrame(json.loads((folder / "joint.json").read_text()))
ordered = list(dict.fromkeys(joint["model"]))
joint["not_gamed_baseline"] = ~joint["model"].str.startswith("gamed")
formula = ("C(model, levels=ordered):np.tanh(z) + C(model, levels=ordered) + C(index)"
           " + not_gamed_baseline.astype(float) - 1")
design = dmatrix(formula, joint, return_type="dataframe")
design["share"] = joint["share"]
fitted = glm_winrate.fit_LogisticRegressionCV(design.dropna(), "share", is_ytrue_proba=True, n_splits=5)
coefficients = dict(zip(fitted.feature_names_in_, map(float, fitted.coef_[0])))
difficulty = [0.0] + [value for name, value in coefficients.items() if name.startswith("C(index)")]
(folder / "peer.json").write_text(json.dumps(
    {"cases": found, "pairwise": pairwise, "preferences": preferences, "difficulty": difficulty}))
"""


@dataclass(frozen=True)
class Case:
    """Annotations of one synthetic model.

    Attributes:
        name: Also of the model.
        annotations: As alpaca_eval has them.
    """

    name: str
    annotations: list[Any]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def simulate(
    name: str,
    seed: int,
    difficulty: np.ndarray,
    *,
    n: int = INSTRUCTIONS,
    model: float = -0.4,
    longer: float = 1.0,
    length: float = 0.0,
    noise: float = 1.0,
    hard: bool = False,
    ties: float = 0.0,
    zeros: bool = False,
    failed: float = 0.0,
) -> Case:
    """A model whose answers are `longer` times as long, under a judge with a weight of `length`."""
    draw = np.random.default_rng(seed)
    of_baseline = draw.lognormal(6.5, 0.5, n).astype(int)
    of_model = (longer * of_baseline * draw.lognormal(0, 0.4, n)).astype(int)
    gaps = (of_baseline - of_model) / np.std(of_baseline - of_model)
    logits = model + difficulty[:n] - length * np.tanh(gaps) + noise * draw.normal(size=n)
    preferences = 1 + sigmoid(logits)
    if hard:
        preferences = 1.0 + (draw.random(n) < preferences - 1)
    preferences[draw.random(n) < ties] = 0.0 if zeros else 1.5
    preferences[draw.random(n) < failed] = math.nan
    return Case(
        name,
        [
            {
                "instruction": f"Frage {i}: was heißt ภาษา?",
                "output_1": "é" * of_baseline[i],
                "generator_1": "baseline",
                "dataset": "synthetic",
                "output_2": "ß" * of_model[i],
                "generator_2": name,
                "annotator": "simulated",
                "preference": preferences[i],
                "raw_completion": None,
            }
            for i in range(n)
        ],
    )


def make_cases(difficulty: np.ndarray) -> list[Case]:
    """Annotation sets with all that annotation sets may have."""
    cases = [simulate(f"plain, seed {seed}", seed, difficulty) for seed in range(3)]
    cases += [
        simulate(f"length advantage, seed {seed}", seed, difficulty, longer=1.8, length=1.5)
        for seed in range(3)
    ]
    cases += [
        simulate("shorter answers", 6, difficulty, longer=0.5, length=1.5),
        simulate("hard labels", 7, difficulty, hard=True),
        simulate("hard labels, ties", 8, difficulty, hard=True, ties=0.2),
        simulate("ties written as 0", 9, difficulty, hard=True, ties=0.2, zeros=True),
        simulate("10 % failed", 10, difficulty, longer=1.3, length=1.0, failed=0.1),
        simulate("ties and failures", 11, difficulty, longer=1.3, length=1.0, ties=0.1, failed=0.1),
        simulate("weak model", 12, difficulty, model=-8, noise=3.0, longer=0.3, length=1.0),
        simulate("strong model", 13, difficulty, model=5, noise=2.0),
        simulate("40 instructions", 14, difficulty, n=40, length=1.0),
        simulate("wins everything", 15, difficulty, n=100, model=99, hard=True),
        simulate("one loss", 16, difficulty, n=100, model=99, hard=True),
        simulate("baseline", 17, difficulty, n=100, noise=0.1),  # against itself
    ]
    cases[-2].annotations[3]["preference"] = 1.0
    return cases


def write_gamed(folder: Path, difficulty: np.ndarray) -> None:
    """`df_gamed.csv` and `instruction_difficulty.csv` as alpaca_eval has them on the hub."""
    draw = np.random.default_rng(99)
    with (folder / "df_gamed.csv").open("w", newline="") as handle:
        table = csv.writer(handle)
        names = ("model", "preference", "std_delta_len", "instruction_difficulty", "not_gamed_baseline")
        table.writerow((*names, "index"))
        for kind, shift in (("verbose", -1.2), ("concise", 1.0)):
            gaps = draw.normal(shift, 1.0, INSTRUCTIONS)
            shares = sigmoid(-0.8 * np.tanh(gaps) + 0.5 * draw.normal(size=INSTRUCTIONS))
            for i in range(INSTRUCTIONS):
                row = (f"baseline_{kind}", float(shares[i]), float(gaps[i]), float(difficulty[i]), False, i)
                table.writerow(row)
    with (folder / "instruction_difficulty.csv").open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(("index", "instruction_difficulty"))
        table.writerows((i, float(value)) for i, value in enumerate(difficulty))


def make_judged() -> list[dict[str, Any]]:
    """What a judge said of 300 pairs: log-probabilities in which either token, or both, may be missing."""
    draw = np.random.default_rng(5)
    judged = []
    for i in range(300):
        logprobs = {"m": -draw.exponential(3.0), "M": -draw.exponential(3.0), "The": -9.0}
        for token in ("m", "M"):
            if draw.random() < 0.15:
                del logprobs[token]
        pair = {"instruction": f"Frage {i} ภาษา", "output_1": "a", "output_2": "b", "logprobs": logprobs}
        judged.append({**pair, "preference": 1.5})
    return judged


def run_peer(folder: Path) -> dict[str, Any]:
    """Installs alpaca_eval, and runs it on the files of a folder."""
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    python = str(environment / "bin" / "python")
    # In the folder, as an `import alpaca_eval` beside this file would find this file.
    for command in (["-m", "pip", "install", "--quiet", *REQUIREMENTS], ["-c", PEER, str(folder)]):
        done = subprocess.run([python, *command], cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
    return json.loads((folder / "peer.json").read_text())


def measure(case: Case, folder: Path) -> dict[str, float]:
    """lingualign's numbers for a case, in percent."""
    annotations = read_annotations(folder / f"{case.name}.annotations.json")
    gamed, difficulty = read_gamed_baseline(folder / "df_gamed.csv")
    plain = comparison_of(annotations)
    full = comparison_of(annotations, difficulty=difficulty[: len(annotations)])
    numbers: dict[str, Any] = dict(head_to_head([row["preference"] for row in annotations]).as_alpaca_eval())
    for name, result in (
        ("minimal", length_controlled_win_rate(plain)),
        ("noreg", length_controlled_win_rate(full)),
        ("v1", length_controlled_win_rate(full, gamed)),
    ):
        numbers[f"lc_{name}"] = 100 * result.win_rate
        numbers[f"lc_se_{name}"] = 100 * result.standard_error
    return numbers


def compare(folder: Path, cases: list[Case], peer: dict[str, Any]) -> tuple[str, float]:
    """The table, and the largest difference in points."""
    shown = {
        "win_rate": "win rate",
        "standard_error": "standard error",
        "discrete_win_rate": "discrete",
        "lc_minimal": "LC `minimal`",
        "lc_noreg": "LC `noreg`",
        "lc_se_noreg": "its error",
        "lc_v1": "LC `v1`",
        "lc_se_v1": "its error",
    }
    lines = [
        f"| annotations | judged | {' | '.join(shown.values())} | largest difference |",
        f"|---|--:|{'--:|' * (len(shown) + 1)}",
    ]
    worst = 0.0
    for case in cases:
        ours, theirs = measure(case, folder), peer["cases"][case.name]
        if ours.keys() != theirs.keys():
            raise SystemExit(f"not the same numbers: {sorted(ours.keys() ^ theirs.keys())}")
        differences = {name: abs(ours[name] - theirs[name]) for name in theirs}
        worst = max(worst, *differences.values())
        cells = " | ".join(f"{ours[name]:.2f}" for name in shown)
        judged = f"{ours['n_total']} of {len(case.annotations)}"
        lines.append(f"| {case.name} | {judged} | {cells} | {max(differences.values()):.1e} |")
    others, largest = compare_rest(folder, cases, peer)
    return "\n".join([*lines, "", *others]), max(worst, largest)


def compare_rest(folder: Path, cases: list[Case], peer: dict[str, Any]) -> tuple[list[str], float]:
    """Pairwise predictions, the judge's protocol, difficulties, and files that were written by the peer."""
    gamed, difficulty = read_gamed_baseline(folder / "df_gamed.csv")
    weights = {}
    for case in cases:
        comparison = comparison_of(case.annotations, difficulty=difficulty[: len(case.annotations)])
        weights[case.name] = length_controlled_win_rate(comparison, gamed).weights
    weights["baseline"] = BASELINE
    pairwise = max(
        abs(100 * predict_win_rate(weights[a], weights[b], difficulty) - peer["pairwise"][f"{a} {b}"])
        for a in weights
        for b in weights
    )
    judged, seed = make_judged(), 0
    ours = [
        unswitched(preference_of_logprobs(row["logprobs"]), is_switched(row["instruction"], seed))
        for row in judged
    ]
    preferences = max(
        0.0 if theirs is None and math.isnan(one) else abs(one - (math.inf if theirs is None else theirs))
        for one, theirs in zip(ours, peer["preferences"], strict=True)
    )
    joint = joint_difficulty(joint_comparisons(difficulty), gamed=[JOINT_MODELS[0]])
    of_items = float(np.abs(joint.difficulty - peer["difficulty"]).max())
    files = 0.0
    for case in cases:
        written = read_annotations(folder / f"{case.name}.annotations.json")
        again = read_annotations(folder / f"{case.name}.again.json")
        for one, other in zip(written, again, strict=True):
            if (one["preference"] is None) != (other["preference"] is None):
                raise SystemExit(f"{case.name}: a failed judgement came back as another")
            if one["preference"] is not None and other["preference"] is not None:
                files = max(files, abs(one["preference"] - other["preference"]))
            if {**one, "preference": 0} != {**other, "preference": 0}:
                raise SystemExit(f"{case.name}: a row came back as another")
    lines = [
        "| also compared | largest difference |",
        "|---|--:|",
        f"| `predict_winrate` of {len(weights)} x {len(weights)} models, points | {pairwise:.1e} |",
        f"| order and preference of {len(judged)} judgements with missing tokens | {preferences:.1e} |",
        f"| joint difficulty of {JOINT_INSTRUCTIONS} instructions from {len(JOINT_MODELS)} models, "
        f"logits | {of_items:.1e} |",
        f"| annotations written by lingualign, read and written by alpaca_eval, which rounds to 10 digits, "
        f"and read again | {files:.1e} |",
    ]
    return lines, max(pairwise, preferences, of_items, files)


def joint_comparisons(difficulty: np.ndarray) -> dict[str, Any]:
    """The same instructions answered by several models."""
    return {
        name: comparison_of(
            simulate(name, 50 + k, difficulty, n=JOINT_INSTRUCTIONS, model=k - 1.0, length=0.8).annotations
        )
        for k, name in enumerate(JOINT_MODELS)
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, help="where to write the table")
    output = parser.parse_args().output
    difficulty = np.random.default_rng(7).normal(0, 1.2, INSTRUCTIONS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_gamed(folder, difficulty)
        cases = make_cases(difficulty)
        for case in cases:
            write_annotations(folder / f"{case.name}.annotations.json", case.annotations)
        joint = [
            {"model": name, "index": i, "z": float(one.gaps[i]), "share": float(one.preferences[i]) - 1}
            for name, one in joint_comparisons(difficulty).items()
            for i in range(JOINT_INSTRUCTIONS)
        ]
        (folder / "joint.json").write_text(json.dumps(joint))
        (folder / "judge.json").write_text(json.dumps({"seed": 0, "judged": make_judged()}))
        table, worst = compare(folder, cases, run_peer(folder))
    passed = worst <= TOLERANCE
    report = (
        f"# AlpacaEval's win rates: lingualign and {REQUIREMENTS[0]}\n\n"
        f"Percent, by lingualign; the last column is the largest difference of all numbers of the row, the "
        f"counts among them. Written by `benchmarks/peers/alpaca_eval.py`.\n\n{table}\n\n"
        f"Largest difference {worst:.1e}, tolerance {TOLERANCE}: {'passed' if passed else 'MISSED'}.\n"
    )
    print(report)
    if output is not None:
        output.write_text(report, encoding="utf-8")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
