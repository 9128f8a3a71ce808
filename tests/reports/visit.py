"""A reader with a browser: everything that the page asks for or complains of is noted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PHONE, DESKTOP = (390, 844), (1280, 900)
"""Width and height, CSS px."""


class Visit:
    """One reader's page, and everything it asked for or complained of."""

    def __init__(self, browser: Browser, path: Path, *, scripts: bool = True, phone: bool = False) -> None:
        self.address = path.as_uri()
        width, height = PHONE if phone else DESKTOP
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, java_script_enabled=scripts, color_scheme="light"
        )
        self.requests: list[str] = []
        self.refused: dict[str, str | None] = {}
        self.complaints: list[str] = []
        self.page = self.another()

    def another(self) -> Page:
        """A page more of the same reader."""
        page = self.context.new_page()
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", lambda request: self.refused.update({request.url: request.failure}))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        page.goto(self.address)
        return page
