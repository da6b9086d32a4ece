"""Distributions in the tables of a run, by columns: a run may have a million scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lingualign.report.source import Node, TracedRun

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def quantiles_by_language(
    run: TracedRun, table: str, column: str, quantiles: Sequence[float] = QUANTILES
) -> dict[str, list[Node]]:
    """Quantiles of a column of a table that has a column `language`.

    Args:
        run: The run.
        table: A Parquet file, or a folder of parts, relative to the run folder.
        column: Of numbers; rows without one do not count.
        quantiles: Which.

    Returns:
        Language -> quantiles. Nothing where there is no such table, or its files cannot be read.
    """
    path = run.folder / table
    files = sorted(path.glob("part-*.parquet")) if path.is_dir() else [path]
    try:
        # One file after the other: a dataset would look for a schema that all of them have in common.
        read = pa.concat_tables([pq.read_table(file, columns=["language", column]) for file in files])
    except (OSError, pa.ArrowException):
        return {}
    found = {}
    for code in pc.unique(read["language"]).to_pylist():
        values = read.filter(pc.equal(read["language"], code))[column].drop_null().to_numpy()
        if len(values):
            source = f"{run.table(table)}?language={code}#{column}"
            found[code] = [
                Node(float(value), f"quantile({source},{share})")
                for share, value in zip(quantiles, np.quantile(values, quantiles), strict=True)
            ]
    return found
