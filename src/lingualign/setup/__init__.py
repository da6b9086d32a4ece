"""Setting up a run: asking for what it needs, checking machine, model and data, and saying what it will cost.

`init` asks (`questions.py`, with the checks of `answers.py`), chooses what fits the model (`suggest.py`) and
writes it down with comments (`commented.py`). `doctor` looks at the machine (`machine.py`), the packages
(`packages.py`), the models and the prompts (`run_checks.py`, `coverage.py`). What a run will cost is computed
from the models' shapes (`shape.py`, `memory.py`), and from a short probe of its own stages (`probe.py`,
`training_step.py`, `estimate.py`).
"""
