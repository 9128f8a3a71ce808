"""The tuner's layer: its formula, its derivatives, its dtypes, and what it saves for backward."""

import copy
from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import nn
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

from sparsegrad.peft import SparseGradConfig, SparseGradTunerLinear
from sparsegrad.peft.sources import orthonormal_rows


class Net(nn.Module):
    """One linear of a name, and what comes before and after it."""

    def __init__(self, fc: nn.Module, inner: int = 12) -> None:
        super().__init__()
        self.before = nn.Linear(inner, inner)
        self.fc = fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.tanh(self.before(x))).square()


def conv1d(out: int, inner: int) -> Conv1D:
    layer = Conv1D(out, inner)
    nn.init.normal_(layer.bias)
    return layer


LINEARS = {
    "linear": lambda: nn.Linear(12, 20),
    "no bias": lambda: nn.Linear(12, 20, bias=False),
    "conv1d": lambda: conv1d(20, 12),
}


@pytest.fixture(params=list(LINEARS))
def net(request: pytest.FixtureRequest) -> nn.Module:
    return Net(LINEARS[request.param]()).double()


def adapted(net: nn.Module, **options: Any) -> Any:
    config = SparseGradConfig(
        **{"target_modules": ["fc"], "kept": 30, "core": (8, 7), "init_weights": False, **options}
    )
    return get_peft_model(net, config)


def layer_of(model: nn.Module) -> Any:
    (layer,) = [module for module in model.modules() if isinstance(module, SparseGradTunerLinear)]
    return layer


