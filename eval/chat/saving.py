"""What a run leaves behind: the trained model whole, or what its method adds to the base; eval.mtbench loads both.

A merged folder is a transformers model: ``--model FOLDER``. An adapter, this project's or PEFT's, goes beside its base:
``--model BASE --adapter FOLDER``. The tokenizer lies in either.
"""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any, Literal

import sparsegrad

__all__ = ["SAVED_AS", "Form", "save_model"]

Form = Literal["adapter", "merged"]
SAVED_AS = ("adapter", "merged")


def save_model(model: Any, tokenizer: Any, folder: Path, form: Form) -> dict[str, Any]:
    """Write the trained `model` to `folder`, whole or not at all; it is merged in place. Returns JSON for the record.

    Full fine-tuning adds nothing to its base: it is saved merged, and the answer says so.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    peft = hasattr(model, "peft_config")
    ours = any(isinstance(part, sparsegrad.SparseGradLinear | sparsegrad.CompactLinear) for part in model.modules())
    if form == "adapter" and peft:
        model.save_pretrained(str(partial), save_embedding_layers=False)
    elif form == "adapter" and ours:
        sparsegrad.save(model, partial)
    else:
        form = "merged"
        _save_merged(model, partial, peft=peft)
    tokenizer.save_pretrained(str(partial))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {"form": form, "folder": folder.name, "bytes": written}


def _save_merged(model: Any, folder: Path, *, peft: bool) -> None:
    if peft:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peft's, of rounding in low precision
            plain = model.merge_and_unload()
    else:
        plain = sparsegrad.revert(model)
    plain.config.use_cache = True  # put off for training; the answers are written with it
    plain.save_pretrained(str(folder))
