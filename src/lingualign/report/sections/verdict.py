"""The verdict in words: better where, by how much, how sure, what it cost, and what to worry about."""

from __future__ import annotations

from markupsafe import Markup

from lingualign.report.html import Cell, Table, bullets, data_text, iteration_name, joined, language
from lingualign.report.numbers import interval, shown
from lingualign.report.reading import (
    DECODINGS,
    EVEN,
    confidence,
    decoding_name,
    of_language,
    outcome,
    percent,
)
from lingualign.report.section import Section
from lingualign.report.sections.configuration import all_seconds, seconds_by_kind
from lingualign.report.sections.length import length_change
from lingualign.report.sections.wins import win_rate
from lingualign.report.sections.worries import worries
from lingualign.report.source import Node, TracedRun, above, count, difference, language_name

_SIGNS = {"better": "▲", "worse": "▼", "unclear": "≈", "unknown": "?"}
_SAID = {
    "better": "better beyond chance",
    "worse": "worse beyond chance",
    "unclear": "not told from chance",
    "unknown": "not judged",
}


def section(run: TracedRun) -> Section:
    """The answer to "may I ship this?", for a reader in a hurry."""
    body = Markup('<div class="verdict {}">{}<p class="headline">{}</p>{}</div>').format(
        tone(run), stamp(run), headline(run), tiles(run)
    )
    found = worries(run)
    facts: list[tuple[str, Cell]] = [
        ("Better where", _where(run)),
        ("By how much", _how_much(run)),
        ("How sure", _how_sure(run)),
        ("What it cost", _cost(run)),
        (
            "What to worry about",
            bullets(found, "worries") if found else "Nothing that this report looks for was found.",
        ),
    ]
    body += Markup('<dl class="facts">{}</dl>').format(
        Markup("").join(Markup("<dt>{}</dt><dd>{}</dd>").format(name, said) for name, said in facts)
    )
    return Section("verdict", "Verdict", body + _guards(run))


def ships(run: TracedRun) -> bool | None:
    """Whether all guards passed; None where there is no verdict."""
    said = run.last["verdict"]["verdict"].value
    return None if said is None else said == "ship"


def tone(run: TracedRun) -> str:
    """The CSS class of the verdict."""
    return {True: "good", False: "bad", None: "unknown"}[ships(run)]


def stamp(run: TracedRun) -> Markup:
    """The verdict in two words."""
    word = {True: "Ship", False: "Do not ship", None: "No verdict"}[ships(run)]
    return Markup('<p class="stamp">{}</p>').format(word)


def outcomes(run: TracedRun, decoding: str) -> dict[str, str]:
    """How each target language fared after the last iteration."""
    return {code: outcome(win_rate(run, run.last, decoding, code)) for code in run.targets}


def headline(run: TracedRun) -> Markup:
    """Two sentences: the targets, then the source language."""
    return Markup(" ").join(clause for clause in (_targets_clause(run), _source_clause(run)) if clause)


def _targets_clause(run: TracedRun) -> Markup:
    found = {decoding: outcomes(run, decoding) for decoding in DECODINGS}
    said = {each for by_code in found.values() for each in by_code.values()}
    if not run.targets:
        return Markup("No target language was measured.")
    if said == {"unknown"}:
        return Markup("No target language could be judged.")
    if len(run.targets) == 1:
        (code,) = run.targets
        return Markup("{}: {}.").format(
            language(code), joined(f"{_SAID[found[decoding][code]]} {decoding}" for decoding in DECODINGS)
        )
    if said == {"better"}:
        return Markup("Better in every target language, greedy and sampled.")
    worse = [code for code in run.targets if any(by_code[code] == "worse" for by_code in found.values())]
    fell = Markup(" Worse in {}.").format(joined(map(language, worse))) if worse else Markup("")
    if "better" not in said:
        return Markup("No target language is better beyond chance.") + fell
    counts = [
        Markup("{} of {} {}").format(
            shown(_better(run, decoding), "count"), shown(count(*_rates(run, decoding)), "count"), decoding
        )
        for decoding in DECODINGS
    ]
    return Markup("Target languages better beyond chance: {}.").format(joined(counts)) + fell


def _rates(run: TracedRun, decoding: str) -> list[Node]:
    """The lower ends of the win rates of the target languages that could be judged."""
    lows = (win_rate(run, run.last, decoding, code)["low"] for code in run.targets)
    return [low for low in lows if low]


def _better(run: TracedRun, decoding: str) -> Node:
    return above(EVEN, _rates(run, decoding))


def _source_clause(run: TracedRun) -> Markup:
    if run.source not in run.languages:
        return Markup("")
    name = language(run.source)
    found = {outcome(of_language(run.last, decoding, run.source)["win_rate"]) for decoding in DECODINGS}
    if found == {"unknown"}:
        return Markup("{} was not judged.").format(name)
    if "worse" in found:
        return Markup("{} lost.").format(name)
    if found == {"better"}:
        return Markup("{} gained too.").format(name)
    return Markup("{} shows no loss beyond chance.").format(name)


def tiles(run: TracedRun) -> Markup:
    """The handful of numbers that everybody asks for."""
    found: list[tuple[Cell, Cell, Cell]] = []
    for decoding in DECODINGS:
        rate = run.last[decoding]["target_win_rate"]
        if rate:
            ends = Markup("{} to {}").format(shown(rate["low"], "percent"), percent(rate["high"]))
            name = Markup("wins in the targets, {}").format(decoding_name(run, decoding))
            found.append((percent(rate["mean"]), name, ends))
    rate = of_language(run.last, "greedy", run.source)["win_rate"]
    if rate:
        ends = Markup("{} to {}").format(shown(rate["low"], "percent"), percent(rate["high"]))
        found.append((percent(rate["mean"]), f"wins in {language_name(run.source)}, greedy", ends))
    spent = all_seconds(run)
    if spent.value:
        found.append((shown(spent, "duration"), "of work", _iterations(run)))
    return Markup('<ul class="tiles">{}</ul>').format(
        Markup("").join(
            Markup("<li><strong>{}</strong><span>{}</span><small>{}</small></li>").format(*tile)
            for tile in found
        )
    )


