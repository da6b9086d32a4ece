"""Word alignment: the worked examples, the matchers against their definitions, and error rates."""

from __future__ import annotations

import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lingualign.errors import InputError
from lingualign.measures.representation.word_alignment import (
    MATCHERS,
    argmax_links,
    distorted,
    itermax_links,
    matching_links,
    parse_links,
    score_links,
    similarities,
)

EXAMPLE = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.4], [0.85, 0.2, 0.6], [0.1, 0.7, 0.65]])
TABLES = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 1000).map(lambda n: n / 1000))
)


def test_error_rate_of_the_worked_example() -> None:
    sure, possible, proposed = {(0, 0), (1, 1)}, {(0, 0), (1, 1), (1, 2)}, {(0, 0), (1, 2), (2, 2)}
    found = score_links([proposed], [sure], [possible], resamples=10)
    assert found.aer is not None and found.precision is not None and found.recall is not None
    assert found.aer.mean == pytest.approx(0.4)
    assert found.precision.mean == pytest.approx(2 / 3) and found.recall.mean == 0.5
    assert score_links([proposed], [sure], [{(1, 2)}], resamples=10) == found  # sure links are possible


def test_counts_are_summed_over_sentences_which_are_drawn_whole() -> None:
    found = score_links(
        [{(0, 0)}, {(0, 0), (1, 0), (2, 0)}], [{(0, 0)}, {(1, 1)}], [set(), set()], resamples=500
    )
    assert found.aer is not None and found.aer.mean == pytest.approx(1 - 2 / 6)
    assert (found.aer.low, found.aer.high, found.aer.n) == (0, 1, 2)


def test_what_is_not_defined_is_none() -> None:
    nothing = score_links([set()], [set()], [{(0, 0)}])
    assert nothing.aer is nothing.precision is nothing.recall is None
    silent = score_links([set()], [{(0, 0)}], [set()], resamples=10)
    assert silent.precision is None and silent.aer is not None and silent.aer.mean == 1


def test_links_are_read_from_both_notations() -> None:
    assert parse_links("0-0 2p1\n", "gold:1") == ({(0, 0)}, {(0, 0), (2, 1)})
    assert parse_links("1-1 3p2", "gold:1", one_based=True) == ({(0, 0)}, {(0, 0), (2, 1)})
    assert parse_links("", "gold:1") == (set(), set())
    for bad in ("0-1-2", "a-b", "3", "0-0"):
        with pytest.raises(InputError, match=r"gold, line 7: .* is not a link"):
            parse_links(bad, "gold, line 7", one_based=True)


def test_matchers_of_the_worked_example() -> None:
    assert argmax_links(EXAMPLE) == {(0, 0), (1, 1)}
    assert itermax_links(EXAMPLE) == {(0, 0), (1, 1), (2, 0), (3, 2)}
    assert matching_links(EXAMPLE) == {(0, 0), (1, 1), (3, 2)}
    np.testing.assert_allclose(distorted(EXAMPLE)[2], [0.6611, 0.1972, 0.5667], atol=5e-5)


def test_distortion_leaves_single_words_and_equal_positions() -> None:
    assert (distorted(EXAMPLE[:1]) == EXAMPLE[:1]).all()
    square = distorted(np.ones((3, 3)), 1.0)
    assert (np.diag(square) == 1).all() and square[0, 2] == square[2, 0] == 0


def test_similarities_are_cosines_moved_to_between_0_and_1() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])
    np.testing.assert_allclose(similarities(rows, rows[:1]), [[1], [0.5], [0]])


@given(TABLES)
def test_links_are_words_of_the_table_and_inter_is_the_first_round_of_itermax(table: np.ndarray) -> None:
    for name, match in MATCHERS.items():
        links = match(table)
        assert all(0 <= i < table.shape[0] and 0 <= j < table.shape[1] for i, j in links), name
    assert argmax_links(table) <= itermax_links(table)
    assert itermax_links(table, rounds=1) == argmax_links(table)
    if min(table.shape) <= 2:
        assert itermax_links(table) == argmax_links(table)


@given(TABLES)
def test_the_matching_is_as_large_and_as_heavy_as_networkx_finds(table: np.ndarray) -> None:
    graph = networkx.Graph()
    for (i, j), weight in np.ndenumerate(table):
        if weight > 0:
            graph.add_edge(("source", i), ("target", j), weight=float(weight))
    best = networkx.max_weight_matching(graph, maxcardinality=True)
    found = matching_links(table)
    assert len({i for i, _ in found}) == len({j for _, j in found}) == len(found) == len(best)
    assert sum(table[link] for link in found) == pytest.approx(
        sum(graph.edges[edge]["weight"] for edge in best)
    )


def test_without_ties_the_matching_is_networkxs() -> None:
    generator = np.random.default_rng(0)
    for _ in range(30):
        table = generator.random(generator.integers(1, 9, 2))
        graph = networkx.Graph()
        graph.add_weighted_edges_from(
            (("source", i), ("target", j), weight) for (i, j), weight in np.ndenumerate(table)
        )
        best = {tuple(sorted(edge)) for edge in networkx.max_weight_matching(graph, maxcardinality=True)}
        assert matching_links(table) == {(source[1], target[1]) for source, target in best}
