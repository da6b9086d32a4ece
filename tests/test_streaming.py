"""Tables read a slice of prompts at a time: the same rows, pairs and errors as from lists in memory."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lingualign.config import PairsConfig
from lingualign.errors import InputError
from lingualign.pairs import Sources, Tally, all_pairs, best_worst, build_pairs, ranked
from lingualign.pairs.sources import SLICE
from lingualign.pipeline import tables
from lingualign.pipeline.folder import split_chunks
from lingualign.pipeline.scoring import ScoringWork, candidates
from lingualign.pipeline.tables import Table, by_prompt, read_keys
from lingualign.prompts import ParallelPrompts, Prompt
from lingualign.records import GROUP_ROWS, RESPONSES, SCORES, Response, Score, read_table, write_table

LANGUAGES = ["en", "de"]
MANY = 5 * SLICE + 3  # prompts: the slices of one row group of all are more than are read from it


class Tagged:
    """Reads the language off a text that begins with it, and counts how often."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def identify(self, text: str) -> str | None:
        self.asked[text] += 1
        return text.partition(": ")[0] if ": " in text else None


def prompts(count: int, languages: Sequence[str] = LANGUAGES) -> ParallelPrompts:
    ids = [f"p{number}" for number in range(count)]
    message = ({"role": "user", "content": "?"},)
    return ParallelPrompts(ids, {code: [Prompt(i, code, message) for i in ids] for code in languages})


def responses(
    count: int, k: int = 4, languages: Sequence[str] = LANGUAGES, seed: int = 0, length: int = 60
) -> list[Response]:
    """Some in the wrong language, some in none, some cut, some the same."""
    draw, rows = random.Random(seed), []
    for language in languages:
        for number in range(count):
            for index in range(k):
                tag = draw.choice([f"{language}: "] * 6 + ["en: ", "fr: ", ""])
                said = f"{tag}{number}.{draw.randrange(9 * k)} " + "x" * draw.randrange(length)
                finish = "length" if draw.random() < 0.1 else "stop"
                rows.append(
                    Response(
                        prompt_id=f"p{number}",
                        language=language,
                        index=index,
                        text=said,
                        finish_reason=finish,  # type: ignore[typeddict-item]
                        num_tokens=len(said),
                    )
                )
    return rows


def scores(rows: Sequence[Response], seed: int = 1) -> list[Score]:
    draw = random.Random(seed)
    return [
        Score(
            prompt_id=row["prompt_id"],
            language=row["language"],
            index=row["index"],
            reward=draw.choice([None, *[draw.gauss(0, 1)] * 9]),
            components=[{"name": "part", "value": 1.0}],
        )
        for row in rows
    ]


def scattered(path: Path, rows: Sequence[Any], schema: pa.Schema, seed: int, group: int = 10**6) -> Path:
    """All rows in one file, in random order."""
    shuffled = random.Random(seed).sample(list(rows), len(rows))
    pq.write_table(pa.Table.from_pylist(shuffled, schema=schema), path, row_group_size=group)
    return path


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 200), st.integers(1, 3), st.integers(1, 500), st.booleans(), st.integers(0, 9))
def test_rows_are_found_in_any_layout(
    tmp_path_factory: pytest.TempPathFactory, count: int, parts: int, group: int, shuffled: bool, seed: int
) -> None:
    folder, draw = tmp_path_factory.mktemp("layout"), random.Random(seed)
    rows = responses(count, k=2, languages=["en", "fr", "de"], seed=seed)
    order = draw.sample(rows, len(rows)) if shuffled else rows
    for part in range(parts):
        table = pa.Table.from_pylist(order[part::parts] if shuffled else _part(order, part, parts), RESPONSES)
        pq.write_table(table, folder / f"part-{part}.parquet", row_group_size=group)
    asked = prompts(count + 1)  # French is not asked for, and one prompt has no answer
    table = Table(folder, RESPONSES, asked)
    expected = by_prompt([row for row in rows if row["language"] != "fr"])
    for language in LANGUAGES:
        ids = draw.sample(asked.ids, min(7, len(asked)))
        found = table.read(language, ids)
        assert found == {i: expected[language, i] for i in ids if (language, i) in expected}
    assert list(table) == [
        row for language in LANGUAGES for i in asked.ids for row in expected.get((language, i), [])
    ]


