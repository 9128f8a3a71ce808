"""sparse_by_dense is the dense product, whatever of A is zero, and its COO is what it claims to be."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparsegrad import sparse_by_dense


def with_stripes(shape, rows, cols, dtype=torch.float64):
    """Random A, zero in the given rows and columns."""
    a_BC = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)
    a_BC[[r for r in rows if r < shape[0]]] = 0
    a_BC[:, [c for c in cols if c < shape[1]]] = 0
    return a_BC


sizes, marks = st.integers(0, 7), st.sets(st.integers(0, 6))


@settings(max_examples=300, deadline=None, database=None)
@given(b=sizes, c=sizes, d=sizes, rows=marks, cols=marks, layout=st.sampled_from(["pairs", "rows"]))
@example(b=4, c=4, d=4, rows=set(range(7)), cols=set(), layout="pairs")
@example(b=4, c=4, d=4, rows=set(), cols=set(range(7)), layout="rows")
@example(b=0, c=3, d=2, rows=set(), cols=set(), layout="pairs")
@example(b=3, c=0, d=2, rows=set(), cols=set(), layout="rows")
@example(b=3, c=2, d=0, rows=set(), cols=set(), layout="pairs")
def test_equals_the_dense_product(b, c, d, rows, cols, layout):
    a_BC = with_stripes((b, c), rows, cols)
    b_CD = torch.randn(c, d, generator=torch.Generator().manual_seed(d), dtype=torch.float64)
    product = sparse_by_dense(a_BC, b_CD, layout=layout)
    assert product.shape == (b, d) and product.dtype == torch.float64
    torch.testing.assert_close(product.to_dense(), a_BC @ b_CD, rtol=1e-13, atol=1e-13)

    # Exactly the nonzero rows are in it, and the claim to be coalesced is true: sorting again changes nothing.
    live = (a_BC != 0).any(dim=1).nonzero().squeeze(1)
    assert product.is_coalesced()
    again = torch.sparse_coo_tensor(product.indices(), product.values(), product.shape, check_invariants=True)
    again = again.coalesce()
    assert torch.equal(again.indices(), product.indices()) and torch.equal(again.values(), product.values())
    if layout == "rows":
        assert torch.equal(product.indices(), live[None]) and product.values().shape == (len(live), d)
    else:
        pairs = torch.tensor([(r, j) for r in live.tolist() for j in range(d)], dtype=torch.int64).reshape(-1, 2)
        assert torch.equal(product.indices(), pairs.T)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_keeps_the_dtype(dtype):
    a_BC, b_CD = with_stripes((5, 4), {1, 2}, {0}).to(dtype), torch.randn(4, 3, dtype=torch.float64).to(dtype)
    product = sparse_by_dense(a_BC, b_CD)
    assert product.dtype == dtype
    torch.testing.assert_close(product.to_dense(), a_BC @ b_CD)


def test_a_view_is_as_good_as_a_copy():
    a_CB, b_DC = with_stripes((6, 5), {2}, {1, 3}), torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(sparse_by_dense(a_CB.T, b_DC.T).to_dense(), a_CB.T @ b_DC.T, rtol=1e-13, atol=1e-13)


def test_nan_and_inf_are_nonzero_and_pass_through():
    a_BC = torch.zeros(4, 3, dtype=torch.float64)
    a_BC[1, 2], a_BC[3, 0] = float("nan"), float("inf")
    product = sparse_by_dense(a_BC, torch.ones(3, 2, dtype=torch.float64), layout="rows")
    assert product.indices().tolist() == [[1, 3]]
    assert product.values()[0].isnan().all() and product.values()[1].isinf().all()


@pytest.mark.parametrize("shapes", [((2, 3), (4, 5)), ((3,), (3, 2)), ((2, 3), (3,)), ((1, 2, 3), (3, 2))])
def test_shapes_that_do_not_chain_are_told(shapes):
    with pytest.raises(ValueError, match="sparse_by_dense needs matrices"):
        sparse_by_dense(*(torch.ones(shape) for shape in shapes))


def test_an_unknown_layout_is_told():
    with pytest.raises(ValueError, match="layout"):
        sparse_by_dense(torch.ones(2, 2), torch.ones(2, 2), layout="csr")  # type: ignore[arg-type]


def test_two_dtypes_are_told_even_where_nothing_is_nonzero():
    for a_BC in (torch.ones(2, 2), torch.zeros(2, 2)):
        with pytest.raises((ValueError, RuntimeError)):
            sparse_by_dense(a_BC, torch.ones(2, 2, dtype=torch.float64))
