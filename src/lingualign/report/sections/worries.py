"""What to worry about before the model is used: each finding as a sentence with its numbers."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from lingualign.report.html import Cell, data_text, iteration_name, joined, language
from lingualign.report.numbers import interval, shown
from lingualign.report.reading import DECODINGS, decoding_name, of_language, outcome, percent
from lingualign.report.source import Node, TracedRun, total

MAX_CUT = 0.05  # of the answers; more that end at the length limit, and their quality is not what was judged


def worries(run: TracedRun) -> list[Cell]:
    """All that is found, what weighs most first."""
    return [
        *_guards(run, failed=True),
        *_languages(run, "worse", "Worse than the start beyond chance: {}."),
        *_judge(run),
        *_reward(run),
        *_languages(run, "unclear", "Not told from chance, for the interval holds one half: {}."),
        *_length(run),
        *_cut(run),
        *_guards(run, failed=False),
    ]


def guard_text(run: TracedRun, guard: Node) -> Markup:
    """A guard with what was measured and what it must be at least."""
    value = guard["value"]
    measured = value["mean"] if isinstance(value.value, dict) else value
    form = "points" if isinstance(value.value, int | float) else "percent"
    return Markup("{}: {}, at least {}").format(
        data_text(guard["name"].value), shown(measured, form), shown(guard["least"], form)
    )


def _guards(run: TracedRun, failed: bool) -> Iterator[Cell]:
    """Guards that failed; or those that passed, and whose interval holds less than they ask for."""
    for guard in run.last["verdict"]["guards"].elements():
        if failed and guard["passed"].value is False:
            yield Markup("<strong>A guard failed.</strong> {} (in percent).").format(guard_text(run, guard))
        elif not failed and guard["passed"].value and guard["sure"].value is False:
            yield Markup("A guard passed and is not sure: {}, with the interval {} (in percent).").format(
                guard_text(run, guard), interval(guard["value"])
            )


def _languages(run: TracedRun, wanted: str, sentence: str) -> Iterator[Cell]:
    """Languages whose win rate is worse, or cannot be told from chance, by decoding."""
    for decoding in DECODINGS:
        found = [
            Markup("{} {}").format(language(code), percent(rate["mean"]))
            for code in run.ordered
            if outcome(rate := of_language(run.last, decoding, code)["win_rate"]) == wanted
        ]
        if found:
            yield Markup("{} ({})").format(
                Markup(sentence).format(joined(found))[:-1], decoding_name(run, decoding)
            ) + Markup(".")


def _judge(run: TracedRun) -> Iterator[Cell]:
    if run.measures["judge"]["kind"].value == "implicit":
        yield Markup(
            "<strong>The judge is the signal that was trained on.</strong> Its wins say that training "
            "worked, not that the answers are better: ask another judge (<code>measures.judge</code>)."
        )
    for decoding in DECODINGS:
        failed = total(*(of_language(run.last, decoding, code)["failed"] for code in run.languages))
        if failed.value:
            yield Markup("{} judgements failed and do not count ({}).").format(
                shown(failed, "count"), decoding_name(run, decoding)
            )


def _reward(run: TracedRun) -> Iterator[Cell]:
    for iteration in run.iterations:
        for code, health in iteration["reward_health"].items():
            for warning in health["warnings"].elements():
                yield Markup("Reward, {}, {}: {}").format(
                    language(code), iteration_name(iteration), data_text(warning.value)
                )


def _length(run: TracedRun) -> Iterator[Cell]:
    """Gains that may be length: beyond chance as judged, and not with length controlled."""
    for decoding in DECODINGS:
        found = [
            Markup("{} {}").format(language(code), interval(measured["lc_win_rate"]))
            for code in run.targets
            if outcome((measured := of_language(run.last, decoding, code))["win_rate"]) == "better"
            and measured["lc_win_rate"]
            and outcome(measured["lc_win_rate"]) != "better"
        ]
        if found:
            yield Markup("Better as judged, and not beyond chance with length controlled: {} ({}).").format(
                joined(found), decoding_name(run, decoding)
            )


def _cut(run: TracedRun) -> Iterator[Cell]:
    for decoding in DECODINGS:
        found = [
            Markup("{} {}").format(language(code), percent(cut))
            for code in run.languages
            if (cut := of_language(run.last, decoding, code)["cut"]) and cut.value > MAX_CUT
        ]
        if found:
            yield Markup("Answers end at the length limit: {} ({}).").format(
                joined(found), decoding_name(run, decoding)
            )
