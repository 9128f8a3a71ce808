"""Data-parallel training: the k entries of a step are those of the whole batch's gradient, alike in every process.

The mean over processes is taken of the dense dW~, before the top-k: a top-k of each process's own gradient would be
another support on each. With fixed support there is nothing to choose: ``values`` (k,) is reduced like any parameter.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from .average import processes
from .compact import CompactLinear
from .core import Slices
from .errors import BasesMismatch
from .linear import SparseGradLinear
from .rotation import Rotation
from .selection import selection_of


def data_parallel(model: nn.Module) -> nn.Module:
    """Make a converted model ready for ``DistributedDataParallel``; returns ``model``.

    To be called in every process, after ``convert`` and ``init_process_group`` and before the model is wrapped, by hand
    or by the Hugging Face Trainer or accelerate. From then on:

    - Each backward of a dynamic layer averages dW~ over the processes of the default group and selects from that, one
      layer at a time, so that one dense gradient is alive at a time. DDP, which refuses COO gradients, leaves these
      weights alone; they are taken from process 0 here, once. Under ``no_sync`` they are averaged all the same, to the
      same sum. Where nothing else trains, DDP has nothing to do and refuses the model: leave it out.
    - Bases are not sent to every process before each forward, as DDP does with buffers.

    Other gradients are DDP's, ``values`` of fixed support among them. In a single process nothing changes.

    Raises:
        BasesMismatch: the processes have different bases (calibrate in one and load the file in the others).
    """
    untouched = set(getattr(model, "_ddp_params_and_buffers_to_ignore", ()))
    fingerprints = []
    for name, module in model.named_modules(remove_duplicate=False):
        prefix = f"{name}." if name else ""
        if isinstance(module, Rotation | Slices):
            untouched |= {f"{prefix}{buffer}" for buffer, _ in module.named_buffers()}
        elif isinstance(module, SparseGradLinear | CompactLinear):
            fingerprints.append(module.basis_fingerprint)
        if isinstance(module, SparseGradLinear):
            module.data_parallel = True
            selection = selection_of(module.weight)
            if selection is not None and not selection.dense:
                selection.averages = True
                untouched.add(f"{prefix}weight")
                _take_from_first(module.weight)
    _check_alike(fingerprints)
    nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, sorted(untouched))
    return model


@torch.no_grad()
def _take_from_first(weight: nn.Parameter) -> None:
    if processes() > 1:
        torch.distributed.broadcast(weight.data, 0)


def _check_alike(fingerprints: list[Tensor]) -> None:
    if processes() == 1 or not fingerprints:
        return
    told: list[str | None] = [None] * processes()
    digest = hashlib.sha256(bytes(torch.cat([f.cpu() for f in fingerprints]).tolist())).hexdigest()
    torch.distributed.all_gather_object(told, digest)
    if len(set(told)) > 1:
        odd = next(rank for rank, other in enumerate(told) if other != told[0])
        raise BasesMismatch(
            f"process {odd} has other bases or another execution than process 0: calibrate in one process, save, and "
            "load that file in all"
        )
