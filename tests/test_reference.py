"""The API reference is made from the docstrings, and has all that is exported, each argument explained where any is."""

from __future__ import annotations

import inspect
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

import sparsegrad
import sparsegrad.peft

ROOT = Path(__file__).resolve().parents[1]
MODULES = {"sparsegrad": sparsegrad, "sparsegrad/peft": sparsegrad.peft}
FUNCTIONS = sorted(
    (name for name in sparsegrad.__all__ if inspect.isfunction(getattr(sparsegrad, name))), key=str.lower
)


@pytest.mark.slow
def test_everything_exported_is_in_the_reference(tmp_path: Path) -> None:
    (recipe,) = re.findall(r"^reference:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    command = recipe.replace("\\\n", " ").replace("@$(PY)", ".venv/bin/python").replace("$$", "$")
    command = command.replace("build/reference", str(tmp_path))
    subprocess.run(command, shell=True, cwd=ROOT, check=True, capture_output=True, timeout=300)
    for place, module in MODULES.items():
        page = (tmp_path / f"{place}.html").read_text(encoding="utf-8")
        assert [name for name in module.__all__ if f'id="{name}"' not in page] == []


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_what_is_exported_is_explained(module: ModuleType) -> None:
    assert [name for name in module.__all__ if not inspect.getdoc(getattr(module, name))] == []


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_list_of_arguments_is_whole(name: str) -> None:
    function = getattr(sparsegrad, name)
    _, found, told = (inspect.getdoc(function) or "").partition("Args:")
    if not found:
        pytest.skip("its sentence says it all")
    missing = [
        argument for argument in inspect.signature(function).parameters if not re.search(rf"\b{argument}\b", told)
    ]
    assert missing == []
