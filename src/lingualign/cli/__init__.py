"""The command line: one file a command.

Command modules import nothing heavy at their top, so that `lingualign --help` answers at once; torch and
transformers are loaded by the commands that need them, after their arguments have been checked.
"""

from lingualign.cli.app import app, main

__all__ = ["app", "main"]
