"""Two processes with DistributedDataParallel train the adapter as one process does on the whole batch."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sparsegrad.peft import SparseGradConfig
from tests.gloo import in_two_processes


def _net() -> Any:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 6)).double()
    return get_peft_model(net, SparseGradConfig(target_modules=["0", "2"], kept=20, core=(6, 5), init_weights=False))


def _data() -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(1)
    return torch.randn(8, 6, generator=chance).double(), torch.randn(8, 6, generator=chance).double()


def _steps(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()


def _rank(rank: int, folder: Path) -> None:
    x, y = _data()
    for broadcast in (True, False):
        model = _net()
        _steps(DistributedDataParallel(model, broadcast_buffers=broadcast), x[rank::2], y[rank::2])
        torch.save(model.state_dict(), folder / f"{rank}-{broadcast}.pt")


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    in_two_processes(_rank, tmp_path / "meeting", tmp_path)
    alone = _net()
    before = {name: tensor.clone() for name, tensor in alone.state_dict().items()}
    _steps(alone, *_data())
    for file in (f"{rank}-{broadcast}.pt" for rank in range(2) for broadcast in (True, False)):
        told = torch.load(tmp_path / file)
        for name, tensor in alone.state_dict().items():
            torch.testing.assert_close(told[name], tensor)
            assert torch.equal(told[name], before[name]) is ("sparsegrad_values" not in name)
