"""Representation alignment: at which layers sentences that say the same lie together."""

from __future__ import annotations

from markupsafe import Markup

from lingualign.report.charts import heat_chart
from lingualign.report.html import Cell, Figure, Table, data_text, exhibit, language, paragraph
from lingualign.report.numbers import interval, shown, text
from lingualign.report.reading import percent
from lingualign.report.section import Section
from lingualign.report.source import Node, TracedRun, language_name

_MEASURES = {
    "weighted": ("MEXA, hidden states weighted by position", 0),
    "last_token": ("MEXA, hidden state of the last token", 0),
    "nasca": ("NeuronXA, which neurons are active", 1),
    "navca": ("NeuronXA, how strongly neurons are active", 1),
}  # its title, and the number of its first layer: the embeddings have no neurons


def section(run: TracedRun) -> Section | None:
    """MEXA and NeuronXA, a layer at a time; None where they were not measured."""
    measured = run.measures["representations"]
    if not measured["languages"]:
        return None
    body = paragraph(
        Markup(
            "A sentence is aligned at a layer if it and its translation in {} are each other's nearest among "
            "all {} sentences. The darker a cell, the more are. Layers go from the embeddings on the left to "
            "the last one. Model: {}."
        ).format(
            language(str(measured["pivot"].value)),
            shown(measured["n"], "count"),
            data_text(measured["model"].value),
        )
    )
    for name, by_language in measured["languages"].items():
        title, first = _MEASURES.get(name, (name, 0))
        layers = max(len(found["layers"].elements()) for _, found in by_language.items())
        body += exhibit(
            title,
            Markup("{} of the sentences are aligned in the mean over layers and languages.").format(
                percent(measured["mean"][name]["mean"])
            ),
            [Figure("Layer by layer", heat_chart(_cells(by_language, first), "layer"))],
            _table(
                by_language, [Markup("<code>L{}</code>").format(first + layer) for layer in range(layers)]
            ),
            unfolded=False,
        )
    return Section("representations", "Representation alignment", body)


def _cells(by_language: Node, first: int) -> list[tuple[str, int, float, str]]:
    return [
        (language_name(code), first + layer, score["mean"].value, text(score["mean"], "percent"))
        for code, found in by_language.items()
        for layer, score in enumerate(found["layers"].elements())
        if score["mean"]
    ]


def _table(by_language: Node, layers: list[Markup]) -> Table:
    rows: list[list[Cell]] = [
        [
            language(code, codes=True),
            interval(found["mean"]),
            interval(found["max"]),
            shown(found["best_layer"], "count"),
            *(shown(score["mean"], "percent") for score in found["layers"].elements()),
        ]
        for code, found in by_language.items()
    ]
    headings = ["Language", "Mean of layers", "Best", "Best layer", *layers]
    return Table("Share of aligned sentences, in percent", headings, rows)
