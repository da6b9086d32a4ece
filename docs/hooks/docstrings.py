"""Docstrings say `Example:`; Griffe knows `Examples:` alone, and would take what follows for prose."""

from __future__ import annotations

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Lets examples be code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Renames the section where there is one."""
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
