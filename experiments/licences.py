"""Writes docs/licences.md: licences of all that `pip install lingualign` brings, by `pip-licenses`.

`python experiments/licences.py` in an environment with the package and pip-licenses: the versions are those
of the environment. Optional packages (the extras) are listed as far as they are installed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "docs" / "licences.md"
EXTRAS = ("ray", "vllm", "sentence", "tasks", "translation", "confusion")
# Licences that ask something of whoever passes the work on, beyond naming its authors. "LGPL" before "GPL".
COPYLEFT = re.compile(
    r"\b(A?GPL|LGPL|MPL|EPL|CDDL|EUPL|OSL|CC-BY-SA)|(Affero|Lesser|General Public|Mozilla)", re.IGNORECASE
)
HEAD = """# Licences

lingualign is under the [Apache License 2.0](../LICENSE). It ships no code of others. What
`pip install lingualign` installs beside it keeps its own licence; this is what
[pip-licenses](https://pypi.org/project/pip-licenses/) reads out of the packages' metadata, made anew by
`python experiments/licences.py`. Metadata can be wrong: for a product, have the texts themselves looked
at.
"""


def closure(names: Iterable[str], extra: str = "") -> list[str]:
    """A package's dependencies and theirs, as far as they are installed, by name."""
    found: dict[str, str] = {}
    todo = [(name, extra) for name in names]
    while todo:
        name, extras = todo.pop()
        for line in metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extras}):
                continue
            key = canonicalize_name(requirement.name)
            if key in found:
                continue
            try:
                found[key] = metadata.version(requirement.name)
            except metadata.PackageNotFoundError:
                continue
            todo += [(requirement.name, wanted) for wanted in requirement.extras or {""}]
            todo.append((requirement.name, ""))
    return sorted(found)


def licences(packages: Sequence[str]) -> list[tuple[str, str, str]]:
    """Name, version and licence of packages, by `pip-licenses`."""
    tool = str(Path(sys.executable).with_name("pip-licenses"))
    command = [tool, "--from=mixed", "--format=json", "--packages", *packages]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return sorted((row["Name"], row["Version"].partition("+")[0], one_line(row["License"])) for row in rows)


def one_line(licence: str) -> str:
    """A licence's name; some packages give its whole text for it."""
    first = next((line.strip() for line in licence.splitlines() if line.strip()), "unknown")
    return first[:80].replace("|", "/")


def table(rows: Sequence[tuple[str, str, str]]) -> str:
    """The rows as Markdown."""
    lines = [f"| {name} | {version} | {licence} |" for name, version, licence in rows]
    return "\n".join(["| package | version | licence |", "|---|---|---|", *lines])


def main() -> None:
    runtime = closure(["lingualign"])
    required = licences(runtime)
    parts = [HEAD, "## Required", table(required)]
    optional: list[tuple[str, str, str]] = []
    for extra in EXTRAS:
        further = [name for name in closure(["lingualign"], extra) if name not in runtime]
        if further:
            rows = licences(further)
            optional += rows
            parts += [f"## With the extra `{extra}`", table(rows)]
    flagged = [row for row in dict.fromkeys([*required, *optional]) if COPYLEFT.search(row[2])]
    told = "\n".join(f"- {name} {version}: {licence}" for name, version, licence in flagged) or "None."
    parts.insert(
        1,
        "## Copyleft\nThese licences ask something of whoever passes the package itself on, such as its "
        f"source. lingualign\nimports the packages and contains none of them:\n\n{told}",
    )
    parts.append(SHIPPED)
    OUTPUT.write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")
    print(f"{OUTPUT.relative_to(ROOT)}: {len(required)} required packages, {len(flagged)} copyleft")


SHIPPED = """
## What the package itself ships

- **Models of the lab** (`lingualign/lab/models`): trained by us from random weights, on sentences of the
  lab's own grammar; no text of others is in them. Apache-2.0.
- **Grammars of the lab** (`lingualign/lab/grammar`): written for lingualign. Apache-2.0.
- **Recipes** (`lingualign/recipes`, `lingualign/lab/recipes`): written for lingualign, after the papers
  that they name. Apache-2.0.
- **The report's script and styles** (`lingualign/report/templates`): written for lingualign; no library
  and no font is in them, a page uses the fonts of the machine. Charts are output of Altair and
  vl-convert. Apache-2.0.
- **Wordings for judges and translators**: ours. Prompts of AlpacaEval and MT-Bench are read from files of
  yours.
- **Names of tasks** of lm-evaluation-harness, and the words that join premise and choice in XCOPA. No
  data of a benchmark is shipped.
"""

if __name__ == "__main__":
    main()