def _part(rows: list[Response], part: int, parts: int) -> list[Response]:
    size = -(-len(rows) // parts)
    return rows[part * size : (part + 1) * size]


def test_a_scattered_table_is_not_read_again_for_every_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = responses(MANY)
    read = Counter[str]()

    def counted(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
        read["rows"] += len(table)
        return kept(table, schema, path)

    kept = tables.conform
    monkeypatch.setattr(tables, "conform", counted)
    table: Table[Response] = Table(
        scattered(tmp_path / "one.parquet", rows, RESPONSES, 0), RESPONSES, prompts(MANY)
    )
    assert sorted(row["text"] for row in table) == sorted(row["text"] for row in rows)
    assert read["rows"] <= 3 * len(rows)  # keys, the copy, and no more of the file


def test_an_index_that_is_there_twice_is_named_however_far_apart(tmp_path: Path) -> None:
    rows = responses(MANY)
    for number, part in enumerate([rows[:100], rows[100:], rows[7:8]]):
        write_table(tmp_path / f"part-{number}.parquet", part, RESPONSES)
    with pytest.raises(InputError, match="prompt p1 in en has two rows with the same index"):
        read_keys(tmp_path, RESPONSES)


@pytest.mark.parametrize("pairing", [best_worst, ranked])
@pytest.mark.parametrize("wrong_language", ["drop", "reject", "keep"])
def test_pairs_from_disk_are_those_from_lists(tmp_path: Path, pairing: Any, wrong_language: str) -> None:
    rows, asked = responses(MANY), prompts(MANY)
    scored = scores(rows)
    config = PairsConfig.model_validate({"wrong_language": wrong_language, "outlier_quantile": 0.98})

    def made(**given: Any) -> Any:
        return all_pairs(pairing.make(pairing.Settings()), Sources(asked, "en", config, Tagged(), **given))

    expected = made(responses=rows, scores=scored)
    assert len(expected.pairs) > MANY
    assert expected == made(
        responses=Table(scattered(tmp_path / "r.parquet", rows, RESPONSES, 2), RESPONSES, asked),
        scores=Table(scattered(tmp_path / "s.parquet", scored, SCORES, 3, group=50), SCORES, asked),
    )


def test_no_text_is_identified_twice() -> None:
    rows = [row for row in responses(MANY) if row["index"] < 3]
    rows = [{**row, "text": f"{row['text']} {place}"} for place, row in enumerate(rows)]  # type: ignore[misc]
    identifier = Tagged()
    result = build_pairs(prompts(MANY), rows, scores(rows), PairsConfig(), identifier)
    assert result.pairs
    assert max(identifier.asked.values()) == 1


def test_pairs_against_another_language_are_counted_as_they_are_identified() -> None:
    rows, asked = responses(MANY), prompts(MANY)
    for wrong_language in ("drop", "reject", "keep"):
        config = PairsConfig.model_validate({"wrong_language": wrong_language})
        result = build_pairs(asked, rows, scores(rows), config, Tagged())
        for language in LANGUAGES:
            apart = [
                {Tagged().identify(pair[side][0]["content"]) for side in ("chosen", "rejected")}  # type: ignore[literal-required]
                for pair in result.pairs
                if pair["language"] == language
            ]
            told = sum(len(languages) == 2 and None not in languages for languages in apart)
            assert result.report[language].other_language == told
            assert (told == 0) == (wrong_language == "drop")


def test_memory_does_not_grow_with_the_prompts(tmp_path: Path) -> None:
    """Four times the prompts; rows of a slice weigh most, and what is kept of the others little."""

    def peak(count: int) -> int:
        rows, asked = responses(count, languages=["de"], length=8000), prompts(count, ["de"])
        write_table(tmp_path / f"r{count}.parquet", rows, RESPONSES)
        write_table(tmp_path / f"s{count}.parquet", scores(rows), SCORES)
        del rows
        sources = Sources(
            asked,
            "en",
            PairsConfig(),
            Tagged(),
            responses=Table(tmp_path / f"r{count}.parquet", RESPONSES, asked),
            scores=Table(tmp_path / f"s{count}.parquet", SCORES, asked),
        )
        sources.identifier.identify = lambda text: None  # type: ignore[method-assign]
        tracemalloc.start()
        try:
            assert sum(1 for _ in best_worst.make(best_worst.Settings())(sources, Tally(sources))) > count / 2
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(8 * SLICE) < 1.5 * peak(2 * SLICE)


@pytest.mark.parametrize(("chunk", "reads"), [(50, "all"), (200, "source"), (64, "own")])
def test_candidates_of_a_chunk_come_with_what_the_reward_reads(
    tmp_path: Path, chunk: int, reads: Any
) -> None:
    languages = ["en", "de", "fr"]
    rows, asked = responses(MANY, languages=languages), prompts(MANY, languages)
    write_table(tmp_path / "r.parquet", rows, RESPONSES)
    work = ScoringWork(lambda bench: None, asked, "en", tmp_path / "r.parquet", reads=reads)  # type: ignore[arg-type,return-value]
    chunks = split_chunks(languages, MANY, chunk)[2:]  # as after a kill
    for done, items in zip(chunks, work.items(chunks), strict=True):
        ids = asked.ids[done.start : done.stop]
        assert items == [candidates("en", asked, by_prompt(rows), done.language, i, reads) for i in ids]
        for item in items:
            known = {"own": set(), "source": {"en", done.language}, "all": set(languages)}[reads]
            assert set(item.parallel) == known


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    path, rows = tmp_path / "r.parquet", responses(MANY)
    assert len(rows) < GROUP_ROWS
    many = [{**row, "index": row["index"] + 10 * copy} for copy in range(3) for row in rows]
    write_table(path, iter(many), RESPONSES)
    assert read_table(path, RESPONSES) == many
    assert pq.ParquetFile(path).num_row_groups == -(-len(many) // GROUP_ROWS)


def test_rows_that_fail_leave_what_was_there(tmp_path: Path) -> None:
    path, rows = tmp_path / "r.parquet", responses(1)
    write_table(path, rows, RESPONSES)

    def failing() -> Iterator[Response]:
        yield from responses(MANY)
        yield from responses(MANY)
        raise InputError("no more")

    with pytest.raises(InputError, match="no more"):
        write_table(path, failing(), RESPONSES)
    assert read_table(path, RESPONSES) == rows
    assert list(tmp_path.iterdir()) == [path]
