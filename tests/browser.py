"""A real browser for tests: Chromium, driven by Playwright, with every way to the network shut.

A page is opened from disk, and whatever goes wrong in it is noted: messages and exceptions in its console,
requests that leave the disk, requests that fail. `opened` demands that nothing did.

Playwright keeps an event loop running in the thread while it is started, and other tests want to start one:
so a browser is kept for a module of tests, and never for a session.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Route, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
HOW_TO_INSTALL = (
    "no browser: install one with `apt-get install chromium`, "
    "or say with LINGUALIGN_CHROMIUM=PATH where yours is"
)
DESKTOP, PHONE = 1280, 390
ONLY_FINDINGS = {"resultTypes": ["violations"], "selectors": False}  # half the time on a long page
HEIGHTS = {DESKTOP: 800, PHONE: 844}
Scheme = Literal["light", "dark"]


@dataclass
class Visit:
    """A page that is open, and what went wrong in it so far."""

    page: Page
    troubles: list[str] = field(default_factory=list)


def find_browser() -> str | None:
    """The browser that LINGUALIGN_CHROMIUM names, or else the first of those that a system usually has."""
    named = os.environ.get("LINGUALIGN_CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def started() -> Iterator[Browser]:
    """A browser without a window; the test is skipped where there is none, or fails if one is required.

    LINGUALIGN_BROWSER=required, which CI sets, makes a missing browser a failure.
    """
    executable = find_browser()
    if executable is None:
        if os.environ.get("LINGUALIGN_BROWSER") == "required":
            pytest.fail(HOW_TO_INSTALL)
        pytest.skip(HOW_TO_INSTALL)
    with sync_playwright() as playwright:
        # Its sandbox needs privileges that containers do not have; the pages are our own, and offline.
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Browser, path: Path, *, scheme: Scheme = "light", width: int = DESKTOP, scripts: bool = True
) -> Iterator[Visit]:
    """Opens a file as a person would, and demands at the end that nothing went wrong in it.

    Args:
        browser: From `started`.
        path: The HTML file.
        scheme: Of colours, as the system of the reader prefers.
        width: Of the window, `DESKTOP` or `PHONE`.
        scripts: Whether JavaScript is allowed to run.

    Yields:
        The visit; a test that provokes trouble on purpose clears `troubles` once it has looked.
    """
    context = browser.new_context(
        color_scheme=scheme,
        viewport={"width": width, "height": HEIGHTS[width]},
        java_script_enabled=scripts,
        offline=True,
        reduced_motion="reduce",
    )
    try:
        page = context.new_page()
        visit = Visit(page)

        def console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                visit.troubles.append(f"console {message.type}: {message.text}")

        def request(route: Route) -> None:
            if route.request.url.startswith(("file:", "data:", "blob:")):
                route.continue_()
            else:
                visit.troubles.append(f"asks the network for {route.request.url}")
                route.abort()

        def failed(request: Request) -> None:
            visit.troubles.append(f"request failed: {request.url} ({request.failure})")

        page.on("console", console)
        page.on("pageerror", lambda error: visit.troubles.append(f"exception: {error}"))
        page.on("requestfailed", failed)
        context.route("**/*", request)
        page.goto(path.as_uri(), wait_until="load")
        yield visit
        assert visit.troubles == []
    finally:
        context.close()


def scrolls_sideways(page: Page) -> list[str]:
    """What makes the page itself wider than its window, the outermost elements first; empty if nothing does.

    What is wide inside of a box that scrolls on its own does not count.
    """
    return page.evaluate(
        """() => {
            const wide = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= wide) return [];
            return ['page: ' + document.documentElement.scrollWidth].concat(
                [...document.body.querySelectorAll('*')]
                    .filter(element => element.getBoundingClientRect().right > wide + 1)
                    .slice(0, 5)
                    .map(element => element.outerHTML.slice(0, 120)));
        }"""
    )


def accessibility_findings(page: Page, impacts: tuple[str, ...] = ("serious", "critical")) -> list[str]:
    """What axe-core finds wrong on the page as it is now, a line for each rule that is broken."""
    return [
        f"{violation['id']} ({violation['impact']}): {violation['help']}: {len(violation['nodes'])} times, "
        f"as in {violation['nodes'][0]['html'][:200]}"
        for violation in Axe().run(page, options=ONLY_FINDINGS).response["violations"]
        if violation["impact"] in impacts
    ]