def _iterations(run: TracedRun) -> Markup:
    number = shown(run.last["iteration"], "count")
    return Markup("{} iteration{}").format(number, "" if len(run.iterations) == 1 else "s")


def _where(run: TracedRun) -> Markup:
    """A row of languages for each decoding: sign, name, win rate."""
    rows = []
    for decoding in DECODINGS:
        chips = []
        for code in run.ordered:
            rate = of_language(run.last, decoding, code)["win_rate"]
            found = outcome(rate)
            source = " (source)" if code == run.source else ""
            chips.append(
                Markup(
                    '<li class="chip {}"><span aria-hidden="true">{}</span> {}{} '
                    '<span class="hidden">{}</span> {}</li>'
                ).format(found, _SIGNS[found], language(code), source, _SAID[found], percent(rate["mean"]))
            )
        title = decoding_name(run, decoding)
        rows.append(
            Markup('<p class="quiet">{}</p><ul class="chips">{}</ul>').format(title, Markup("").join(chips))
        )
    key = joined((f"{_SIGNS[name]} {_SAID[name]}" for name in ("better", "unclear", "worse")), "or")
    return Markup("").join(rows) + Markup('<p class="quiet">{}</p>').format(key)


def _how_much(run: TracedRun) -> Markup:
    told = []
    for decoding in DECODINGS:
        rate = run.last[decoding]["target_win_rate"]
        controlled = run.last[decoding]["target_lc_win_rate"]
        if rate:
            said = Markup("{}: a win rate of {} against the start in the target languages, ties half").format(
                decoding_name(run, decoding), percent(rate["mean"])
            )
            if controlled:
                said += Markup(", {} with length controlled").format(percent(controlled["mean"]))
            told.append(said)
    if not told:
        return Markup("No judgement of a target language succeeded.")
    rewards = _rewards(run)
    return bullets([*(each[:1].upper() + each[1:] + "." for each in told), *rewards])


def _rewards(run: TracedRun) -> list[Cell]:
    """The judge's own score, where it gives one, in words."""
    found = []
    for code in run.targets:
        before, after = (of_language(each, "greedy", code)["reward"] for each in (run.start, run.last))
        if before and after:
            found.append((code, difference(after, before)))
    if not found:
        return []
    most = max(found, key=lambda pair: pair[1].value)
    least = min(found, key=lambda pair: pair[1].value)
    if most[0] == least[0]:
        return [Markup("The judge's mean score moved by {}, greedy.").format(shown(most[1], "signed"))]
    return [
        Markup("The judge's mean score moved by between {} ({}) and {} ({}), greedy.").format(
            shown(least[1], "signed"), language(least[0]), shown(most[1], "signed"), language(most[0])
        )
    ]


def _how_sure(run: TracedRun) -> Markup:
    held = run.measures["held_out_prompts"]
    said = [
        Markup(
            "Each rate has a {} interval over {} held-out prompts a language, the same for every policy."
        ).format(confidence(), shown(held, "count")),
        Markup("The judge is {}.").format(data_text(run.measures["judge"]["label"].value)),
    ]
    said.append(
        Markup(
            "Intervals say what other prompts would have given. They know of no other judge and no other "
            "seed of training: <code>lingualign compare</code> runs several seeds."
        )
    )
    return Markup(" ").join(said)


def _cost(run: TracedRun) -> Markup:
    costs: list[Cell] = []
    spent = all_seconds(run)
    if spent.value:
        parts = [
            Markup("{} {}").format(kind, shown(node, "duration"))
            for kind, node in seconds_by_kind(run).items()
        ]
        costs.append(Markup("Time: {} of work: {}.").format(shown(spent, "duration"), joined(parts)))
    kept = [
        Markup("{} {}").format(percent(rate["mean"]), decoding_name(run, decoding))
        for decoding in DECODINGS
        if (rate := of_language(run.last, decoding, run.source)["win_rate"])
    ]
    if kept:
        costs.append(Markup("{}: wins against the start {}.").format(language(run.source), joined(kept)))
    costs.append(Markup("Length: {}").format(length_change(run)))
    return bullets(costs)


def _guards(run: TracedRun) -> Markup:
    """The guards that the verdict is made of."""
    rows: list[list[Cell]] = []
    for guard in run.last["verdict"]["guards"].elements():
        value, least = guard["value"], guard["least"]
        alone = isinstance(value.value, int | float)
        form = "points" if alone else "percent"
        sure = {True: "yes", False: "no", None: ""}[guard["sure"].value]
        passed = guard["passed"].value
        rows.append(
            [
                data_text(guard["name"].value),
                shown(value, form) if alone else interval(value),
                shown(least, form),
                Markup('<span class="{}">{}</span>').format(
                    "good" if passed else "bad", "✓ passed" if passed else "✗ failed"
                ),
                sure,
            ]
        )
    if not rows:
        return Markup("")
    return Table(
        Markup("What the verdict on {} is made of, in percent").format(iteration_name(run.last)),
        ["Guard", "Measured", "At least", "Result", "Beyond chance"],
        rows,
        words=(3, 4),
    ).folded("Guards of the verdict", unfolded=False)
