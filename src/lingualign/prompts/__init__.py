"""Prompts: reading them in parallel languages, asking for a language, and turning them into tokens."""

from lingualign.prompts.chat import ChatFormat
from lingualign.prompts.directives import directive, with_directive
from lingualign.prompts.read import ParallelPrompts, Prompt, read_prompts

__all__ = ["ChatFormat", "ParallelPrompts", "Prompt", "directive", "read_prompts", "with_directive"]
