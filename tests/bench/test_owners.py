"""Who is at work: the innermost module forward, and the same one when its part of the graph runs backward."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bench.owners import AtWork, layer_of, role_of, shared_name


class Seen(torch.autograd.Function):
    """An identity that notes who is at work, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, told: Any) -> Tensor:
        ctx.told = told
        told("forward")
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        ctx.told("backward")
        return g.clone(), None


class Spy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.told: Any = None

    def forward(self, x: Tensor) -> Tensor:
        seen: Tensor = Seen.apply(x, self.told)
        return seen.exp()  # whose result is saved: under a checkpoint it has to be computed again


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.linear, self.recompute = Spy(), nn.Linear(3, 3), False

    def forward(self, x: Tensor) -> Tensor:
        x = checkpoint(self.inner, x, use_reentrant=False) if self.recompute else self.inner(x)
        seen: Tensor = Seen.apply(self.linear(x), self.inner.told)
        return seen


@pytest.mark.parametrize("recompute", [False, True])
def test_forward_and_backward_name_the_same_modules(recompute: bool) -> None:
    blocks = [Block(), Block()]
    model = nn.Sequential(*blocks)
    at_work = AtWork(model)
    seen: list[tuple[str, str]] = []
    for block in blocks:
        block.inner.told = lambda phase: seen.append((phase, at_work.owner()))
        block.recompute = recompute
    with at_work:
        for _ in range(2):  # a second step, whose nodes have other numbers
            seen.clear()
            at_work.begin_step()
            at_work.rest = "outside"
            model(torch.ones(2, 3, requires_grad=True)).sum().backward()
            forward = [("forward", name) for name in ("0.inner", "0", "1.inner", "1")]
            assert seen[:4] == forward
            assert [at for at in seen[4:] if at[0] == "backward"] == [("backward", n) for _, n in reversed(forward)]
            again = [at for at in seen[4:] if at[0] == "forward"]
            assert again == ([("forward", "1.inner"), ("forward", "0.inner")] if recompute else [])
            assert at_work.owner() == "outside"


def test_a_forward_that_fails_leaves_nobody_at_work() -> None:
    linear = nn.Linear(3, 3)
    with AtWork(linear) as at_work:
        with pytest.raises(RuntimeError):
            linear(torch.ones(2, 4))
        assert at_work.owner() == ""


def test_modules_of_another_model_work_for_their_caller() -> None:
    stranger = Spy()
    seen: list[str] = []

    class Caller(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return stranger(x)  # not a submodule: it has no name here

    model = nn.Sequential(Caller())
    at_work = AtWork(model)
    stranger.told = lambda phase: seen.append(at_work.owner())
    with at_work:
        model(torch.ones(1, 3))
    assert seen == ["0"]


def test_layers_and_roles() -> None:
    assert layer_of("bert.encoder.layer.3.output.dense") == "bert.encoder.layer.3"
    assert layer_of("bert.encoder.layer.*.output.dense.rotation") == "bert.encoder.layer.*"
    assert layer_of("model.layers.11") == "model.layers.11"
    assert layer_of("classifier") == "classifier"
    assert role_of("bert.encoder.layer.13.output.dense") == "bert.encoder.layer.*.output.dense"
    assert role_of("h.0.block.2.mlp") == "h.*.block.*.mlp"
    assert shared_name(["a.1.b"]) == "a.1.b"
    assert shared_name(["a.1.b", "a.2.b"]) == "a.*.b"
