"""Put what fine-tuning left in a folder onto a base model: this project's files, or PEFT's."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import sparsegrad
import sparsegrad.adapter
import sparsegrad.storage
from bench.errors import BadRequest
from bench.hub import first_line

__all__ = ["adapter_files", "with_adapter"]

_OURS = (sparsegrad.storage.FILE, sparsegrad.adapter.FILE)
_PEFT = "adapter_config.json"


def adapter_files(folder: Path) -> list[Path]:
    """The files that make the adapter; BadRequest where the folder holds none, or two kinds."""
    if not folder.is_dir():
        raise BadRequest(f"--adapter {folder}: there is no such folder")
    ours = [folder / name for name in _OURS if (folder / name).is_file()]
    peft = [path for path in (folder / _PEFT, *sorted(folder.glob("adapter_model.*"))) if path.is_file()]
    peft = peft if (folder / _PEFT).is_file() else []
    if bool(ours) == bool(peft):
        told = "both this project's and PEFT's" if ours else f"neither {' nor '.join(_OURS)} nor {_PEFT}"
        raise BadRequest(f"--adapter {folder} holds {told}; give the folder of one saved adapter")
    return ours or peft


def with_adapter(model: Any, folder: Path) -> Any:
    """``model`` as it was after training. This project's layers become plain linears with the trained weight.

    Raises BadRequest, or sparsegrad's BasesMismatch, where the adapter is another model's or damaged.
    """
    if (folder / _PEFT).is_file():
        return _with_peft(model, folder)
    return sparsegrad.revert(sparsegrad.load(model, folder))


def _with_peft(model: Any, folder: Path) -> Any:
    import peft

    import sparsegrad.peft  # noqa: F401  (it makes PEFT know this project's type)

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            wrapped = peft.PeftModel.from_pretrained(model, str(folder))
    except Exception as error:
        # Bad JSON, other shapes, an unknown type, missing weights: each another exception.
        raise BadRequest(f"--adapter {folder} does not fit this model ({first_line(error)})") from error
    # PEFT goes on with fresh weights where the file lacks some, and only warns.
    missing = [str(warning.message) for warning in caught if "missing adapter keys" in str(warning.message)]
    if missing:
        raise BadRequest(f"--adapter {folder} lacks weights for this model ({missing[0][:120]}...)")
    return wrapped
