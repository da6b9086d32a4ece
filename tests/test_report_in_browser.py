"""The report in a real browser, opened from disk without a network, as its readers open it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, Page, expect
from typer.testing import CliRunner

from browser import DESKTOP, PHONE, Scheme, accessibility_findings, opened, scrolls_sideways, started
from hostile_run import MARKUP, hostile_pairs, make_hostile
from lingualign.cli import app
from lingualign.pipeline.progress import Silent
from lingualign.pipeline.run import align
from lingualign.report.page import write_report
from lingualign.settings import load_config

LOOKS: list[tuple[Scheme, int]] = [("light", DESKTOP), ("dark", DESKTOP), ("light", PHONE), ("dark", PHONE)]
RUN = [
    "iterations=1",
    "data.limit=14",
    "sampling.n=4",
    "measures.n=4",
    "measures.bootstrap=100",
    "training.epochs=1",
    "reward.options.also=[target]",
]
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the lab with its report. Do not write into it."""
    folder = tmp_path_factory.mktemp("runs") / "icr"
    align(load_config("icr", [*RUN, f"output={folder}"]), Silent())
    turn_context_round(folder / "iteration-1" / "scores" / "part-de-000000.parquet")
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def report(run: Path) -> Path:
    return run / "report.html"


@pytest.fixture(scope="module")
def hostile(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a run whose texts, ids and paths do their worst."""
    return write_report(make_hostile(run, tmp_path_factory.mktemp("runs") / "hostile"))


def turn_context_round(scores: Path) -> None:
    """Makes the second context disagree on half of the prompts: in a run this small it may on none."""
    table = pq.read_table(scores)
    rows = table.to_pylist()
    prompts = sorted({row["prompt_id"] for row in rows})[::2]
    for row in rows:
        for part in row["components"]:
            if part["name"] == "log_ratio:target" and row["prompt_id"] in prompts:
                part["value"] = -part["value"]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), scores)


def pairs_of(run: Path) -> list[dict[str, Any]]:
    """The pairs of a run, with the margin, and whether the context `target` prefers the rejected response."""
    ratios = {}
    for path in (run / "iteration-1" / "scores").glob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            parts = {part["name"]: part["value"] for part in row["components"]}
            ratios[row["prompt_id"], row["language"], row["index"]] = (
                row["reward"],
                parts.get("log_ratio:target"),
            )
    pairs = pq.read_table(run / "iteration-1" / "pairs.parquet").to_pylist()
    for pair in pairs:
        (reward, target), (other_reward, other_target) = (
            ratios[pair["prompt_id"], pair["language"], pair[f"{side}_index"]]
            for side in ("chosen", "rejected")
        )
        pair["margin"] = pair["chosen_score"] - pair["rejected_score"]
        pair["disagree"] = None not in (target, other_target) and (
            (reward - other_reward) * (target - other_target) < 0
        )
        pair["texts"] = [pair[part][0]["content"] for part in ("prompt", "chosen", "rejected")]
    return pairs


def walk(page: Page) -> list[dict[str, Any]]:
    """Goes from the first to the last pair that matches: ids, texts, and how wide the page is then."""
    return page.evaluate(
        """() => {
            const found = [];
            const next = document.querySelector('#pairs-next');
            if (document.querySelector('.pairs-panes').hidden) return found;
            for (;;) {
                const card = document.querySelector('.pair-card');
                found.push({
                    id: card.querySelector('[data-slot="id"]').textContent,
                    texts: [...card.querySelectorAll('[data-slot="text"]')].map(text => text.textContent),
                    wide: document.documentElement.scrollWidth,
                });
                if (next.getAttribute('aria-disabled') === 'true') return found;
                next.click();
            }
        }"""
    )


def shown_ids(page: Page) -> list[str]:
    """The ids of the pairs that match the filters, in their order."""
    return [pair["id"] for pair in walk(page)]


def current_id(page: Page) -> str:
    return page.locator(".pair-card [data-slot=id]").inner_text()


# ---- the browser itself ----


def html(path: Path, body: str) -> Path:
    path.write_text(f'<!doctype html><html lang="en"><title>Test</title><main><h1>Test</h1>{body}</main>')
    return path


@pytest.mark.parametrize(
    ("body", "trouble"),
    [
        ("<script>console.error('broken')</script>", "console error: broken"),
        ("<script>console.warn('odd')</script>", "console warning: odd"),
        ("<script>throw new Error('thrown')</script>", "exception: thrown"),
        ("<img alt='' src='https://example.org/a.png'>", "asks the network for https://example.org/a.png"),
        ("<script src='missing.js'></script>", "request failed: file:///"),
    ],
)
def test_what_goes_wrong_in_a_page_is_noticed(
    browser: Browser, tmp_path: Path, body: str, trouble: str
) -> None:
    with opened(browser, html(tmp_path / "page.html", body)) as visit:
        assert any(trouble in found for found in visit.troubles)
        visit.troubles.clear()


def test_a_page_wider_than_its_window_and_an_image_without_words_are_noticed(
    browser: Browser, tmp_path: Path
) -> None:
    wide = "<p style='width: 200vw'>wide</p><img src='data:,'>"
    with opened(browser, html(tmp_path / "page.html", wide)) as visit:
        assert "wide</p>" in scrolls_sideways(visit.page)[1]
        (finding,) = accessibility_findings(visit.page)
        assert finding.startswith("image-alt (critical)")
    boxed = "<div style='overflow: auto' tabindex=0><p style='width: 200vw'>wide</p></div>"
    with opened(browser, html(tmp_path / "boxed.html", boxed)) as visit:
        assert scrolls_sideways(visit.page) == []
        assert accessibility_findings(visit.page) == []


# ---- the page ----


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_the_report_opens_cleanly_fits_its_window_and_is_accessible(
    browser: Browser, report: Path, scheme: Scheme, width: int
) -> None:
    with opened(browser, report, scheme=scheme, width=width) as visit:
        page = visit.page
        assert scrolls_sideways(page) == []
        # All unfolded, and the pair browser in use.
        page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
        page.locator("#pairs-language").select_option("de")
        page.locator("#pairs-next").click()
        assert scrolls_sideways(page) == []
        assert accessibility_findings(page) == []


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_the_verdict_is_what_is_seen_first(browser: Browser, report: Path, width: int) -> None:
    with opened(browser, report, width=width) as visit:
        sections = visit.page.locator("main > section")
        assert sections.first.get_attribute("id") == "verdict"
        for said in (".stamp", ".headline"):
            expect(visit.page.locator(f"#verdict {said}")).to_be_in_viewport()


def test_the_verdict_is_in_its_colour(browser: Browser, run: Path, report: Path) -> None:
    ships = json.loads((run / "measures.json").read_text())["iterations"][-1]["verdict"]["verdict"] == "ship"
    colors = "stamp => (style => [style.color, style.backgroundColor])(getComputedStyle(stamp))"
    with opened(browser, report) as visit:
        stamp = visit.page.locator("#verdict .stamp")
        expect(stamp).to_have_text("Ship" if ships else "Do not ship")
        shown, name = stamp.evaluate(colors), "good" if ships else "bad"
        stamp.evaluate(
            f"stamp => {{ stamp.style = 'color: var(--{name}); background: var(--{name}-wash)'; }}"
        )
        assert shown == stamp.evaluate(colors)


def test_the_colours_follow_the_scheme(browser: Browser, report: Path) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        with opened(browser, report, scheme=scheme) as visit:
            brightness[scheme] = [
                sum(map(int, re.findall(r"\d+", color)[:3]))
                for color in visit.page.evaluate(
                    "(style => [style.backgroundColor, style.color])(getComputedStyle(document.body))"
                )
            ]
    assert brightness["light"][0] > 600 > 200 > brightness["light"][1]
    assert brightness["dark"][0] < 200 < 600 < brightness["dark"][1]


def test_every_link_of_the_contents_leads_to_its_section(browser: Browser, report: Path) -> None:
    with opened(browser, report) as visit:
        page = visit.page
        links = page.get_by_role("navigation", name="Contents").get_by_role("link")
        sections = page.locator("main > section")
        assert links.all_inner_texts() == sections.locator("> h2").all_inner_texts()
        assert len(set(links.all_inner_texts())) >= 9
        for link, section in zip(links.all(), sections.all(), strict=True):
            link.click()
            expect(section.locator("> h2")).to_be_in_viewport()


def test_links_within_the_page_have_targets(browser: Browser, report: Path) -> None:
    with opened(browser, report) as visit:
        missing = visit.page.evaluate(
            "[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))"
            ".filter(to => !to.startsWith('#') || !document.getElementById(to.slice(1)))"
        )
        assert missing == []


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
def test_tables_sort_by_the_numbers_in_them(browser: Browser, report: Path, how: str) -> None:
    with opened(browser, report) as visit:
        page = visit.page
        table = page.locator("#wins table")
        if not table.is_visible():
            page.locator("#wins summary").click()
        heading = table.get_by_role("columnheader", name="Wins")
        column = heading.evaluate("cell => cell.cellIndex")

        def press() -> list[float]:
            if how == "mouse":
                heading.get_by_role("button").click()
            else:
                heading.get_by_role("button").focus()
                page.keyboard.press("Enter")
            cells = table.locator(f"tbody tr > :nth-child({column + 1})").all_inner_texts()
            return [float(re.search(r"[-\d.]+", cell.replace("\u2212", "-"))[0]) for cell in cells]

        before = table.locator("tbody tr").count()
        up = press()
        assert heading.get_attribute("aria-sort") == "ascending"
        assert up == sorted(up)
        assert len(up) == before
        down = press()
        assert heading.get_attribute("aria-sort") == "descending"
        assert down == sorted(up, reverse=True)
        assert table.locator("[aria-sort]").count() == 1
        names = table.get_by_role("columnheader", name="Language")
        names.get_by_role("button").press("Space")
        assert names.get_attribute("aria-sort") == "ascending"
        assert table.locator("[aria-sort]").count() == 1


def test_what_a_chart_shows_is_said_in_words(browser: Browser, report: Path) -> None:
    with opened(browser, report) as visit:
        charts = visit.page.locator("#wins").get_by_role("img").all()
        assert len(charts) >= 2
        for chart in charts:
            assert "iteration 1" in (chart.get_attribute("aria-label") or "")


def test_the_pointer_is_told_what_a_mark_shows_and_where_a_number_is_from(
    browser: Browser, report: Path
) -> None:
    with opened(browser, report) as visit:
        page = visit.page
        tip = page.locator(".tip")
        expect(tip).to_be_hidden()
        page.locator("#wins svg path[transform]").first.hover()
        expect(tip).to_have_text(re.compile(r"^\w[\w ]*: [\d.]+ \[[\d.]+, [\d.]+\]$"))
        page.locator("#verdict data").first.hover()
        expect(tip).to_have_text(re.compile(r"measures\.json#/"))
        page.mouse.move(1, 1)
        expect(tip).to_be_hidden()


# ---- the pair browser ----


def test_all_pairs_of_a_small_run_are_there_and_filters_show_what_the_data_says(
    browser: Browser, run: Path, report: Path
) -> None:
    pairs = pairs_of(run)
    with opened(browser, report) as visit:
        page = visit.page
        language, search = page.locator("#pairs-language"), page.locator("#pairs-search")
        low, high = page.locator("#pairs-from"), page.locator("#pairs-to")

        def expected(wanted: list[dict[str, Any]]) -> None:
            assert wanted
            # A reset takes effect a moment after its click.
            expect(page.locator("#pairs-status")).to_have_text(re.compile(rf"Pair \d+ of {len(wanted)}$"))
            assert sorted(shown_ids(page)) == sorted(pair["id"] for pair in wanted)
            expect(page.locator("#pairs-status")).to_have_text(f"Pair {len(wanted)} of {len(wanted)}")

        expected(pairs)
        language.select_option("sw")
        swahili = [pair for pair in pairs if pair["language"] == "sw"]
        expected(swahili)

        margins = sorted(pair["margin"] for pair in swahili)
        gaps = [(after - before, (after + before) / 2) for before, after in pairwise(margins)]
        middle = max(gaps)[1]  # where rounding on the page decides nothing
        low.fill(str(middle))
        expected([pair for pair in swahili if pair["margin"] > middle])
        low.fill("")
        high.fill(str(middle))
        expected([pair for pair in swahili if pair["margin"] < middle])

        page.locator("#pairs-reset").click()
        expected(pairs)
        assert language.input_value() == ""
        for said in ("苹果", "¿", "EURO"):
            search.fill(said)
            expected([p for p in pairs if any(said.lower() in text.lower() for text in p["texts"])])
        search.fill("no text has this in it")
        expect(page.locator("#pairs-empty")).to_be_visible()
        expect(page.locator(".pair-card")).to_be_hidden()
        assert shown_ids(page) == []


def test_the_most_and_the_least_certain_come_first_and_disagreeing_contexts_are_found(
    browser: Browser, run: Path, report: Path
) -> None:
    german = [pair for pair in pairs_of(run) if pair["language"] == "de"]
    by_margin = [pair["id"] for pair in sorted(german, key=lambda pair: -pair["margin"])]
    by_doubt = [pair["id"] for pair in sorted(german, key=lambda pair: abs(pair["margin"]))]
    disagreeing = {pair["id"] for pair in pairs_of(run) if pair["disagree"]}
    assert disagreeing
    with opened(browser, report) as visit:
        page = visit.page
        page.locator("#pairs-show").select_option("contexts")
        assert set(shown_ids(page)) == disagreeing
        page.locator("#pairs-reset").click()
        expect(page.locator("#pairs-status")).to_have_text(f"Pair 1 of {len(pairs_of(run))}")
        page.locator("#pairs-language").select_option("de")
        page.locator("#pairs-show").select_option("certain")
        assert shown_ids(page) == by_margin[:12]
        page.locator("#pairs-show").select_option("uncertain")
        assert shown_ids(page) == by_doubt[:12]


def test_a_pair_shows_its_texts_and_numbers(browser: Browser, run: Path, report: Path) -> None:
    pairs = {pair["id"]: pair for pair in pairs_of(run)}
    with opened(browser, report) as visit:
        page = visit.page
        for code in ("en", "de", "zh"):
            page.locator("#pairs-language").select_option(code)
            pair = pairs[current_id(page)]
            card = page.locator(".pair-card")
            texts = [
                card.locator(f"[data-side={side}] [data-slot=text]").text_content()
                for side in ("prompt", "chosen", "rejected")
            ]
            assert texts == pair["texts"]
            number = card.locator("h3").inner_text().rpartition(" ")[2].replace("\u2212", "-")
            assert float(number) == pytest.approx(pair["margin"], rel=0.005)
            kept = []
            for side in ("chosen", "rejected"):
                box = card.locator(f"[data-side={side}]")
                assert f"{len(pair[side][0]['content'])} characters" in box.inner_text()
                assert box.locator("mark").count() or side == "chosen"
                kept.append(
                    box.locator("[data-slot=text]").evaluate(
                        "text => [...text.childNodes].filter(node => node.nodeName !== 'MARK')"
                        ".map(node => node.textContent).join('')"
                    )
                )
            # What is not marked is what both have.
            assert kept[0].split() == kept[1].split()


def test_a_key_right_after_a_reset_goes_on_from_the_first_pair(browser: Browser, report: Path) -> None:
    with opened(browser, report) as visit:
        page = visit.page
        ids = shown_ids(page)
        assert current_id(page) == ids[-1]
        # One script, so that nothing which waits for its turn runs between the two.
        page.evaluate(
            """() => {
                document.querySelector('#pairs-reset').click();
                const next = document.querySelector('#pairs-next');
                next.dispatchEvent(new KeyboardEvent('keydown', { key: 'j', bubbles: true }));
            }"""
        )
        assert current_id(page) == ids[1]


def test_the_keyboard_goes_from_pair_to_pair(browser: Browser, report: Path) -> None:
    with opened(browser, report) as visit:
        page = visit.page
        ids = shown_ids(page)
        page.locator("#pairs-reset").click()
        page.locator("#pairs-next").focus()
        walked = [current_id(page)]
        for key in ("Enter", "j", "ArrowRight", "k", "ArrowLeft", "ArrowLeft"):
            page.keyboard.press(key)
            walked.append(current_id(page))
        assert walked == [ids[place] for place in (0, 1, 2, 3, 2, 1, 0)]
        page.keyboard.press("ArrowLeft")
        assert current_id(page) == ids[0]
        # In the search field the same keys are text.
        page.locator("#pairs-search").focus()
        page.keyboard.press("j")
        assert page.locator("#pairs-search").input_value() == "j"
        # From the first control to the list, by the keyboard alone.
        page.locator("#pairs-reset").click()
        page.locator("#pairs-list button").nth(2).press("Enter")
        assert current_id(page) == ids[2]


# ---- other readers ----


def test_without_javascript_everything_is_there_but_for_what_needs_it(
    browser: Browser, run: Path, report: Path
) -> None:
    with opened(browser, report) as visit:
        headings = visit.page.locator("main > section > h2").all_inner_texts()
        charts = visit.page.locator("main svg").count()
    with opened(browser, report, scripts=False) as visit:
        page = visit.page
        assert page.locator("main > section > h2").all_inner_texts() == headings
        expect(page.locator("#verdict .headline")).to_be_visible()
        assert page.locator("main svg").count() == charts
        assert page.locator(".pair-card").count() == 3
        texts = {pair["id"]: pair["texts"] for pair in pairs_of(run)}
        for card in page.locator(".pair-card").all():
            expect(card).to_be_visible()
            shown = card.locator("[data-slot=text]").all()
            assert [text.text_content() for text in shown] == texts[
                card.locator("[data-slot=id]").inner_text()
            ]
        expect(page.locator("#pairs noscript")).to_be_visible()
        for control in page.locator("#pairs-filters, #pairs-bar, #pairs-list, th button").all():
            expect(control).to_be_hidden()
        assert scrolls_sideways(page) == []


def test_on_paper_all_tables_are_open_and_controls_are_gone(browser: Browser, report: Path) -> None:
    with opened(browser, report) as visit:
        page = visit.page
        folded = page.locator("main details:not([open])").count()
        assert folded > 0
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 718, "height": 1000})  # A4 without margins
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        for table in page.locator("main table:visible, main svg:visible").all():
            box = table.bounding_box()
            assert box is not None and box["x"] + box["width"] <= 718 + 1
        hidden = page.locator("main table").count() - page.locator("main table:visible").count()
        assert hidden == 0
        expect(page.locator("#verdict .headline")).to_be_visible()
        expect(page.locator(".pair-card").first).to_be_visible()
        for control in page.locator("nav, #pairs-filters, #pairs-bar").all():
            expect(control).to_be_hidden()
        assert scrolls_sideways(page) == []
        page.evaluate("window.dispatchEvent(new Event('afterprint'))")
        assert page.locator("main details:not([open])").count() == folded
        assert page.pdf().startswith(b"%PDF-")


def test_scripts_that_are_not_the_pages_own_do_not_run(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    injected = report.read_text().replace("</main>", "".join(MARKUP.values()) + "</main>")
    copy = tmp_path / "report.html"
    copy.write_text(injected)
    with opened(browser, copy) as visit:
        page = visit.page
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.hacked=1>')")
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), "
            "{textContent: 'window.hacked = 1'}))"
        )
        sent = page.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'blocked')")
        assert sent == "blocked"
        assert page.evaluate("typeof window.hacked") == "undefined"
        assert any("Content Security Policy" in trouble for trouble in visit.troubles)
        assert not any("asks the network" in trouble for trouble in visit.troubles)
        visit.troubles.clear()


# ---- hostile texts ----


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_hostile_texts_are_text_and_break_nothing(browser: Browser, hostile: Path, width: int) -> None:
    assert hostile.stat().st_size < 5_000_000
    with opened(browser, hostile, width=width) as visit:
        page = visit.page
        shown: list[str] = []
        for code in ("de", "zh", "en", "ar", "he"):
            page.locator("#pairs-language").select_option(code)
            for pair in walk(page):
                assert pair["wide"] <= width, pair["id"]
                shown += pair["texts"]
        assert page.evaluate("typeof window.hacked") == "undefined"
        for _, prompt, chosen, rejected in hostile_pairs():
            for text in (prompt, chosen, rejected):
                if len(text) < 500 and not HIDDEN.search(text):
                    assert text in shown
        assert not [text for text in shown if HIDDEN.search(text)]
        assert any("\u27e8U+202E\u27e9" in text for text in shown)


def test_of_a_word_of_a_megabyte_the_beginning_is_shown(browser: Browser, hostile: Path) -> None:
    with opened(browser, hostile) as visit:
        page = visit.page
        page.locator("#pairs-search").fill("longword in the prompt")
        prompt = page.locator(".pair-card [data-side=prompt]")
        text = prompt.locator("[data-slot=text]").text_content() or ""
        assert text.startswith("longword in the prompt: www")
        more = prompt.locator("[data-slot=more]").inner_text()
        assert len(text) + int(re.sub(r"\D", "", more)) == len("longword in the prompt: ") + 1_000_000


def test_settings_with_markup_in_them_are_text(browser: Browser, hostile: Path) -> None:
    with opened(browser, hostile) as visit:
        subject = visit.page.locator("header").inner_text()
        assert MARKUP["script"] in subject
        configuration = visit.page.locator("#configuration").text_content() or ""
        for name in ("script", "image", "attributes"):
            assert MARKUP[name].partition("'")[0] in configuration


def test_right_to_left_texts_are_set_so_and_the_page_is_not(browser: Browser, hostile: Path) -> None:
    def direction(found: Any) -> str:
        return found.evaluate("element => getComputedStyle(element).direction")

    with opened(browser, hostile) as visit:
        page = visit.page
        for code in ("ar", "he"):
            page.locator("#pairs-language").select_option(code)
            texts = page.locator(".pair-card [data-slot=text]")
            assert [direction(text) for text in texts.all()] == ["rtl"] * 3
            assert direction(page.locator("#pairs-list button[aria-current] .pairs-line")) == "rtl"
            for outside in (
                "html",
                "#pairs",
                ".pair-card",
                ".pair-card h3",
                "#pairs-list button[aria-current]",
            ):
                assert direction(page.locator(outside)) == "ltr"
            # A right-to-left line begins at the right edge.
            box = texts.first.bounding_box()
            assert box is not None
            edge = texts.first.evaluate(
                "element => { const range = document.createRange(); range.selectNodeContents(element);"
                " return range.getBoundingClientRect().right; }"
            )
            assert abs(box["x"] + box["width"] - edge) < 2
        page.locator("#pairs-language").select_option("de")
        assert direction(page.locator(".pair-card [data-slot=text]").first) == "ltr"


# ---- two runs ----


@pytest.mark.parametrize(("scheme", "width"), [("light", DESKTOP), ("dark", PHONE)])
def test_a_comparison_opens_cleanly_and_its_tables_sort(
    browser: Browser, run: Path, hostile: Path, tmp_path: Path, scheme: Scheme, width: int
) -> None:
    page_file = tmp_path / "comparison.html"
    result = CliRunner().invoke(app, ["report", str(run), str(hostile.parent), "--output", str(page_file)])
    assert result.exit_code == 0, result.output
    with opened(browser, page_file, scheme=scheme, width=width) as visit:
        page = visit.page
        assert page.locator(".stamp").count() == 2
        assert scrolls_sideways(page) == []
        assert accessibility_findings(page) == []
        heading = page.locator("main th[scope=col]").locator("visible=true").first
        heading.get_by_role("button").click()
        assert heading.get_attribute("aria-sort") == "ascending"
        assert MARKUP["script"] in (page.locator("main").text_content() or "")
        assert page.evaluate("typeof window.hacked") == "undefined"
