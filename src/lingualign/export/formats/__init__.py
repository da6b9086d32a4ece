"""The formats of other trainers, a file a format: its name is what `lingualign export --to` takes.

A new format is one new file here (`my_trainer.py` for `--to my-trainer`) that keeps to the protocol `Format`
of `lingualign.export.base`; nothing has to be registered.
"""
