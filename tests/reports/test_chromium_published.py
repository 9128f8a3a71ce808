"""The page of the published records, made by the command and opened as a reader would."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reports.__main__ import main
from tests.reports.visit import DESKTOP, PHONE, Visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PUBLISHED = Path(__file__).resolve().parents[2] / "reports" / "published"


@pytest.mark.slow
def test_the_published_page_reads_on_any_screen(chromium: Browser, tmp_path: Path) -> None:
    assert main(["--results", str(PUBLISHED), "--out", str(tmp_path), "--quiet"]) == 0
    for phone in (True, False):
        visit = Visit(chromium, tmp_path / "report.html", phone=phone)
        first = visit.page.locator("main > section").first
        assert first.locator("table.ledger tbody tr").count() >= 20  # the paper's claims come first, all of them
        visit.page.evaluate("for (const folded of document.querySelectorAll('details')) folded.open = true")
        assert visit.page.evaluate("document.documentElement.scrollWidth") == (PHONE if phone else DESKTOP)[0]
        visit.page.locator("table.data:not(.ledger) button.number").first.click()
        behind = visit.page.locator("[popover]:popover-open")
        assert behind.locator(".raw").first.inner_text()
        assert "python -m bench." in behind.locator(".command").first.inner_text()
        assert set(visit.requests) == {visit.address}
        assert visit.complaints == []
        visit.context.close()
