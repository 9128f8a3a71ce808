"""Tools people train with take a compact model as any other: scaler, clipping, autocast, compile, the plain Trainer."""

import warnings

import pytest
import torch
from torch import nn

from sparsegrad import SparseGradError, calibrate, convert
from tests.sparsegrad.compact_case import EXECUTIONS
from tests.sparsegrad.compact_formula import inputs, loss_of, pair_maker


@pytest.fixture
def pair(rotation):
    """pair(execution): a square layer and the dense formula with the same values."""
    return pair_maker(rotation)


@EXECUTIONS
def test_torchs_own_clipping_and_scaler(pair, execution):
    """A scaled loss, unscaled, clipped and stepped; a step of infinite gradients is skipped."""
    layer, dense = pair(execution, torch.float32)
    for model in (layer, dense):
        optimizer, scaler = torch.optim.SGD([model.values], lr=0.5), torch.amp.GradScaler("cpu", init_scale=1024.0)
        torch.manual_seed(3)
        for x in inputs(4, torch.float32):
            optimizer.zero_grad()
            scaler.scale(loss_of(model, x)).backward()
            scaler.unscale_(optimizer)
            norm = nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            assert norm > 0.05 and model.values.grad.norm() == pytest.approx(0.05, rel=1e-3)
            scaler.step(optimizer)
            scaler.update()
        before = model.values.detach().clone()
        optimizer.zero_grad()
        scaler.scale(loss_of(model, x * float("inf"))).backward()
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(model.values, before) and scaler.get_scale() == 512.0
    torch.testing.assert_close(layer.values, dense.values, rtol=1e-4, atol=1e-6)


@EXECUTIONS
def test_autocast_is_the_linears(pair, execution):
    """bf16 out, fp32 gradients, as close to the formula in fp32 as bf16 is; merged refuses, and planned adds."""
    layer, dense = pair(execution, torch.float32)
    layer.values.data.normal_()
    dense.values.data.copy_(layer.values)
    x = inputs(1, torch.float32)[0].requires_grad_()
    if execution == "merged":
        with torch.autocast("cpu", torch.bfloat16), pytest.raises(SparseGradError, match=r"'merged'.*'additive'"):
            layer(x)
        return
    layer(x.repeat(100, 1))  # planned writes for so many tokens, and takes it back where products are in bf16
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        assert y.dtype == torch.bfloat16 == nn.functional.linear(x, layer.weight).dtype
    assert torch.equal(layer.weight, layer.base_weight())
    y.float().square().mean().backward()
    dx, x.grad = x.grad, None
    theirs = dense(x)
    theirs.square().mean().backward()
    assert layer.values.grad.dtype == dx.dtype == torch.float32
    for ours, wanted in ((y.float(), theirs), (layer.values.grad, dense.values.grad), (dx, x.grad)):
        assert (ours - wanted).norm() < 0.02 * wanted.norm()


@EXECUTIONS
def test_autocast_leaves_double_alone(pair, execution):
    """As it leaves nn.Linear's."""
    layer, dense = pair(execution)
    layer.values.data.normal_()
    dense.values.data.copy_(layer.values)
    x = inputs(1)[0]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x), dense(x), rtol=1e-9, atol=1e-12)


def test_additive_compiles_whole(pair):
    layer, dense = pair("additive")
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for step, x in enumerate(inputs(3)):
        x = x[: 30 - step].requires_grad_()
        layer.values.data.add_(0.3)
        dense.values.data.add_(0.3)
        grads = [
            torch.autograd.grad(loss_of(m, x), (v, x)) for m, v in ((compiled, layer.values), (dense, dense.values))
        ]
        torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("execution", ["additive", "merged"])
def test_the_plain_trainer_trains_it(bert, tmp_path, execution):
    """No mixin, with clipping and gradient checkpointing; it resumes from its own checkpoint to the same weights."""
    from transformers import Trainer, TrainingArguments

    rows = [{name: tensor[0] for name, tensor in bert.batch(seed, size=1).items()} for seed in range(16)]
    bases = calibrate(bert.model(), bert.batches(2), 2, kept=0.1)

    def train(resume=None, **options):
        model = convert(bert.model(), bases, kept=0.1, support="fixed", execution=execution)
        arguments = TrainingArguments(
            output_dir=str(tmp_path), max_steps=6, per_device_train_batch_size=2, gradient_accumulation_steps=2,
            learning_rate=1e-2, max_grad_norm=0.1, save_steps=3, logging_steps=1, gradient_checkpointing=True,
            report_to="none", disable_tqdm=True, use_cpu=True, dataloader_pin_memory=False, seed=3, **options,
        )  # fmt: skip
        trainer = Trainer(model=model, args=arguments, train_dataset=rows)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(transformers|accelerate|torch\.utils\.data|torch\.amp)\b")
        whole = train()
        resumed = train(resume=str(tmp_path / "checkpoint-3"))
    assert [entry["grad_norm"] for entry in whole.state.log_history if "grad_norm" in entry]
    state, start = whole.model.state_dict(), bert.model().state_dict()
    for name, tensor in resumed.model.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=1e-5, atol=1e-5)
    values = [name for name in state if name.endswith(".values")]
    assert len(values) == 8 and all(state[name].abs().max() > 1e-3 for name in values)
    for name in values:
        name = name.removesuffix("values") + "weight"
        torch.testing.assert_close(state[name], start[name], rtol=1e-5, atol=1e-6)
