"""What a comparison of methods shows, and what it does not, in sentences made from its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lingualign.languages import resolve
from lingualign.measures.intervals import LEVEL
from lingualign.measures.win_rate import TIE


def findings(comparison: Mapping[str, Any]) -> list[str]:
    """What is significant and what is not: a paragraph a decoding, one on the source language, and a caution.

    Args:
        comparison: The content of `comparison.json`, but for the findings.
    """
    wins = comparison["wins"]
    caution = "One seed: what another training would come to is in no interval."
    return [
        f"{_sampled(comparison)}, {_paragraph(comparison, wins['sampled'])}",
        f"With greedy decoding, {_paragraph(comparison, wins['greedy'])}",
        _source(comparison),
        *([caution] if len(comparison["seeds"]) == 1 else []),
    ]


def beaten(wins: Mapping[str, Any]) -> dict[str, list[str]]:
    """Which methods each method is significantly better than, in the order of the methods.

    Args:
        wins: Of one decoding, as in `comparison.json`.
    """
    found: dict[str, list[str]] = {method: [] for method in wins["methods"]}
    for pair in wins["differences"]:
        if pair["p_adjusted"] < LEVEL:
            better, worse = pair["first"], pair["second"]
            if pair["difference"]["mean"] < 0:
                better, worse = worse, better
            found[better].append(worse)
    return {method: [other for other in found if other in others] for method, others in found.items()}


def alike(wins: Mapping[str, Any]) -> list[list[str]]:
    """The largest groups of methods next to each other by wins of which none is significantly better.

    They may overlap: that two methods cannot be told from a third does not make them alike.
    """
    ranked = sorted(wins["methods"], key=lambda method: -wins["methods"][method]["target"]["mean"])
    better = beaten(wins)
    groups: list[list[str]] = []
    for start in range(len(ranked)):
        group = [ranked[start]]
        for method in ranked[start + 1 :]:
            if any(method in better[other] or other in better[method] for other in group):
                break
            group.append(method)
        if len(group) > 1 and not (groups and set(group) <= set(groups[-1])):
            groups.append(group)
    return groups


def _paragraph(comparison: Mapping[str, Any], wins: Mapping[str, Any]) -> str:
    """Who is better than the start, who is better than whom, and who cannot be told apart."""
    ranked = sorted(wins["methods"], key=lambda method: -wins["methods"][method]["target"]["mean"])
    better, worse, neither = list[str](), list[str](), list[str]()
    for method in ranked:
        found = wins["methods"][method]
        told = f"{method} ({_percent(found['target'])}{' % wins' if method == ranked[0] else ''})"
        if found["p"] >= LEVEL:
            neither.append(told)
        else:
            (better if found["target"]["mean"] > TIE else worse).append(told)
    against_start = [
        *([f"{_are(better)} better than the start"] if better else []),
        *([f"{_are(worse)} worse than the start"] if worse else []),
        *([f"{_listed(neither)} cannot be told from the start"] if neither else []),
    ]
    sentences = ["; ".join(against_start)]
    winners: dict[tuple[str, ...], list[str]] = {}
    for method, others in beaten(wins).items():
        if others:
            winners.setdefault(tuple(others), []).append(method)
    sentences += [f"{_are(methods)} better than {_listed(losers)}" for losers, methods in winners.items()]
    groups = [f"between {_listed(group)}" for group in alike(wins)]
    if groups:
        none = f"There is no difference that {_evidence(comparison)} can show"
        sentences.append(f"{none} {'; nor '.join(groups)}")
    return ". ".join(sentences) + "."


def _source(comparison: Mapping[str, Any]) -> str:
    """Which methods harmed the source language, by wins against the start in either decoding."""
    code, names = comparison["source_language"], {"sampled": _sampled(comparison), "greedy": "greedy"}
    harmed: dict[str, list[str]] = {}
    for decoding, name in names.items():
        for method, found in comparison["wins"][decoding]["methods"].items():
            interval = found["languages"][code]
            if found["p_source"] < LEVEL and interval["mean"] < TIE:
                where = name[:1].lower() + name[1:]
                harmed.setdefault(method, []).append(f"{_percent(interval)} {where}")
    language = resolve(code).name
    if not harmed:
        return f"{language}: no method made it worse, as far as {_evidence(comparison)} can show."
    told = [f"{method} ({', '.join(where)})" for method, where in harmed.items()]
    return f"{language}: {_listed(told)} made it worse, in percent of wins against the start."


def _sampled(comparison: Mapping[str, Any]) -> str:
    return f"At T={comparison['temperature']:g}"


def _evidence(comparison: Mapping[str, Any]) -> str:
    seeds, prompts = len(comparison["seeds"]), comparison["held_out_prompts"]
    return f"{seeds} seed{'s' if seeds > 1 else ''} and {prompts} prompts"


def _percent(interval: Mapping[str, float]) -> str:
    return f"{100 * interval['mean']:.1f}"


def _listed(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def _are(items: Sequence[str]) -> str:
    return f"{_listed(items)} {'are' if len(items) > 1 else 'is'}"
