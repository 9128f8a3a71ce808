"""The rivals, through peft: LoRA, LoRA-FA and SHiRA on the same linears."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .errors import SparseGradError
from .roles import Target, is_transposed


def lora(model: nn.Module, found: list[Target], rank: int, *, factor_a_trains: bool = True) -> nn.Module:
    """LoRA of that rank, alpha twice the rank, no dropout, no bias.

    ``factor_a_trains`` False is LoRA-FA (Zhang et al. 2023, arXiv:2308.03303): the projection down stays as drawn, so
    that x A^T is saved for backward instead of x.
    """
    from peft import LoraConfig

    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        bias="none",
        target_modules=[target.name for target in found],
        fan_in_fan_out=is_transposed(found[0].module),
    )
    model = _wrapped(model, config)
    if not factor_a_trains:
        for name, parameter in model.named_parameters():
            if ".lora_A." in name:
                parameter.requires_grad_(False)
    return model


def shira(model: nn.Module, found: list[Target], rank: int, seed: int) -> nn.Module:
    """SHiRA (Bhardwaj et al. 2024, arXiv:2406.13175): as many entries of W as LoRA of that rank has, at random.

    Raises:
        SparseGradError: a model with GPT-2's Conv1D, which peft's SHiRA does not take.
    """
    from peft import ShiraConfig

    if is_transposed(found[0].module):
        raise SparseGradError(f"shira: {found[0].name} is a Conv1D, and peft's SHiRA takes nn.Linear alone")
    # The default, said outright: torch warns at every first sparse tensor where nobody has chosen.
    torch.sparse.check_sparse_tensor_invariants.disable()
    return _wrapped(model, ShiraConfig(r=rank, random_seed=seed, target_modules=[target.name for target in found]))


def adapter_file(model: nn.Module) -> Iterable[Tensor]:
    """The tensors that peft's ``save_pretrained`` would write."""
    from peft import get_peft_model_state_dict

    state: dict[str, Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return state.values()


def _wrapped(model: nn.Module, config: Any) -> nn.Module:
    from peft import get_peft_model

    with warnings.catch_warnings():
        # peft asks transformers by a name that transformers 5.2x deprecates.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        # As peft does it for everyone: on a half-precision model the few trained numbers are fp32, like our values.
        wrapped: nn.Module = get_peft_model(model, config)
    return wrapped
