"""Configuration, versions, seeds and times, and the command that repeats the run."""

from __future__ import annotations

import shlex
from pathlib import Path

from markupsafe import Markup

from lingualign.report.charts import share_chart
from lingualign.report.html import Cell, Figure, Table, data_text, exhibit, paragraph
from lingualign.report.numbers import shown, text
from lingualign.report.section import Section
from lingualign.report.source import CONFIG, Node, TracedRun, total
from lingualign.texts import visible

_KINDS = {
    "responses": "sampling",
    "scores": "scoring",
    "reward": "fitting the reward",
    "health": "checking the reward",
    "pairs": "pairing",
    "reference": "reference log-probs",
    "model": "training",
}
MEASURING = "measuring"


def section(run: TracedRun) -> Section:
    """All that is needed to make the run again."""
    body = paragraph("This makes the run again, in another folder:") + Markup(
        '<pre class="command" tabindex="0"><code>{}</code></pre>'
    ).format(visible(command(run)))
    body += _times(run) + _versions(run)
    written = run.folder / CONFIG
    if written.is_file():
        body += Markup(
            '<details class="numbers"><summary>All settings (<code>config.yaml</code>)</summary>'
            '<pre tabindex="0" dir="auto"><code>{}</code></pre></details>'
        ).format(visible(written.read_text(encoding="utf-8")))
    return Section("configuration", "Configuration", body)


def command(run: TracedRun) -> str:
    """The command that repeats the run from its own configuration."""
    folder = Path(run.config["output"].value or run.folder)
    again = folder.with_name(f"{folder.name}-again")
    return shlex.join(["lingualign", "align", str(folder / CONFIG), f"output={again}"])


def kind_of(stage: str) -> str:
    """What a stage does, in a word."""
    if stage.startswith("measures/"):
        return MEASURING
    return _KINDS.get(stage.rpartition("/")[2], stage.rpartition("/")[2])


def seconds_by_kind(run: TracedRun) -> dict[str, Node]:
    """Seconds of work by what the stages do, the most first."""
    kinds: dict[str, list[Node]] = {}
    for name, stage in run.manifest["stages"].items():
        kinds.setdefault(kind_of(name), []).append(stage["seconds"])
    found = {kind: total(*nodes) for kind, nodes in kinds.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1].value))


def all_seconds(run: TracedRun) -> Node:
    """Seconds of work of all stages."""
    return total(run.manifest["stages"].every("seconds"))


def _times(run: TracedRun) -> Markup:
    kinds = seconds_by_kind(run)
    if not kinds:
        return paragraph("The times of the stages were not kept.")
    shared = any(stage["shared_from"] for _, stage in run.manifest["stages"].items())
    finding = Markup("{} of work in all.").format(shown(all_seconds(run), "duration"))
    if shared:
        finding += Markup(
            " Stages that were taken over from another run count with the work they were there."
        )
    chart = share_chart(
        [(kind, kind, node.value, text(node, "duration")) for kind, node in kinds.items()],
        dict.fromkeys(kinds, "series-1"),
        "seconds",
    )
    rows: list[list[Cell]] = [[kind, shown(node, "duration")] for kind, node in kinds.items()]
    stages: list[list[Cell]] = [
        [
            Markup("<code>{}</code>").format(name),
            shown(stage["seconds"], "duration"),
            Markup("<code>{}</code>").format(stage["started"].value or ""),
            Markup("<code>{}</code>").format(stage["shared_from"].value or ""),
        ]
        for name, stage in run.manifest["stages"].items()
    ]
    return exhibit(
        "Time",
        finding,
        [Figure("By kind of stage", chart)],
        Table("Work by kind of stage", ["Stage", "Time"], rows),
    ) + Table("Stages", ["Stage", "Time", "Started (UTC)", "Taken over from"], stages, words=(2, 3)).folded(
        "Every stage", unfolded=False
    )


def _versions(run: TracedRun) -> Markup:
    rows: list[list[Cell]] = [
        [data_text(name), Markup("<code>{}</code>").format(version.value)]
        for name, version in run.manifest["versions"].items()
    ]
    seed = run.manifest["seed"] if run.manifest else run.config["seed"]
    told = paragraph(Markup("Seed of every draw: {}.").format(shown(seed, "general")))
    if not rows:
        return told
    return told + Table("Versions of packages", ["Package", "Version"], rows, words=(1,)).folded(
        "Versions", unfolded=False
    )
