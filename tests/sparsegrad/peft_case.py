"""A model with the tuner's adapter, for the tests of it through PEFT: made, asked, compared."""

from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import nn

from sparsegrad.peft import SparseGradConfig, SparseGradTunerLinear

# Names that PEFT and its users call and that transformers 5 deprecates.
DEPRECATED_NAMES = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")


def adapted(model: nn.Module, **options: Any) -> Any:
    return get_peft_model(model, SparseGradConfig(**{"kept": 0.1, "init_weights": False, **options})).eval()


def logits(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch).logits


def layers_of(model: nn.Module) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if isinstance(module, SparseGradTunerLinear)}


def same_state(model: nn.Module, other: nn.Module) -> None:
    state, told = model.state_dict(), other.state_dict()
    assert state.keys() == told.keys()
    assert all(torch.equal(state[name], told[name]) for name in state)
