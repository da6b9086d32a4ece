"""The packages: what is installed, against what lingualign asks for."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from lingualign.setup.findings import Finding

PACKAGE = "lingualign"
SHOWN = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "tokenizers")
EXTRAS = {
    "sentence": "a sentence encoder as embedder (cm-align)",
    "tasks": "`lingualign measure tasks`, by lm-evaluation-harness",
    "translation": "chrF and BLEU",
    "ray": "sampling and scoring on a Ray cluster (executor=ray)",
    "vllm": "sampling by vLLM in this process (sampling.backend=vllm)",
    "confusion": "the Language Confusion Benchmark's own identifier and word breaking",
}
"""What an optional part of the package (an extra) is for; those for its developers are left out."""

Installed = Callable[[str], str | None]  # name of a package -> its version, None where it is not there


def installed_version(name: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_packages() -> list[Finding]:
    """All checks of packages, against what the installed lingualign asks for."""
    try:
        own = metadata.metadata(PACKAGE)
    except metadata.PackageNotFoundError:
        return [
            Finding(
                "packages", "problem", "lingualign is not installed", "Run `pip install .` in its folder."
            )
        ]
    requirements = [Requirement(text) for text in own.get_all("Requires-Dist") or []]
    return [
        check_python(own["Requires-Python"] or "", platform.python_version()),
        *check_required([r for r in requirements if "extra ==" not in str(r.marker)], installed_version),
        *[
            check_extra(name, [r for r in requirements if _extra(r) == name], installed_version)
            for name in EXTRAS
            if any(_extra(r) == name for r in requirements)
        ],
    ]


def check_python(required: str, version: str) -> Finding:
    """Whether Python is new enough."""
    if not SpecifierSet(required).contains(version, prereleases=True):
        return Finding(
            "Python", "problem", f"{version}, and {required} is needed", "Use another Python for this."
        )
    return Finding("Python", "ok", version)


def check_required(requirements: Sequence[Requirement], installed: Installed) -> list[Finding]:
    """Whether the packages that lingualign cannot do without are there: a finding for each that is not.

    Returns:
        One that names versions where all is well, else the problems.
    """
    wrong = [
        Finding("packages", "problem", problem, f'Run `pip install "{_wanted(requirement)}"`.')
        for requirement in requirements
        if (problem := _wrong(requirement, installed))
    ]
    if wrong:
        return wrong
    shown = ", ".join(f"{name} {version}" for name in SHOWN if (version := installed(name)))
    return [Finding("packages", "ok", f"all {len(requirements)} as required: {shown}")]


def check_extra(name: str, requirements: Sequence[Requirement], installed: Installed) -> Finding:
    """Whether an optional part is there, and not too old."""
    gives = EXTRAS[name]
    missing = [r for r in requirements if installed(r.name) is None]
    old = [
        problem for r in requirements if r not in missing and (problem := _wrong(r, installed)) is not None
    ]
    command = f"`pip install '{PACKAGE}[{name}]'`"
    if old:
        return Finding(f"[{name}]", "warning", f"{gives}: {'; '.join(old)}", f"Run {command}.")
    if missing:
        what = "not installed" if len(missing) == len(requirements) else "not complete"
        return Finding(f"[{name}]", "ok", f"{gives}: {what}; {command} adds it")
    return Finding(f"[{name}]", "ok", f"{gives}: installed")


def _wrong(requirement: Requirement, installed: Installed) -> str | None:
    """What is wrong with a package, in words; None where nothing is."""
    version = installed(requirement.name)
    if version is None:
        return f"{requirement.name} is not installed"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} is {version}, and {requirement.specifier} is needed"
    return None


def _wanted(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def _extra(requirement: Requirement) -> str | None:
    """The optional part that asks for a package; None for one that is always needed, or for developers."""
    return next((name for name in EXTRAS if f'extra == "{name}"' in str(requirement.marker)), None)
