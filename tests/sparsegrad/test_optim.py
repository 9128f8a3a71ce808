"""SparseGradOptimizer is torch's SparseAdam on COO gradients and torch's AdamW on the rest, bit for bit."""

import copy
import io

import pytest
import torch
from torch.optim import AdamW, SparseAdam
from torch.optim.lr_scheduler import LambdaLR

from sparsegrad import NonFiniteGradient, SparseGradError, SparseGradOptimizer


def weights(count=4, seed=0):
    chance = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(5, 4, generator=chance)) for _ in range(count)]


def put_gradients(parameters, step):
    """COO of changing places on the odd ones, dense on the even ones."""
    for at, p in enumerate(parameters):
        dense = torch.randn(5, 4, generator=torch.Generator().manual_seed(100 * step + at))
        p.grad = (dense * (dense.abs() > 0.8)).to_sparse().coalesce() if at % 2 else dense


def run(optimizer, parameters, steps):
    for step in steps:
        put_gradients(parameters, step)
        optimizer.step()
        optimizer.zero_grad()


def equal(ours, theirs):
    return all(torch.equal(p, q) for p, q in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("options", [{}, {"lr": 0.1}, {"betas": (0.5, 0.7), "eps": 1e-3, "lr": 0.05}], ids=str)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_equals_torchs_two_optimizers_bit_for_bit(options, weight_decay):
    ours, theirs = weights(), weights()
    optimizer = SparseGradOptimizer(ours, weight_decay=weight_decay, **options)
    dense, sparse = AdamW(theirs[::2], weight_decay=weight_decay, **options), SparseAdam(theirs[1::2], **options)
    for step in range(5):
        run(optimizer, ours, [step])
        put_gradients(theirs, step)
        dense.step(), sparse.step()
        assert equal(ours, theirs)
    assert not equal(ours, weights())


def test_groups_and_a_scheduler_go_through():
    ours, theirs = weights(), weights()
    optimizer = SparseGradOptimizer(
        [{"params": ours[:2], "lr": 0.1, "weight_decay": 0.3}, {"params": ours[2:], "betas": (0.1, 0.2)}], lr=0.01
    )
    others = [
        AdamW([theirs[0]], lr=0.1, weight_decay=0.3),
        SparseAdam([theirs[1]], lr=0.1),
        AdamW([theirs[2]], lr=0.01, weight_decay=0.0, betas=(0.1, 0.2)),
        SparseAdam([theirs[3]], lr=0.01, betas=(0.1, 0.2)),
    ]
    schedulers = [LambdaLR(o, lambda n: 0.5**n) for o in (optimizer, *others)]
    for step in range(4):
        run(optimizer, ours, [step])
        put_gradients(theirs, step)
        for other in others:
            other.step()
        for scheduler in schedulers:
            scheduler.step()
        assert equal(ours, theirs)
    assert optimizer.param_groups[0]["lr"] == 0.1 * 0.5**4


@pytest.mark.parametrize("way", ["state_dict", "file", "deepcopy", "pickle"])
def test_a_resumed_run_is_bit_equal(way):
    whole, part = weights(), weights()
    run(SparseGradOptimizer(whole, lr=0.1, weight_decay=0.1), whole, range(6))
    first = SparseGradOptimizer(part, lr=0.1, weight_decay=0.1)
    run(first, part, range(3))
    if way in ("state_dict", "file"):
        resumed = [torch.nn.Parameter(p.detach().clone()) for p in part]
        second, state = SparseGradOptimizer(resumed, lr=9.0), first.state_dict()
        if way == "file":
            file = io.BytesIO()
            torch.save(state, file)
            file.seek(0)
            state = torch.load(file, weights_only=True)
        second.load_state_dict(state)
    elif way == "deepcopy":
        second, resumed = copy.deepcopy((first, part))
    else:
        file = io.BytesIO()
        torch.save((first, part), file)
        file.seek(0)
        second, resumed = torch.load(file, weights_only=False)
    run(second, resumed, range(3, 6))
    assert equal(resumed, whole) and not equal(part, whole)


def test_only_touched_entries_move():
    (p,) = weights(1)
    before = p.detach().clone()
    optimizer = SparseGradOptimizer([p])
    for at in ([[0, 3], [1, 2]], [[0, 4], [1, 0]]):
        p.grad = torch.sparse_coo_tensor(
            torch.tensor(at), torch.ones(2), (5, 4), is_coalesced=True, check_invariants=True
        )
        optimizer.step()
    assert (p != before).nonzero().tolist() == [[0, 1], [3, 2], [4, 0]]


def test_weight_decay_on_a_coo_group_is_told_and_mixed_groups_decay_the_dense(bert, converted):
    model = converted(kept=0.05)
    layers = {name: p for name, p in model.named_parameters() if ".intermediate.dense.weight" in name}
    rotated, norms = list(layers.values()), [p for n, p in model.named_parameters() if "LayerNorm" in n]
    with pytest.raises(SparseGradError, match=r"weight_decay=0.1.*COO.*layer\.0\.intermediate\.dense"):
        SparseGradOptimizer(rotated, weight_decay=0.1)
    with pytest.raises(SparseGradError, match="COO"):
        SparseGradOptimizer([{"params": norms}, {"params": rotated, "weight_decay": 0.1}])
    optimizer = SparseGradOptimizer(norms)
    with pytest.raises(SparseGradError, match="COO"):
        optimizer.add_param_group({"params": rotated, "weight_decay": 0.1})
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": rotated})

    optimizer = SparseGradOptimizer([*rotated, *norms], lr=1e-6, weight_decay=1e4)
    before = [p.detach().clone() for p in (*rotated, *norms)]
    model(**bert.batch()).loss.backward()
    optimizer.step()
    for p, old in zip((*rotated, *norms), before, strict=True):
        expected = old if p.grad.is_sparse else old * 0.99
        torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1.1e-6)


