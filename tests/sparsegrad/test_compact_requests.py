"""Requests for a compact model that cannot be met: told, and the model left bit for bit as it was."""

import pytest
import torch
from torch import nn

from sparsegrad import Bases, SparseGradError, calibrate, convert
from sparsegrad.compact import CompactExecution
from tests.sparsegrad.untouched import assert_untouched, shape_of_things

KEPT, CORE = 20, (6, 5)


def calibrated(arch, model, *, basis="per-block", core=CORE, **options):
    return calibrate(model, arch.batches(2), 2, basis=basis, core=core, **options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"core": (17, 5)}, "17"),
        ({"core": (6, 17)}, "17"),
        ({"core": (7, 5)}, "core"),
        ({"core": (0, 5)}, "core"),
        ({"kept": 31}, "31"),
        ({"kept": 0.5}, "30"),
        ({"kept": 0}, "kept"),
        ({"core": None, "kept": 0.05}, "core"),
        ({"execution": "sd"}, "additive"),
        ({"support": "dynamic", "core": CORE}, "core"),
        ({"support": "dynamic", "execution": "merged"}, "merged"),
        ({"support": "static"}, "static"),
    ],
    ids=str,
)
def test_a_bad_request_is_told_and_leaves_the_model_untouched(bert, options, told):
    model = bert.model()
    bases = calibrated(bert, model)
    before = shape_of_things(model)
    with pytest.raises(SparseGradError, match=told):
        convert(model, bases, **{"kept": KEPT, "core": CORE, "support": "fixed"} | options)
    assert_untouched(model, before)


def unfit(bert, architectures, what) -> tuple[nn.Module, Bases]:
    model = bert.model(dtype=torch.bfloat16 if what == "half" else torch.float32)
    if what == "no energies":
        return model, calibrate(model, bert.batches(2), 2)
    if what == "one-sided":
        return model, calibrate(model, bert.batches(2), 2, sides="in")
    if what == "none":
        return model, Bases.none(model)
    bases = calibrated(bert, model)
    linear = model.bert.encoder.layer[2].intermediate.dense
    if what == "other weights":
        model = bert.model(seed=1)
    elif what == "other architecture":
        model = architectures["gpt2"].model()
    elif what == "quantised":
        linear.weight = nn.Parameter((linear.weight * 100).to(torch.int8), requires_grad=False)
    elif what == "tied":
        model.bert.encoder.layer[3].intermediate.dense.weight = linear.weight
    elif what == "converted":
        convert(model, bases, kept=KEPT, core=CORE, support="fixed")
    return model, bases


@pytest.mark.parametrize(
    "what",
    [
        "no energies",
        "one-sided",
        "none",
        "other weights",
        "other architecture",
        "quantised",
        "tied",
        "converted",
        "half",
    ],
)
def test_what_does_not_fit_is_told_and_leaves_the_model_untouched(bert, architectures, what):
    model, bases = unfit(bert, architectures, what)
    before = shape_of_things(model)
    execution: CompactExecution = "merged" if what == "half" else "planned"
    with pytest.raises(SparseGradError):
        convert(model, bases, kept=KEPT, core=CORE, support="fixed", execution=execution)
    assert_untouched(model, before)
