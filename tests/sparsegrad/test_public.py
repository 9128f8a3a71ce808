"""The public surface is __all__, documented, and light: no model library is loaded until something needs it."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sparsegrad

ROOT = Path(sparsegrad.__file__).parents[1]


def test_all_is_complete_sorted_and_there():
    tree = ast.parse(Path(sparsegrad.__file__).read_text())
    imported = {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
    assert sparsegrad.__all__ == sorted(imported)
    for name in ("calibrate", "convert", "revert", "save", "load", "SparseGradLinear", "SparseGradOptimizer"):
        assert name in sparsegrad.__all__
    assert {"clip_grad_norm_", "Bases", "sparse_by_dense"} <= set(sparsegrad.__all__)
    assert all(error in sparsegrad.__all__ for error in vars(sparsegrad.errors) if error[0].isupper())


@pytest.mark.parametrize("name", sparsegrad.__all__)
def test_every_public_name_says_what_it_is(name):
    thing = getattr(sparsegrad, name)
    assert inspect.getdoc(thing)
    for method, function in inspect.getmembers(thing, inspect.isfunction) if inspect.isclass(thing) else ():
        if function.__module__.startswith("sparsegrad") and not method.startswith("_"):
            assert inspect.getdoc(function), f"{name}.{method}"


def test_every_error_is_one_kind():
    for name, error in vars(sparsegrad.errors).items():
        if inspect.isclass(error):
            assert issubclass(error, sparsegrad.SparseGradError) and issubclass(error, ValueError), name


@pytest.mark.parametrize("module", ["sparsegrad", "sparsegrad.methods", "sparsegrad.trainer"])
def test_importing_it_loads_no_model_library(module):
    code = f"import sys, {module}; print(sorted(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    loaded = {name.split(".")[0] for name in ast.literal_eval(told)}
    assert "torch" in loaded and "sparsegrad" in loaded
    assert not loaded & {"transformers", "tensorly", "peft", "accelerate", "datasets", "bench", "eval", "reports"}


def test_no_file_of_the_library_imports_its_users():
    for path in Path(sparsegrad.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [n for n in names if n.split(".")[0] in ("bench", "eval", "reports", "tests")], path
