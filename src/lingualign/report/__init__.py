"""The report of a run: one HTML file that opens from disk and says of each number where it comes from.

`page` is the place to start. `source` opens the run folder and gives values that know the file and the place
they came from; `numbers` writes them; `sections/` has a file a section; `charts` draws.
"""

from lingualign.report.comparison import write_comparison
from lingualign.report.page import write_report

__all__ = ["write_comparison", "write_report"]
