"""The one train step: the same numbers as a loop written by hand, whatever the method; and what zero_rows counts."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from bench.train import PHASES, LossNotFinite, finite, real_tokens, to_device, train_step, zero_rows
from bench.workload import Workload, make_workload
from sparsegrad.methods import METHODS, Prepared, Settings
from sparsegrad.roles import find_targets

KEPT, RATE, STEPS = 7, 1e-2, 4
DENSE = ("full", "lora", "lora-fa", "shira", "sparsegrad-compact")  # no COO gradient anywhere


@pytest.fixture(scope="module")
def workload(folder: Path) -> Workload:
    return make_workload(
        model=str(folder), random_weights=True, batch_size=2, max_length=16, batches=STEPS, calibration_steps=2
    )


@pytest.fixture
def prepared(workload: Workload, bases_for: Callable[..., Any]) -> Callable[[str], Prepared]:
    """prepared(name): the method in a model of its own, the same each time."""

    def made(name: str) -> Prepared:
        torch.manual_seed(0)
        settings = Settings(kept=KEPT, lora_rank=2, lr=RATE, accumulate=False)
        return METHODS[name].prepare(workload.build(), settings, bases_for(METHODS[name], settings, workload))

    return made


class Marks:
    """A probe that writes down each mark, and which parameters hold a gradient then."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.seen: list[tuple[str, int]] = []

    def mark(self, phase: str) -> None:
        self.seen.append((phase, sum(p.grad is not None for p in self.model.parameters())))


@pytest.mark.parametrize("name", METHODS)
def test_the_step_is_the_loop_anyone_would_write(
    name: str, workload: Workload, prepared: Callable[[str], Prepared]
) -> None:
    """Bit for bit, losses and weights; torch's own AdamW where every gradient is dense."""
    ours, theirs = prepared(name), prepared(name)
    training = [p for p in theirs.model.parameters() if p.requires_grad]
    optimizer: torch.optim.Optimizer | None = theirs.optimizer
    if name in DENSE:
        optimizer = AdamW(training, lr=RATE, weight_decay=0.0)
    before = [p.detach().clone() for p in ours.model.parameters()]
    for batch in workload.batches:
        loss = train_step(ours, batch)
        for parameter in training:
            parameter.grad = None
        expected = theirs.model(**batch).loss
        expected.backward()
        coo = any(p.grad is not None and p.grad.is_sparse for p in training)
        if optimizer is not None:
            optimizer.step()
        assert torch.equal(loss, expected.detach())
        assert not loss.requires_grad
    pairs = list(zip(ours.model.parameters(), theirs.model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert all(p.grad is None for p in ours.model.parameters())
    moved = sum(not torch.equal(a, b) for a, b in zip(before, ours.model.parameters(), strict=True))
    assert (moved > 0) == METHODS[name].trains
    assert (name in DENSE) == (ours.optimizer is not None and not coo)


@pytest.mark.parametrize("name", ["full", "sparsegrad-compact", "frozen"])
def test_probes_hear_each_phase_once_in_order(
    name: str, workload: Workload, prepared: Callable[[str], Prepared]
) -> None:
    """Gradients are there from the end of the backward to the end of the step, and only then."""
    ready = prepared(name)
    first, second = Marks(ready.model), Marks(ready.model)
    train_step(ready, workload.batches[0], first, second)
    training = sum(p.requires_grad for p in ready.model.parameters())
    assert first.seen == [("start", 0), ("forward", 0), ("backward", training), ("optimizer", 0)]
    assert second.seen == first.seen
    assert tuple(phase for phase, _ in first.seen[1:]) == PHASES


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_is_refused(bad: float) -> None:
    assert finite(torch.tensor(0.25)) == 0.25
    with pytest.raises(LossNotFinite, match=r"--lr"):
        finite(torch.tensor(bad))


def brute_force(model: nn.Module, names: list[str], batch: dict[str, torch.Tensor]) -> dict[str, int]:
    """Rows of dL/dy counted one by one, from autograd.grad on the outputs that hooks caught."""
    outputs: list[torch.Tensor] = []
    handles = [
        model.get_submodule(name).register_forward_hook(lambda _m, _i, output: outputs.append(output)) for name in names
    ]
    loss = model(**batch).loss
    for handle in handles:
        handle.remove()
    counts = {"zero": 0, "all": 0}
    for gradient in torch.autograd.grad(loss, outputs):
        for row in gradient.reshape(-1, gradient.shape[-1]):
            counts["all"] += 1
            counts["zero"] += not any(row.tolist())
    return counts


def test_zero_rows_are_those_counted_one_by_one(workload: Workload) -> None:
    """In two blocks: all but [CLS] in the last, the padding in the first; so neither none nor all."""
    model = workload.build()
    targets = find_targets(model)
    for batch in workload.batches:
        counted = zero_rows(model, [target.module for target in targets], batch)
        assert counted == brute_force(model, [target.name for target in targets], batch)
        assert counted["all"] == 4 * 2 * 16
        padding = int((batch["attention_mask"] == 0).sum())
        assert counted["zero"] == 2 * (2 * 15 + padding)


class Masked(nn.Module):
    """dL/dy is the mask: rows of zeros, rows with some, a row with one tiny entry."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(loss=(self.linear(x) * mask).sum())


def test_a_zero_row_is_zero_in_every_column() -> None:
    model = Masked()
    mask = torch.ones(2, 3, 4)
    mask[0, 0] = 0
    mask[1, 2] = 0
    mask[0, 1, :3] = 0
    mask[1, 1] = torch.tensor([0, 0, 1e-30, 0])
    batch = {"x": torch.randn(2, 3, 3), "mask": mask}
    assert zero_rows(model, [model.linear], batch) == {"zero": 2, "all": 6}


def test_zero_rows_leaves_nothing_behind(workload: Workload) -> None:
    model = workload.build()
    modules = [target.module for target in find_targets(model)]
    weights = [p.detach().clone() for p in model.parameters()]
    first = zero_rows(model, modules, workload.batches[0])
    assert zero_rows(model, modules, workload.batches[0]) == first
    with pytest.raises(IndexError):
        zero_rows(model, modules, {**workload.batches[0], "input_ids": torch.full((2, 16), 999)})
    assert not any(module._forward_hooks for module in modules)
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))


def test_real_tokens_are_those_that_attend(workload: Workload) -> None:
    batch = workload.batches[0]
    rows = [sum(row) for row in batch["attention_mask"].tolist()]
    assert real_tokens(batch) == sum(rows) < batch["input_ids"].numel()
    unpadded = {name: tensor for name, tensor in batch.items() if name != "attention_mask"}
    assert real_tokens(unpadded) == batch["input_ids"].numel(), "without a mask every token is one"


def test_a_batch_goes_to_the_device_whole(workload: Workload) -> None:
    batch = workload.batches[0]
    moved = to_device(batch, torch.device("meta"))
    assert moved.keys() == batch.keys()
    assert all(tensor.is_meta and tensor.shape == batch[name].shape for name, tensor in moved.items())
