"""Runs: the folder, its stages, resume, and the order of the stages.

`run.align` reads top to bottom and is the place to start. It stands on `validate` (everything that can be
wrong is found before a model is loaded), `stages` (what each stage does) and `folder` (how a stage is
skipped, resumed and written).
"""
