"""A headless Chromium for the page's tests; without one they are skipped, or fail where the run promised it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def _absent(what: str) -> NoReturn:
    if os.environ.get("SPARSEGRAD_REQUIRE_CHROMIUM"):
        pytest.fail(f"SPARSEGRAD_REQUIRE_CHROMIUM is set, and {what}")
    pytest.skip(what)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser. Of a module, not of the session: while it runs, no other test could run an event loop."""
    found = next(filter(None, map(shutil.which, _NAMES)), None)
    if importlib.util.find_spec("playwright") is None:
        _absent("the package playwright is not installed (pip install -e '.[dev]')")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        if found is None and not os.path.exists(own):
            _absent("there is no Chromium (apt-get install chromium)")
        browser = playwright.chromium.launch(executable_path=found or own)
        yield browser
        browser.close()
