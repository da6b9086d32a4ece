"""Takes the pictures of a report that the README shows: report.png and pairs.png.

    .venv/bin/python docs/images/make_screenshots.py runs/icr/report.html docs/images

It needs Chromium, and fonts for the languages of the run, as `.ci/run` installs them.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

SIZE = {"width": 1200, "height": 800}


def take(page: Page, path: Path) -> None:
    """Writes what the window shows as a PNG with a palette, which looks the same and is much smaller."""
    page.screenshot(path=path)
    with Image.open(path) as picture:
        palette = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    palette.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Opens the report as a reader would, without the network, and takes its top and its pair browser."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("report", type=Path, help="report.html of a run")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--language", default="es", help="of the pairs that are shown")
    arguments = parser.parse_args()
    executable = os.environ.get("LINGUALIGN_CHROMIUM", shutil.which("chromium"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, offline=True, color_scheme="light", reduced_motion="reduce")
        page.goto(arguments.report.resolve().as_uri())
        take(page, arguments.folder / "report.png")
        page.locator("#pairs-language").select_option(arguments.language)
        page.locator("#pairs-show").select_option("certain")
        page.evaluate("document.querySelector('#pairs').scrollIntoView()")
        take(page, arguments.folder / "pairs.png")
        browser.close()


if __name__ == "__main__":
    main()
