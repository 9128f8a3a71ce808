"""Saved-for-backward bytes against what each operation is known to keep."""

import pytest
import torch
from torch import Tensor, nn

from bench.saved import SavedForBackward

F32 = 4


def leaf(*shape: int) -> Tensor:
    return torch.ones(*shape, requires_grad=True)


def test_each_operation_keeps_what_its_derivative_needs() -> None:
    x = leaf(100)
    with SavedForBackward() as saved:
        y = x.exp()  # its result
        assert saved.total_bytes() == 100 * F32
        z = y + 1  # nothing
        assert saved.total_bytes() == 100 * F32
        w = z * leaf(100)  # both factors
    assert saved.total_bytes() == 300 * F32
    w.sum().backward()
    assert saved.total_bytes() == 0, "the graph lets go of what it has used up"


def test_a_storage_counts_once_however_many_views_are_saved() -> None:
    x = leaf(10, 10)
    with SavedForBackward() as saved:
        y = x.sin()  # saves x
        z = x.T.cos() + x[0].square().sum()  # save views of x
    assert saved.total_bytes() == 100 * F32
    del y
    assert saved.total_bytes() == 100 * F32, "two of three graphs still hold it"
    del z
    assert saved.total_bytes() == 0


def test_weights_are_left_out_where_they_are_named() -> None:
    """A linear keeps x and W for its two products; W lives anyway."""
    linear, x = nn.Linear(20, 30), leaf(7, 20)
    anyway = {p.untyped_storage()._cdata for p in linear.parameters()}
    with SavedForBackward() as saved:
        y = linear(x)
    assert saved.total_bytes(but=anyway) == 7 * 20 * F32
    assert saved.total_bytes() == (7 * 20 + 20 * 30) * F32
    y.sum().backward()
    assert saved.total_bytes() == 0


def test_a_frozen_linear_keeps_its_weight_alone() -> None:
    linear, x = nn.Linear(20, 30).requires_grad_(False), leaf(7, 20)
    with SavedForBackward() as saved:
        y = linear(x)
    assert saved.total_bytes() == 20 * 30 * F32
    assert y.requires_grad


def test_the_first_to_save_is_the_owner() -> None:
    names = iter(["first", "second", "third"])
    noticed: list[str] = []
    saved = SavedForBackward(lambda: next(names), lambda _storage, owner: noticed.append(owner))
    x, y = leaf(10), leaf(5)
    with saved:
        graphs = [x.sin(), x.cos(), y.sin()]
    assert saved.by_owner_bytes() == {"first": 10 * F32, "third": 5 * F32}
    assert noticed == ["first", "first", "third"] and len(graphs) == 3


def test_a_coo_tensor_is_its_indices_and_values() -> None:
    class Keeps(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor, sparse: Tensor) -> Tensor:
            ctx.save_for_backward(sparse)
            return x.clone()

        @staticmethod
        def backward(ctx, g: Tensor) -> tuple[Tensor, None]:
            (sparse,) = ctx.saved_tensors
            return g * sparse.to_dense()[0], None

    sparse = torch.sparse_coo_tensor(
        torch.tensor([[0, 0], [1, 3]]), torch.tensor([2.0, 3.0]), (4, 4), check_invariants=True
    )
    x = leaf(4)
    with SavedForBackward() as saved:
        y = Keeps.apply(x, sparse)
    assert saved.total_bytes() == 2 * (F32 + 2 * 8)
    y.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 2, 0, 3]
    assert saved.total_bytes() == 0


def test_gradients_are_the_same_under_it() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 3)).double()
    x = torch.randn(5, 6, dtype=torch.float64)
    model(x).square().sum().backward()
    plain = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    with SavedForBackward():
        model(x).square().sum().backward()
    for p, expected in zip(model.parameters(), plain, strict=True):
        assert p.grad is not None and torch.equal(p.grad, expected)


def test_it_ends_with_its_context() -> None:
    saved = SavedForBackward()
    with saved, pytest.raises(ZeroDivisionError):
        raise ZeroDivisionError
    kept = leaf(9).exp()
    assert saved.total_bytes() == 0 and kept.requires_grad
