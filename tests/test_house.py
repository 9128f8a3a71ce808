"""The plan of the house, held against the tree: who imports whom, how long a file is, what is said in public."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOOR = {"sparsegrad": 0, "bench": 1, "eval": 2, "reports": 3}
SOURCES = sorted(path for room in FLOOR for path in (ROOT / room).rglob("*.py"))
LONGEST = 350


def imported(tree: ast.AST) -> list[str]:
    """Top-level names of everything a module imports, also inside functions."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return [name.split(".")[0] for name in names]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_keeps_to_its_floor_and_its_length(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    floor = FLOOR[path.relative_to(ROOT).parts[0]]
    assert [name for name in imported(tree) if FLOOR.get(name, floor) > floor] == []
    assert text.count("\n") <= LONGEST
    assert ast.get_docstring(tree)
    public = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


def test_no_drawers() -> None:
    assert not {path.stem for path in SOURCES} & {"utils", "helpers", "common", "misc"}


@pytest.mark.parametrize("room", FLOOR)
def test_the_plan_names_every_module_of_a_room_and_nothing_else(room: str) -> None:
    table = re.search(
        rf"^\| in `{room}/` \|.*?(?=^$)", (ROOT / "DESIGN.md").read_text(), flags=re.MULTILINE | re.DOTALL
    )
    assert table is not None
    named = re.findall(r"`([a-z_]+)/?`", "\n".join(row.split("|")[1] for row in table[0].splitlines()[2:]))
    modules = {path.stem for path in (ROOT / room).glob("[a-z]*.py")}
    folders = {path.parent.name for path in (ROOT / room).glob("*/__init__.py")}
    assert sorted(named) == sorted(modules | folders)
