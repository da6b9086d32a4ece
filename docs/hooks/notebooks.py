"""Notebooks as pages: text as it is, code with what it printed. The notebook itself can be fetched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds `NAME.md` for each `NAME.ipynb`."""
    for notebook in [file for file in files if file.src_uri.endswith(".ipynb")]:
        content = json.loads(Path(str(notebook.abs_src_path)).read_text(encoding="utf-8"))
        name = notebook.src_uri.removesuffix(".ipynb")
        files.append(
            File.generated(config, f"{name}.md", content="\n".join(_markdown(content, notebook.name)))
        )
    return files


def _markdown(notebook: dict[str, Any], name: str) -> Iterator[str]:
    for number, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            yield f"{source}\n"
        elif source:
            yield f"```python\n{source}\n```\n"
        for output in cell.get("outputs", ()):
            text = "".join(output.get("text", output.get("data", {}).get("text/plain", ""))).strip("\n")
            if text:
                yield f"```text\n{text}\n```\n"
        if number == 0:
            yield f"This page is a notebook: [{name}.ipynb]({name}.ipynb).\n"
