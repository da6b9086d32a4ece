"""The report of a large run: seconds to make it, its size, and seconds until a browser shows it.

    python benchmarks/report.py --output benchmarks/results/report.md
    python benchmarks/report.py --pairs 1000 --languages 4 --rounds 1     # whether it runs

The run is made by `tests/synthetic_run.py`: 20 languages, 100,000 pairs over two iterations, eight candidates
each. `lingualign report` is timed as a process of its own, imports included, files in the disk's cache. The
page is then opened from disk in a headless Chromium at 1,280 x 800; without Playwright or Chromium these
columns stay empty.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from measure import environment

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from synthetic_run import TWENTY, Size, make_run  # noqa: E402

TARGETS = "30 seconds to make it, 5 MB, 2 seconds to the first paint"
NOTE_TIMES = """
    window.times = {paint: null, ready: null};
    new PerformanceObserver((list) => {
        for (const entry of list.getEntriesByName("first-contentful-paint")) times.paint = entry.startTime;
    }).observe({type: "paint", buffered: true});
    new MutationObserver(() => {
        if (times.ready === null && document.querySelector("#pairs-status")?.textContent) {
            times.ready = performance.now();
        }
    }).observe(document, {childList: true, subtree: true});
"""
COMMAND = [sys.executable, "-c", "from lingualign.cli import main; main()", "report"]


@dataclass(frozen=True)
class Making:
    """One call of `lingualign report`: seconds on the clock, of the processor, and its memory in MB."""

    seconds: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Showing:
    """One opening of the page.

    Attributes:
        paint: Seconds to the first contentful paint.
        ready: Seconds until the pair browser has shown its first pair, so that its filters respond.
        search: Milliseconds for a search over all texts of an iteration, without drawing.
    """

    paint: float
    ready: float
    search: float


def make_page(run: Path) -> Making:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run([*COMMAND, str(run)], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Making(seconds, cpu, after.ru_maxrss / 1024)


def show_page(path: Path, chromium: str) -> Showing:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.add_init_script(NOTE_TIMES)
        page.goto(path.resolve().as_uri())
        page.locator("#pairs-status", has_text="Pair 1 of").wait_for()
        while page.evaluate("times.paint") is None:
            page.wait_for_timeout(50)
        paint, ready = page.evaluate("[times.paint, times.ready]")
        search = page.evaluate(
            """() => {
                const field = document.querySelector('#pairs-search');
                const start = performance.now();
                field.value = 'a';
                field.dispatchEvent(new Event('input', {bubbles: true}));
                return performance.now() - start;
            }"""
        )
        browser.close()
    return Showing(paint / 1000, ready / 1000, search)


def measure(run: Path, rounds: int, chromium: str | None) -> list[str]:
    """The cells of the table that are measured."""
    makings = [make_page(run) for _ in range(rounds)]
    page = run / "report.html"
    showings = [show_page(page, chromium) for _ in range(rounds)] if chromium else []
    cells = [
        f"{statistics.median(making.seconds for making in makings):.1f}",
        f"{statistics.median(making.cpu for making in makings):.1f}",
        f"{makings[-1].memory:,.0f}",
        f"{page.stat().st_size / 1e6:.2f}",
    ]
    if not showings:
        return [*cells, "", "", ""]
    return [
        *cells,
        f"{statistics.median(showing.paint for showing in showings):.2f}",
        f"{statistics.median(showing.ready for showing in showings):.2f}",
        f"{statistics.median(showing.search for showing in showings):.0f}",
    ]


def megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def find_chromium(given: str | None) -> str | None:
    """The browser's program; None without it or without Playwright."""
    if find_spec("playwright") is None:
        return None
    return given or shutil.which("chromium") or shutil.which("google-chrome")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, help="also write the table to this file")
    parser.add_argument("--languages", type=int, default=20, help=f"at most {len(TWENTY)}")
    parser.add_argument("--pairs", type=int, default=100_000, help="of the whole run")
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--candidates", type=int, default=8, help="responses a prompt")
    parser.add_argument("--sentences", type=int, default=8, help="of a response, on average")
    parser.add_argument("--heldout", type=int, default=200, help="held-out prompts a language")
    parser.add_argument("--rounds", type=int, default=3, help="medians are of so many")
    parser.add_argument("--run", type=Path, help="keep the run here, and take the one that is there")
    parser.add_argument("--chromium", help="the browser's program, if it is not on the path")
    options = parser.parse_args()
    size = Size(
        languages=TWENTY[: options.languages],
        iterations=options.iterations,
        prompts=options.pairs // options.languages // options.iterations,
        candidates=options.candidates,
        sentences=options.sentences,
        heldout=options.heldout,
    )
    chromium = find_chromium(options.chromium)
    with tempfile.TemporaryDirectory() as temporary:
        run = options.run or Path(temporary) / "run"
        if not (run / "measures.json").exists():
            print(f"Making the run in {run} ...", file=sys.stderr)
            make_run(run, size)
        load = os.getloadavg()[0]
        cells = measure(run, options.rounds, chromium)
        text = table(size, megabytes(run), cells, load, options.rounds, chromium)
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


def table(size: Size, folder: float, cells: list[str], load: float, rounds: int, chromium: str | None) -> str:
    machine = environment()
    pairs = len(size.languages) * size.iterations * size.prompts
    shown = "no browser"
    if chromium:
        said = subprocess.run([chromium, "--version"], check=True, capture_output=True, text=True).stdout
        shown = " ".join(said.split()[:2])
    row = [str(len(size.languages)), f"{pairs:,}", f"{pairs * size.candidates:,}", f"{folder:,.0f}", *cells]
    return "\n".join(
        [
            "# The report of a large run",
            "",
            f"`lingualign report` on a run of `tests/synthetic_run.py`; {machine['processor']}, "
            f"{machine['cores']} cores; pyarrow {version('pyarrow')}; {shown}, headless. Medians of "
            f"{rounds}. The target: {TARGETS}. Filters: when the pair browser has shown its first pair. "
            "Search: through all texts of an iteration. Load: of the machine before.",
            "",
            "| languages | pairs | responses | MB of the run | seconds | CPU seconds | peak MB "
            "| MB of the page | first paint, s | filters, s | search, ms | load |",
            "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
            "| " + " | ".join([*row, f"{load:.1f}"]) + " |",
            "",
        ]
    )


if __name__ == "__main__":
    main()
