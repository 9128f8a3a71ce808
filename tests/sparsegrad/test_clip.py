"""clip_grad_norm_ is torch's, on gradients of both layouts: the oracle clips the same gradients made dense."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsegrad import SparseGradError, clip_grad_norm_


def parameters(seed=0, scale=1.0):
    """Dense, COO, uncoalesced COO (one entry told twice), and one without a gradient."""
    chance = torch.Generator().manual_seed(seed)
    made = [torch.zeros(4, 5, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    made[0].grad = scale * torch.randn(4, 5, generator=chance, dtype=torch.float64)
    values = scale * torch.randn(3, generator=chance, dtype=torch.float64)
    made[1].grad = torch.sparse_coo_tensor(torch.tensor([[0, 1, 3], [2, 0, 4]]), values, (4, 5), check_invariants=True)
    made[1].grad = made[1].grad.coalesce()
    made[2].grad = torch.sparse_coo_tensor(
        torch.tensor([[1, 1, 3], [2, 2, 4]]), values.flip(0), (4, 5), check_invariants=True
    )
    return made


def dense(made):
    copies = []
    for p in made:
        copy = p.detach().clone().requires_grad_()
        copy.grad = None if p.grad is None else p.grad.to_dense().clone()
        copies.append(copy)
    return copies


@settings(max_examples=60, deadline=None, database=None)
@given(
    seed=st.integers(0, 100),
    scale=st.sampled_from([0.0, 1e-9, 1.0, 1e6]),
    max_norm=st.sampled_from([0.0, 0.3, 1.0, 1e9, math.inf]),
    norm_type=st.sampled_from([2.0, 1.0, 3.0, math.inf]),
)
def test_equals_torch_on_the_gradients_made_dense(seed, scale, max_norm, norm_type):
    ours = parameters(seed, scale)
    theirs = dense(ours)
    norm = clip_grad_norm_(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    torch.testing.assert_close(norm, expected, rtol=1e-12, atol=0)
    for p, q in zip(ours, theirs, strict=True):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            torch.testing.assert_close(p.grad.to_dense(), q.grad, rtol=1e-12, atol=0)
    assert ours[1].grad.is_sparse and ours[1].grad.is_coalesced() and ours[1].grad._nnz() == 3


def test_an_infinite_max_norm_only_measures():
    made = parameters()
    before = [p.grad.to_dense().clone() for p in made if p.grad is not None]
    clip_grad_norm_(made, math.inf)
    after = [p.grad.to_dense() for p in made if p.grad is not None]
    assert len(after) == 3 and all(torch.equal(p, q) for p, q in zip(after, before, strict=True))


def test_a_generator_one_tensor_and_no_gradient_at_all():
    made = parameters()
    expected = torch.nn.utils.clip_grad_norm_(dense(made), 1.0)
    torch.testing.assert_close(clip_grad_norm_((p for p in made), 1.0), expected)
    one = parameters()[1]
    assert clip_grad_norm_(one, 0.5) > 0.5
    assert torch.linalg.vector_norm(one.grad.values()).item() == pytest.approx(0.5, rel=1e-5)
    for none in ([], [torch.zeros(2, requires_grad=True)]):
        assert clip_grad_norm_(none, 1.0).item() == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_norm_that_is_not_finite(bad):
    made = parameters()
    made[1].grad.values()[1] = bad
    before = made[0].grad.clone()
    with pytest.raises((SparseGradError, RuntimeError), match="norm"):
        clip_grad_norm_(made, 1.0, error_if_nonfinite=True)
    assert torch.equal(made[0].grad, before)
    assert not math.isfinite(clip_grad_norm_(made, 1.0))
