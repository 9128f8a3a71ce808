"""Whether a model is what it was, bit for bit: the same modules and parameters, of the same values and flags."""

import torch
from torch import nn


def shape_of_things(model: nn.Module):
    return (
        [(name, id(m), type(m), m.training) for name, m in model.named_modules()],
        [(n, id(p), p._version, p.requires_grad, p.detach().clone()) for n, p in model.named_parameters()],
    )


def assert_untouched(model: nn.Module, before) -> None:
    modules, parameters = shape_of_things(model)
    assert modules == before[0]
    assert [p[:4] for p in parameters] == [p[:4] for p in before[1]]
    assert all(torch.equal(p[4], q[4]) for p, q in zip(parameters, before[1], strict=True))