@pytest.mark.parametrize("kept", [0.05, 1.0])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_nan_gradient_is_told_by_name_and_nothing_moves(bert, converted, kept, bad):
    """Of a SparseGrad layer; also of one that keeps every entry, whose gradient is dense."""
    model = converted(kept=kept)
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = SparseGradOptimizer(model.parameters())
    model(**bert.batch()).loss.backward()
    grad = model.bert.encoder.layer[1].output.dense.weight.grad
    (grad.values() if grad.is_sparse else grad)[0] = bad
    with pytest.raises(NonFiniteGradient, match=r"layer\.1\.output\.dense"):
        optimizer.step()
    assert equal(model.parameters(), before)


def test_a_gradient_scaler_scales_skips_and_goes_on():
    """Scaled by powers of two it is bit-equal to the unscaled run; the step with an infinity is left out."""
    plain, scaled = weights(), weights()
    run(SparseGradOptimizer(plain, lr=0.1), plain, [0, 2])
    optimizer, scaler = SparseGradOptimizer(scaled, lr=0.1), torch.amp.GradScaler("cpu", init_scale=4.0)
    scaler.scale(torch.ones(1))
    for step in (0, 1, 2):
        put_gradients(scaled, step)
        for p in scaled:
            p.grad = p.grad * scaler.get_scale()
        if step == 1:
            scaled[1].grad = scaled[1].grad.coalesce()
            scaled[1].grad.values()[0] = float("inf")
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert scaler.get_scale() == 2.0 and equal(scaled, plain)


def test_a_closure_runs_with_gradients_on():
    p, q = weights(2)

    def closure():
        assert torch.is_grad_enabled()
        loss = (p * q).sum()
        p.grad, q.grad = torch.autograd.grad(loss, (p, q))
        return loss

    before = p.detach().clone()
    assert SparseGradOptimizer([p, q]).step(closure).requires_grad
    assert not torch.equal(p, before)


def test_no_gradient_no_step():
    made = weights()
    optimizer = SparseGradOptimizer(made)
    optimizer.step()
    assert equal(made, weights()) and not optimizer.state


@pytest.mark.parametrize(
    "options", [{"lr": -1.0}, {"eps": 0.0}, {"betas": (1.0, 0.9)}, {"betas": (0.9, -0.1)}, {"weight_decay": -0.1}]
)
def test_options_out_of_range_are_told(options):
    with pytest.raises(SparseGradError, match=next(iter(options))):
        SparseGradOptimizer(weights(), **options)


@pytest.mark.parametrize("option", ["maximize", "amsgrad", "momentum"])
def test_options_it_does_not_honour_are_errors(option):
    """AMSGrad is AdamW's alone: half of the gradients would silently do without."""
    with pytest.raises((TypeError, SparseGradError)):
        SparseGradOptimizer(weights(), **{option: True})  # type: ignore[arg-type]
    if option == "amsgrad":
        with pytest.raises((TypeError, ValueError)):
            SparseGradOptimizer([{"params": weights(), option: True}])
