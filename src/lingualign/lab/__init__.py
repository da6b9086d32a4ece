"""The lab: a small closed world in real languages, with an exact judge, a translator and models."""

DIRECTIVE = "Answer in {language}."
"""The directive that the lab's models know."""

TRANSLATE = "Translate to {language}:\n{text}"
"""The prompt that `lab:translator` knows."""
