"""A finished run folder of any size, made in seconds: no model runs.

Tables are drawn column by column in the schemas of the package; measures, the verdict and the reward's health
come from the package's own functions, over answers that are drawn likewise. Words are made up of the letters
of each language's script, so texts are of real length and bytes, and say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lingualign.config import RunConfig
from lingualign.languages import LANGUAGES
from lingualign.pairs.base import PairingReport
from lingualign.pairs.length_control import LengthControl
from lingualign.pipeline.files import read_json, write_json, write_text
from lingualign.pipeline.manifest import Manifest, StageRecord, installed_versions
from lingualign.pipeline.measuring import describe_measures, measure_against_start, measure_all
from lingualign.prompts import ParallelPrompts, Prompt
from lingualign.records import PAIRS, REFERENCE_LOGPS, RESPONSES, SCORES
from lingualign.rewards import reward_health
from lingualign.settings import dump_config, load_config

TWENTY = [
    "en", "de", "es", "fr", "it", "pt", "nl", "pl", "ru", "uk",
    "ar", "he", "hi", "bn", "zh", "ja", "ko", "th", "sw", "tr",
]  # fmt: skip
_ALPHABETS = {
    "Arab": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي", "Beng": "কখগঘচছজঝটঠডতথদধনপফবভমযরলশসহ",
    "Cyrl": "абвгдежзийклмнопрстуфхцчшщыьэюя", "Deva": "कखगघचछजझटठडतथदधनपफबभमयरलवशसह",
    "Hani": "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可", "Hebr": "אבגדהוזחטיכלמנסעפצקרשת",
    "Jpan": "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほ",
    "Kore": "가나다라마바사아자차카타파하고노도로모보소오조초",
    "Latn": "abcdefghijklmnopqrstuvwxyz", "Thai": "กขคงจชซดตถทนบปผพฟมยรลวสหอ",
}  # fmt: skip
_UNSPACED = {"Hani", "Jpan", "Thai"}
_CHUNK = 64  # prompts a part file
_POOL = 300  # different sentences of a language


@dataclass(frozen=True)
class Size:
    """How large the run is.

    Attributes:
        languages: Codes, the source language first.
        iterations: Of the run.
        prompts: A language and iteration; each becomes a pair.
        candidates: Responses a prompt.
        sentences: Of a response, on average.
        heldout: Held-out prompts a language.
        bootstrap: Resamples of an interval.
    """

    languages: Sequence[str] = ("en", "de", "zh", "ar")
    iterations: int = 2
    prompts: int = 60
    candidates: int = 4
    sentences: int = 8
    heldout: int = 12
    bootstrap: int = 100


def make_run(folder: Path, size: Size = Size(), seed: int = 0, also: Sequence[str] = ("target",)) -> Path:
    """Makes the folder of a finished run.

    Args:
        folder: It must not be there.
        size: Of everything.
        seed: Of every draw; the same gives the same tables.
        also: Further contexts that the reward was read under.

    Returns:
        The folder.
    """
    config = load_config(
        "icr",
        [
            "policy=models/aligned", "reference=models/sft", "prompts=prompts.jsonl", f"seed={seed}",
            f"languages=[{','.join(size.languages)}]", f"iterations={size.iterations}",
            f"data.limit={size.prompts}", f"sampling.n={size.candidates}", f"output={folder}",
            f"measures.n={size.heldout}", f"measures.bootstrap={size.bootstrap}",
            f"reward.options.also=[{','.join(also)}]",
        ],
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    writers = {code: Writer(code, rng) for code in size.languages}
    write_text(folder / "config.yaml", dump_config(config))
    for number in range(1, size.iterations + 1):
        _iteration(folder / f"iteration-{number}", config, size, writers, rng, number, also)
    write_json(folder / "measures.json", _measures(folder, config, size, writers, rng))
    _manifest(folder, config, size)
    return folder


class Writer:
    """Writes texts in something like a language."""

    def __init__(self, language: str, rng: np.random.Generator) -> None:
        script = LANGUAGES[language].script
        letters, spaced = list(_ALPHABETS[script]), script not in _UNSPACED
        words = ["".join(rng.choice(letters, size=n)) for n in rng.integers(2, 9 if spaced else 3, size=400)]
        lengths = rng.integers(8, 18, size=_POOL)
        self.sentences = [(" " if spaced else "").join(rng.choice(words, size=n)) for n in lengths]
        self.rng, self.gap, self.stop = rng, " " if spaced else "", "." if spaced else "。"

    def texts(self, count: int, sentences: int) -> list[str]:
        """Texts of about so many sentences; those that are drawn together have some in common."""
        lengths = np.maximum(1, self.rng.poisson(sentences, size=count))
        pool = self.rng.integers(0, _POOL, size=4 * sentences)
        return [
            self.gap.join(self.sentences[place] + self.stop for place in self.rng.choice(pool, size=length))
            for length in lengths
        ]


def _iteration(
    folder: Path,
    config: RunConfig,
    size: Size,
    writers: Mapping[str, Writer],
    rng: np.random.Generator,
    number: int,
    also: Sequence[str],
) -> None:
    """All tables of an iteration, and what is known of them."""
    pairs: list[pa.Table] = []
    reports, health = {}, {}
    for language, writer in writers.items():
        found = []
        for start in range(0, size.prompts, _CHUNK):
            ids = [f"{number}-{place:05d}" for place in range(start, min(start + _CHUNK, size.prompts))]
            responses = _responses(ids, language, size, writer)
            scores = _scores(responses, rng, also)
            name = f"part-{language}-{start:06d}.parquet"
            _write(responses, folder / "responses" / name)
            _write(scores, folder / "scores" / name)
            found.append(_pairs(ids, language, responses, scores, writer, size))
            if start == 0:
                sample = responses.to_pylist(), scores.to_pylist()
                health[language] = asdict(reward_health(*sample)[language])
        table = pa.concat_tables(found)
        pairs.append(table)
        reports[language] = asdict(_report(config, size, len(table)))
    together = pa.concat_tables(pairs).combine_chunks()
    _write(together, folder / "pairs.parquet")
    logps = -100 - 20 * rng.random((2, len(together)))
    _write(pa.table([together["id"], *logps], schema=REFERENCE_LOGPS), folder / "reference.parquet")
    write_json(folder / "pairs.json", reports)
    write_json(folder / "health.json", health)
    write_json(folder / "training.json", {"steps": _steps(len(together) // config.training.batch_pairs, rng)})


def _responses(ids: Sequence[str], language: str, size: Size, writer: Writer) -> pa.Table:
    texts = [text for _ in ids for text in writer.texts(size.candidates, size.sentences)]
    rows = len(texts)
    return pa.table(
        {
            "prompt_id": np.repeat(ids, size.candidates),
            "language": [language] * rows,
            "index": np.tile(np.arange(size.candidates), len(ids)),
            "text": texts,
            "finish_reason": ["stop"] * rows,
            "num_tokens": [len(text) // 3 for text in texts],
        }
    ).cast(RESPONSES)


def _scores(responses: pa.Table, rng: np.random.Generator, also: Sequence[str]) -> pa.Table:
    """Rewards of a standard deviation of 1, and what other contexts make of them with some noise."""
    rows = len(responses)
    reward = rng.normal(size=rows)
    reference = -np.asarray(responses["num_tokens"], dtype=float)
    columns = {
        "policy_logprob": reference + reward,
        "reference_logprob": reference,
        "num_tokens": -reference,
        **{f"log_ratio:{name}": reward + rng.normal(scale=0.8, size=rows) for name in also},
    }
    values = pa.StructArray.from_arrays(
        [pa.array(list(columns) * rows), pa.array(np.stack(list(columns.values()), axis=1).ravel())],
        names=["name", "value"],
    )
    offsets = np.arange(rows + 1, dtype=np.int32) * len(columns)
    return pa.table(
        {
            **{name: responses[name] for name in ("prompt_id", "language", "index")},
            "reward": reward,
            "components": pa.ListArray.from_arrays(pa.array(offsets), values),
        }
    ).cast(SCORES)


def _pairs(
    ids: Sequence[str], language: str, responses: pa.Table, scores: pa.Table, writer: Writer, size: Size
) -> pa.Table:
    """Best and worst of each prompt, without length control."""
    rewards = scores["reward"].to_numpy().reshape(len(ids), size.candidates)
    texts = responses["text"].to_pylist()
    best, worst = rewards.argmax(axis=1), rewards.argmin(axis=1)
    rows = np.arange(len(ids))

    def said(role: str, contents: Sequence[str]) -> list[list[dict[str, str]]]:
        return [[{"role": role, "content": content}] for content in contents]

    def side(name: str, places: np.ndarray) -> dict[str, Any]:
        own = [texts[row * size.candidates + place] for row, place in zip(rows, places, strict=True)]
        return {
            name: said("assistant", own),
            f"{name}_score": rewards[rows, places],
            f"{name}_index": places,
            f"{name}_finished": [True] * len(ids),
        }

    columns = {
        "id": [f"{prompt_id}/{language}" for prompt_id in ids],
        "prompt_id": ids,
        "language": [language] * len(ids),
        "prompt": said("user", writer.texts(len(ids), 3)),
        **side("chosen", best),
        **side("rejected", worst),
    }
    return pa.table({name: columns[name] for name in PAIRS.names}).cast(PAIRS)


def _report(config: RunConfig, size: Size, pairs: int) -> PairingReport:
    return PairingReport(
        prompts=size.prompts,
        candidates=size.prompts * size.candidates,
        removed={"no reward": 0, "truncated": 0, "duplicate": 0, "language": 0},
        dropped={},
        length_control=LengthControl(0.0, 0.0, 0.0),
        unit=config.pairs.length_control.unit,
        pairs=pairs,
    )


def _steps(count: int, rng: np.random.Generator) -> list[dict[str, float]]:
    """The log of a training whose loss falls."""
    steps = []
    for step in range(1, count + 1):
        done = step / count
        steps.append(
            {
                "loss": 1.5 - 0.6 * done + 0.1 * rng.random(),
                "grad_norm": 2 + rng.random(),
                "learning_rate": 5e-7 * (1 - done),
                "nll": 0.8 - 0.1 * done,
                "dpo": 0.7 - 0.5 * done + 0.1 * rng.random(),
                "margin": 2 * done + 0.1 * rng.random(),
                "accuracy": 0.5 + 0.4 * done,
                "epoch": done,
                "step": step,
            }
        )
    return steps


def _measures(
    folder: Path,
    config: RunConfig,
    size: Size,
    writers: Mapping[str, Writer],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """`measures.json`: answers of every policy, drawn, and measured as those of a run are."""
    ids = [f"held-{place:04d}" for place in range(size.heldout)]
    asked = {
        code: [Prompt(i, code, ({"role": "user", "content": i},)) for i in ids] for code in size.languages
    }
    heldout = ParallelPrompts(ids, asked)
    one = Size(size.languages, candidates=1, sentences=4)
    for number in range(size.iterations + 1):
        for decoding in ("sampled", "greedy"):
            place = folder / "measures" / f"iteration-{number}"
            for code, writer in writers.items():
                responses = _responses(ids, code, one, writer)
                reward = rng.normal(0.4 * number, size=len(ids))
                scores = _scores(responses, rng, ()).set_column(3, SCORES.field("reward"), [reward])
                _write(responses, place / decoding / f"part-{code}-000000.parquet")
                _write(scores, place / f"{decoding}-judged" / f"part-{code}-000000.parquet")
    measures = describe_measures(config, heldout)
    measures["start"] = measure_all(config, folder, heldout, 0)
    measures["iterations"] = [
        {
            "iteration": number,
            "reward_health": _read(folder, number, "health"),
            "pairs": _read(folder, number, "pairs"),
            **measure_against_start(config, folder, heldout, number, measures["start"]),
        }
        for number in range(1, size.iterations + 1)
    ]
    return measures


def _read(folder: Path, number: int, name: str) -> Any:
    return read_json(folder / f"iteration-{number}" / f"{name}.json")


def _manifest(folder: Path, config: RunConfig, size: Size) -> None:
    stages = [f"measures/iteration-0/{name}" for name in ("sampled", "greedy")]
    for number in range(1, size.iterations + 1):
        stages += [
            f"iteration-{number}/{name}"
            for name in ("responses", "scores", "health", "pairs", "reference", "model")
        ]
        stages += [f"measures/iteration-{number}/{name}" for name in ("sampled", "greedy")]
    moment = "2026-01-01T00:00:00+00:00"
    record = StageRecord(
        fingerprint={"settings": "0"}, status="done", started=moment, finished=moment, seconds=60.0
    )
    manifest = Manifest(
        seed=config.seed, versions=installed_versions(), stages={stage: record for stage in stages}
    )
    manifest.write(folder / "manifest.json")


def _write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, write_page_checksum=True)
