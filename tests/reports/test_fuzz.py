"""Records of every kind, damaged at random places: the report is made, and no string of theirs acts in it."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bench.record import Record
from reports.contents import report
from reports.markdown import markdown
from reports.reading.shelf import read_shelf
from reports.site import page
from tests.reports.later_records import (
    MIB,
    capacity,
    cell,
    compared,
    judge_check,
    pictured,
    preliminary,
    rated,
    tuned,
)
from tests.reports.small_records import peak, quality, record, speed

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"' onclick='alert(3)' `|*_[x](javascript:alert(4))"
LABELS = [0, 1] * 10
MADE: dict[str, Callable[[], Record]] = {
    "speed": lambda: speed({"full": [10.0, 10.2, 9.9], "lora": [9.0, 9.1, 9.2], "sparsegrad-sd": [12.0, 12.1, 12.2]}),
    "peak": lambda: peak("lora", 700),
    "capacity": lambda: capacity("lora", 24),
    "crossover": lambda: cell({"planned": 2.0}),
    "gradients": pictured,
    "preliminary": lambda: preliminary("stacked", seconds=20.0, peak=100 * MIB, stack=3000 * MIB),
    "glue": lambda: quality("lora", 0, LABELS, LABELS),
    "glue_comparison": compared,
    "chat": lambda: tuned("lora", [1.0, 2.0, 3.0]),
    "mtbench": lambda: rated({"a": [5.0, 6.0], "b": [7.0, 8.0]}),
    "mtbench_calibration": judge_check,
    "sparsity_quality": lambda: record("sparsity_quality", result={"rows": [
        {"task": "cola", "split": "validation", "base_method": "sparsegrad-planned", "kept": "18k", "share": 0.007,
         "headline": {"mean": 0.5}, "difference": {"mean": 0.1, "low": 0.0, "high": 0.2, "by_seed": [0.1]},
         "verdict": "~"}
    ], "synthetic": False, "verdicts": []}),
    "weather": lambda: record("weather", result={"rain_mm": 3.5}),
}  # fmt: skip
# As JSON text: what json reads and nothing measures, other types, and strings that would act.
DAMAGE = (
    *("NaN", "Infinity", "-Infinity", "1e400", "-1", "0", "1e308", "1" + "0" * 400, "null", "true", "[]", "{}", '""'),
    *("[" * 400 + "]" * 400, '{"a":' * 60 + "1" + "}" * 60, json.dumps(HOSTILE), json.dumps({HOSTILE: HOSTILE})),
    *('"\\ud800"', '"\\u0000\\u202e"', json.dumps([HOSTILE]), json.dumps("x" * 5000)),
)
MARK = "@@damage@@"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a JSON value, keys of objects and places of lists from the top."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inside:
        yield from places(item, (*path, name))


def damaged(values: dict[str, Any], draw: random.Random) -> str:
    """The record as text with one to three places overwritten, or renamed."""
    values = copy.deepcopy(values)
    for _ in range(draw.randint(1, 3)):
        *above, last = draw.choice([path for path in places(values) if path and path[0] not in ("schema", "kind")])
        home = values
        for name in above:
            home = home[name]
        if isinstance(home, dict) and draw.random() < 0.15:
            home[HOSTILE] = home.pop(last)
        else:
            home[last] = f"{MARK}{draw.randrange(len(DAMAGE))}"
    return re.sub(rf'"{MARK}(\d+)"', lambda found: DAMAGE[int(found[1])], json.dumps(values))


def write_damaged(folder: Path, draw: random.Random, times: int) -> None:
    """So many of every kind, one whole of each, and one cut short."""
    for kind, make in MADE.items():
        values = asdict(make())
        texts = [json.dumps(values), json.dumps(values)[:-40], *(damaged(values, draw) for _ in range(times))]
        (folder / kind).mkdir(parents=True)
        for number, text in enumerate(texts):
            own = text.replace(f'"key": "{values["key"]}"', f'"key": "{values["key"]}x{number}"')
            name = f"{values['key']}x{number}-1.json"
            (folder / kind / name).write_text(own, encoding="utf-8", errors="surrogatepass")


class Acting(HTMLParser):
    """Elements and attributes that a browser would act on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [tag] if tag in ("script", "img", "iframe", "object", "embed", "form", "base") else []
        self.found += [name for name, _ in attributes if name.startswith("on") or name in ("style", "srcdoc")]
        self.found += [f"{name}={value}" for name, value in attributes
                       if name in ("href", "src", "action") and not re.match(r"#|data:", value or "")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_damaged_the_report_is_made_and_nothing_acts(seed: int, tmp_path: Path) -> None:
    write_damaged(tmp_path, random.Random(seed), times=12)
    shelf = read_shelf([tmp_path])
    assert len(shelf.sources) >= len(MADE)  # what is whole is read
    assert len(shelf.skipped) >= len(MADE)  # what is cut short is listed
    document = report(shelf, folders=[HOSTILE], logs=None)
    written = page(document)
    written.encode("utf-8")
    assert "img" in Acting(HOSTILE).found  # what it would be were it not escaped
    assert Acting(written).found == ["script"]  # the page's own
    told = markdown(document)
    told.encode("utf-8")
    acts = re.sub(r"(`+).+?\1", "", told)  # within code spans everything is letters
    assert "<script" not in acts and "<img" not in acts and "](javascript" not in acts
