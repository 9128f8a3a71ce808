"""The published page is what the published records make, and says nothing of when or where it was made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reports.__main__ import main
from reports.tables.quality import AS_FILED

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "reports" / "published"
PAGE = PUBLISHED / "page"
NAMES = ("report.md", "report.html")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The page made anew, in another folder than the published one."""
    folder = tmp_path_factory.mktemp("page")
    assert main(["--results", str(PUBLISHED), "--out", str(folder), "--quiet"]) == 0
    return {name: (folder / name).read_text(encoding="utf-8") for name in NAMES}


def robust(text: str) -> list[str]:
    """Its lines, without what may change while all figures stay.

    A drawing's strokes are matplotlib's and its font's, of whatever version is installed: the figures that it is drawn
    from, which stand beside it, are compared. The fingerprint of the report's code changes with a comment.
    """
    text = re.sub(r"<svg\b.*?</svg>", "<svg/>", text, flags=re.DOTALL)
    return [line for line in text.splitlines() if "report's code" not in line and "report&#39;s code" not in line]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_published_page_is_made_from_its_records(name: str, made: dict[str, str]) -> None:
    if not PAGE.is_dir():
        pytest.skip("no page is published yet: make page")
    old, new = (robust(text) for text in ((PAGE / name).read_text(encoding="utf-8"), made[name]))
    differing = [(at, *pair) for at, pair in enumerate(zip(old, new, strict=False), 1) if pair[0] != pair[1]]
    assert differing[:3] == [] and len(old) == len(new), "records or tables changed: make page"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_names_no_place_outside_the_project(name: str, made: dict[str, str]) -> None:
    assert str(ROOT) not in made[name]
    assert len(made[name]) < 6_000_000  # what a phone opens at once


@pytest.mark.slow
def test_every_published_record_is_read_and_has_its_place(made: dict[str, str]) -> None:
    assert "### Files left out" not in made["report.md"]
    records = list(PUBLISHED.glob("*/*/*.json"))
    assert f"- records: {len(records)} read, 0 left out\n" in made["report.md"]
    for path in records:
        assert f"{path.parent.parent.name}/{path.parent.name}/{path.stem.rsplit('-', 1)[0]} " in made["report.md"]


@pytest.mark.slow
def test_every_filed_comparison_is_told_again_from_its_runs(made: dict[str, str]) -> None:
    """Intervals of an earlier day's statistics would stand beside today's."""
    assert AS_FILED not in made["report.md"] and "One command's verdicts over" in made["report.md"]
