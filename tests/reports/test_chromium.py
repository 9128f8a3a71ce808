"""The page in a real browser: read, ordered, filtered, printed, nothing asked of a network, no word of error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reports.site import page
from tests.reports.small_report import RUN, SPEEDS, small_report
from tests.reports.visit import DESKTOP, PHONE, Visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TABLE = "#speed-table"


def names(visit: Visit) -> list[str]:
    """The methods that the table shows, from above."""
    return visit.page.locator(f"{TABLE} tbody tr:visible th").all_inner_texts()


def order_by(visit: Visit, place: int) -> None:
    visit.page.locator(f"{TABLE} thead button").nth(place).click()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small report as a file."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(small_report()), encoding="utf-8")
    return path


@pytest.fixture
def visit(chromium: Browser, written: Path) -> Iterator[Visit]:
    """A desktop visit that must have been a quiet one: the file itself was loaded, and nothing else was asked for."""
    visit = Visit(chromium, written)
    yield visit
    assert set(visit.requests) == {visit.address}
    assert visit.complaints == []
    visit.context.close()


def test_a_column_orders_the_rows_and_says_so(visit: Visit) -> None:
    written = names(visit)
    by_speed = sorted(SPEEDS, key=lambda name: SPEEDS[name][0])
    order_by(visit, 1)
    assert names(visit) == [*by_speed, "too-large"]
    head = visit.page.locator(f"{TABLE} thead th").nth(1)
    assert head.get_attribute("aria-sort") == "ascending"
    order_by(visit, 1)
    assert names(visit) == [*reversed(by_speed), "too-large"]  # not measured is last either way
    assert head.get_attribute("aria-sort") == "descending"
    order_by(visit, 1)
    assert names(visit) == written
    assert head.get_attribute("aria-sort") is None


def test_the_keyboard_orders_too(visit: Visit) -> None:
    visit.page.locator(f"{TABLE} thead button").nth(1).focus()
    visit.page.keyboard.press("Enter")
    assert names(visit)[0] == "sparsegrad-regular"


def test_claims_are_ordered_by_number_not_by_digit(visit: Visit) -> None:
    visit.page.locator("table.ledger thead button").first.click()
    claims = visit.page.locator("table.ledger tbody .claim-id").all_inner_texts()
    assert claims == ["C1", "C2", "C3", "C4", "C10"]


def test_the_filter_keeps_rows_with_every_word(visit: Visit) -> None:
    field = visit.page.locator(f"div.table:has({TABLE}) input[type=search]")
    field.fill("sparsegrad 1.15")
    assert names(visit) == ["sparsegrad-compact"]
    assert visit.page.locator(f"div.table:has({TABLE}) output").inner_text() == "1 of 9 rows"
    field.fill("no such method")
    assert names(visit) == []
    field.fill("")
    assert len(names(visit)) == 9


def test_the_theme_is_switched_and_remembered(visit: Visit) -> None:
    def colours(page: Page) -> list[str]:
        return page.evaluate("['backgroundColor', 'color'].map(name => getComputedStyle(document.body)[name])")

    light = colours(visit.page)
    button = visit.page.get_by_role("button", name="Theme")
    button.click()  # light, which this reader's machine asks for anyway
    assert colours(visit.page) == light
    button.click()
    dark = colours(visit.page)
    assert dark != light
    assert colours(visit.another()) == dark
    visit.page.emulate_media(color_scheme="dark")
    button.click()
    assert button.inner_text() == "Theme: auto"
    assert colours(visit.page) == dark


def test_a_number_leads_to_its_samples_and_to_its_run(visit: Visit) -> None:
    number = visit.page.locator(f"{TABLE} tbody tr:has-text('meprop') button.number").first
    number.click()
    behind = visit.page.locator("[popover]:popover-open")
    assert "time of a step, ms (n = 10)" in behind.inner_text()
    assert behind.locator(".raw").inner_text().count(",") == 9
    assert "python -m bench.speed" in behind.locator(".command").inner_text()
    assert "Some CPU" in behind.inner_text()
    behind.get_by_role("link").click()
    assert visit.page.locator("[popover]:popover-open").count() == 0
    facts = visit.page.locator("details.run .run-facts")
    assert facts.is_visible()
    assert "small/speed/0123456789abcdef" in facts.inner_text()


def test_a_drawing_has_its_data_one_click_away(visit: Visit) -> None:
    for figure in visit.page.locator("figure").all():
        assert figure.get_by_role("img").get_attribute("aria-label")
        rows = figure.locator("details tbody tr")
        assert not rows.first.is_visible()
        figure.locator("summary").click()
        assert rows.first.is_visible()


def test_it_prints(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Theme").click(click_count=2)  # dark on the screen, never on paper
    assert visit.page.locator("html").get_attribute("data-theme") == "dark"
    printed = visit.page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    visit.page.emulate_media(media="print")
    assert visit.page.evaluate("getComputedStyle(document.body).colorScheme") == "light"
    assert not visit.page.get_by_role("button", name="Theme").is_visible()
    assert not visit.page.locator("input").first.is_visible()
    assert visit.page.locator("table.ledger pre").first.is_visible()  # folded on the screen
    assert visit.page.get_by_text("Raw samples are in the records").is_visible()  # what no click leads to on paper
    run = visit.page.locator("details.run")
    assert run.locator("pre.command").is_visible() and run.get_by_text(RUN).is_visible()
    assert not run.get_by_text("Fingerprints").is_visible()
    visit.page.set_viewport_size({"width": 688, "height": 1000})  # A4 between margins of 14 mm
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 688


@pytest.mark.parametrize("phone", [True, False], ids=["phone", "desktop"])
def test_nothing_is_wider_than_the_screen(chromium: Browser, written: Path, phone: bool, tmp_path: Path) -> None:
    visit = Visit(chromium, written, phone=phone)
    width = (PHONE if phone else DESKTOP)[0]
    visit.page.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    visit.page.screenshot(path=tmp_path / "page.png", full_page=True)
    visit.page.locator("button.number").first.click()
    box = visit.page.locator("[popover]:popover-open").bounding_box()
    assert box is not None
    assert box["x"] >= 0 and box["x"] + box["width"] <= width
    visit.context.close()


def test_without_scripts_everything_is_there(chromium: Browser, written: Path) -> None:
    visit = Visit(chromium, written, scripts=False)
    assert len(names(visit)) == 9
    visit.page.locator(f"{TABLE} button.number").first.click()
    assert "n = 10" in visit.page.locator("[popover]:popover-open").inner_text()
    visit.page.locator("[popover]:popover-open").get_by_role("link").click()
    assert visit.page.locator("details.run .run-facts").is_visible()
    assert set(visit.requests) == {visit.address}
    visit.context.close()


def test_the_policy_refuses_what_is_not_the_pages_own(chromium: Browser, written: Path, tmp_path: Path) -> None:
    """Were anything ever to get through unescaped, it still could not run, restyle or fetch."""
    outside = "https://example.invalid/x.png"
    smuggled = f"<script>alert(1)</script><img src='{outside}' onerror='alert(2)'><style>*{{}}</style>"
    path = tmp_path / "smuggled.html"
    path.write_text(written.read_text(encoding="utf-8").replace("<main>", f"<main>{smuggled}"), encoding="utf-8")
    visit = Visit(chromium, path)
    assert visit.refused == {outside: "csp"}
    assert len(visit.complaints) >= 3  # of the script, the picture, the style; none is a dialog's text
    assert all("Content Security Policy" in complaint for complaint in visit.complaints)
    visit.context.close()