def dense(layer: Any, x: torch.Tensor, values: torch.Tensor, name: str = "default") -> torch.Tensor:
    """x (W + V_R^T S U_C)^T + b, every matrix made in full."""
    u, v, places = layer.sparsegrad_u[name], layer.sparsegrad_v[name], layer.sparsegrad_indices[name].long()
    core = torch.zeros(len(v), len(u), dtype=values.dtype)
    core = core.index_put((places // len(u), places % len(u)), values)
    base = layer.get_base_layer()
    weight = base.weight.T if isinstance(base, Conv1D) else base.weight
    return linear(x, weight + v.T @ core @ u, base.bias)


def test_output_and_gradients_are_those_of_the_dense_formula(net):
    layer = layer_of(adapted(net))
    x = torch.randn(5, 3, 12, dtype=torch.float64, requires_grad=True)
    values = layer.sparsegrad_values["default"]
    assert layer._takes(x)
    y = layer(x)
    told = torch.autograd.grad(y.square().sum(), [x, values])
    reference = dense(layer, x, values)
    truth = torch.autograd.grad(reference.square().sum(), [x, values])
    torch.testing.assert_close(y, reference, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(told, truth, rtol=1e-11, atol=1e-11)


def test_gradients_pass_gradcheck(net):
    layer = layer_of(adapted(net))
    x = torch.randn(4, 12, dtype=torch.float64, requires_grad=True)
    values = layer.sparsegrad_values["default"].detach().clone().requires_grad_()

    def run(x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"sparsegrad_values.default": values}, (x,))

    assert torch.autograd.gradcheck(run, (x, values))


HINDRANCES = {
    "a hook on the base layer": lambda base: base.register_forward_hook(lambda module, inputs, output: output * 2),
    "a base weight that trains": lambda base: base.weight.requires_grad_(),
    "a base bias that trains": lambda base: base.bias.requires_grad_(),
    "a forward of its own": lambda base: setattr(base, "forward", lambda x: linear(x, base.weight) * 3),
    "a parametrised weight": lambda base: nn.utils.parametrizations.weight_norm(base),
}


@pytest.mark.parametrize("hindrance", list(HINDRANCES))
def test_what_happens_in_the_base_layer_is_not_passed_over(hindrance):
    net = adapted(Net(nn.Linear(12, 20)).double())
    layer = layer_of(net)
    HINDRANCES[hindrance](layer.base_layer)
    x = torch.randn(6, 12, dtype=torch.float64)
    assert not layer._takes(x)
    y = layer(x)
    torch.testing.assert_close(y, layer.base_layer(x) + linear(x, layer.get_delta_weight("default")))
    y.sum().backward()
    parameters = dict(layer.named_parameters())
    assert all((p.grad is not None) == p.requires_grad for p in parameters.values())


def test_both_ways_give_the_same_numbers(net):
    layer = layer_of(adapted(net))
    x = torch.randn(6, 12, dtype=torch.float64, requires_grad=True)
    values = layer.sparsegrad_values["default"]
    fused = layer(x)
    plain = layer.base_layer(x) + layer._added(x, "default")
    torch.testing.assert_close(fused, plain, rtol=1e-12, atol=1e-12)
    g = torch.randn_like(fused)
    g[2:4] = 0  # padding
    torch.testing.assert_close(
        *(torch.autograd.grad(y, [x, values], g) for y in (fused, plain)), rtol=1e-11, atol=1e-11
    )


def test_x_in_the_core_is_all_it_saves_for_backward():
    layer = layer_of(adapted(Net(nn.Linear(64, 96), inner=64), kept=60, core=(8, 8)))
    parameters = {p.data_ptr() for p in layer.parameters()} | {b.data_ptr() for b in layer.buffers()}
    saved: list[torch.Size] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in parameters:
            saved.append(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        layer(torch.randn(50, 64, requires_grad=True))
    assert sorted(saved) == [(8, 8), (50, 8)]


def test_two_active_adapters_add_up(net):
    model = adapted(net)
    model.add_adapter("other", SparseGradConfig(target_modules=["fc"], kept=0.2, seed=1, init_weights=False))
    model.base_model.set_adapter(["default", "other"])
    layer, x = layer_of(model), torch.randn(6, 12, dtype=torch.float64)
    base = layer.base_layer(x)
    alone = [dense(layer, x, layer.sparsegrad_values[name], name) - base for name in ("default", "other")]
    torch.testing.assert_close(layer(x), base + sum(alone), rtol=1e-11, atol=1e-11)


def test_shapes_of_any_number_of_dimensions(net):
    layer = layer_of(adapted(net))
    for shape in ((12,), (0, 12), (2, 0, 12), (2, 3, 4, 12)):
        assert layer(torch.randn(shape, dtype=torch.float64)).shape == (*shape[:-1], 20)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("widened", [True, False])
def test_half_precision_models_keep_fp32_values_unless_told_not_to(dtype, widened):
    config = SparseGradConfig(target_modules=["fc"], kept=0.2, init_weights=False)
    model: Any = get_peft_model(Net(nn.Linear(12, 20)).to(dtype), config, autocast_adapter_dtype=widened)
    model.add_adapter("other", config, autocast_adapter_dtype=widened)
    layer = layer_of(model)
    for name in ("default", "other"):
        assert layer.sparsegrad_values[name].dtype == (torch.float32 if widened else dtype)
        assert layer.sparsegrad_u[name].dtype == layer.sparsegrad_v[name].dtype == dtype
        assert layer.sparsegrad_indices[name].dtype == torch.int32
    assert [layer.sparsegrad_values[name].requires_grad for name in ("default", "other")] == [True, False]
    y = model(torch.randn(4, 12, dtype=dtype))
    assert y.dtype == dtype
    y.sum().backward()
    assert layer.sparsegrad_values["default"].grad.dtype == layer.sparsegrad_values["default"].dtype
    assert model.merge_and_unload(safe_merge=True).fc.weight.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_the_output_has_its_dtype(dtype):
    layer = layer_of(adapted(Net(nn.Linear(12, 20)).to(dtype)))
    x = torch.randn(4, 12)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        plain = layer.base_layer(x) + layer._added(x, "default")
    assert y.dtype == plain.dtype == torch.bfloat16
    torch.testing.assert_close(y, plain, rtol=0.02, atol=0.1)


def test_a_step_too_small_for_bf16_is_not_lost():
    layer = layer_of(adapted(Net(nn.Linear(12, 20)).bfloat16()))
    values = layer.sparsegrad_values["default"]
    nn.init.ones_(values)
    before = values.detach().clone()
    optimizer = torch.optim.SGD([values], lr=1.0)
    values.grad = torch.full_like(values, 1e-5)
    optimizer.step()
    assert (values != before).any() and torch.equal(values.bfloat16(), before.bfloat16())


@pytest.mark.parametrize("kept", [0.01, 0.1, 1.0])
def test_a_drawn_update_is_of_the_size_of_new_weights_whatever_is_kept(kept):
    for base in (nn.Linear(200, 300), conv1d(300, 200)):
        layer = layer_of(adapted(Net(base, 200), kept=kept, core=None))
        assert layer.get_delta_weight("default").square().mean().sqrt().item() == pytest.approx(0.02, rel=0.15)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_merge_is_the_function_and_unmerge_the_base(dtype, net):
    net = net.to(dtype)
    layer = layer_of(adapted(net))
    x, before = torch.randn(6, 12, dtype=dtype), layer.base_layer.weight.detach().clone()
    y, base = layer(x), layer.base_layer(x)
    layer.merge()
    assert layer.merged_adapters == ["default"] and layer.base_layer.weight.is_contiguous()
    torch.testing.assert_close(layer(x), y)
    torch.testing.assert_close(layer.base_layer(x), y)
    layer.unmerge()
    assert not layer.merged
    torch.testing.assert_close(layer.base_layer.weight.detach(), before)
    torch.testing.assert_close(layer.base_layer(x), base)
    with pytest.warns(UserWarning, match="Already unmerged"):
        layer.unmerge()


def test_a_copy_has_its_own_values():
    layer = layer_of(adapted(Net(nn.Linear(12, 20))))
    twin = copy.deepcopy(layer)
    x = torch.randn(3, 12)
    y = layer(x)
    with torch.no_grad():
        twin.sparsegrad_values["default"].zero_()
    assert torch.equal(layer(x), y) and not torch.allclose(twin(x), y)


def test_random_rows_are_orthonormal_and_by_seed():
    for count, size in ((1, 1), (5, 16), (16, 16), (160, 3072)):
        rows = orthonormal_rows(count, size, torch.Generator().manual_seed(0))
        torch.testing.assert_close(rows @ rows.T, torch.eye(count, dtype=torch.float64), rtol=0, atol=1e-12)
        assert torch.equal(rows, orthonormal_rows(count, size, torch.Generator().manual_seed(0)))
    # Spread: no row leans on few coordinates.
    assert rows.abs().max() <= (2 / 3072) ** 0.5 + 1e-12


def test_compiled_without_a_break():
    model = adapted(Net(nn.Linear(12, 20)))
    x = torch.randn(6, 12)
    y = model(x)
    y.sum().backward()
    values = layer_of(model).sparsegrad_values["default"]
    told, values.grad = values.grad, None
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), y)
    compiled(x).sum().backward()
    torch.testing.assert_close(values.grad, told)


def test_a_draw_is_by_seed_and_by_the_layers_name():
    def drawn(seed: int) -> list[tuple[torch.Tensor, ...]]:
        net = nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 12))
        model = get_peft_model(net, SparseGradConfig(target_modules=["0", "1"], kept=20, core=(6, 6), seed=seed))
        parts = ("sparsegrad_u", "sparsegrad_v", "sparsegrad_indices")
        layers = [module for module in model.modules() if isinstance(module, SparseGradTunerLinear)]
        return [tuple(getattr(layer, part)["default"] for part in parts) for layer in layers]

    first, again, other = drawn(0), drawn(0), drawn(1)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    for one, two in [(first[0], first[1]), (first[0], other[0])]:
        assert not any(torch.equal(a, b) for a, b in zip(one, two, strict=True))
