"""The parts of the page, in the order in which they are read; a file a section.

Each has `section(run)`, which gives a `Section`, or None where the run has nothing for it.
"""
