"""What is fuzzed, a reader or a group of them a file: `CASES`, what inputs are drawn from, and `check`."""

from __future__ import annotations

import pkgutil

NAMES = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))
